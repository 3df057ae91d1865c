"""Makes the tiny models with which a runtime on a device is proved: python tests/make_tiny.py. They are kept in
edgefreeze/ship/tiny, so that proving needs no TensorFlow on the host."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TINY = Path(__file__).resolve().parents[1] / "edgefreeze" / "ship" / "tiny"
MAKE = """
import sys, tensorflow as tf
w = tf.constant([[1, -1, 0.5], [0.25, 2, -1], [-0.5, 1, 1], [2, 0, -4]], tf.float32)
b = tf.constant([0.5, 1.0, -0.25], tf.float32)
class Tiny(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    def serve(self, x):
        return {"y": tf.nn.relu(x @ w + b)}
tiny = Tiny()
tf.saved_model.save(tiny, sys.argv[1], signatures=tiny.serve)
"""
RUNTIMES = {
    "tensorflow": ("frozen_pb", "tf_frozen", "tiny.pb"),
    "litert": ("tflite", "tflite", "tiny.tflite"),
    "onnxruntime": ("onnx", "onnxruntime", "tiny.onnx"),
    "tensorrt": ("tensorrt", "tensorrt", "tensorrt"),
}


def main() -> None:
    TINY.mkdir(exist_ok=True)
    described = {}
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, "tiny")
        subprocess.run([sys.executable, "-c", MAKE, model], check=True)
        for runtime, (name, module, path) in RUNTIMES.items():
            options = ["--opset", "11"] if name in ("onnx", "tensorrt") else []
            if name == "tensorrt":
                options.append("--allow-unverified")  # it is a recipe
                shutil.rmtree(TINY / path, ignore_errors=True)
            done = subprocess.run(
                [sys.executable, "-m", "edgefreeze", "export", model, "--format", name, *options,
                 "-o", TINY / path, "--json"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            artifact = json.loads(done.stdout)
            described[runtime] = {
                "format": name,
                "runtime": module,
                "path": path,
                "inputs": artifact["inputs"],
                "outputs": artifact["outputs"],
            }
    (TINY / "models.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    main()

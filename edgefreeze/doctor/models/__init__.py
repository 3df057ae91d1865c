"""The tiny model that shows whether a runtime infers: y = relu(x·W + b), from 8 numbers to 4, as a file for
each runtime. tests/doctor/test_models.py makes the files, and holds them to what stands here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS = np.array([[((5 * i + 3 * j) % 7 - 3) / 4 for j in range(4)] for i in range(8)], np.float32)
BIAS = np.array([0.5, -0.25, 0.0, 1.0], np.float32)
GIVEN = (np.arange(8).reshape(1, 8) / 8).astype(np.float32)
EXPECTED = np.maximum(GIVEN @ WEIGHTS + BIAS, 0).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """One form of it: the file, how a runner is told of it, an input and the right answer."""

    path: Path
    artifact: dict[str, Any]
    given: np.ndarray[Any, np.dtype[np.float32]]
    expected: np.ndarray[Any, np.dtype[np.float32]]


def _tiny(file: str, format_name: str, runner: str, x: str, y: str) -> Tiny:
    def end(name: str, tensor: str, width: int) -> dict[str, Any]:
        return {"name": name, "tensor": tensor, "dtype": "float32", "shape": [1, width]}

    artifact = {
        "format": format_name,
        "precision": "fp32",
        "status": "unverified",
        "path": file,
        "runtime": runner,
        "inputs": [end("x", x, 8)],
        "outputs": [end("y", y, 4)],
    }
    return Tiny(path=Path(__file__).parent / file, artifact=artifact, given=GIVEN, expected=EXPECTED)


MODELS: dict[str, Tiny] = {
    "tensorflow": _tiny("dense.pb", "frozen_pb", "tf_frozen", "x:0", "y:0"),
    "litert": _tiny("dense.tflite", "tflite", "tflite", "serving_default_x:0", "PartitionedCall:0"),
    "onnxruntime": _tiny("dense.onnx", "onnx", "onnxruntime", "x:0", "y:0"),
}
"""By runtime."""

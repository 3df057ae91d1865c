"""Models for verify and bisect, converted once: each costs an import of TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgefreeze.difference.sides import Artifact, Choice, side
from edgefreeze.types import Tensor
from edgefreeze.worker import client
from tests.difference import faults

HERE = Path(__file__).parent
SHAPES = {"keras_tensor": (None, 48, 48, 3), "steps": (1, 6, 5), "left": (None, 12, 12, 3)}
SHAPES["right"] = SHAPES["left"]
INPUTS = {"mobilenet": ["keras_tensor"], "recurrent": ["steps"], "branches": ["left", "right"]}


class Made:
    """The folder of the models, and what they were converted to."""

    def __init__(self, folder):
        self.folder = folder

    def file(self, model, name="model.pb"):
        """One of its artifacts, converted when it is first asked for."""
        out = self.folder / f"{model}_made"
        if not out.exists():
            formats = [{"format": f, "precision": "fp32"} for f in ("frozen_pb", "tflite", "onnx")]
            # TensorFlow Lite's loops have no free batch.
            client.run(
                {"op": "convert", "model": str(self.folder / model), "out": str(out), "formats": formats,
                 "verify": False, "allow_unverified": True,
                 "freeze": {"batch": 1} if model == "recurrent" else {}}
            )  # fmt: skip
        return out / name

    def side(self, model, path):
        """An artifact, to be compared. A frozen graph without the way through a worker."""
        if path.suffix != ".pb":
            return side(path, Choice())
        names = INPUTS[model.removesuffix("_training")]
        ends = [Tensor(name=n, tensor=f"{n}:0", dtype="float32", shape=SHAPES[n]) for n in names]
        output = Tensor(name="output_0", tensor="output_0:0", dtype="float32", shape=None)
        return Artifact(
            path=path, kind="frozen_pb", runtime="tf_frozen", inputs=tuple(ends), outputs=(output,)
        )

    def faulty(self, model, fault, path):
        """The model's frozen graph with something wrong in it, at `path`."""
        graph = faults.graph_of(self.file(model))
        fault(graph)
        path.write_bytes(graph.SerializeToString())
        return self.side(model, path)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("difference")
    done = subprocess.run(
        [sys.executable, str(HERE / "make_models.py"), str(folder)],
        capture_output=True, env=client.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return Made(folder)

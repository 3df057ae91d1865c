"""The cells of (model × format × precision): what is tried, and what came of it the last time all were run."""

import json
import subprocess
import sys
from pathlib import Path

from edgefreeze.formats import FORMATS
from edgefreeze.worker import client, prove
from tests.worker.conftest import converted

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
CELLS = [(name, p) for name, known in FORMATS.items() for p, facts in known.items() if not facts.recipe]
CI = "small_cnn"
"""The model whose cells every run of the tests tries; the others are slow."""
CNNS = ("small_cnn", "mobilenet_v2", "resnet50", "efficientnet_b0")
STATIC_BATCH = ("lstm", "gru")
"""Converted with a batch of 1: TensorFlow Lite takes their loops no other way."""
OTHERS = (
    *CNNS[1:],
    *STATIC_BATCH,
    "transformer",
    "two_inputs",
    "control_flow",
    "dynamic_shapes",
    "pass_through",
    "several_outputs",
    "strings",
)
MUST = {
    *{
        (model, form, precision)
        for model in (*CNNS, "two_inputs", "transformer")
        for form, precision in (
            ("tflite", "fp32"),
            ("tflite", "fp16"),
            ("tflite", "dynamic"),
            ("onnx", "fp32"),
            ("onnx", "fp16"),
        )
    },
    *{(model, form, "int8") for model in CNNS for form in ("tflite", "onnx")},
    *{(model, form, "fp32") for model in STATIC_BATCH for form in ("tflite", "onnx")},
}
"""Cells for which a refusal does not count."""


def label(form, precision):
    """ "tflite:int8", as a user names it."""
    return f"{form}:{precision}"


def make(folder, *names):
    """Write models into the folder, each with its calibration data; see models.py."""
    done = subprocess.run(
        [sys.executable, str(HERE / "models.py"), str(folder), *names],
        capture_output=True,
        env=client.environment(),
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def path(folder, name):
    """Where make() wrote a model."""
    keras = folder / f"{name}.keras"
    return keras if keras.exists() else folder / name


def request(folder, name, out, cells=CELLS, **more):
    """A convert request for cells of a model, with its calibration data."""
    data = folder / f"{name}.npz"
    return {
        "op": "convert",
        "model": str(path(folder, name)),
        "out": str(out),
        "formats": [{"format": form, "precision": precision} for form, precision in cells],
        "calibration": str(data) if data.exists() else None,
        "freeze": {"batch": 1 if name in STATIC_BATCH else None},
        **more,
    }


def run(folder, name, out, cells=CELLS, **more):
    """Convert, and prove each artifact in a fresh process."""
    return proved(request(folder, name, out, cells, **more), out)


def proved(asked, out):
    """The conversion that a request asks for, proved."""
    result = client.run(asked, log=out.with_suffix(".log"))
    return prove.prove(converted(result), out)


def outcome(artifact):
    """What is kept of a cell: figures to two digits, since the last ones differ between machines."""
    if artifact.status == "refused":
        error = f" (error {artifact.parity.max_rel:.1e})" if artifact.parity else ""
        return {"status": "refused", "reason": artifact.reason + error}
    worst = artifact.parity.max_rel if artifact.parity else None
    return {"status": artifact.status, "error": None if worst is None else float(f"{worst:.1e}")}


def known():
    """The kept results: {model: {cell: outcome}}."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(name, outcomes):
    """Keep a model's results."""
    text = json.dumps({**known(), name: outcomes}, indent=1, sort_keys=True, ensure_ascii=False)
    RESULTS.write_text(text + "\n")

"""What is inside the files: integers where they should be, the signature, labels; the same bytes each time."""

import json

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgefreeze.device import tensors
from edgefreeze.worker.litert import flatbuffer
from tests.worker.formats import cells

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def again(small, folder):
    """The same conversion in another process, the formats in another order and without the original."""
    out = folder / "small_again"
    others = [cell for cell in reversed(cells.CELLS) if cell != ("saved_model", "fp32")]
    more = {"labels": [f"class {i}" for i in range(10)], "normalise": "pixel / 255"}
    return cells.run(folder, cells.CI, out, others, **more)


def test_two_processes_write_the_same_bytes(artifacts, again):
    assert len(again.artifacts) == len(cells.CELLS) - 1
    for artifact in again.artifacts:
        first = artifacts[artifact.format, artifact.precision]
        assert artifact.sha256 == first.sha256, (artifact.format, artifact.precision)


def test_golden_inputs_come_from_the_calibration_data(small):
    golden = small[0].golden
    assert (golden.source, golden.method) == ("samples", "16 of 128 calibration samples")


def test_artifacts_say_the_signatures_dtypes(artifacts):
    made = artifacts["tflite", "int8-io"]
    assert [(t.name, t.dtype, t.shape) for t in made.inputs] == [("image", "float32", (None, 24, 24, 3))]
    assert [t.dtype for t in made.outputs] == ["float32"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8", "int8-io", "16x8"])
def test_a_tflite_file_runs_by_its_signature(small, artifacts, precision):
    conversion, folder = small
    interpreter = Interpreter(model_path=str(folder / artifacts["tflite", precision].path))
    (output,) = (t.name for t in conversion.outputs)
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": [output]}}
    if precision == "int8-io":
        return
    inputs, outputs = tensors.decode_golden((folder / "golden.npz").read_bytes())[0]
    found = interpreter.get_signature_runner("serving_default")(**inputs)[output]
    spread = outputs[output].max() - outputs[output].min()
    assert np.abs(found - outputs[output]).max() < 0.1 * spread


def test_int8_io_is_integers_at_the_ends(small, artifacts):
    interpreter = Interpreter(model_path=str(small[1] / artifacts["tflite", "int8-io"].path))
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {detail["dtype"] for detail in ends} == {np.int8}


@pytest.mark.parametrize(
    ("precision", "floats"), [("fp32", True), ("dynamic", True), ("int8", False), ("int8-io", False)]
)
def test_integer_files_compute_in_integers(small, artifacts, precision, floats):
    content = (small[1] / artifacts["tflite", precision].path).read_bytes()
    assert bool(flatbuffer.computed_in_floats(content)) is floats


def test_weights_lie_on_16_bytes(small, artifacts):
    content = (small[1] / artifacts["tflite", "fp32"].path).read_bytes()
    base = np.frombuffer(content, np.uint8).ctypes.data
    buffers = [b.data for b in flatbuffer.read(content).buffers if isinstance(b.data, np.ndarray)]
    assert len(buffers) > 5
    assert {(b.ctypes.data - base) % 16 for b in buffers} == {0}


def sidecars(folder, artifacts):
    """(cell, JSON) of every TFLite and ONNX file."""
    for cell, artifact in artifacts.items():
        content = (folder / artifact.path).read_bytes() if cell[0] in ("tflite", "onnx") else b""
        if cell[0] == "tflite":
            model = flatbuffer.read(content)
            (entry,) = [m for m in model.metadata if m.name == b"edgefreeze"]
            yield cell, json.loads(bytes(model.buffers[entry.buffer].data))
        elif cell[0] == "onnx":
            props = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
            yield cell, json.loads(props["edgefreeze"])


def test_labels_names_and_normalisation_travel_in_the_files(small, artifacts):
    conversion, folder = small
    found = dict(sidecars(folder, artifacts))
    assert len(found) == 9
    for (_, precision), sidecar in found.items():
        assert sidecar == {
            "schema": 1,
            "signature": conversion.signature,
            "precision": precision,
            "inputs": [{"name": "image", "dtype": "float32", "shape": [None, 24, 24, 3]}],
            "outputs": [{"name": conversion.outputs[0].name, "dtype": "float32", "shape": [None, 10]}],
            "labels": [f"class {i}" for i in range(10)],
            "normalise": "pixel / 255",
        }


def test_smaller_weights_make_smaller_files(artifacts):
    for small, large in (
        (("tflite", "fp16"), ("tflite", "fp32")),
        (("tflite", "dynamic"), ("tflite", "fp16")),
        (("tflite", "int8"), ("tflite", "fp16")),
        (("onnx", "fp16"), ("onnx", "fp32")),
        (("onnx", "int8"), ("onnx", "fp32")),
    ):
        assert artifacts[small].bytes < 0.8 * artifacts[large].bytes

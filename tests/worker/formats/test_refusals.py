"""What cannot be says what, where and what to do instead; what is wrong with a request is said at once."""

import time

import numpy as np
import pytest

from edgefreeze.errors import Failure
from edgefreeze.worker import client
from tests.worker.formats import cells

pytestmark = pytest.mark.tf
LITE = [("tflite", "fp32")]


@pytest.fixture(scope="module")
def determinant(folder):
    """A model with an operation that TensorFlow Lite lacks and ONNX has."""
    cells.make(folder, "determinant")
    return folder


def test_an_operation_without_a_builtin_is_named_with_node_and_layer(determinant):
    both = [*LITE, ("onnx", "fp32")]
    lite, onnx = cells.run(determinant, "determinant", determinant / "plain", both).artifacts
    assert (lite.status, lite.path, onnx.status) == ("refused", None, "verified")
    assert lite.reason.startswith("TensorFlow Lite has no built-in operation for MatrixDeterminant (node '")
    assert "/head/volume/MatrixDeterminant', layer 'head/volume')" in lite.reason
    for way in ("onnx", "--select-ops", "--inputs and --outputs"):
        assert way in lite.reason


def test_a_file_with_tensorflows_operations_stays_unverified(determinant):
    request = cells.request(determinant, "determinant", determinant / "flex", LITE)
    request["formats"][0]["options"] = {"select_ops": True}
    (made,) = cells.proved(request, determinant / "flex").artifacts
    assert made.status == "unverified"
    assert made.path == "model.tflite"
    assert made.reason.endswith("so it could not be run: FlexMatrixDeterminant")


def test_without_calibration_data_integers_are_refused_and_the_rest_is_made(small, folder):
    wanted = [("tflite", "int8"), ("onnx", "int8"), ("tflite", "fp32")]
    request = cells.request(folder, cells.CI, folder / "uncalibrated", wanted, calibration=None)
    made = cells.proved(request, folder / "uncalibrated").artifacts
    assert [a.status for a in made] == ["refused", "refused", "verified"]
    assert made[0].reason.startswith("tflite:int8 needs --calibration")
    assert made[1].reason.startswith("onnx:int8 needs --calibration")


def test_few_calibration_samples_are_noted_on_what_they_made(small, folder, tmp_path):
    few = np.load(folder / f"{cells.CI}.npz")["image"][:5]
    np.savez(tmp_path / "few.npz", image=few)
    wanted = [("tflite", "fp32"), ("tflite", "int8"), ("onnx", "int8")]
    out = folder / "few"
    request = cells.request(folder, cells.CI, out, wanted, calibration=str(tmp_path / "few.npz"))
    note = ("Calibrated on 5 samples; 100 to 500 are usual.",)
    assert [a.notes for a in cells.proved(request, out).artifacts] == [(), note, note]


def test_an_opset_that_cannot_be_is_refused_before_the_model_is_loaded(small, folder):
    request = cells.request(folder, cells.CI, folder / "opset", [("onnx", "fp32")])
    request["formats"][0]["options"] = {"opset": 19}
    events = []
    started = time.monotonic()
    with pytest.raises(Failure) as caught:
        client.run(request, on_event=events.append)
    assert caught.value.code == "opset-unknown"
    assert "load" not in [event.get("name") for event in events]
    assert time.monotonic() - started < 60


def test_an_older_opset_is_written(small, folder):
    request = cells.request(folder, cells.CI, folder / "opset13", [("onnx", "fp32"), ("onnx", "int8")])
    for entry in request["formats"]:
        entry["options"] = {"opset": 13}
    made = cells.proved(request, folder / "opset13").artifacts
    assert [a.status for a in made] == ["verified"] * 2
    assert all("opset 13" in a.method for a in made)


def test_tables_travel_in_the_frozen_saved_model_and_are_named_elsewhere(models, tmp_path):
    wanted = [("saved_model", "frozen"), ("tflite", "fp32"), ("onnx", "fp32")]
    entries = [{"format": form, "precision": precision} for form, precision in wanted]
    out = tmp_path / "tables"
    asked = {"op": "convert", "model": str(models / "stateful"), "out": str(out), "formats": entries}
    saved, lite, onnx = cells.proved({**asked, "signature": "look_up"}, out).artifacts
    assert (saved.status, saved.signature) == ("verified", "look_up")
    assert sorted(p.name for p in (out / saved.path).iterdir()) == ["saved_model.pb"]
    assert "looks things up in a table" in lite.reason
    assert "LookupTableFindV2 (node" in lite.reason
    assert "looks things up in a table" in onnx.reason

"""What calibration data must be, and what is refused before anything is converted."""

import numpy as np
import pytest

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import calibration, formats

INPUTS = (Tensor(name="x", tensor="x:0", dtype="float32", shape=(None, 3)),)


def rows(count, scale=1.0):
    generator = np.random.default_rng(1)
    return [{"x": (scale * generator.standard_normal((1, 3))).astype("f")} for _ in range(count)]


def refused(action, *arguments, **named):
    with pytest.raises(Failure) as caught:
        action(*arguments, **named)
    return caught.value


def test_at_most_512_rows_are_used_from_first_to_last():
    given = rows(2000)
    made = calibration.of(given, INPUTS)
    assert (len(made.calls), made.given, made.notes) == (512, 2000, ())
    assert made.calls[0] is given[0]
    assert made.calls[-1] is given[-1]
    steps = np.diff([next(i for i, g in enumerate(given) if g is call) for call in made.calls])
    assert {int(s) for s in steps} == {3, 4}


def test_few_samples_are_said_to_be_few():
    assert calibration.of(rows(99), INPUTS).notes == ("Calibrated on 99 samples; 100 to 500 are usual.",)
    assert calibration.of(rows(100), INPUTS).notes == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:1], "1 calibration sample says nothing of a range"),
        (lambda data: [{"x": np.full((1, 3), 2.0, "f")}] * 5, "no range: every value is 2"),
        (lambda data: [*data, {"x": np.array([[0, np.nan, 0]], "f")}], "values that are no numbers"),
        (lambda data: [*data, {"x": np.array([[0, np.inf, 0]], "f")}], "values that are no numbers"),
    ],
)
def test_useless_data_is_refused(change, said):
    failure = refused(calibration.of, change(rows(10)), INPUTS)
    assert failure.code == "calibration-bad"
    assert said in failure.message
    assert "--calibration" in (failure.next or "")


def test_a_nan_is_named_by_its_row():
    data = rows(10)
    data[7]["x"][0, 1] = np.nan
    assert refused(calibration.of, data, INPUTS).found == "NaN in sample 7: 1 of 3 values"


def test_whole_numbers_may_all_be_the_same():
    ids = (Tensor(name="x", tensor="x:0", dtype="int32", shape=(None, 3)),)
    assert calibration.of([{"x": np.zeros((1, 3), "i4")}] * 4, ids).given == 4


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((9, 4), "f"), "do not fit"),
        (np.zeros((9, 3), "i8"), "do not fit"),
        (np.zeros((9, 3), "S4"), "do not fit"),
    ],
)
def test_another_shape_or_dtype_is_refused_by_the_inputs_name(tmp_path, array, said):
    np.savez(tmp_path / "c.npz", x=array)
    failure = refused(calibration.read, tmp_path / "c.npz", INPUTS)
    assert failure.code == "calibration-bad"
    assert failure.message.startswith("The calibration data cannot be used.")
    assert said in failure.message
    assert "float32" in (failure.expected or "")


def test_another_name_is_refused_with_the_nearest(tmp_path):
    np.savez(tmp_path / "c.npz", X=np.zeros((9, 3), "f"))
    assert "'X', which is no input" in refused(calibration.read, tmp_path / "c.npz", INPUTS).message


def test_samples_far_beyond_what_was_calibrated_are_refused():
    known = calibration.of(rows(20), INPUTS)
    calibration.require_covers(known, rows(20, scale=1.5))
    failure = refused(calibration.require_covers, known, rows(20, scale=255))
    assert "reach far beyond the calibration data" in failure.message


def test_an_unknown_precision_is_refused_with_the_nearest():
    failure = refused(formats.require_options, "tflite", "int8io", {})
    assert failure.code == "format-unknown"
    assert "did you mean 'int8-io'?" in failure.message
    assert failure.expected == "fp32, fp16, dynamic, int8, int8-io, 16x8"


@pytest.mark.parametrize(("precision", "opset"), [("fp32", 19), ("fp16", 6), ("int8", 12), ("fp32", 0)])
def test_an_opset_out_of_range_is_refused(precision, opset):
    failure = refused(formats.require_options, "onnx", precision, {"opset": opset})
    assert (failure.code, failure.exit_status) == ("opset-unknown", 3)
    assert f"and {opset} was asked for" in failure.message


def test_an_opset_in_range_is_not():
    for precision, (oldest, newest) in {"fp32": (7, 18), "int8": (13, 18)}.items():
        for opset in (oldest, newest):
            formats.require_options("onnx", precision, {"opset": opset})

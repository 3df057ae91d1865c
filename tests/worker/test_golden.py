"""What samples become, and how much drawn inputs move outputs: pure decisions on arrays."""

import numpy as np
import pytest

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker.evaluate import join
from edgefreeze.worker.golden import movement
from edgefreeze.worker.samples import batches, read_samples


def tensor(name, shape, dtype="float32"):
    return Tensor(name=name, tensor=f"{name}:0", dtype=dtype, shape=shape)


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def shapes(calls, name):
    return [np.shape(call[name]) for call in calls]


def test_rows_of_a_free_batch_are_cut():
    assert shapes(batches({"x": zeros(5, 3)}, [tensor("x", (None, 3))], rows=2), "x") == [
        (2, 3),
        (2, 3),
        (1, 3),
    ]


def test_a_fixed_batch_stays_whole():
    inputs = [tensor("x", (2, 3))]
    assert shapes(batches({"x": zeros(4, 3)}, inputs, rows=64), "x") == [(2, 3), (2, 3)]
    with pytest.raises(Failure) as caught:
        batches({"x": zeros(3, 3)}, inputs, rows=64)
    assert (caught.value.expected, caught.value.found) == ("float32 [2, 3]", "float32 [3, 3]")


def test_scalars_are_one_a_call():
    calls = batches({"x": np.array([1.0, 2.0], "f")}, [tensor("x", ())], rows=64)
    assert [float(call["x"]) for call in calls] == [1.0, 2.0]


def test_an_input_without_a_batch_is_given_to_every_call():
    inputs = [tensor("x", (None, 2)), tensor("scale", (), "float64")]
    calls = batches({"x": zeros(3, 2), "scale": np.float64(2)}, inputs, rows=1)
    assert [float(call["scale"]) for call in calls] == [2.0, 2.0, 2.0]


def test_numbers_are_cast_within_their_kind_and_not_beyond_their_range():
    inputs = [tensor("x", (None,), "uint8")]
    assert batches({"x": np.array([1, 255])}, inputs, rows=2)[0]["x"].dtype == np.uint8
    for wrong in (np.array([256]), np.array([-1]), np.array([1.0]), np.array([True])):
        with pytest.raises(Failure, match="do not fit"):
            batches({"x": wrong}, inputs, rows=2)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK no")
    with pytest.raises(Failure) as caught:
        read_samples(tmp_path / "a.npz")
    assert caught.value.code == "samples-bad"
    with pytest.raises(Failure, match=r"b\.npz cannot be read"):
        read_samples(tmp_path / "b.npz")


def out(*values):
    return [{"y": np.array(v, np.float32)} for v in values]


def test_still_outputs_move_nothing_and_moving_ones_do():
    assert movement(out([1, 2, 3], [1, 2, 3])) == 0
    moving = movement(out([0.1, 0.5, 0.9], [0.8, 0.2, 0.4]))
    assert moving is not None
    assert moving > 0.1


def test_a_saturated_output_counts_less_than_a_living_one():
    saturated = movement(out([0, 1, 0, 0], [0, 0, 0, 1]))
    living = movement(out([0.1, 0.7, 0.2, 0.0], [0.2, 0.1, 0.1, 0.6]))
    assert saturated == 0
    assert living is not None
    assert living > 0


def test_the_stillest_output_decides_and_nan_disqualifies():
    cases = [{"a": np.array([float(i), 0.5]), "b": np.array([1.0, 2.0])} for i in range(3)]
    assert movement(cases) == 0
    assert movement(out([1.0, float("nan")], [1.0, 2.0])) is None


def test_outputs_of_calls_are_joined_by_rows():
    assert join([zeros(2, 3), zeros(1, 3)]).shape == (3, 3)
    assert join([np.float32(1), np.float32(2)]).tolist() == [1.0, 2.0]

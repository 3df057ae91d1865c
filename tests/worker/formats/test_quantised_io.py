"""The TFLite runtime's floats and integers."""

import numpy as np
import pytest

from edgefreeze.device.runtimes.tflite import dequantised, quantised


@pytest.mark.parametrize(
    ("value", "whole"),
    [(0.0, 3), (0.25, 4), (-0.25, 2), (0.24, 3), (-0.24, 3), (0.75, 5), (99.0, 127), (-99.0, -128)],
)
def test_halves_go_away_from_zero_and_the_range_cuts_off(value, whole):
    made = quantised(np.array([value], "f"), (0.5, 3, np.int8))
    assert made.dtype == np.int8
    assert made.tolist() == [whole]


def test_what_is_an_integer_of_the_tensor_stays():
    array = np.array([1, 2], np.int8)
    assert quantised(array, (0.5, 3, np.int8)) is array


def test_without_a_scale_nothing_is_converted():
    array = np.array([0.3], "f")
    assert quantised(array, (0.0, 0, np.float32)) is array
    whole = np.array([3], np.int32)
    assert dequantised(whole, (0.0, 0, np.int32)) is whole


def test_there_and_back_is_within_half_a_step():
    scale = (2 / 255, -1, np.int8)
    values = np.linspace(-0.99, 0.99, 1001).astype("f")
    back = dequantised(quantised(values, scale), scale)
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= 0.5001 * scale[0]


def test_16_bits_have_their_own_range():
    assert quantised(np.array([9.0], "f"), (1e-4, 0, np.int16)).tolist() == [32767]

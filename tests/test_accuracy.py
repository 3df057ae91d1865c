"""Which rows a classifier has right, and which outputs have no classes."""

from __future__ import annotations

import numpy as np
import pytest

from edgefreeze.accuracy import right
from edgefreeze.errors import Failure

LABELS = np.array([0, 1, 1])


def test_a_row_is_right_where_its_largest_class_is_the_label() -> None:
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert right(outputs, LABELS, "probs").tolist() == [True, True, False]


def test_axes_of_one_element_between_rows_and_classes_decide_nothing() -> None:
    """As MobileNet's (rows, 1, 1, 1001), of a convolution in place of a dense layer."""
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])[:, None, None, :]
    assert right(outputs, LABELS, "probs").tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 1), "has no classes to choose from"),
        ((3,), "has no classes to choose from"),
        ((3, 1, 1), "has no classes to choose from"),
        ((3, 4, 2), "is no row of classes"),
        ((3, 2, 1), "is no row of classes"),
        ((3, 0), "is no row of classes"),
        ((6, 2), "is no row of classes"),
        ((), "is no row of classes"),
    ],
)
def test_an_output_without_one_axis_of_classes_has_no_accuracy(shape: tuple[int, ...], said: str) -> None:
    """The argmax of a single column is always class 0: a sigmoid's drop would be 0 whatever it computes."""
    with pytest.raises(Failure) as caught:
        right(np.zeros(shape), LABELS, "prob")
    assert caught.value.code == "samples-bad"
    assert "'prob'" in caught.value.message
    assert said in caught.value.message
    assert str(shape) in (caught.value.found or "")


def test_texts_have_no_largest_class() -> None:
    with pytest.raises(Failure):
        right(np.array([[b"a", b"b"]] * 3, dtype=object), LABELS, "names")

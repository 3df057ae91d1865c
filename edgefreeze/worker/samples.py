"""A user's data for a model: rows by the signature's input names, cut into batches that the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefreeze.device import tensors
from edgefreeze.errors import Failure, nearest
from edgefreeze.text import clean
from edgefreeze.types import Tensor

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays


def read_samples(path: Path) -> Arrays:
    """The arrays of an .npz (see device/tensors.py for strings). Raises Failure samples-bad."""
    try:
        return tensors.decode(path.read_bytes())
    except (OSError, tensors.TensorError) as error:
        raise Failure(
            "samples-bad",
            f"The samples {path} cannot be read.",
            expected="an .npz file without pickled objects, its keys the model's inputs",
            found=f"{type(error).__name__}: {clean(str(error), 200)}",
            next="numpy.savez(FILE, input_name=array)",
        ) from error


def batches(samples: Arrays, inputs: Sequence[Tensor], rows: int) -> list[Arrays]:
    """The samples as calls of the model: `rows` rows at a time where the batch is free (the last may be
    fewer), a fixed batch as it is. An input that has no batch is given once for all calls, or once per call.

    Raises Failure samples-bad, naming the input, and the nearest one for an unknown name.
    """
    names = [t.name for t in inputs]
    for key in samples:
        if key not in names:
            near = nearest(key, names)
            raise Failure(
                "samples-bad",
                f"The samples have {key!r}, which is no input of the model"
                + (f"; did you mean {near!r}?" if near else "."),
                expected=", ".join(names),
                found=", ".join(samples),
            )
    for name in names:
        if name not in samples:
            raise Failure(
                "samples-bad",
                f"The samples lack the input {name!r}.",
                expected=", ".join(names),
                found=", ".join(samples) or "nothing",
            )
    pieces = {t.name: _pieces(t, samples[t.name], rows) for t in inputs}
    free = {len(samples[t.name]) for t in inputs if t.shape and t.shape[0] is None}
    count = max(len(parts) for parts in pieces.values())
    if len(free) > 1 or any(len(parts) not in (1, count) for parts in pieces.values()):
        raise Failure(
            "samples-bad",
            "The samples of the inputs differ in their number of rows.",
            expected="the same number for every input",
            found=", ".join(f"{name}: {list(np.shape(samples[name]))}" for name in names),
        )
    return [
        {n: parts[i] if len(parts) > 1 else parts[0] for n, parts in pieces.items()} for i in range(count)
    ]


def _pieces(tensor: Tensor, given: np.ndarray, rows: int) -> list[np.ndarray]:
    array = _typed(tensor, given)
    shape = tensor.shape
    if shape is None:
        return [array]
    if shape == ():
        if array.ndim > 1 or array.size == 0:
            raise _unfit(tensor, given)
        return [np.asarray(value) for value in np.atleast_1d(array)]
    if array.ndim != len(shape) or any(
        s not in (None, n) for s, n in zip(shape[1:], array.shape[1:], strict=True)
    ):
        raise _unfit(tensor, given)
    step = shape[0] if shape[0] is not None else rows
    if len(array) == 0 or (shape[0] is not None and len(array) % step):
        raise _unfit(tensor, given)
    return [array[i : i + step] for i in range(0, len(array), step)]


def _typed(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    """The array in the input's dtype, where the kind (float, integer, …) is the same."""
    if tensor.dtype == "string":
        if array.dtype.kind not in "SUO":
            raise _unfit(tensor, array)
        return array
    wanted = np.dtype(tensor.dtype)
    if array.dtype.kind not in wanted.kind + (
        "i" if wanted.kind == "u" else "u" if wanted.kind == "i" else ""
    ):
        raise _unfit(tensor, array)
    typed = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(typed, array):
        raise _unfit(tensor, array)
    return typed


def _unfit(tensor: Tensor, array: np.ndarray) -> Failure:
    shape = "any shape" if tensor.shape is None else str(["any" if s is None else s for s in tensor.shape])
    return Failure(
        "samples-bad",
        f"The samples of {tensor.name!r} do not fit the input.",
        expected=f"{tensor.dtype} {shape}",
        found=f"{array.dtype} {list(array.shape)}",
    )

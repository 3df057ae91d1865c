"""How far one output is from another, beyond the verdict of device/parity.py. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefreeze.device.tensors import is_text

Array = np.ndarray[Any, Any]
LOSSLESS_DB = 999.0
"""What stands for an infinite ratio: JSON has no infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The element that differs most: in which case, where, and both its values."""

    case: int
    index: tuple[int, ...]
    expected: float | str
    found: float | str


def sqnr_db(reference: Sequence[Array], candidate: Sequence[Array]) -> float | None:
    """Signal to quantisation noise, 10 log10(sum of squares / sum of squared errors), over all cases.

    LOSSLESS_DB where there is no error; None for strings, or where values are not finite.
    """
    signal = noise = 0.0
    for a, b in zip(reference, candidate, strict=True):
        if is_text(a) or is_text(b) or a.shape != b.shape:
            return None
        x, y = _float(a), _float(b)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return None
        signal += float(np.sum(np.square(x)))
        noise += float(np.sum(np.square(x - y)))
    if noise == 0.0:
        return LOSSLESS_DB
    return (
        max(-LOSSLESS_DB, min(LOSSLESS_DB, 10 * math.log10(signal / noise))) if signal > 0 else -LOSSLESS_DB
    )


def worst(reference: Sequence[Array], candidate: Sequence[Array]) -> Worst | None:
    """The element with the largest error, a NaN on one side only being larger than any; None where shapes
    differ or nothing does."""
    found: tuple[float, int, int] | None = None
    for case, (a, b) in enumerate(zip(reference, candidate, strict=True)):
        if a.shape != b.shape or a.size == 0:
            return None
        errors = _errors(a, b)
        at = int(np.argmax(errors))
        if errors.flat[at] > 0 and (found is None or errors.flat[at] > found[0]):
            found = float(errors.flat[at]), case, at
    if found is None:
        return None
    _, case, at = found
    a, b = reference[case], candidate[case]
    return Worst(
        case=case,
        index=tuple(int(i) for i in np.unravel_index(at, a.shape)),
        expected=_plain(a.reshape(-1)[at]),
        found=_plain(b.reshape(-1)[at]),
    )


def _errors(a: Array, b: Array) -> Array:
    if is_text(a):
        return np.asarray(a != b, dtype=np.float64)
    x, y = _float(a), _float(b)
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(x - y)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    return np.where(same, 0.0, np.where(np.isnan(errors), np.inf, errors))


def _float(array: Array) -> Array:
    return np.abs(array).astype(np.float64) if array.dtype.kind == "c" else array.astype(np.float64)


def _plain(value: Any) -> float | str:
    if isinstance(value, bytes):
        return value[:80].decode("utf-8", "replace")
    number = float(abs(value) if np.iscomplexobj(value) else value)
    return number if math.isfinite(number) else str(number)

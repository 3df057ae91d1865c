"""How far one output is from another, beyond the verdict of device/parity.py. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefreeze.device.tensors import as_bytes, is_text

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

    LOSSLESS_DB where there is no error; None for strings, for complex numbers beside real ones, or where
    values are not finite.
    """
    signal = noise = 0.0
    for a, b in zip(reference, candidate, strict=True):
        if is_text(a) or _unlike(a, b):
            return None
        x, y = _wide(a), _wide(b)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return None
        signal += float(np.sum(np.square(np.abs(x))))
        noise += float(np.sum(np.square(np.abs(x - y))))
    if noise == 0.0:
        return LOSSLESS_DB
    return (
        max(-LOSSLESS_DB, min(LOSSLESS_DB, 10 * math.log10(signal / noise))) if signal > 0 else -LOSSLESS_DB
    )


def worst(reference: Sequence[Array], candidate: Sequence[Array]) -> Worst | None:
    """The element with the largest error, a NaN on one side only being larger than any; None where they
    cannot be compared or nothing differs."""
    found: tuple[float, int, int] | None = None
    for case, (a, b) in enumerate(zip(reference, candidate, strict=True)):
        if _unlike(a, b) or a.size == 0:
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
        expected=_plain(a, at),
        found=_plain(b, at),
    )


def _unlike(a: Array, b: Array) -> bool:
    """Whether two arrays cannot be compared, as device/parity.py sees it."""
    return a.shape != b.shape or is_text(a) != is_text(b) or np.iscomplexobj(a) != np.iscomplexobj(b)


def _errors(a: Array, b: Array) -> Array:
    if is_text(a):
        return np.asarray(as_bytes(a) != as_bytes(b), dtype=np.float64)
    x, y = _wide(a), _wide(b)
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(x - y)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    return np.where(same, 0.0, np.where(np.isnan(errors), np.inf, errors))


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _plain(array: Array, at: int) -> float | str:
    value = array.reshape(-1)[at]
    if is_text(array):
        return bytes(as_bytes(np.asarray([value], dtype=array.dtype))[0])[:80].decode("utf-8", "replace")
    if np.iscomplexobj(array):
        return str(complex(value))
    number = float(value)
    return number if math.isfinite(number) else str(number)

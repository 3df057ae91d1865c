"""Does a candidate compute what the reference computes? Pure; both sides import it, NumPy when needed.

For floats the error is relative to the range (max - min) of the reference's output over all cases, so a
classifier whose outputs all lie near 0.001 cannot pass by being small. Integers, booleans and strings must
be equal. Some candidates fail whatever the tolerance: a NaN or infinity that the reference has not, another
shape, a missing output, an output that does not react to the inputs though the reference's does, or one that
sits at its own extremes where the reference's values lie between.
"""

import math
import sys
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from edgefreeze.device.tensors import Array, Tensors, as_bytes, is_text

Tolerance = Union[float, Mapping[str, float]]
UNBOUNDED = sys.float_info.max
"""The error of what cannot be compared: JSON has no infinity."""
REACTS = 0.1
"""A constant output fails where the reference's moves by more than this share of the tolerance."""
WIDEST = 0.05
"""A wider tolerance counts as this one where an output is judged constant: 8 bits resolve 0.4 % of a
range."""
SATURATED = 0.5
"""An output is saturated where more than this share of its values are exactly its largest or smallest, and
less than half as many of the reference's lie within twice the tolerance of theirs: where no value differs by
more than the tolerance, those of the reference do."""


def compare(
    reference: Sequence[Tensors], candidate: Sequence[Tensors], tolerance: Tolerance
) -> Dict[str, Any]:
    """Compare outputs case by case; the fields of types.Parity.

    reference, candidate: for each case the outputs by name, case i of one beside case i of the other. Outputs
    that only the candidate has are ignored. tolerance: largest max_rel that passes, for all outputs, or by
    name (0 where the name is not there, or what stands under ""). Raises ValueError without
    cases, or with unequal numbers of them.
    """
    if not reference or len(reference) != len(candidate):
        raise ValueError("%d reference cases and %d candidate cases" % (len(reference), len(candidate)))
    names = sorted({name for case in reference for name in case})
    outputs = []
    for name in names:
        allowed = tolerance.get(name, tolerance.get("", 0.0)) if isinstance(tolerance, Mapping) else tolerance
        outputs.append(_compare_output(name, reference, candidate, float(allowed)))
    return {
        "ok": bool(outputs) and all(output["ok"] for output in outputs),
        "max_abs": max((output["max_abs"] for output in outputs), default=UNBOUNDED),
        "max_rel": max((output["max_rel"] for output in outputs), default=UNBOUNDED),
        "outputs": outputs,
    }


def _compare_output(
    name: str, reference: Sequence[Tensors], candidate: Sequence[Tensors], tolerance: float
) -> Dict[str, Any]:
    pairs: List[Tuple[Array, Array]] = []
    for expected, found in zip(reference, candidate):  # noqa: B905 - Python 3.8
        reason = _incomparable(expected.get(name), found.get(name))
        if reason is not None:
            return _output(name, tolerance, UNBOUNDED, UNBOUNDED, 0.0, None, reason)
        pairs.append((expected[name], found[name]))
    if is_text(pairs[0][0]):
        return _compare_text(name, pairs, tolerance)
    if pairs[0][0].dtype.kind in "biu":
        return _compare_exact(name, pairs, tolerance)
    ranked = pairs[0][0].dtype.kind != "c"
    return _compare_floats(name, [(_as_float64(a), _as_float64(b)) for a, b in pairs], tolerance, ranked)


def _output(
    name: str,
    tolerance: float,
    max_abs: float,
    max_rel: float,
    cosine: float,
    top1: Optional[float],
    reason: Optional[str],
    sqnr_db: Optional[float] = None,
) -> Dict[str, Any]:
    return {
        "name": name,
        "max_abs": min(float(max_abs), UNBOUNDED),
        "max_rel": min(float(max_rel), UNBOUNDED),
        "cosine": float(cosine),
        "top1": top1,
        "tolerance": tolerance,
        "ok": reason is None,
        "reason": reason,
        "sqnr_db": sqnr_db,
    }


def _incomparable(expected: Optional[Array], found: Optional[Array]) -> Optional[str]:
    """Why two arrays cannot be compared; None where they can."""
    if expected is None:
        return "the reference lacks the output in some cases"
    if found is None:
        return "the output is missing"
    if tuple(expected.shape) != tuple(found.shape):
        return "shape %s where %s is expected" % (list(found.shape), list(expected.shape))
    if is_text(expected) != is_text(found) or (expected.dtype.kind == "c") != (found.dtype.kind == "c"):
        return "dtype %s where %s is expected" % (found.dtype, expected.dtype)
    return None


def _compare_text(name: str, pairs: List[Tuple[Array, Array]], tolerance: float) -> Dict[str, Any]:
    total = unequal = 0
    for a, b in pairs:
        total += a.size
        unequal += sum(x != y for x, y in zip(as_bytes(a).flat, as_bytes(b).flat))  # noqa: B905
    share = 1.0 - unequal / total if total else 1.0
    reason = "%d of %d strings differ" % (unequal, total) if unequal else None
    return _output(name, tolerance, float(unequal > 0), float(unequal > 0), share, None, reason)


def _compare_exact(name: str, pairs: List[Tuple[Array, Array]], tolerance: float) -> Dict[str, Any]:
    import numpy as np

    total = sum(a.size for a, _ in pairs)
    unequal = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    floats = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
    max_abs = max((float(np.max(np.abs(a - b), initial=0.0)) for a, b in floats), default=0.0)
    if not math.isfinite(max_abs):
        max_abs = UNBOUNDED
    scale = _scale([a for a, _ in floats])
    reason = "%d of %d values differ" % (unequal, total) if unequal else None
    return _output(name, tolerance, max_abs, max_abs / scale, _cosine(floats), None, reason)


def _compare_floats(
    name: str, pairs: List[Tuple[Array, Array]], tolerance: float, ranked: bool
) -> Dict[str, Any]:
    import numpy as np

    scale = _scale([a for a, _ in pairs])
    cosine = _cosine(pairs)
    top1 = _top1(pairs, tolerance * scale) if ranked else None
    max_abs = 0.0
    for a, b in pairs:
        reason = _unlike_nonfinite(a, b)
        if reason is not None:
            return _output(name, tolerance, UNBOUNDED, UNBOUNDED, cosine, top1, reason)
        finite = np.isfinite(a)
        with np.errstate(over="ignore"):
            max_abs = max(max_abs, float(np.max(np.abs(a[finite] - b[finite]), initial=0.0)))
    max_rel = max_abs / scale
    reason = None
    reacts = REACTS * min(tolerance, WIDEST) * scale
    if _moves([b for _, b in pairs]) == 0.0 and _moves([a for a, _ in pairs]) > reacts:
        reason = "constant output: it does not react to the inputs"
    elif _saturated(pairs, 2 * min(tolerance, WIDEST) * scale):
        reason = "saturated output: most of its values are its largest or its smallest"
    elif not max_rel <= tolerance:
        reason = "max_rel %.3g is above the tolerance %.3g" % (max_rel, tolerance)
    return _output(name, tolerance, max_abs, max_rel, cosine, top1, reason, _sqnr_db(pairs))


def _saturated(pairs: List[Tuple[Array, Array]], slack: float) -> bool:
    """Whether the candidate clips: see SATURATED. Few values say nothing."""
    found = _at_extremes([b for _, b in pairs], 0.0)
    return found > SATURATED and _at_extremes([a for a, _ in pairs], slack) < found / 2


def _at_extremes(arrays: List[Array], slack: float) -> float:
    """Share of finite values within slack of the largest or the smallest of all; 0 of fewer than 8."""
    import numpy as np

    values = np.concatenate([a[np.isfinite(a)].reshape(-1) for a in arrays])
    if values.size < 8:
        return 0.0
    return float(np.mean((values >= values.max() - slack) | (values <= values.min() + slack)))


def _sqnr_db(pairs: List[Tuple[Array, Array]]) -> Optional[float]:
    """10 log10 of the reference's energy over the difference's, of finite values; None where either is 0."""
    import numpy as np

    signal = noise = 0.0
    with np.errstate(over="ignore"):
        for a, b in pairs:
            finite = np.isfinite(a) & np.isfinite(b)
            signal += float(np.sum(a[finite] ** 2))
            noise += float(np.sum((a[finite] - b[finite]) ** 2))
    if signal == 0.0 or noise == 0.0 or not math.isfinite(signal + noise):
        return None
    return 10.0 * (math.log10(signal) - math.log10(noise))  # their quotient may be too small for a float


def _as_float64(array: Array) -> Array:
    """Values as float64; complex ones as pairs in a last axis, so that nothing is lost."""
    import numpy as np

    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).astype(np.float64)
    return array.astype(np.float64)


def _scale(arrays: List[Array]) -> float:
    """What errors are relative to: the range, or where that is 0 the size, or where that is 0 one."""
    import numpy as np

    values = [array[np.isfinite(array)] for array in arrays]
    values = [array for array in values if array.size]
    if not values:
        return 1.0
    top, bottom = max(float(v.max()) for v in values), min(float(v.min()) for v in values)
    return min(top - bottom, UNBOUNDED) or max(abs(top), abs(bottom)) or 1.0


def _unlike_nonfinite(a: Array, b: Array) -> Optional[str]:
    """Why NaNs and infinities do not match; None where both have the same in the same places."""
    import numpy as np

    if np.array_equal(np.isnan(a), np.isnan(b)) and np.array_equal(
        np.where(np.isinf(a), a, 0.0), np.where(np.isinf(b), b, 0.0)
    ):
        return None
    kinds = (("NaN", np.isnan), ("infinity", np.isinf))
    for kind, test in kinds:
        extra = int(np.count_nonzero(test(b) & ~test(a)))
        if extra:
            return "%s in %d of %d values where the reference has none" % (kind, extra, b.size)
    return "finite values where the reference has NaN or infinity"


def _moves(arrays: List[Array]) -> float:
    """How far any element moves from its value in the first case; 0 for a single case or unequal shapes."""
    import numpy as np

    first = arrays[0]
    moved = 0.0
    for other in arrays[1:]:
        if other.shape != first.shape:
            return UNBOUNDED
        finite = np.isfinite(first) & np.isfinite(other)
        if not np.array_equal(np.isfinite(first), np.isfinite(other)):
            return UNBOUNDED
        with np.errstate(over="ignore"):
            moved = max(moved, float(np.max(np.abs(first[finite] - other[finite]), initial=0.0)))
    return moved


def _cosine(pairs: List[Tuple[Array, Array]]) -> float:
    """Cosine of the angle between all outputs as one vector; non-finite values count as 0."""
    import numpy as np

    def clean(array: Array) -> Array:
        return np.where(np.isfinite(array), array, 0.0)

    vectors = [(clean(a).reshape(-1), clean(b).reshape(-1)) for a, b in pairs]
    size_a = max((float(np.max(np.abs(a), initial=0.0)) for a, _ in vectors), default=0.0)
    size_b = max((float(np.max(np.abs(b), initial=0.0)) for _, b in vectors), default=0.0)
    if size_a == 0.0 or size_b == 0.0:
        return float(size_a == size_b)
    dot = square_a = square_b = 0.0
    for a, b in vectors:  # scaled to 1 first: no overflow
        a, b = a / size_a, b / size_b
        dot += float(a @ b)
        square_a += float(a @ a)
        square_b += float(b @ b)
    return max(-1.0, min(1.0, dot / math.sqrt(square_a * square_b)))


def _top1(pairs: List[Tuple[Array, Array]], slack: float) -> Optional[float]:
    """Share of rows (along the last axis) with the same largest element; ties within slack agree."""
    import numpy as np

    rows = agree = 0
    for a, b in pairs:
        if a.ndim < 2 or a.shape[-1] < 2 or a.size == 0:
            return None
        a2, b2 = a.reshape(-1, a.shape[-1]), b.reshape(-1, a.shape[-1])
        good = ~(np.isnan(a2).any(axis=1) | np.isnan(b2).any(axis=1))
        best = np.argmax(np.where(np.isnan(b2), -np.inf, b2), axis=1)
        with np.errstate(invalid="ignore"):
            chosen = a2[np.arange(len(a2)), best]
            same = (chosen == a2.max(axis=1)) | (chosen >= a2.max(axis=1) - slack)
        rows += len(a2)
        agree += int(np.count_nonzero(good & same))
    return agree / rows if rows else None

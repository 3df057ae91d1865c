"""Which tensor of one traced graph is which of the other's: by name, as converters keep names largely, else
by what it holds. Only tensors that depend on the inputs count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgefreeze.difference.traced import Traced
from edgefreeze.inspection.graph import dynamic
from edgefreeze.worker.matching import TO_CHANNELS_FIRST, TO_CHANNELS_LAST

Array = np.ndarray[Any, Any]
UNLIKE = 1e9
"""The error of tensors whose shapes do not even agree."""
_INDEX = re.compile(r":0$")
_NUMBERED = re.compile(r"(^|/)Func/.*/_\d+$")
"""Names that inlining gives by counting: the same one means something else in another graph."""
_NEAR = 3
_SAMPLE = 4096
_SAME_CONTENT = 0.99999


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two tensors that should hold the same. `axes` turns b's into a's layout; error: the largest difference
    relative to the range of b's; noise: the root mean square of the difference relative to b's deviation."""

    a: str
    b: str
    axes: tuple[int, ...] | None
    by: str
    error: float
    noise: float


def pair(a: Traced, b: Traced, ends: Iterable[tuple[str, str]]) -> list[Match]:
    """The matches, in the topological order of `a`. ends: tensors of both that surely belong together."""
    mine = [t for t in dynamic(a.graph) if t in a.values]
    theirs = [t for t in dynamic(b.graph) if t in b.values]
    order = {tensor: number for number, tensor in enumerate(mine)}
    found: dict[str, Match] = {}
    taken: set[str] = set()
    for left, right in ends:
        if left in order and right in b.values and left not in found:
            found[left] = judge(a, b, left, right, "end")
            taken.add(right)
    named = _by_name(mine, theirs, order)
    same_kind = a.kind == b.kind
    groups: dict[str, list[str]] = {}
    for right, left in named.items():
        if left not in found and right not in taken:
            groups.setdefault(left, []).append(right)
    for left, rights in groups.items():
        # What was fused goes by all its names: it is the last of them that it holds, as a rule.
        tried = [judge(a, b, left, right, "name") for right in reversed(rights)]
        match = next((m for m in tried if m.noise <= _loose(a, b)), tried[0])
        if not same_kind and match.noise > _loose(a, b):
            match = _nearby(a, b, match, set(found), order)
        if match.a not in found:
            found[match.a] = match
            taken.add(match.b)
    for match in _by_content(
        a, b, [t for t in mine if t not in found], [t for t in theirs if t not in taken]
    ):
        found[match.a] = match
    return sorted(found.values(), key=lambda match: order[match.a])


def judge(a: Traced, b: Traced, left: str, right: str, by: str) -> Match:
    """How far one tensor is from the other, in the layout in which they are nearest."""
    x, y = a.values[left], b.values[right]
    best = Match(a=left, b=right, axes=None, by=by, error=UNLIKE, noise=UNLIKE)
    for axes, turned in layouts(x.shape, y):
        error, noise = distance(x, turned)
        if noise < best.noise or best.noise == UNLIKE:
            best = replace(best, axes=axes, error=error, noise=noise)
    return best


def layouts(shape: tuple[int, ...], array: Array) -> list[tuple[tuple[int, ...] | None, Array]]:
    """The ways in which the array can be one of that shape: as it is, its channels turned, or with axes of
    size 1 more or less."""
    found: list[tuple[tuple[int, ...] | None, Array]] = []
    if array.shape == shape:
        found.append((None, array))
    if array.ndim == 4 and len(shape) == 4:
        for axes in (TO_CHANNELS_LAST, TO_CHANNELS_FIRST):
            turned = np.transpose(array, axes)
            if turned.shape == shape and 1 not in array.shape[1:]:
                found.append((axes, turned))
    plain = tuple(size for size in shape if size != 1)
    if not found and tuple(size for size in array.shape if size != 1) == plain:
        found.append((None, array.reshape(shape)))
    return found


def distance(x: Array, y: Array) -> tuple[float, float]:
    """(largest difference over y's range, root mean square of the difference over y's deviation)."""
    if x.size == 0:
        return 0.0, 0.0
    if x.dtype.kind in "biu" and y.dtype.kind in "biu":
        unequal = float(np.mean(x != y))
        return (float(unequal > 0), unequal)
    p, q = x.astype(np.float64), y.astype(np.float64)
    if not np.array_equal(np.isfinite(p), np.isfinite(q)):
        return UNLIKE, UNLIKE
    keep = np.isfinite(q)
    p, q = p[keep], q[keep]
    if q.size == 0:
        return 0.0, 0.0
    difference = np.abs(p - q)
    span = float(q.max() - q.min()) or float(np.abs(q).max()) or 1.0
    spread = float(q.std()) or float(np.abs(q).max()) or 1.0
    return float(difference.max()) / span, float(np.sqrt(np.mean(np.square(difference)))) / spread


def _loose(a: Traced, b: Traced) -> float:
    return 0.2 if a.scales or b.scales else 1e-3


def aliases(tensor: str) -> list[str]:
    """The names that a tensor goes by: TensorFlow Lite joins those of what it fused by semicolons."""
    parts = [_INDEX.sub("", part.strip()) for part in tensor.split(";")]
    return [part for part in parts if part and not _NUMBERED.search(part)]


def _by_name(mine: list[str], theirs: list[str], order: Mapping[str, int]) -> dict[str, str]:
    """Mine by theirs. A fused tensor is the last of what it was fused from."""
    index: dict[str, str] = {}
    for tensor in mine:
        for alias in aliases(tensor):
            index[alias] = tensor  # of several the last in order
    endings: dict[str, set[str]] = {}
    for alias in index:
        for ending in _endings(alias):
            endings.setdefault(ending, set()).add(alias)
    there: dict[str, int] = {}
    for tensor in theirs:
        for alias in aliases(tensor):
            for ending in _endings(alias):
                there[ending] = there.get(ending, 0) + 1
    found: dict[str, str] = {}
    for tensor in theirs:
        known = [index[alias] for alias in aliases(tensor) if alias in index]
        if not known:
            for alias in aliases(tensor):
                for ending in _endings(alias):
                    if len(endings.get(ending, ())) == 1 and there.get(ending) == 1:
                        known.append(index[next(iter(endings[ending]))])
                        break
        if known:
            found[tensor] = max(known, key=lambda name: order[name])
    return found


def _endings(name: str) -> list[str]:
    """ "a/b/c": "a/b/c", "b/c", "c"."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _nearby(a: Traced, b: Traced, match: Match, taken: set[str], order: Mapping[str, int]) -> Match:
    """The tensor that a name really means: a converter may have fused what follows under the same name."""
    consumers: dict[str, list[str]] = {}
    maker = a.graph.producers()
    for node in a.graph.nodes:
        for tensor in node.inputs:
            consumers.setdefault(tensor, []).extend(t for t in node.outputs if t in order)
    here, seen = [match.a], {match.a}
    for _ in range(_NEAR):
        step = [t for x in here for t in consumers.get(x, ())]
        step += [t for x in here if x in maker for t in maker[x].inputs if t in order]
        here = [t for t in step if t not in seen]
        seen.update(here)
        for tensor in here:
            if tensor not in taken:
                found = judge(a, b, tensor, match.b, "nearby")
                if found.noise <= _loose(a, b):
                    return found
    return match


def _by_content(a: Traced, b: Traced, mine: list[str], theirs: list[str]) -> list[Match]:
    """Tensors without a partner that hold the same numbers: they show what still agrees."""
    if a.kind == b.kind:
        return []
    theirs_by_size: dict[int, list[str]] = {}
    for tensor in theirs:
        if (array := b.values[tensor]).dtype.kind == "f" and array.size > 8:
            theirs_by_size.setdefault(array.size, []).append(tensor)
    found: list[Match] = []
    taken: set[str] = set()
    for tensor in mine:
        array = a.values[tensor]
        if array.dtype.kind != "f" or array.size not in theirs_by_size:
            continue
        for other in theirs_by_size[array.size]:
            if other in taken or not _correlated(array, b.values[other]):
                continue
            match = judge(a, b, tensor, other, "content")
            if match.noise <= _loose(a, b):
                found.append(match)
                taken.add(other)
                break
    return found


def _correlated(x: Array, y: Array) -> bool:
    """Whether samples of both, in some layout, are in proportion."""
    for _, turned in layouts(x.shape, y):
        step = max(1, x.size // _SAMPLE)
        p, q = x.reshape(-1)[::step].astype(np.float64), turned.reshape(-1)[::step].astype(np.float64)
        p, q = p - p.mean(), q - q.mean()
        size = float(np.sqrt((p @ p) * (q @ q)))
        if size > 0 and float(p @ q) / size > _SAME_CONTENT:
            return True
    return False

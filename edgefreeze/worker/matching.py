"""Which end of one model is which of another's: by name, else by shape, with a warning. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.errors import Failure
from edgefreeze.types import Shape, Tensor

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_DECORATION = re.compile(r"^(serving_default_|import/)|(:\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """`mine` is what the one side calls an end, `theirs` what the other does. Their array, its axes in the
    order of `axes` (None: as they are), is my array."""

    mine: str
    theirs: str
    axes: tuple[int, ...] | None = None


def pairs(
    mine: Sequence[Tensor], theirs: Sequence[Tensor], what: str, *, all_of_mine: bool
) -> tuple[list[Pair], list[str]]:
    """(which of theirs is which of mine, warnings).

    all_of_mine: Failure where one of mine has no partner, else those without are left out with a warning.
    Raises Failure not-comparable, also where nothing matches.
    """
    left = {t.name: t for t in theirs}
    found: dict[str, Pair] = {}
    warnings: list[str] = []
    for same in (lambda a, b: a == b, lambda a, b: _plain(a) == _plain(b)):
        for tensor in mine:
            name = next((n for n in left if same(tensor.name, n)), None)
            if tensor.name in found or name is None or not _alike(tensor, left[name]):
                continue
            found[tensor.name] = _paired(tensor, left.pop(name), what, warnings)
    for tensor in mine:
        if tensor.name in found:
            continue
        alike = [t for t in left.values() if _alike(tensor, t)]
        exact = [t for t in alike if _fits(tensor.shape, t.shape)] or alike
        if not exact:
            continue
        others = f", the first of {len(exact)} of its shape" if len(exact) > 1 else ""
        warnings.append(
            f"the {what} {tensor.name!r} is compared with {exact[0].name!r} for its shape{others}: "
            "no name says so"
        )
        found[tensor.name] = _paired(tensor, left.pop(exact[0].name), what, warnings)
    lacking = [t.name for t in mine if t.name not in found]
    if (lacking and all_of_mine) or not found:
        raise Failure(
            "not-comparable",
            f"The two have no {what}s in common."
            if not found
            else f"The {what} {lacking[0]!r} of the one has no partner in the other.",
            expected="; ".join(_described(t) for t in mine),
            found="; ".join(_described(t) for t in theirs) or "none",
            next="Compare two that take the same inputs; name a signature with --signature",
        )
    warnings += [f"the {what} {name!r} has no partner and is left out" for name in lacking]
    warnings += [f"the {what} {name!r} has no partner and is left out" for name in left]
    return [found[t.name] for t in mine if t.name in found], warnings


def arranged(given: Arrays, matched: Sequence[Pair]) -> Arrays:
    """Their arrays under my names, in my layout."""
    return {
        p.mine: given[p.theirs] if p.axes is None else np.transpose(given[p.theirs], p.axes) for p in matched
    }


def in_batches(run: Callable[[Arrays], Arrays], inputs: Arrays, wanted: Sequence[Tensor]) -> Arrays:
    """One call's outputs, made in several where the model's batch is fixed to fewer rows than there are, and
    with the last row repeated where it is fixed to more."""
    fixed = next((t.shape[0] for t in wanted if t.shape and t.shape[0] is not None), None)
    rows = {len(inputs[t.name]) for t in wanted if t.shape and inputs[t.name].ndim}
    if fixed is None or rows in ({fixed}, set()) or len(rows) != 1:
        return run(inputs)
    (total,) = rows
    parts: list[Arrays] = []
    for start in range(0, total, fixed):
        taken = np.minimum(np.arange(start, start + fixed), total - 1)
        parts.append(run({t.name: inputs[t.name][taken] if t.shape else inputs[t.name] for t in wanted}))
    return {
        name: np.concatenate([p[name] for p in parts])[:total] if parts[0][name].ndim else parts[0][name]
        for name in parts[0]
    }


def _plain(name: str) -> str:
    """A name without what formats add to it: "serving_default_x:0" is x."""
    return _DECORATION.sub("", _DECORATION.sub("", name))


def _kind(dtype: str) -> str:
    if dtype in ("", "string", "bool"):
        return dtype
    return np.dtype(dtype).kind.replace("u", "i") if dtype != "bfloat16" else "f"


def _alike(a: Tensor, b: Tensor) -> bool:
    same_kind = not a.dtype or not b.dtype or _kind(a.dtype) == _kind(b.dtype)
    return same_kind and (_fits(a.shape, b.shape) or _axes(a.shape, b.shape) is not None)


def _fits(a: Shape | None, b: Shape | None) -> bool:
    """Whether shapes agree where both are known; batches may differ."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(
        i == 0 or x is None or y is None or x == y for i, (x, y) in enumerate(zip(a, b, strict=True))
    )


def _axes(mine: Shape | None, theirs: Shape | None) -> tuple[int, ...] | None:
    """How their images are turned into mine, where one has its channels first and the other last."""
    if mine is None or theirs is None or len(mine) != 4 or len(theirs) != 4 or _fits(mine, theirs):
        return None
    for axes in (TO_CHANNELS_FIRST, TO_CHANNELS_LAST):
        if _fits(mine, tuple(theirs[i] for i in axes)):
            return axes
    return None


def _paired(mine: Tensor, theirs: Tensor, what: str, warnings: list[str]) -> Pair:
    axes = _axes(mine.shape, theirs.shape)
    if axes is not None:
        layout = "NCHW" if axes == TO_CHANNELS_FIRST else "NHWC"
        warnings.append(f"the {what} {mine.name!r} is {layout} and {theirs.name!r} is not: it is turned")
    return Pair(mine=mine.name, theirs=theirs.name, axes=axes)


def _described(tensor: Tensor) -> str:
    shape = "any shape" if tensor.shape is None else str(["?" if s is None else s for s in tensor.shape])
    return f"{tensor.name} {tensor.dtype} {shape}".strip()


def ends(described: Sequence[dict[str, Any]]) -> tuple[Tensor, ...]:
    """Tensors from what msgspec made of them."""
    return tuple(
        Tensor(
            name=d["name"],
            tensor=d["tensor"],
            dtype=d["dtype"],
            shape=None if d["shape"] is None else tuple(d["shape"]),
        )
        for d in described
    )

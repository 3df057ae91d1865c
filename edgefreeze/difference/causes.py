"""Why two nodes that should compute the same do not, as far as their graphs and values tell. Pure; what has
to be tried out stands in variants.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefreeze.difference.pairing import distance
from edgefreeze.difference.traced import Traced
from edgefreeze.inspection.graph import Node

Array = np.ndarray[Any, Any]
_IGNORED = {
    "T",
    "dtype",
    "Tidx",
    "Tshape",
    "U",
    "explicit_paddings",
    "use_cudnn_on_gpu",
    "N",
    "activation",
    "condition",
    "body",
    "then",
    "else",
}
_ROUNDED = 0.1
"""What quantisation makes of weights at most: root mean square of the difference over their deviation."""
_KINDS = {
    "padding": "padding",
    "is_training": "batch norm in training mode",
    "epsilon": "epsilon",
    "align_corners": "resize alignment",
    "half_pixel_centers": "resize alignment",
    "coordinate_transformation_mode": "resize alignment",
    "data_format": "layout",
    "transpose_a": "layout",
    "transpose_b": "layout",
    "strides": "strides",
    "pads": "padding",
    "auto_pad": "padding",
}
_EXACT = 1e-6
_FEW = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What is the matter. how: "seen" (it stands in the files), "tried" (with this one change both agree) or
    "likely" (the numbers look like it)."""

    kind: str
    node: str
    sentence: str
    how: str


def structural(a: Traced, b: Traced, left: Node, right: Node, partner: Mapping[str, str]) -> Cause | None:
    """A difference between two nodes of one format: attributes, inputs, weights, scales.

    partner: tensors of a by those of b.
    """
    if left.op != right.op:
        sentence = f"{a.name} computes {left.op} at {left.name!r} where {b.name} computes {right.op}"
        return Cause(kind="another operation", node=left.name, sentence=sentence, how="seen")
    for key in sorted({*left.attrs, *right.attrs} - _IGNORED):
        here, there = left.attrs.get(key), right.attrs.get(key)
        if here != there and not (key == "explicit_paddings" and not here and not there):
            return Cause(
                kind=_KINDS.get(key, "attribute"),
                node=left.name,
                sentence=_attribute(key, left, here, there, a.name, b.name),
                how="seen",
            )
    theirs = [partner.get(t, t) for t in right.inputs]
    mine = list(left.inputs)
    if mine != theirs and sorted(mine) == sorted(theirs):
        sentence = (
            f"{left.op} {left.name!r} takes its inputs in another order: {_listed(mine)} in {a.name}, "
            f"{_listed(theirs)} in {b.name}"
        )
        return Cause(kind="swapped inputs", node=left.name, sentence=sentence, how="seen")
    for here, there, theirs_own in zip(left.inputs, theirs, right.inputs, strict=False):
        found = _weights_at(a, b, left, here, theirs_own)
        if found is not None:
            return found
        moving = here in partner.values() or there in partner.values()
        if here != there and moving and not _agree(a, b, here, theirs_own):
            sentence = f"{left.op} {left.name!r} takes {here!r} in {a.name} and {theirs_own!r} in {b.name}"
            return Cause(kind="swapped inputs", node=left.name, sentence=sentence, how="seen")
    return _scales(a, b, left, right)


def in_training(norm: str, this: str, other: str) -> str:
    """That a batch norm is in training mode in `this` and not in `other`."""
    return (
        f"the batch norm {norm!r} normalises by the batch's own statistics (training mode) in {this} and by "
        f"the moving ones in {other}; export the model with training=False"
    )


def _attribute(key: str, node: Node, here: Any, there: Any, a: str, b: str) -> str:
    if key == "is_training":
        this, other = (a, b) if here else (b, a)
        return in_training(node.name, this, other)
    if key == "padding":
        return f"{node.op} {node.name!r} pads {here} in {a} and {there} in {b}"
    return f"{node.op} {node.name!r} has {key} = {here} in {a} and {there} in {b}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _agree(a: Traced, b: Traced, left: str, right: str) -> bool:
    if left not in a.values or right not in b.values:
        return True
    x, y = a.values[left], b.values[right]
    return x.shape == y.shape and distance(x, y)[1] <= _EXACT


def _weights_at(a: Traced, b: Traced, node: Node, left: str, right: str) -> Cause | None:
    """A difference in a constant that a node takes, or in what that constant is computed of."""
    here, there = _constants(a, left), _constants(b, right)
    if here is None or there is None:
        return None
    for name in here:
        other = name if name in there else (there[0] if len(here) == len(there) == 1 else None)
        if other is None:
            continue
        x, y = _raw(a, name), _raw(b, other)
        if x is None or y is None or (x.shape == y.shape and np.array_equal(x, y)) or rounded(a, b, x, y):
            continue
        scale = _scale_differs(a, b, name, other)
        if scale is not None:
            return Cause(kind="quantisation scale", node=node.name, sentence=scale, how="seen")
        what = weights(x, y)
        if what is None:
            continue
        kind, text = what
        sentence = f"{node.op} {node.name!r} has other weights: {name.removesuffix(':0')!r} {text}"
        return Cause(kind=kind, node=node.name, sentence=sentence, how="seen")
    return None


def mixed(a: Traced, b: Traced) -> bool:
    """Whether one is quantised and the other not: then every tensor is off by its rounding."""
    return bool(a.scales) != bool(b.scales)


def rounded(a: Traced, b: Traced, x: Array, y: Array) -> bool:
    """Whether two constants differ as quantisation makes them."""
    return mixed(a, b) and x.shape == y.shape and distance(x, y)[1] <= _ROUNDED


def _raw(traced: Traced, name: str) -> Array | None:
    return traced.values.get(name)


def _constants(traced: Traced, tensor: str) -> list[str] | None:
    """The constants that a tensor is computed of, if it hangs on nothing else."""
    maker = traced.graph.producers()
    found: list[str] = []
    todo, seen = [tensor], {tensor}
    while todo:
        here = todo.pop(0)
        node = maker.get(here)
        if here in traced.graph.inputs or (node is not None and node.op.startswith("Placeholder")):
            return None
        if node is None or not node.inputs:
            found.append(here)
        for need in node.inputs if node is not None else ():
            if need and need not in seen:
                seen.add(need)
                todo.append(need)
    return found


def weights(x: Array, y: Array) -> tuple[str, str] | None:
    """(kind, what) of the difference between two constants, whatever the order of their axes; None where
    there is none to speak of."""
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        return None
    p, q = np.squeeze(x).astype(np.float64), np.squeeze(y).astype(np.float64)
    best: tuple[float, tuple[int, ...], Array] | None = None
    for axes in itertools.permutations(range(q.ndim)) if q.ndim <= 4 else ():
        turned = np.transpose(q, axes)
        if turned.shape == p.shape:
            off = distance(p, turned)[1]
            if best is None or off < best[0]:
                best = off, axes, turned
    if best is None:
        return "weights", f"has the shape {list(x.shape)} beside {list(y.shape)}"
    off, axes, q = best
    if off <= _EXACT:
        if axes == tuple(sorted(axes)) or x.shape != y.shape:
            return None
        return "layout", f"is the other's with its axes in the order {axes}: a transposed kernel"
    few = max(1, int(_FEW * p.size))
    span = float(np.ptp(p)) or 1.0
    unequal = int(np.count_nonzero(np.abs(p - q) > 1e-5 * span))
    if unequal <= few:
        largest = float(np.abs(p - q).max())
        return "weights", f"differs in only {unequal} of {p.size} values, by up to {largest:.4g}"
    folded = _beside_factors(p, q)
    if folded == 0:
        return None  # what batch norm was folded into it is compared with the rest of the region
    if folded is not None and folded <= few:
        return "weights", f"differs in only {folded} of {p.size} values, beside a factor for each channel"
    absent = int(np.count_nonzero(~np.isin(x.astype(np.float32), y.astype(np.float32))))
    if p.size > 1 and absent == 0:
        return "layout", "has the same values in another order: a transposed or permuted kernel"
    size = float(np.sum(q * q))
    factor = float(np.sum(p * q)) / size if size > 0 else 0.0
    if p.size > 1 and factor not in (0.0, 1.0) and distance(p, factor * q)[1] <= 1e-5:
        return "weights", f"is {factor:.6g} times the other's"
    if absent <= few:
        return "weights", f"differs in only {absent} of {p.size} values, which stand in another order"
    return "weights", f"differs in {unequal} of {p.size} values"


def _beside_factors(p: Array, q: Array) -> int | None:
    """How many values differ when each channel of one axis is multiplied by a factor, as a folded batch norm
    does; the least of all axes, None for a vector."""
    least: int | None = None
    for axis in range(p.ndim) if p.ndim > 1 else ():
        others = tuple(i for i in range(p.ndim) if i != axis)
        if math.prod(p.shape[i] for i in others) < 4:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(q != 0, p / q, np.nan)
        # The median: what is changed in a channel must not move its factor.
        factors = np.nan_to_num(np.nanmedian(ratios, axis=others, keepdims=True), nan=1.0)
        span = float(np.ptp(p)) or 1.0
        count = int(np.count_nonzero(np.abs(p - q * factors) > 1e-5 * span))
        least = count if least is None else min(least, count)
    return least


def _scale_differs(a: Traced, b: Traced, left: str, right: str) -> str | None:
    here, there = a.scales.get(left), b.scales.get(right)
    if here is None or there is None or here == there:
        return None
    if len(here.scales) == len(there.scales) == 1:
        text = (
            f"{here.scales[0]:g} (zero point {_zero(here.zero_points)}) in {a.name} and "
            f"{there.scales[0]:g} ({_zero(there.zero_points)}) in {b.name}"
        )
    else:
        count = sum(x != y for x, y in zip(here.scales, there.scales, strict=False))
        text = f"different for {count} of {len(here.scales)} channels"
    return f"the quantisation scale of {left!r} is {text}"


def _zero(points: tuple[int, ...]) -> int:
    return points[0] if points else 0


def _scales(a: Traced, b: Traced, left: Node, right: Node) -> Cause | None:
    for here, there in zip((*left.outputs, *left.inputs), (*right.outputs, *right.inputs), strict=False):
        sentence = _scale_differs(a, b, here, there)
        if sentence is not None:
            return Cause(kind="quantisation scale", node=left.name, sentence=sentence, how="seen")
    return None


def in_bodies(a: Traced, b: Traced, left: Node, right: Node) -> Cause | None:
    """A difference within the branches or the loop of two nodes, whose inner tensors cannot be fetched."""
    theirs = {node.name: node for node in b.graph.nodes if node.body == right.name}
    for node in a.graph.nodes:
        if node.body == left.name and node.name in theirs:
            found = structural(a, b, node, theirs[node.name], {})
            if found is not None:
                return found
    return None


def training_mode(a: Traced, mine: Sequence[Node], b: Traced, theirs: Sequence[Node]) -> Cause | None:
    """A batch norm that was taken apart and divides by the batch's own deviation on one side only."""
    own, others = _deviations(a, mine), _deviations(b, theirs)
    if bool(own) == bool(others):
        return None
    this, other, name = (a.name, b.name, own[0]) if own else (b.name, a.name, others[0])
    norm = name.split("/batchnorm")[0]
    sentence = in_training(norm, this, other)
    return Cause(kind="batch norm in training mode", node=norm, sentence=sentence, how="seen")


def _deviations(side: Traced, nodes: Sequence[Node]) -> list[str]:
    """Square roots of what hangs on the inputs and is averaged over the batch, as a layer norm's is not."""
    moving = set(side.graph.inputs)
    for node in side.graph.nodes:
        if any(tensor in moving for tensor in node.inputs):
            moving.update(node.outputs)
    roots = [n for n in nodes if n.op in ("Rsqrt", "Sqrt", "RSQRT", "SQRT", "Reciprocal")]
    return [
        root.name
        for root in roots
        if any(tensor in moving for tensor in root.outputs) and _over_the_batch(side, nodes, root)
    ]


def _over_the_batch(side: Traced, nodes: Sequence[Node], root: Node) -> bool:
    """Whether a mean over the first axis, or over axes that are not known, goes into the node."""
    maker = {tensor: node for node in nodes for tensor in node.outputs}
    todo, seen = list(root.inputs), set(root.inputs)
    while todo:
        node = maker.get(todo.pop())
        if node is None:
            continue
        if node.op in ("Mean", "MEAN", "ReduceMean"):
            given = side.graph.value(node.inputs[1]).integers if len(node.inputs) > 1 else None
            axes = given if given is not None else node.attrs.get("axes")
            if axes is None or 0 in axes:
                return True
        new = [tensor for tensor in node.inputs if tensor not in seen]
        seen.update(new)
        todo += new
    return False


def numeric(x: Array, y: Array) -> tuple[str, str] | None:
    """(kind, what) that the difference of two outputs looks like; x is A's, y is B's, in one layout."""
    if x.shape != y.shape:
        if x.ndim == 4 and y.ndim == 4 and x.shape[0] == y.shape[0]:
            return "padding", f"A gives {list(x.shape)} and B {list(y.shape)}: another padding or stride"
        return "shape", f"A gives {list(x.shape)} and B {list(y.shape)}"
    p, q = x.astype(np.float64), y.astype(np.float64)
    if p.ndim == 4 and min(p.shape[1:3]) > 4:
        inner = distance(p[:, 2:-2, 2:-2], q[:, 2:-2, 2:-2])[1]
        whole = distance(p, q)[1]
        if inner * 20 < whole:
            return "padding", "they differ at the border of the image only"
    if p.ndim >= 2 and p.shape[-1] > 1 and p.size // p.shape[-1] >= 3:
        rows_p, rows_q = p.reshape(-1, p.shape[-1]), q.reshape(-1, p.shape[-1])
        fitted, factors = _by_channel(rows_p, rows_q)
        if distance(rows_p, fitted)[1] < 1e-4:
            if np.allclose(factors, factors[0], rtol=1e-4):
                return "scale", f"A is {factors[0]:.6g} times B, plus an offset for each channel"
            return "unfused batch norm", "A is B times a factor, plus an offset, for each channel"
    if distance(np.sort(p, axis=None), np.sort(q, axis=None))[1] < _EXACT:
        return "layout", "both hold the same values in another order"
    return None


def _by_channel(p: Array, q: Array) -> tuple[Array, Array]:
    """The least squares fit of each column of p by a factor and an offset of q's, and the factors."""
    mean_p, mean_q = p.mean(axis=0), q.mean(axis=0)
    spread = np.sum(np.square(q - mean_q), axis=0)
    factors = np.where(
        spread > 0, np.sum((p - mean_p) * (q - mean_q), axis=0) / np.where(spread > 0, spread, 1), 1
    )
    return (q - mean_q) * factors + mean_p, factors

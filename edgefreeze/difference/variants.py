"""What usually goes wrong, tried out: the region where two graphs part is changed in one way at a time, and
the change that makes it give what the other graph gives is the explanation. Changes GraphDefs of cut.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefreeze.difference.causes import in_training
from edgefreeze.difference.cut import Piece, constant_behind, set_constant
from edgefreeze.worker.graphs import producer

Array = np.ndarray[Any, Any]
_ACTIVATIONS = ("Relu", "Relu6", "Sigmoid", "Tanh", "Softmax", "Elu", "LeakyRelu", "LogSoftmax")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_ADDS = ("BiasAdd", "Add", "AddV2")
_ORDERED = ("Sub", "RealDiv", "Div", "FloorDiv", "Pow", "Greater", "Less", "Maximum", "ConcatV2", "Concat")
_EPSILONS = (1e-3, 1e-5, 1e-6, 1.1e-5, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One change: of which node, what kind of trouble it is, and the sentence that is true if it fits.

    In the sentence {this} is the graph that was changed and {other} the one that it was compared with.
    """

    node: str
    kind: str
    sentence: str
    message: Any


def variants(piece: Piece, values: Mapping[str, Array]) -> Iterator[Variant]:
    """The changes that make sense in this piece. values: of its constants."""
    for node in piece.message.node:
        yield from _padding(piece.message, node)
        yield from _norm(piece.message, node)
        yield from _resize(piece.message, node)
        yield from _order(piece.message, node)
        yield from _kernels(piece.message, node, values)
        yield from _missing(piece.message, node)


def _changed(graph: Any, name: str) -> tuple[Any, Any]:
    """(a copy, its node of that name)."""
    copy = type(graph)()
    copy.CopyFrom(graph)
    return copy, next(node for node in copy.node if node.name == name)


def _padding(graph: Any, node: Any) -> Iterator[Variant]:
    if "padding" not in node.attr or node.attr["padding"].s not in (b"SAME", b"VALID"):
        return
    copy, changed = _changed(graph, node.name)
    here = node.attr["padding"].s.decode()
    there = "VALID" if here == "SAME" else "SAME"
    changed.attr["padding"].s = there.encode()
    yield Variant(
        node=node.name,
        kind="padding",
        sentence=f"{node.op} {node.name!r} pads {here} in {{this}} and {there} in {{other}}",
        message=copy,
    )


def _norm(graph: Any, node: Any) -> Iterator[Variant]:
    if node.op not in _NORMS:
        return
    training = node.attr["is_training"].b
    copy, changed = _changed(graph, node.name)
    changed.attr["is_training"].b = not training
    this, other = ("{this}", "{other}") if training else ("{other}", "{this}")
    yield Variant(
        node=node.name,
        kind="batch norm in training mode",
        sentence=in_training(node.name, this, other),
        message=copy,
    )
    for epsilon in _EPSILONS:
        if abs(epsilon - node.attr["epsilon"].f) > 1e-9:
            copy, changed = _changed(graph, node.name)
            changed.attr["epsilon"].f = epsilon
            yield Variant(
                node=node.name,
                kind="epsilon",
                sentence=f"the batch norm {node.name!r} has the epsilon {node.attr['epsilon'].f:g} in "
                f"{{this}} and {epsilon:g} in {{other}}",
                message=copy,
            )


def _resize(graph: Any, node: Any) -> Iterator[Variant]:
    if not node.op.startswith("Resize"):
        return
    here = node.attr["align_corners"].b, node.attr["half_pixel_centers"].b
    for there in ((False, False), (True, False), (False, True)):
        if there != here:
            copy, changed = _changed(graph, node.name)
            changed.attr["align_corners"].b, changed.attr["half_pixel_centers"].b = there
            yield Variant(
                node=node.name,
                kind="resize alignment",
                sentence=f"{node.op} {node.name!r} has (align_corners, half_pixel_centers) = {here} in "
                f"{{this}} and {there} in {{other}}",
                message=copy,
            )


def _order(graph: Any, node: Any) -> Iterator[Variant]:
    if node.op not in _ORDERED or len(node.input) < 2:
        return
    copy, changed = _changed(graph, node.name)
    if node.op == "ConcatV2":
        changed.input[:] = [*reversed(node.input[:-1]), node.input[-1]]
    else:
        changed.input[:] = list(reversed(node.input))
    yield Variant(
        node=node.name,
        kind="swapped inputs",
        sentence=f"{node.op} {node.name!r} takes its inputs in the other order in {{other}}",
        message=copy,
    )


def _kernels(graph: Any, node: Any, values: Mapping[str, Array]) -> Iterator[Variant]:
    if node.op not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
        return
    constant = constant_behind(graph, node.input[1])
    array = values.get(f"{constant}:0") if constant else None
    if constant is None or array is None:
        return
    for axes in ((1, 0, 2, 3), (0, 1, 3, 2)) if array.ndim == 4 else ((1, 0),):
        if np.transpose(array, axes).shape == array.shape:
            copy, _ = _changed(graph, node.name)
            set_constant(copy, constant, np.transpose(array, axes))
            yield Variant(
                node=node.name,
                kind="layout",
                sentence=f"the kernel of {node.op} {node.name!r} has its axes in the order {axes} in "
                "{other}: a transposed kernel",
                message=copy,
            )


def _missing(graph: Any, node: Any) -> Iterator[Variant]:
    """Without the node: its first input, which hangs on the data, instead of it."""
    if node.op in _ACTIVATIONS:
        what = "the activation"
    elif node.op in _ADDS and len(node.input) == 2 and constant_behind(graph, node.input[1]):
        what = "the bias"
    elif node.op in _NORMS:
        what = "the batch norm"
    elif node.op == "Mul" and len(node.input) == 2 and constant_behind(graph, node.input[1]):
        what = "the factor"
    else:
        return
    copy, changed = _changed(graph, node.name)
    first = changed.input[0]
    changed.op = "Identity"
    kept = "T" if "T" in node.attr else None
    dtype = node.attr["T"].type if kept else 1
    changed.ClearField("attr")
    changed.attr["T"].type = dtype
    changed.input[:] = [first]
    more = (
        "; a converter that folds a batch norm has dropped it"
        if what == "the bias" and _norm_follows(graph, node)
        else ""
    )
    yield Variant(
        node=node.name,
        kind="a bias lost in folding" if more else f"{what.removeprefix('the ')} missing",
        sentence=f"{what} {node.name!r} of {{this}} is missing in {{other}}{more}",
        message=copy,
    )


def _norm_follows(graph: Any, node: Any) -> bool:
    """Whether a batch norm, as one node or taken apart, comes right behind."""
    behind = [n for n in graph.node if any(producer(i) == node.name for i in n.input)]
    return any(
        n.op in _NORMS or "batchnorm" in n.name.lower() or "batch_norm" in n.name.lower() for n in behind
    )

"""Loops over time in a SavedModel whose batch was fixed afterwards.

An RNN keeps its steps in tensor lists whose element shape was traced as [-1, units], the batch being free.
TensorFlow Lite takes the loop only with whole shapes, so the leading -1 becomes the batch size. That it is
the batch is an assumption, which the comparison with the original then proves or refutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgefreeze.types import Tensor
from edgefreeze.worker.freeze import Frozen
from edgefreeze.worker.graphs import canonical, producer

_ELEMENT_SHAPE = {
    "TensorListReserve": 0,
    "EmptyTensorList": 0,
    "TensorListFromTensor": 1,
    "TensorListStack": 1,
    "TensorListGetItem": 2,
}
"""Which input of an operation is the shape of a list's elements."""


def fixed_batch(inputs: Sequence[Tensor]) -> int | None:
    """The batch size that all inputs share, None where one is free or they differ."""
    sizes = {t.shape[0] for t in inputs if t.shape}
    return sizes.pop() if len(sizes) == 1 else None


def fix(frozen: Frozen, batch: int) -> Frozen:
    """The graph with constant element shapes that begin with the batch size where they began with -1."""
    graph = type(frozen.graph)()
    graph.CopyFrom(frozen.graph)
    _fix(graph.node, batch)
    for function in graph.library.function:
        _fix(function.node_def, batch)
    ends = [[producer(t.tensor) for t in tensors] for tensors in (frozen.inputs, frozen.outputs)]
    return replace(frozen, graph=canonical(graph, *ends))


def _fix(nodes: Any, batch: int) -> None:
    from tensorflow.python.framework import tensor_util

    constants = {n.name: n for n in nodes if n.op == "Const"}
    as_shape: set[str] = set()
    otherwise: set[str] = set()
    for node in nodes:
        for index, ref in enumerate(node.input):
            (as_shape if _ELEMENT_SHAPE.get(node.op) == index else otherwise).add(producer(ref))
    for name in (as_shape - otherwise) & constants.keys():
        value = constants[name].attr["value"].tensor
        shape = tensor_util.MakeNdarray(value).copy()
        if shape.ndim == 1 and shape.size and shape[0] == -1:
            shape[0] = batch
            value.CopyFrom(tensor_util.make_tensor_proto(shape))

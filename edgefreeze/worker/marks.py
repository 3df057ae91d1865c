"""What a frozen graph says of itself: the signature's keys on its inputs and outputs, and what to run once,
as attributes that TensorFlow ignores. So one file is enough to load it by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefreeze.worker.graphs import producer

if TYPE_CHECKING:
    from edgefreeze.worker.freeze import Frozen

INPUT, OUTPUT, INIT = "_edgefreeze_input", "_edgefreeze_output", "_edgefreeze_init"
"""Attributes of a node. The first two hold "POSITION KEY"."""


def marked(frozen: Frozen) -> Any:
    """A copy of the graph with its marks."""
    graph = type(frozen.graph)()
    graph.CopyFrom(frozen.graph)
    nodes = {node.name: node for node in graph.node}
    for attr, tensors in ((INPUT, frozen.inputs), (OUTPUT, frozen.outputs)):
        for position, tensor in enumerate(tensors):
            nodes[producer(tensor.tensor)].attr[attr].s = f"{position} {tensor.name}".encode()
    for name in frozen.init_ops:
        nodes[name].attr[INIT].b = True
    return graph

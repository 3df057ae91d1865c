"""The signature's names on the frozen graph, where TensorFlow leaves Identity:0, Identity_1:0, ….

The rule, on which scripts rely: a key of the signature that is a valid node name is the node's name, so one
feeds and fetches KEY:0. An output whose key an input has becomes KEY_out. Any other node in the way is
renamed. A key that is no valid node name gets a sanitised one, and a Tensor's `tensor` is authoritative.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgefreeze.types import Tensor
from edgefreeze.worker.graphs import VALID_NODE_NAME, producer, rename, unused


def plan(inputs: Sequence[str], outputs: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(input key → node name, output key → node name). All names differ; valid keys come first."""
    taken = {k for k in (*inputs, *outputs) if VALID_NODE_NAME.fullmatch(k)}

    def fresh(wish: str) -> str:
        name = unused(wish, taken.__contains__)
        taken.add(name)
        return name

    named_inputs = {k: k if k in taken else fresh(sanitised(k)) for k in inputs}
    used = set(named_inputs.values())
    named_outputs: dict[str, str] = {}
    for key in outputs:
        node = key if VALID_NODE_NAME.fullmatch(key) else sanitised(key)
        if key == node and node not in used:
            named_outputs[key] = node
        elif key in inputs:
            named_outputs[key] = fresh(f"{node}_out")
        else:
            named_outputs[key] = fresh(node)
    return named_inputs, named_outputs


def sanitised(key: str) -> str:
    """The key with what a node name must not have replaced by "_"."""
    name = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", key)
    return name if VALID_NODE_NAME.fullmatch(name) else f"t{name}"


def apply(
    graph: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Rename in place. The inputs' and outputs' `tensor` says where they are in the graph now; what is
    returned says where they are afterwards. Each output becomes an Identity node of its name, so an input
    passed straight through and one tensor under two names have nodes of their own too."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.dtypes import as_dtype

    named_inputs, named_outputs = plan([t.name for t in inputs], [t.name for t in outputs])
    nodes = {node.name: node for node in graph.node}
    wanted = {*named_inputs.values(), *named_outputs.values()}
    renames = {producer(t.tensor): named_inputs[t.name] for t in inputs}
    taken = {*nodes, *wanted}
    for name in nodes:
        if name in wanted and name not in renames:
            renames[name] = unused(f"{name}_inner", taken.__contains__)
            taken.add(renames[name])

    sources = {t.name: _behind_identities(nodes, t.tensor) for t in outputs}
    rename(graph, renames)
    for tensor in outputs:
        name, colon, index = sources[tensor.name].partition(":")
        node = graph.node.add(name=named_outputs[tensor.name], op="Identity")
        node.input.append(f"{renames.get(name, name)}{colon}{index}".removesuffix(":0"))
        node.attr["T"].type = types_pb2.DataType.ValueType(as_dtype(tensor.dtype).as_datatype_enum)
    return (
        tuple(replace(t, tensor=f"{named_inputs[t.name]}:0") for t in inputs),
        tuple(replace(t, tensor=f"{named_outputs[t.name]}:0") for t in outputs),
    )


def _behind_identities(nodes: dict[str, Any], tensor: str) -> str:
    """The tensor that a chain of Identity nodes passes on. One with control inputs ends the chain: what
    it waits for may be an assertion."""
    while True:
        node = nodes.get(producer(tensor))
        if node is None or node.op != "Identity" or len(node.input) != 1:
            return tensor
        tensor = node.input[0]

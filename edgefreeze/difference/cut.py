"""Small graphs cut out of traced ones: nodes, their constants, and placeholders for what they are fed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefreeze.difference.traced import Traced
from edgefreeze.inspection import schema
from edgefreeze.inspection.graph import Node
from edgefreeze.inspection.schema import ONNX_DTYPES, TENSORFLOW_DTYPES
from edgefreeze.worker.graphs import producer, used_functions

Array = np.ndarray[Any, Any]
_TENSORFLOW_NUMBERS = {name: number for number, name in TENSORFLOW_DTYPES.items()}
_ONNX_NUMBERS = {name: number for number, name in ONNX_DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a graph. feeds: placeholder by the tensor of the whole graph that it stands for."""

    message: Any
    feeds: dict[str, str]
    outputs: tuple[str, ...]


def region(traced: Traced, end: str, known: Iterable[str]) -> tuple[list[Node], list[str]]:
    """(the nodes between tensors that are known and `end`, in order; the known tensors at which they begin).

    What `end` is made of and hangs on no input belongs to it: weights, and what is computed of them.
    """
    border = set(known) - {end}
    maker = traced.graph.producers()
    begins: dict[str, None] = {}
    inside: dict[str, None] = {}
    todo = [end]
    while todo:
        tensor = todo.pop()
        if tensor in border or (tensor not in maker and tensor in traced.graph.inputs):
            begins[tensor] = None
        elif tensor in maker and maker[tensor].name not in inside:
            inside[maker[tensor].name] = None
            todo.extend(t for t in maker[tensor].inputs if t)
    nodes = [node for node in traced.graph.nodes if node.name in inside]
    return nodes, list(begins)


def of_graph_def(traced: Traced, nodes: Sequence[Node], begins: Sequence[str], end: str) -> Piece:
    """The nodes as a GraphDef, with what they hold fixed in it."""
    graph = schema.tensorflow("GraphDef")
    graph.versions.CopyFrom(traced.message.versions)
    names = {node.name for node in nodes}
    feeds = {f"input_{number}": tensor for number, tensor in enumerate(begins)}
    places = {tensor: name for name, tensor in feeds.items()}
    for name, tensor in feeds.items():
        node = graph.node.add(name=name, op="Placeholder")
        dtype = str(traced.values[tensor].dtype) if tensor in traced.values else "float32"
        node.attr["dtype"].type = _TENSORFLOW_NUMBERS[dtype]
    for proto in traced.message.node:
        if proto.name in names:
            copy = graph.node.add()
            copy.CopyFrom(proto)
            kept = [i for i in proto.input if not i.startswith("^")]
            copy.input[:] = [places.get(i if ":" in i else f"{i}:0", i) for i in kept]
    wanted = set(used_functions(graph.node, traced.message.library))
    graph.library.function.extend(f for f in traced.message.library.function if f.signature.name in wanted)
    return Piece(message=graph, feeds=feeds, outputs=(end,))


def of_onnx(traced: Traced, nodes: Sequence[Node], begins: Sequence[str], end: str) -> Piece:
    """The nodes as an ONNX model."""
    model = schema.onnx("ModelProto")
    model.CopyFrom(traced.message)
    produced = {tensor for node in nodes for tensor in node.outputs}
    used = {tensor for node in nodes for tensor in node.inputs}
    kept = [p for p in traced.message.graph.node if set(p.output) & produced]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    held = [t for t in traced.message.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(held)
    del model.graph.value_info[:]
    del model.graph.input[:]
    del model.graph.output[:]
    for tensor, role in [*((b, model.graph.input) for b in begins), (end, model.graph.output)]:
        info = role.add(name=tensor)
        array = traced.values[tensor]
        info.type.tensor_type.elem_type = _ONNX_NUMBERS[str(array.dtype)]
        for size in array.shape:
            info.type.tensor_type.shape.dim.add(dim_value=size)
    return Piece(message=model, feeds={b: b for b in begins}, outputs=(end,))


def described(traced: Traced, nodes: Sequence[Node]) -> str:
    """The nodes of a .tflite file, which cannot be cut, as JSON."""

    def tensor(name: str) -> dict[str, Any]:
        value = traced.graph.value(name)
        found: dict[str, Any] = {"name": name, "dtype": value.dtype, "shape": value.shape}
        if name in traced.scales:
            scale = traced.scales[name]
            found["scale"], found["zero_point"] = scale.scales, scale.zero_points
        return found

    rows = [
        {
            "operation": node.op,
            "options": node.attrs,
            "inputs": [tensor(t) for t in node.inputs if t],
            "outputs": [tensor(t) for t in node.outputs],
        }
        for node in nodes
    ]
    return json.dumps(rows, indent=2, default=str) + "\n"


def set_constant(graph: Any, name: str, array: Array) -> None:
    """Give a Const node of a GraphDef another value, in place."""
    node = next(n for n in graph.node if n.name == name)
    tensor = node.attr["value"].tensor
    number = tensor.dtype
    tensor.Clear()
    tensor.dtype = number
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = np.ascontiguousarray(array).tobytes()


def constant_behind(graph: Any, ref: str) -> str | None:
    """The Const that a node's input is, through Identity nodes."""
    nodes = {node.name: node for node in graph.node}
    for _ in range(8):
        node = nodes.get(producer(ref))
        if node is None:
            return None
        if node.op == "Const":
            return str(node.name)
        if node.op != "Identity":
            return None
        ref = node.input[0]
    return None

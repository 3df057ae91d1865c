"""Reads an .onnx file as a Graph."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.inspection import schema
from edgefreeze.inspection.graph import Graph, Node, Value, sort
from edgefreeze.inspection.schema import ONNX_DTYPES
from edgefreeze.types import Shape, Tensor
from edgefreeze.worker import wire
from edgefreeze.worker.graphs import unused
from edgefreeze.worker.messages import parse

_FEW = 64
_GRAPH, _OPSETS = 7, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An .onnx file: its graph, its ends, what wrote it. `opsets`: version by domain ("" is ONNX's own)."""

    graph: Graph
    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def sniff(path: Path) -> bool:
    """Whether the file is a ModelProto: it begins with the version and has a graph and operator sets."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    try:
        found = [number for number, _ in wire.fields(data, 0, len(data))]
    except wire.WireError:
        return path.suffix == ".onnx"
    return path.suffix == ".onnx" or (found[:1] == [1] and _GRAPH in found and _OPSETS in found)


def read(path: Path) -> File:
    """Read the file. Raises Failure model-broken."""
    model = parse(path, schema.onnx("ModelProto"))
    values: dict[str, Value] = {}
    nodes: list[Node] = []
    _body(model.graph, None, nodes, values, set())
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [i.name for i in model.graph.input if i.name not in given]
    outputs = [o.name for o in model.graph.output]
    maker = {tensor: node.name for node in nodes for tensor in node.outputs}
    roots = [maker[o] for o in outputs if o in maker]
    inner = [node.name for node in nodes if node.body is not None]
    graph = Graph(
        nodes=sort(nodes, [*roots, *inner]), values=values, inputs=tuple(inputs), outputs=tuple(outputs)
    )
    return File(
        graph=graph,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=int(model.ir_version),
        opsets={entry.domain: int(entry.version) for entry in model.opset_import},
        inputs=tuple(_end(graph, name) for name in inputs),
        outputs=tuple(_end(graph, name) for name in outputs),
    )


def _body(
    graph: Any, inside: str | None, nodes: list[Node], values: dict[str, Value], taken: set[str]
) -> None:
    """Add a graph's nodes and tensors, then those of the branches and loops in it."""
    for tensor in graph.initializer:
        dtype = ONNX_DTYPES.get(tensor.data_type, "")
        values[tensor.name] = Value(dtype, tuple(tensor.dims), True, _integers(tensor, dtype))
    for info in (*graph.input, *graph.output, *graph.value_info):
        kind = info.type.tensor_type
        shape = _shape(kind.shape) if kind.HasField("shape") else None
        values.setdefault(info.name, Value(ONNX_DTYPES.get(kind.elem_type, ""), shape))
    for index, proto in enumerate(graph.node):
        attrs = {a.name: _attribute(a) for a in proto.attribute if not (a.HasField("g") or a.HasField("t"))}
        op = f"{proto.domain}.{proto.op_type}" if proto.domain not in ("", "ai.onnx") else proto.op_type
        # ONNX does not ask that names differ, and the graph's nodes are found by them.
        name = unused(
            proto.name or (proto.output[0] if proto.output else f"{op}_{index}"), taken.__contains__
        )
        taken.add(name)
        node = Node(name, op, tuple(proto.input), tuple(proto.output), attrs, (), inside)
        nodes.append(node)
        for attribute in proto.attribute:
            if attribute.HasField("g"):
                _body(attribute.g, name, nodes, values, taken)
            elif attribute.HasField("t") and op == "Constant":
                dtype = ONNX_DTYPES.get(attribute.t.data_type, "")
                values[proto.output[0]] = Value(
                    dtype, tuple(attribute.t.dims), True, _integers(attribute.t, dtype)
                )


def _attribute(attribute: Any) -> Any:
    for field in ("s", "i", "f"):
        if attribute.HasField(field):
            value = getattr(attribute, field)
            return value.decode("utf-8", "replace") if field == "s" else value
    return tuple(attribute.ints) or tuple(attribute.floats)


def _shape(proto: Any) -> Shape:
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else None for d in proto.dim
    )


def _integers(tensor: Any, dtype: str) -> tuple[int, ...] | None:
    if dtype not in ("int32", "int64"):
        return None
    if tensor.raw_data:
        letter = "i" if dtype == "int32" else "q"
        count, rest = divmod(len(tensor.raw_data), struct.calcsize(f"<{letter}"))
        return None if rest or count > _FEW else struct.unpack(f"<{count}{letter}", tensor.raw_data)
    given = tuple(tensor.int64_data if dtype == "int64" else tensor.int32_data)
    return given if len(given) <= _FEW else None


def _end(graph: Graph, name: str) -> Tensor:
    value = graph.value(name)
    return Tensor(name=name, tensor=name, dtype=value.dtype, shape=value.shape)

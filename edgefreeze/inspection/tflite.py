"""Reads a .tflite file, a FlatBuffer of TensorFlow Lite's schema.fbs (version 3), as a Graph."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from edgefreeze.errors import Failure
from edgefreeze.inspection import operations
from edgefreeze.inspection.flatbuffer import FlatBufferError, Table, root
from edgefreeze.inspection.graph import Graph, Node, Value
from edgefreeze.types import Shape, Tensor

IDENTIFIER = b"TFL3"
_DTYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8",
    "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16",
    "int2", "uint4",
)  # fmt: skip
"""TensorType, in order."""
_FEW = 64
_OPTIONS = {
    # operation: fields of its builtin_options, as (attribute, number of the field, letter in struct)
    "CONV_2D": (("padding", 0, "b"), ("stride_w", 1, "i"), ("stride_h", 2, "i"), ("activation", 3, "b")),
    "DEPTHWISE_CONV_2D": (
        ("padding", 0, "b"), ("stride_w", 1, "i"), ("stride_h", 2, "i"), ("multiplier", 3, "i"),
        ("activation", 4, "b"),
    ),
    "AVERAGE_POOL_2D": (
        ("padding", 0, "b"), ("stride_w", 1, "i"), ("stride_h", 2, "i"), ("filter_w", 3, "i"),
        ("filter_h", 4, "i"),
    ),
    "MAX_POOL_2D": (
        ("padding", 0, "b"), ("stride_w", 1, "i"), ("stride_h", 2, "i"), ("filter_w", 3, "i"),
        ("filter_h", 4, "i"),
    ),
    "WHILE": (("condition", 0, "i"), ("body", 1, "i")),
    "IF": (("then", 0, "i"), ("else", 1, "i")),
    "FULLY_CONNECTED": (("activation", 0, "b"),),
    "ADD": (("activation", 0, "b"),),
    "RESIZE_BILINEAR": (("align_corners", 2, "b"), ("half_pixel_centers", 3, "b")),
    "RESIZE_NEAREST_NEIGHBOR": (("align_corners", 0, "b"), ("half_pixel_centers", 1, "b")),
}  # fmt: skip
_PARTS = ("condition", "body", "then", "else")
"""Attributes that are numbers of subgraphs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """Of one tensor: real value = scale × (integer − zero point), per tensor or along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A .tflite file: its main graph, the ends of each signature, what wrote it."""

    graph: Graph
    description: str
    runtime: str | None
    """The least version of the runtime, as the converter noted it."""
    signatures: dict[str, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    quantisation: dict[str, Quantisation]
    tensors: tuple[str, ...]
    """Of the main graph, in the order of their numbers."""
    weights: dict[str, tuple[int, int]]
    """Constants of branches and loops: (number of the subgraph, number of the tensor in it)."""


def read(path: Path) -> File:
    """Read the file. Raises Failure model-broken."""
    data = path.read_bytes()
    try:
        return _read(data)
    except (FlatBufferError, IndexError, struct.error, MemoryError) as error:
        raise Failure(
            "model-broken",
            f"The file {path} is damaged or cut short.",
            expected="a whole TensorFlow Lite file",
            found=str(error),
            next="Convert or copy the model again.",
        ) from error


def _read(data: bytes) -> File:
    model = root(data, IDENTIFIER)
    codes = [_code(code) for code in model.tables(1)]
    buffers = model.tables(4)
    subgraphs = model.tables(2)
    if not subgraphs:
        raise FlatBufferError("it has no graph")
    values: dict[str, Value] = {}
    nodes: list[Node] = []
    quantisation: dict[str, Quantisation] = {}
    names: list[list[str]] = []
    for number, subgraph in enumerate(subgraphs):
        names.append(_tensors(subgraph, number, buffers, values, quantisation))
        for index, operator in enumerate(subgraph.tables(3)):
            nodes.append(_node(operator, number, index, codes, names[-1]))
    owners = {
        f"subgraph {node.attrs[part]}": node.name for node in nodes for part in _PARTS if part in node.attrs
    }
    for node in nodes:
        node.body = owners.get(node.body or "", node.body)
    main = subgraphs[0]
    inputs = [names[0][i] for i in main.numbers(1, "i")]
    outputs = [names[0][i] for i in main.numbers(2, "i")]
    graph = Graph(nodes=nodes, values=values, inputs=tuple(inputs), outputs=tuple(outputs))
    signatures = {}
    for signature in model.tables(7):
        own = names[signature.number(4, "I")]
        signatures[signature.text(2)] = tuple(
            tuple(_end(graph, m.text(0), own[m.number(1, "I")]) for m in signature.tables(field))
            for field in (0, 1)
        )
    metadata = {m.text(0): m.number(1, "I") for m in model.tables(6)}
    runtime = None
    if "min_runtime_version" in metadata:
        runtime = buffers[metadata["min_runtime_version"]].raw(0).rstrip(b"\0").decode("utf-8", "replace")
    return File(
        graph=graph,
        description=model.text(3),
        runtime=runtime or None,
        signatures=signatures,  # type: ignore[arg-type]  # pairs, from a generator
        inputs=tuple(_end(graph, name, name) for name in inputs),
        outputs=tuple(_end(graph, name, name) for name in outputs),
        quantisation=quantisation,
        tensors=tuple(names[0]),
        weights={
            name: (number, index)
            for number, own in enumerate(names)
            if number
            for index, name in enumerate(own)
            if values[name].stored
        },
    )


def _code(code: Table) -> str:
    """The operation's name; of one that is no builtin, "custom NAME"."""
    number = max(code.number(0, "b"), code.number(3, "i"))
    known = operations.table().tflite_builtins
    name = known[number] if number < len(known) else f"BUILTIN_{number}"
    return f"custom {code.text(1)}" if name == "CUSTOM" else name


def _tensors(
    subgraph: Table,
    number: int,
    buffers: list[Table],
    values: dict[str, Value],
    quantisation: dict[str, Quantisation],
) -> list[str]:
    """The names of a subgraph's tensors, made unique, and what is known of each."""
    names = []
    for index, tensor in enumerate(subgraph.tables(0)):
        name = tensor.text(3) or f"tensor_{index}"
        if number or name in values:
            name = f"{name}#{number}.{index}"
        names.append(name)
        shape: Shape = tuple(tensor.numbers(0, "i"))
        signature = tensor.numbers(7, "i")
        if len(signature) == len(shape):
            shape = tuple(None if free < 0 else size for size, free in zip(shape, signature, strict=True))
        kind = tensor.number(1, "b")
        dtype = _DTYPES[kind] if kind < len(_DTYPES) else f"type {kind}"
        content = buffers[tensor.number(2, "I")]
        length = content.length(0)
        integers: tuple[int, ...] | None = None
        if dtype in ("int32", "int64") and 0 < length <= 8 * _FEW:
            integers = content_integers(content, dtype)
        stored = length > 0 or content.number(1, "Q") > 0 or bool(tensor.number(5, "b"))
        values[name] = Value(dtype, shape, stored, integers)
        quantised = tensor.table(4)
        if quantised is not None and quantised.length(2):
            quantisation[name] = Quantisation(
                scales=tuple(map(float, quantised.numbers(2, "f"))),
                zero_points=quantised.numbers(3, "q"),
                axis=quantised.number(6, "i"),
            )
    return names


def content_integers(buffer: Table, dtype: str) -> tuple[int, ...]:
    """A buffer's bytes as integers."""
    raw, letter = buffer.raw(0), "i" if dtype == "int32" else "q"
    return struct.unpack(f"<{len(raw) // struct.calcsize(f'<{letter}')}{letter}", raw)


def _node(operator: Table, number: int, index: int, codes: list[str], names: list[str]) -> Node:
    op = codes[operator.number(0, "I")]
    outputs = tuple(names[i] for i in operator.numbers(2, "i") if i >= 0)
    options = operator.table(4)
    attrs = {
        name: options.number(field, kind) for name, field, kind in _OPTIONS.get(op, ()) if options is not None
    }
    if "padding" in attrs:
        attrs["padding"] = ("SAME", "VALID")[attrs["padding"] & 1]  # type: ignore[assignment]
    return Node(
        name=outputs[0] if outputs else f"{op}_{number}_{index}",
        op=op,
        inputs=tuple(names[i] if i >= 0 else "" for i in operator.numbers(1, "i")),
        outputs=outputs,
        attrs=dict(attrs),
        body=f"subgraph {number}" if number else None,
    )


def _end(graph: Graph, name: str, tensor: str) -> Tensor:
    value = graph.value(tensor)
    return Tensor(name=name, tensor=tensor, dtype=value.dtype, shape=value.shape)

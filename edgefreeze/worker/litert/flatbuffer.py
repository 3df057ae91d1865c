"""A TFLite file opened up: its signature and its metadata written into it.

The converter gives files made from a function neither: no get_signature_runner, and inputs under whatever
names it liked. Position is what holds: a file's inputs and outputs are in the converted function's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
"""What the schema asks of weights, so that kernels may load whole vectors from the mapped file."""


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Aligns bytes (all weights are such) as the schema asks, which flatbuffers' Python does not."""

    def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802 - the base's name
        if x.dtype.itemsize != 1 or not x.size:
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, _ALIGNMENT)
        self.head = self.Head() - x.size
        self.Bytes[self.Head() : self.Head() + x.size] = x.tobytes(order="C")
        return self.EndVector()


def read(content: bytes) -> Any:
    """A model as an object (schema_py_generated.ModelT) whose weights are views of the content."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def write(model: Any, about: int) -> bytes:
    """A model's object as the bytes of a file, `about` as many: a better guess needs less memory."""
    builder = _Builder(about)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def describe(
    content: bytes,
    signature: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: Mapping[str, bytes],
) -> bytes:
    """The same model with one signature, whose inputs and outputs have these names in the file's order, and
    with named metadata buffers. Raises ValueError where the file has another number of either."""
    from ai_edge_litert import schema_py_generated as schema

    model = read(content)
    graph = model.subgraphs[0]
    if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
        raise ValueError(
            f"The converter made {len(graph.inputs)} inputs and {len(graph.outputs)} outputs of "
            f"{len(inputs)} and {len(outputs)}."
        )
    definition = schema.SignatureDefT()
    definition.signatureKey = signature.encode()
    definition.inputs = [_map(schema, n, i) for n, i in zip(inputs, graph.inputs, strict=True)]
    definition.outputs = [_map(schema, n, i) for n, i in zip(outputs, graph.outputs, strict=True)]
    model.signatureDefs = [definition]
    for name, data in sorted(metadata.items()):
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(data, np.uint8)
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    return write(model, len(content) + sum(map(len, metadata.values())) + (64 << 10))


def names(content: bytes) -> tuple[list[str], list[str]]:
    """The names of a file's input and output tensors, in its own order."""
    graph = read(content).subgraphs[0]
    tensors = [tensor.name.decode() for tensor in graph.tensors]
    return [tensors[i] for i in graph.inputs], [tensors[i] for i in graph.outputs]


def has_integer_weights(content: bytes) -> bool:
    """Whether a file has tensors of 8 or 4 bits."""
    from ai_edge_litert import schema_py_generated as schema

    small = (schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT4)
    return any(t.type in small for graph in read(content).subgraphs for t in graph.tensors)


AT_THE_ENDS = ("QUANTIZE", "DEQUANTIZE")
"""Operations between floats and integers, which a model of integers has at its inputs and outputs only."""


def computed_in_floats(content: bytes) -> dict[str, list[str]]:
    """The operations that compute with floats, by type with the names of what they give; those that only
    convert a model's inputs and outputs are none. The converter leaves what has no integer kernel in floats
    and says nothing, even where it is asked for integers alone."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.FLOAT64)
    model = read(content)
    found: dict[str, list[str]] = {}
    for graph in model.subgraphs:
        ends = {*map(int, graph.inputs), *map(int, graph.outputs)}
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
            used = {int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0}
            real = {i for i in used if graph.tensors[i].type in floats}
            if real and not (kind in AT_THE_ENDS and real <= ends):
                names = [graph.tensors[i].name.decode() for i in operator.outputs]
                found.setdefault(kind, []).extend(names)
    return found


def _map(schema: Any, name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), int(index)
    return entry

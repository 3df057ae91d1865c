"""The operation `expose`: an artifact again, whose inner tensors are outputs, for a runner that gives outputs
alone. A frozen graph needs none of it: any of its tensors can be fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def expose(request: dict[str, Any]) -> dict[str, Any]:
    """Write the .tflite or .onnx file `model` to `out` with `tensors`, all of the main graph, as its outputs.

    names: of a .tflite file those of all tensors of the main graph in order, each once; the file gets them.
    Returns {}.
    """
    make = {"tflite": _tflite, "onnxruntime": _onnx}[request["runtime"]]
    make(Path(request["model"]), Path(request["out"]), request["tensors"], request["names"])
    return {}


def _tflite(source: Path, out: Path, tensors: list[str], names: list[str]) -> None:
    from edgefreeze.worker.litert import flatbuffer

    content = source.read_bytes()
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    for tensor, name in zip(graph.tensors, names, strict=True):
        tensor.name = name.encode()
    number = {name: index for index, name in enumerate(names)}
    graph.outputs = [number[name] for name in tensors]
    model.signatureDefs = []  # they list the outputs that were
    out.write_bytes(flatbuffer.write(model, len(content) + (64 << 10)))


def _onnx(source: Path, out: Path, tensors: list[str], _: list[str]) -> None:
    import onnx

    model = onnx.load(str(source))
    known = {end.name: end for end in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in tensors)
    onnx.save(model, str(out))

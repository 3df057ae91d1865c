"""An artifact with the values of all its tensors for one input: what bisect compares.

Whatever is no artifact (a SavedModel, a Keras file, a graph that is not frozen) is frozen first: the frozen
graph has the model's own nodes.
"""

from __future__ import annotations

import zipfile
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgefreeze import logs
from edgefreeze.conversion import stages
from edgefreeze.device.tensors import decode_golden, encode_golden
from edgefreeze.difference.places import Place
from edgefreeze.difference.sides import Artifact, Model, dequantised, quantised, request_of
from edgefreeze.errors import Failure
from edgefreeze.inspection import graph_def, onnx_file, schema, tflite
from edgefreeze.inspection.graph import Graph, dynamic
from edgefreeze.inspection.tflite import Quantisation
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import GOLDEN
from edgefreeze.types import Conversion, Tensor
from edgefreeze.worker import client
from edgefreeze.worker.messages import parse
from edgefreeze.worker.trace import VALUES

Array = np.ndarray[Any, Any]
_ANSWER = 128_000_000
"""Bytes of tensors that a device is asked for at once."""
_OUTPUTS = 500
"""That many at once: a device takes no artifact with more than 1000."""


class Values(Mapping[str, Array]):
    """Arrays by tensor, read from the file when they are asked for; quantised ones as real numbers."""

    def __init__(self, path: Path, names: list[str], scales: Mapping[str, Quantisation]) -> None:
        self._archive = zipfile.ZipFile(path)
        self._index = {name: number for number, name in enumerate(names)}
        self._scales = scales

    def __getitem__(self, name: str) -> Array:
        with self._archive.open(f"{self._index[name]}.npy") as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
        found: Array = dequantised(array, self._scales.get(name))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, name: object) -> bool:
        return name in self._index


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A graph and its tensors' values. `message` is its GraphDef or ModelProto, for cutting nodes out."""

    name: str
    kind: str
    """ "frozen_pb", "tflite" or "onnx"."""
    graph: Graph
    values: Mapping[str, Array]
    scales: dict[str, Quantisation] = field(default_factory=dict)
    message: Any = None


def artifact_with_inputs(
    side: Model | Artifact, samples_at: Path | None, folder: Path, progress: Progress, *, draw: bool = True
) -> tuple[Artifact, dict[str, Array]]:
    """(the side as an artifact whose inner tensors can be fetched: itself, or frozen into the folder; inputs
    for one call, by its names: from the samples or drawn, none where `draw` is false).

    Raises Failure: what freezing raises, samples-bad, model-unsupported for a SavedModel in a release.
    """
    if isinstance(side, Model):
        return _frozen(side, samples_at, folder, progress, draw)
    if side.kind == "saved_model":
        raise Failure(
            "model-unsupported",
            f"The SavedModel of a release is not bisected as an artifact: {side.path}",
            expected="a model, or a release's frozen_pb, tflite or onnx",
            found="saved_model",
            next=f"edgefreeze bisect {side.path} …, which freezes it",
        )
    return side, side.answer(None, samples_at, progress).cases[0][0] if draw else {}


def _frozen(
    side: Model, samples_at: Path | None, folder: Path, progress: Progress, draw: bool
) -> tuple[Artifact, dict[str, Array]]:
    request = {
        **request_of(side.path, side.choice),
        "op": "convert",
        "out": str(folder),
        "samples": str(samples_at) if samples_at else None,
        "verify": draw,
        "allow_unverified": False,
        "formats": [{"format": "frozen_pb", "precision": "fp32"}],
        "freeze": {"optimize": "none", "lower_control_flow": False},
    }
    result = client.run(request, on_event=stages(progress), log=logs.new("bisect"))
    found = msgspec.convert(result, Conversion, strict=False).artifacts[0]
    if found.path is None:
        raise Failure("freeze-refused", f"{side.path} cannot be frozen: {found.reason}", found=found.reason)
    artifact = Artifact(
        path=folder / found.path,
        kind="frozen_pb",
        runtime="tf_frozen",
        inputs=found.inputs,
        outputs=found.outputs,
        extra={"init_ops": list(found.init_ops)},
    )
    return artifact, decode_golden((folder / GOLDEN).read_bytes())[0][0] if draw else {}


@contextmanager
def traced(
    name: str, artifact: Artifact, inputs: dict[str, Array], folder: Path, progress: Progress
) -> Iterator[Traced]:
    """Run an artifact on one set of inputs, by its own names, with every tensor kept in the folder.

    Raises Failure runtime-failed.
    """
    progress.step("trace", f"running {Path(name).name} with all its tensors kept")
    graph, scales, message, tensors = _read(artifact)
    fed = {t.name: quantised(inputs[t.name], artifact.scale(t), t.dtype) for t in artifact.inputs}
    folder.mkdir(parents=True, exist_ok=True)
    cases = folder / "inputs.npz"
    cases.write_bytes(encode_golden([(fed, {})]))
    request = {
        "op": "trace",
        "runtime": artifact.runtime,
        "model": str(artifact.path.resolve()),
        "artifact": artifact.described(),
        "tensors": tensors,
        "cases": str(cases),
        "out": str(folder),
    }
    there = client.run(request, log=logs.new("bisect"))["there"]
    values = Values(folder / VALUES, there, scales)
    yield Traced(name=name, kind=artifact.kind, graph=graph, values=values, scales=scales, message=message)


def there(
    here: Traced,
    artifact: Artifact,
    inputs: dict[str, Array],
    place: Place,
    folder: Path,
    progress: Progress,
) -> Traced:
    """The same artifact with the values that its tensors have on a device: all that hang on the inputs and
    could be fetched here. Raises Failure: what bringing it and running it raise."""
    progress.step("trace", f"running {Path(here.name).name} on {place.name} with all its tensors kept")
    given = set(here.graph.inputs)
    names = [n for n in dynamic(here.graph) if n in here.values and n not in given]
    found: dict[str, Array] = {}
    for number, group in enumerate(_groups(here, names)):
        path = artifact.path
        if artifact.kind != "frozen_pb":
            path = folder / f"exposed{number}{path.suffix}"
            request = {"op": "expose", "runtime": artifact.runtime, "model": str(artifact.path.resolve()),
                       "out": str(path), "tensors": group, "names": _names(artifact)}  # fmt: skip
            client.run(request, log=logs.new("bisect"))
        ends = tuple(
            Tensor(name=f"t{i}", tensor=n, dtype=here.graph.value(n).dtype or "float32", shape=None)
            for i, n in enumerate(group)
        )
        exposed = replace(artifact, path=path, outputs=ends, scales={}, place=place)
        fed = {t.name: quantised(inputs[t.name], artifact.scale(t), t.dtype) for t in artifact.inputs}
        with place.opened(exposed, progress) as infer:
            answer = exposed.run(infer, fed)
        found |= {n: dequantised(answer[f"t{i}"], here.scales.get(n)) for i, n in enumerate(group)}
    return replace(here, name=f"{here.name} on {place.name}", values=ChainMap(found, here.values))  # type: ignore[arg-type]


def _groups(here: Traced, names: list[str]) -> Iterator[list[str]]:
    """Tensors of together no more than fit in one answer."""
    group: list[str] = []
    size = 0
    for name in names:
        count = here.values[name].nbytes
        if group and (size + count > _ANSWER or len(group) == _OUTPUTS):
            yield group
            group, size = [], 0
        group.append(name)
        size += count
    if group:
        yield group


def _names(artifact: Artifact) -> list[str]:
    return list(tflite.read(artifact.path).tensors) if artifact.kind == "tflite" else []


def _read(artifact: Artifact) -> tuple[Graph, dict[str, Quantisation], Any, list[list[Any]]]:
    """(graph, scales, message, [name, handle] of every tensor to fetch)."""
    if artifact.kind == "tflite":
        file = tflite.read(artifact.path)
        main = [[n, [0, i]] for i, n in enumerate(file.tensors)]
        return file.graph, file.quantisation, None, main + [[n, list(at)] for n, at in file.weights.items()]
    if artifact.kind == "onnx":
        message = parse(artifact.path, schema.onnx("ModelProto"))
        graph = onnx_file.read(artifact.path).graph
        outer = [t for node in graph.nodes if node.body is None for t in node.outputs if t]
        return graph, {}, message, [[t, t] for t in outer]
    message = parse(artifact.path, schema.tensorflow("GraphDef"))
    ends = [t.tensor for t in artifact.outputs]
    graph = graph_def.read(message, ends)
    return graph, {}, message, [[n.name, n.name] for n in graph.nodes if n.body is None]

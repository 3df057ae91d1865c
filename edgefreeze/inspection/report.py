"""`edgefreeze inspect`: everything that a model's file says, and what follows from it for each target."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgefreeze.inspection import (
    advice,
    blocks,
    graph_def,
    keras_file,
    onnx_file,
    saved_model,
    schema,
    tflite,
)
from edgefreeze.inspection.advice import Advice
from edgefreeze.inspection.candidates import Candidates, candidates
from edgefreeze.inspection.cost import Cost, cost
from edgefreeze.inspection.fit import RANDOM, Fit, changes_state, fit, fit_of_layers
from edgefreeze.inspection.graph import Graph
from edgefreeze.inspection.saved_model import Signature
from edgefreeze.shown import Shown
from edgefreeze.targets import Target
from edgefreeze.types import Tensor
from edgefreeze.worker import digests, sources
from edgefreeze.worker.messages import parse
from edgefreeze.worker.sources import checkpoint
from edgefreeze.worker.tables import TABLE_OPS

CONTROL_FLOW = re.compile(
    r"(Stateless)?(While|If|Case)|(Ref)?(Switch|Merge|Enter|Exit|NextIteration)|LoopCond|For|Loop|Scan|WHILE|IF|"
    r"CALL_ONCE"
)
_ARTIFACTS = {"tflite": "a TensorFlow Lite file", "onnx": "an ONNX file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFit:
    """A target's formats, in its order of preference, and the advice for it."""

    target: str
    formats: tuple[Fit, ...]
    advice: Advice


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Inspection(Shown):
    """What is known of a model from its file alone. None: the file does not say."""

    path: str
    kind: str
    description: str
    bytes: int
    written_by: dict[str, str]
    tags: tuple[tuple[str, ...], ...] = ()
    signature: str | None = None
    """The one that inputs, outputs and all figures are of."""
    signatures: tuple[Signature, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    candidates: Candidates | None = None
    variables: int = 0
    parameters: int | None = None
    weight_bytes: int | None = None
    quantised: int = 0
    """Tensors with a scale."""
    layers: tuple[keras_file.Layer, ...] = ()
    tables: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    control_flow: dict[str, int] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    """Operations that change what a later call sees."""
    random: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    nodes: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    cost: Cost | None = None
    targets: tuple[TargetFit, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """What a reader gives: the fields that are its kind's own, and the graph where the file has one."""

    fields: dict[str, object]
    graph: Graph | None


def kind_of(path: Path) -> str:
    """ "tflite", "onnx" or a kind of sources.names(). Raises Failure as sources.find."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(8)[4:] == tflite.IDENTIFIER:
                return "tflite"
        if onnx_file.sniff(path):
            return "onnx"
    return sources.find(path)


def inspect(
    path: Path,
    targets: Sequence[Target] = (),
    *,
    signature: str | None = None,
    tags: tuple[str, ...] | None = None,
    outputs: tuple[str, ...] = (),
) -> tuple[Inspection, Graph | None]:
    """(what the model's file says, its graph or None for a Keras file). Nothing in it is run.

    signature, tags: of a SavedModel. outputs: of a graph that names none, "node" or "node:i"; by default the
    likeliest candidate is taken. Raises Failure: model-missing, model-empty, model-unknown, model-broken,
    model-signature-choice, usage.
    """
    kind = kind_of(path)
    read = _read(path, kind, signature, tags, outputs)
    fields: dict[str, object] = {
        "path": str(path),
        "kind": kind,
        "description": _ARTIFACTS.get(kind) or sources.module(kind).KIND,
        "bytes": digests.size(path) if path.exists() else 0,
        **read.fields,
    }
    if read.graph is not None:
        fields |= _of_graph(read.graph)
    found = Inspection(**fields)  # type: ignore[arg-type]
    ops = [node.op for node in read.graph.nodes] if read.graph is not None else []
    return _with_targets(found, ops, targets), read.graph


def to_dot(found: Inspection, graph: Graph | None) -> str:
    """The model's blocks for Graphviz."""
    parts = blocks.of_graph(graph) if graph is not None else blocks.of_layers(found.layers)
    return blocks.dot(Path(found.path).name, *parts)


def _read(
    path: Path, kind: str, signature: str | None, tags: tuple[str, ...] | None, outputs: tuple[str, ...]
) -> Read:
    if kind == "tflite":
        return _tflite(tflite.read(path))
    if kind == "onnx":
        return _onnx(onnx_file.read(path))
    if kind in ("keras", "keras2") and path.is_file():
        return _keras(keras_file.read(path))
    if kind in ("saved_model", "saved_model_tf1", "keras2") and path.is_dir():
        return _saved_model(path, saved_model.read(path, tags), signature)
    if kind == "frozen_graph":
        return _unsigned(parse(path, schema.tensorflow("GraphDef")), "", outputs)
    if kind == "checkpoint":
        files = checkpoint.find(path)
        if files.meta is None:
            return Read({"written_by": {}, "bytes": sum(p.stat().st_size for p in files.parts)}, None)
        meta = parse(files.meta, schema.tensorflow("MetaGraphDef"))
        read = _unsigned(meta.graph_def, meta.meta_info_def.tensorflow_version, outputs)
        size = sum(p.stat().st_size for p in {*files.parts, files.meta})
        return Read({**read.fields, "bytes": size}, read.graph)
    return Read({"written_by": {}}, None)


def _tflite(file: tflite.File) -> Read:
    written = {"converter": file.description, "least runtime": file.runtime or ""}
    signatures = tuple(
        Signature(name=name, method="", inputs=ins, outputs=outs)
        for name, (ins, outs) in sorted(file.signatures.items())
    )
    return Read(
        {
            "written_by": {key: value for key, value in written.items() if value},
            "signature": signatures[0].name if signatures else None,
            "signatures": signatures,
            "inputs": file.inputs,
            "outputs": file.outputs,
            "quantised": len(file.quantisation),
        },
        file.graph,
    )


def _onnx(file: onnx_file.File) -> Read:
    opsets = {f"opset {domain}".strip(): str(version) for domain, version in sorted(file.opsets.items())}
    return Read(
        {
            "written_by": {"producer": file.producer, "IR": str(file.ir_version), **opsets},
            "inputs": file.inputs,
            "outputs": file.outputs,
        },
        file.graph,
    )


def _keras(file: keras_file.Described) -> Read:
    written = {"Keras": file.keras_version, "backend": file.backend}
    return Read(
        {
            "written_by": {key: value for key, value in written.items() if value},
            "inputs": file.inputs,
            "outputs": tuple(Tensor(name=n, tensor=n, dtype="", shape=None) for n in file.outputs),
            "layers": file.layers,
            "parameters": file.parameters,
            "weight_bytes": file.weight_bytes,
            "code": file.code,
        },
        None,
    )


def _saved_model(path: Path, found: saved_model.Described, wanted: str | None) -> Read:
    chosen = saved_model.choose(found.signatures, wanted, path)
    written = {"TensorFlow": found.tensorflow_version}
    if found.identifiers:
        written["saved from"] = "a Keras model"
    fields: dict[str, object] = {
        "written_by": written,
        "tags": found.tags,
        "signatures": found.signatures,
        "assets": found.assets,
    }
    if chosen is None:
        read = _unsigned(found.graph_def, found.tensorflow_version, ())
        return Read({**read.fields, **fields}, read.graph)
    graph = graph_def.read(
        found.graph_def,
        [t.tensor for t in chosen.outputs if t.tensor],
        [t.tensor for t in chosen.inputs if t.tensor],
    )
    fields |= {"signature": chosen.name, "inputs": chosen.inputs, "outputs": chosen.outputs}
    return Read(fields, graph)


def _unsigned(message: object, version: str, outputs: tuple[str, ...]) -> Read:
    """A GraphDef that names no ends."""
    from edgefreeze.worker import cutting

    found = candidates(message)
    named = [end.tensor for end in cutting.ends(outputs, message, "--outputs")] if outputs else []
    ends = named or [f"{c.node}:0" for c in found.outputs[:1]]
    graph = graph_def.read(message, ends) if ends else Graph([], {})
    producer = getattr(message, "versions").producer  # noqa: B009 - a message of protobuf has no type here
    written = {"TensorFlow": version, "GraphDef version": str(producer) if producer else ""}
    return Read(
        {
            "written_by": {key: value for key, value in written.items() if value},
            "candidates": found,
            "inputs": tuple(_end(graph, tensor) for tensor in graph.inputs),
            "outputs": tuple(_end(graph, tensor) for tensor in ends),
        },
        graph,
    )


def _end(graph: Graph, tensor: str) -> Tensor:
    value = graph.value(tensor)
    return Tensor(
        name=tensor.removesuffix(":0"),
        tensor=tensor,
        dtype=value.dtype,
        shape=value.shape,
    )


def _of_graph(graph: Graph) -> dict[str, object]:
    ops = graph.operations()
    needed = {tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs)}
    stored = [v for t, v in graph.values.items() if v.stored and v.integers is None and t in needed]
    variables = [n for n in graph.nodes if n.op in ("VarHandleOp", "VariableV2", "Variable")]
    of_variables = [graph.value(n.outputs[0]) for n in variables]
    # Where a model has variables they are its parameters; a frozen one's are its constants.
    weights = of_variables or [v for v in stored if v.dtype != "string"]
    return {
        "variables": len(variables),
        "parameters": sum(v.elements or 0 for v in weights),
        "weight_bytes": sum(v.bytes or 0 for v in weights),
        "tables": tuple(n.name for n in graph.nodes if TABLE_OPS.fullmatch(n.op)),
        "control_flow": {op: count for op, count in ops.items() if CONTROL_FLOW.fullmatch(op)},
        "state": tuple(op for op in ops if changes_state(op)),
        "random": tuple(op for op in ops if RANDOM.fullmatch(op)),
        "nodes": len(graph.nodes),
        "operations": ops,
        "cost": cost(graph),
    }


def _with_targets(found: Inspection, ops: list[str], targets: Sequence[Target]) -> Inspection:
    facts = advice.Facts(
        kind=found.kind,
        signatures=len(found.signatures),
        input_dtypes=tuple(t.dtype for t in found.inputs),
        tables=len(found.tables),
        control_flow=tuple(found.control_flow),
        parameters=found.parameters,
        flops=found.cost.flops if found.cost and not found.cost.uncounted else None,
        free_batch=any(t.shape is not None and t.shape[:1] == (None,) for t in found.inputs),
    )
    judged = []
    for target in targets:
        names: list[str] = [f.format for f in target.formats]
        fits = {
            name: fit_of_layers([layer.kind for layer in found.layers], name)
            if found.layers
            else fit(found.kind, ops, name, size=found.weight_bytes)
            for name in names
        }
        judged.append(
            TargetFit(
                target=target.name,
                formats=tuple(fits.values()),
                advice=advice.advise(target.name, names, fits, facts),
            )
        )
    return replace(found, targets=tuple(judged))

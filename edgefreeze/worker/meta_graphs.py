"""A SavedModel by way of TensorFlow 1: pick a MetaGraph by its tags, a signature, and load it in a session.

Only the part that the signature uses is imported, so what is broken or missing elsewhere does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure, nearest
from edgefreeze.worker import cutting, sessions
from edgefreeze.worker.cutting import End
from edgefreeze.worker.graphs import producer, reachable
from edgefreeze.worker.messages import parse
from edgefreeze.worker.signatures import DEFAULT, choose
from edgefreeze.worker.sources import Options, Source

FILES = ("saved_model.pb", "saved_model.pbtxt")
_INIT_KEYS = ("saved_model_main_op", "legacy_init_op")
_LOCAL = "local_variables"
_INIT_SIGNATURE = "__saved_model_init_op"
_NOT_TO_CALL = (_INIT_SIGNATURE, "__saved_model_train_op")
_STRING = 7
"""DT_STRING."""
_Types = dict[str, tuple[int, Any]]


def file_of(folder: Path) -> Path | None:
    """The folder's saved_model.pb or .pbtxt, None where it has neither."""
    return next((path for name in FILES if (path := folder / name).is_file()), None)


def load(path: Path, options: Options, save_method: str) -> Source:
    """Load a SavedModel's signature, or what --outputs and --inputs name, in a session.

    Raises Failure: model-broken, model-no-signature, model-signature-choice, usage, and as
    sessions.load.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = file_of(path)
    assert file is not None
    saved = parse(file, saved_model_pb2.SavedModel())
    if not saved.meta_graphs:
        raise Failure(
            "model-broken",
            f"The SavedModel {path} has no graph.",
            expected="at least one MetaGraph",
            found="none",
            next="Save or copy the model again.",
        )
    meta = choose_tags(saved.meta_graphs, options.tags, path)
    key, inputs, outputs, types = _ends(meta, options, path)
    prefix = path / "variables" / "variables"
    saver = meta.saver_def
    feeds = assets(meta, path)
    if saver.filename_tensor_name:
        feeds[saver.filename_tensor_name] = str(prefix)
    return sessions.load(
        sessions.Model(
            path=path,
            graph=meta.graph_def,
            inputs=inputs,
            outputs=outputs,
            signature=key,
            restore=saver.restore_op_name or None,
            initialise=_initialise(meta),
            own=local_initialisers(meta),
            feeds=feeds,
            types=types,
        ),
        options.batch,
        save_method,
    )


def choose_tags(metas: Sequence[Any], wanted: tuple[str, ...] | None, path: Path) -> Any:
    """The MetaGraph with exactly these tags; without any: the one that serves, or the only one.

    Raises Failure model-signature-choice.
    """
    tags = [frozenset(meta.meta_info_def.tags) for meta in metas]
    shown = "; ".join(",".join(sorted(t)) or "(none)" for t in tags)
    if wanted is not None:
        for meta, own in zip(metas, tags, strict=True):
            if own == frozenset(wanted):
                return meta
        known = sorted(set().union(*tags) - set(wanted))
        near = nearest(wanted[0], known) if len(wanted) == 1 else None
        raise Failure(
            "model-signature-choice",
            f"The SavedModel {path} has no graph with the tags {','.join(wanted)}"
            + (f"; did you mean {near}?" if near else "."),
            expected=f"one of {shown}",
            found=",".join(wanted),
            next=f"--tags {','.join(sorted(tags[0]))}" if tags[0] else None,
        )
    if len(metas) == 1:
        return metas[0]
    serving = [meta for meta, own in zip(metas, tags, strict=True) if own == {"serve"}]
    if len(serving) != 1:
        raise Failure(
            "model-signature-choice",
            f"The SavedModel {path} has {len(metas)} graphs, and its tags do not say which one serves.",
            expected="--tags with those of one of them",
            found=shown,
            next=f"--tags {','.join(sorted(tags[0]))}",
        )
    return serving[0]


def _ends(meta: Any, options: Options, path: Path) -> tuple[str, list[End], list[End], _Types]:
    """(signature, inputs, outputs, types of the inputs' tensors)."""
    graph = meta.graph_def
    types: _Types = {}
    inputs: list[End] = []
    outputs: list[End] = []
    key = options.signature or DEFAULT
    signatures = {
        name: definition
        for name, definition in meta.signature_def.items()
        if name not in _NOT_TO_CALL and definition.outputs
    }
    if not signatures and not options.outputs:
        raise _without_signature(graph, path)
    if options.signature is not None or DEFAULT in signatures or not options.outputs:
        key = choose({n: _arguments(d) for n, d in signatures.items()}, options.signature, path)
        inputs, outputs = _flat(signatures[key].inputs, types), _flat(signatures[key].outputs, {})
    if options.outputs:
        keys = {end.key: end for end in outputs}
        if all(spec in keys for spec in options.outputs):
            outputs = [keys[spec] for spec in options.outputs]
        else:
            outputs = cutting.ends(options.outputs, graph, "--outputs")
        needed = reachable(graph, [producer(end.tensor) for end in outputs])
        inputs = [end for end in inputs if producer(end.tensor) in needed]
    if options.inputs:
        inputs = cutting.ends(options.inputs, graph, "--inputs")
    elif not inputs:
        inputs = cutting.placeholders(graph, outputs)
    return key, inputs, outputs, types


def _without_signature(graph: Any, path: Path) -> Failure:
    found = cutting.candidates(graph)
    such = f", such as {cutting.listed(found)}" if found else ""
    return Failure(
        "model-no-signature",
        f"The SavedModel {path} has no signature, so nothing says what its inputs and outputs are.",
        expected=f"a signature, or --outputs with the names of nodes{such}",
        found="none",
        next=f"--outputs {found[0]}" if found else None,
    )


def _flat(infos: Any, types: _Types) -> list[End]:
    """Ends by key, the parts of a sparse tensor as KEY_indices, KEY_values and KEY_shape. Fills in types."""
    from tensorflow.core.framework import tensor_shape_pb2, types_pb2

    def shape(*sizes: int) -> Any:
        made = tensor_shape_pb2.TensorShapeProto()
        for size in sizes:
            made.dim.add(size=size)
        return made

    found: list[End] = []
    for key, info in sorted(infos.items()):
        kind = info.WhichOneof("encoding")
        if kind == "coo_sparse":
            sparse, rank = info.coo_sparse, len(info.tensor_shape.dim) or -1
            for part, tensor, dtype, size in (
                ("indices", sparse.indices_tensor_name, types_pb2.DT_INT64, shape(-1, rank)),
                ("values", sparse.values_tensor_name, info.dtype, shape(-1)),
                ("shape", sparse.dense_shape_tensor_name, types_pb2.DT_INT64, shape(rank)),
            ):
                found.append(End(f"{key}_{part}", cutting.whole(tensor)))
                types[found[-1].tensor] = dtype, size
        elif kind == "name":
            found.append(End(key, cutting.whole(info.name)))
            types[found[-1].tensor] = info.dtype, info.tensor_shape
    return found


def _arguments(definition: Any) -> str:
    from tensorflow.dtypes import as_dtype
    from tensorflow.python.framework.tensor_shape import TensorShape

    return ", ".join(
        f"{key}: {as_dtype(info.dtype).name if info.dtype else 'unknown'}{TensorShape(info.tensor_shape)}"
        for key, info in sorted(definition.inputs.items())
    )


def _initialise(meta: Any) -> tuple[str, ...]:
    """The operations to run once after restoring: what the model names for it, tables included."""
    named = [
        producer(info.name)
        for key, definition in sorted(meta.signature_def.items())
        if key == _INIT_SIGNATURE
        for info in definition.outputs.values()
    ]
    collected = [
        name
        for key in _INIT_KEYS
        if key in meta.collection_def
        for name in meta.collection_def[key].node_list.value
    ]
    return tuple(dict.fromkeys([*named, *(producer(n) for n in collected)]))


def local_initialisers(meta: Any) -> dict[str, str]:
    """What sets each local variable, which no checkpoint holds, by the variable's node."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import variable_pb2

    found: dict[str, str] = {}
    if _LOCAL not in meta.collection_def:
        return found
    for content in meta.collection_def[_LOCAL].bytes_list.value:
        try:
            variable = variable_pb2.VariableDef.FromString(content)
        except DecodeError:  # of another version, or damaged: then the variable has no value, and is named
            continue
        found[producer(variable.variable_name)] = producer(variable.initializer_name)
    return found


def assets(meta: Any, path: Path) -> dict[str, str]:
    """The paths of the model's files, by the tensors that stand for them. A path of another machine that was
    not declared is taken for the asset of the same name."""
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.python.framework import tensor_util

    folder = path / "assets"
    declared = list(meta.asset_file_def)
    if "saved_model_assets" in meta.collection_def:
        for content in meta.collection_def["saved_model_assets"].any_list.value:
            asset = meta_graph_pb2.AssetFileDef()
            if content.Unpack(asset):
                declared.append(asset)
    found = {cutting.whole(a.tensor_info.name): str(folder / a.filename) for a in declared}
    for node in meta.graph_def.node:
        if node.op != "Const" or node.attr["dtype"].type != _STRING or f"{node.name}:0" in found:
            continue
        values = node.attr["value"].tensor
        if len(values.string_val) == 1 and values.string_val[0].startswith(b"/"):
            named = tensor_util.MakeNdarray(values)
            text = bytes(named.reshape(-1)[0]).decode("utf-8", "surrogateescape")
            if named.ndim == 0 and not Path(text).exists() and (folder / Path(text).name).is_file():
                found[f"{node.name}:0"] = str(folder / Path(text).name)
    return found

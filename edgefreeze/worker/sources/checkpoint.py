"""A TensorFlow 1 checkpoint: the graph in NAME.meta, the values in NAME.index and NAME.data-…, or, of the
first version, in NAME or NAME-?????-of-N. Named by any of its files, by what they begin with, or by its
folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.worker import cutting, meta_graphs, sessions, wire
from edgefreeze.worker.messages import parse
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.signatures import DEFAULT
from edgefreeze.worker.sources import Options, Source

KIND = "a TensorFlow 1 checkpoint (NAME.meta with NAME.index and NAME.data-…)"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<index>\d{5}|\?{5})-of-(?P<count>\d{5})")
_PART = re.compile(r"(?P<stem>.+)\.(meta|index|data-\d{5}-of-\d{5})")
_STATE = re.compile(r'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_TABLE_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""Ends an SSTable, which an .index file and a checkpoint of the first version are."""
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """A checkpoint on disk: `values` is what TensorFlow calls its path, None where there are none."""

    stem: Path
    meta: Path | None
    values: str | None
    parts: tuple[Path, ...]


def sniff(path: Path) -> bool:
    """Whether the path names a checkpoint, or a folder that holds one and is no SavedModel."""
    if path.is_dir():
        return meta_graphs.file_of(path) is None and _in_folder(path) != []
    if path.is_file() and (wire.message(path) == "MetaGraphDef" or _is_table(path)):
        return True
    return _stem(path) is not None


def load(path: Path, options: Options) -> Source:
    """Load a checkpoint's graph and values.

    Raises Failure: model-broken, model-unsupported (no graph: what is missing), model-no-signature, usage,
    and as sessions.load.
    """
    from tensorflow.core.protobuf import meta_graph_pb2

    files = find(path)
    if files.meta is None:
        raise _without_graph(files)
    meta = parse(files.meta, meta_graph_pb2.MetaGraphDef())
    graph = meta.graph_def
    if files.values is None:
        raise Failure(
            "model-broken",
            f"The checkpoint {files.stem} has a graph and no values.",
            expected=f"{files.stem.name}.index and {files.stem.name}.data-… beside {files.meta.name}",
            found="none of them",
            next="Copy all files of the checkpoint.",
        )
    if not options.outputs:
        raise cutting.unnamed(path, cutting.candidates(graph))
    outputs = cutting.ends(options.outputs, graph, "--outputs")
    inputs = (
        cutting.ends(options.inputs, graph, "--inputs")
        if options.inputs
        else cutting.placeholders(graph, outputs)
    )
    saver = meta.saver_def
    return sessions.load(
        sessions.Model(
            path=path,
            graph=graph,
            inputs=inputs,
            outputs=outputs,
            signature=DEFAULT,
            restore=saver.restore_op_name or None,
            own=meta_graphs.local_initialisers(meta),
            feeds={cutting.whole(saver.filename_tensor_name): files.values}
            if saver.filename_tensor_name
            else {},
            values=None if saver.restore_op_name else files.values,
            files=files.parts,
        ),
        options.batch,
        "saved from the checkpoint's graph",
    )


def find(path: Path) -> Files:
    """The files of the checkpoint that the path names. Raises Failure model-signature-choice where a folder
    has several and no `checkpoint` file says which."""
    if path.is_dir():
        stems = _in_folder(path)
        if len(stems) > 1:
            raise Failure(
                "model-signature-choice",
                f"The folder {path} has {len(stems)} checkpoints, and no file says which is meant.",
                expected="the path of one of them",
                found=cutting.listed([s.name for s in stems]),
                next=f"Name {stems[-1]}",
            )
        stem = stems[0]
    else:
        stem = _stem(path) or path
    beside = sorted(p for p in stem.parent.glob(f"{_escaped(stem.name)}*") if p.is_file())
    meta = next((p for p in beside if p.name == f"{stem.name}.meta"), None)
    if meta is None and path.is_file() and wire.message(path) == "MetaGraphDef":
        meta = path
    index = stem.with_name(f"{stem.name}.index")
    shards = [p for p in beside if (m := _SHARD.fullmatch(p.name)) and m["stem"] == stem.name]
    parts = [p for p in beside if p == meta or ((m := _PART.fullmatch(p.name)) and m["stem"] == stem.name)]
    values = None
    if index.is_file():
        values = str(stem)
    elif shards:
        match = _SHARD.fullmatch(shards[0].name)
        assert match is not None
        values = str(stem.with_name(f"{stem.name}-?????-of-{match['count']}"))
        parts += shards
    elif stem.is_file() and stem != meta:
        values = str(stem)
        parts.append(stem)
    return Files(stem=stem, meta=meta, values=values, parts=tuple(dict.fromkeys(parts)))


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _stem(path: Path) -> Path | None:
    """What the checkpoint's files begin with, for one of them or for that beginning itself."""
    if (match := _PART.fullmatch(path.name)) and path.is_file():
        stem = path.with_name(match["stem"])
        # model.meta and model.index are the names of other things too.
        return stem if _companions(stem) or wire.message(path) == "MetaGraphDef" or _is_table(path) else None
    if match := _SHARD.fullmatch(path.name):
        stem = path.with_name(match["stem"])
        if any(stem.parent.glob(f"{_escaped(stem.name)}-?????-of-{match['count']}")):
            return stem
    if not path.exists() and _companions(path):
        return path
    if path.is_file() and path.with_name(f"{path.name}.meta").is_file() and _is_table(path):
        return path
    return None


def _companions(stem: Path) -> bool:
    if stem.with_name(f"{stem.name}.index").is_file() and any(
        stem.parent.glob(f"{_escaped(stem.name)}.data-?????-of-?????")
    ):
        return True
    meta = stem.with_name(f"{stem.name}.meta")
    return meta.is_file() and meta.stat().st_size > 0 and wire.message(meta) == "MetaGraphDef"


def _in_folder(folder: Path) -> list[Path]:
    """The checkpoints in a folder: the one that its `checkpoint` file names, if that is there, else all."""
    stems = dict.fromkeys(
        folder / match["stem"]
        for p in sorted(folder.iterdir())
        if p.is_file() and (match := _PART.fullmatch(p.name)) and match[2] in ("meta", "index")
    )
    stems |= dict.fromkeys(
        folder / match["stem"]
        for p in sorted(folder.iterdir())
        if p.is_file() and (match := _SHARD.fullmatch(p.name)) and not match["stem"].endswith(".data")
    )
    state = folder / "checkpoint"
    if state.is_file():
        match = _STATE.search(state.read_text("utf-8", "replace"))
        named = folder / Path(match[1]).name if match else None
        if named in stems:
            return [named]
    return sorted(stems)


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_TABLE_MAGIC)))
        return file.read() == _TABLE_MAGIC


def _without_graph(files: Files) -> Failure:
    """Why values alone cannot be frozen; what would help depends on which TensorFlow wrote them."""
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(files.values or str(files.stem))
        names = sorted(reader.get_variable_to_shape_map())
    except Exception as error:
        return Failure(
            "model-broken",
            f"The checkpoint {files.stem} cannot be read.",
            expected="a whole checkpoint: .meta, .index and all .data files",
            found=reason(error),
            next="Copy all files of the checkpoint again.",
        )
    weights = [n for n in names if not n.startswith(("_CHECKPOINTABLE", "save_counter"))]
    if _OBJECTS in names:
        return Failure(
            "model-unsupported",
            f"The checkpoint {files.stem} holds weights only: TensorFlow 2 saves no graph with them.",
            expected="a model with its graph",
            found=f"{len(weights)} values, such as {clean(cutting.listed(weights[:3]))}",
            next="Build the model where its code is, load the weights, then model.export('saved_model') or "
            "tf.saved_model.save",
        )
    return Failure(
        "model-unsupported",
        f"The checkpoint {files.stem} lacks {files.stem.name}.meta, the file with its graph.",
        expected=f"{files.stem.name}.meta beside {files.stem.name}.index",
        found=f"{len(weights)} values, such as {clean(cutting.listed(weights[:3]))}",
        next=f"Copy {files.stem.name}.meta too, or write it where the model's code is: "
        "tf.compat.v1.train.export_meta_graph",
    )

"""A TF2 SavedModel folder: any of its signatures.

Files of Keras 2 carry optimizer slots that today's loader dies of; they are dropped from a copy.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import assets, meta_graphs, wire
from edgefreeze.worker.meta_graphs import FILES
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.signatures import choose
from edgefreeze.worker.sources import (
    Options,
    Source,
    keras2,
    narrowed,
    shape_of,
    tensors_of,
    trace,
    with_batch,
)

_OF_KERAS_2 = "keras_metadata.pb"
_BY_SESSION = "saved from the signature's part of the graph"
KIND = "a SavedModel (a folder with saved_model.pb and variables/)"


def sniff(path: Path) -> bool:
    """Whether the folder holds a saved_model.pb or .pbtxt, unless it is one of TensorFlow 1."""
    file = meta_graphs.file_of(path)
    return file is not None and wire.has_object_graph(file) is not False


def environment(path: Path) -> dict[str, str]:
    """Keras 2's own SavedModels may have to be read by tf-keras."""
    return keras2.ENVIRONMENT if (path / _OF_KERAS_2).is_file() else {}


def load(path: Path, options: Options) -> Source:
    """Load a SavedModel and pick a signature: as objects, or where that fails by what the signature uses, in
    a session.

    Raises Failure: model-broken, model-unsupported, model-no-signature, model-signature-choice, and as
    sessions.load.
    """
    file = meta_graphs.file_of(path)
    if file is not None and file.stat().st_size == 0:
        raise Failure(
            "model-broken",
            f"The SavedModel {path} has no graph.",
            expected="at least one MetaGraph",
            found=f"{file.name} has 0 bytes",
            next="Save or copy the model again.",
        )
    if options.inputs or _has_several_graphs(path):
        return meta_graphs.load(path, options, _BY_SESSION)
    try:
        loaded = _load(path, options.tags)
    except Failure as failure:
        try:
            return meta_graphs.load(path, options, _BY_SESSION)
        except Failure as second:
            # Damage is best told by the first; what is missing or not to be chosen, by the second.
            raise (failure if second.code == "model-broken" else second) from failure
    signatures = dict(getattr(loaded, "signatures", {}))
    if not signatures and (path / _OF_KERAS_2).is_file():
        return keras2.load_saved_model(path, options)
    key = choose({name: _arguments(f) for name, f in signatures.items()}, options.signature, path)
    original = signatures[key]
    specs = original.structured_input_signature[1]
    inputs = [
        Tensor(
            name=name, tensor="", dtype=spec.dtype.name, shape=with_batch(shape_of(spec.shape), options.batch)
        )
        for name, spec in sorted(specs.items())
    ]

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        return narrowed(dict(original(**tensors)), options.outputs)

    function = trace(call, inputs)
    named_inputs, outputs = tensors_of(function, [t.name for t in inputs])

    # Whether they hurt depends on what is installed beside TensorFlow: here is not there.
    slots = _has_slots(path)

    def save(folder: Path) -> None:
        shutil.copytree(path, folder)
        if slots:
            _write_without_slots(path, folder)

    source = Source(
        function=function,
        inputs=named_inputs,
        outputs=outputs,
        signature=key,
        save=save,
        save_method="copied" + (", without the optimizer's slots" if slots else ""),
        labels=_labels(function, loaded),
        keep=loaded,
    )
    return assets.inside(source, _files(function, loaded), path)


def _has_several_graphs(path: Path) -> bool:
    file = meta_graphs.file_of(path)
    return file is not None and wire.graphs_in(file) > 1


def _files(function: Any, loaded: Any) -> dict[str, str]:
    """The paths of the model's assets by the captures that stand for them."""
    paths = {
        id(child.asset_path): str(child.asset_path.numpy().decode())
        for _, child in _children(loaded)
        if hasattr(child, "asset_path") and hasattr(child.asset_path, "numpy")
    }
    return {i.op.name: paths[id(outer)] for outer, i in function.graph.captures if id(outer) in paths}


def _arguments(function: Any) -> str:
    specs = function.structured_input_signature[1]
    return ", ".join(f"{name}: {spec.dtype.name}{spec.shape}" for name, spec in sorted(specs.items()))


def _load(path: Path, tags: tuple[str, ...] | None) -> Any:
    """The loaded object, from a copy without the optimizer's slots if need be. Raises Failure."""
    import tensorflow as tf

    def load(folder: Path) -> Any:
        return tf.saved_model.load(str(folder), tags=list(tags) if tags else None)

    try:
        try:
            return load(path)
        except AttributeError as error:
            if "add_slot" not in str(error):
                raise
        with ExitStack() as stack:
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgefreeze-")))
            for entry in path.iterdir():
                if entry.name not in FILES:
                    (copy / entry.name).symlink_to(entry.resolve())
            _write_without_slots(path, copy)
            return load(copy)
    except (
        tf.errors.OpError,
        OSError,
        EOFError,
        UnicodeDecodeError,
        IndexError,
    ) as error:  # out of range: cut
        raise Failure(
            "model-broken",
            f"The SavedModel {path} cannot be read: its files are damaged or incomplete.",
            expected="saved_model.pb and the whole variables/ folder, as TensorFlow wrote them",
            found=reason(error),
            next="Save or copy the model again.",
        ) from error
    except Exception as error:
        raise Failure(
            "model-unsupported",
            f"TensorFlow cannot load the SavedModel {path}.",
            expected="a SavedModel that tf.saved_model.load accepts" + (f" with tags {tags}" if tags else ""),
            found=reason(error),
        ) from error


def _has_slots(path: Path) -> bool:
    """Whether the model brings the slot variables of an optimizer along."""
    from tensorflow.python.saved_model import loader_impl

    model = loader_impl.parse_saved_model(str(path))
    return any(n.slot_variables for m in model.meta_graphs for n in m.object_graph_def.nodes)


def _write_without_slots(path: Path, folder: Path) -> None:
    """Write the model's saved_model.pb into `folder` without the optimizer's slot variables."""
    from tensorflow.python.saved_model import loader_impl

    model = loader_impl.parse_saved_model(str(path))
    for meta_graph in model.meta_graphs:
        for node in meta_graph.object_graph_def.nodes:
            del node.slot_variables[:]
    (folder / FILES[1]).unlink(missing_ok=True)
    (folder / FILES[0]).write_bytes(model.SerializeToString(deterministic=True))


def _labels(function: Any, loaded: Any) -> dict[str, str]:
    """What each captured resource is, by its name in the function's graph, in the model's own words."""
    known: dict[int, str] = {}
    for name, child in _children(loaded):
        handle = getattr(child, "resource_handle", None)
        if handle is not None:
            known.setdefault(id(handle), f"the table {name!r}")
    variables = {id(v.handle): f"the variable {v.name.split(':')[0]!r}" for v in function.graph.variables}
    return {
        internal.op.name: variables.get(id(outer)) or known.get(id(outer), "a resource without a name")
        for outer, internal in function.graph.captures
        if internal.dtype.name == "resource"
    }


def _children(root: Any) -> list[tuple[str, Any]]:
    """(path of attributes, object) for everything that a loaded model tracks."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", root)]
    while todo:
        path, node = todo.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        found.append((path, node))
        # The children's names are those of the checkpoint; there is no public way to walk them.
        children: dict[str, Any] = getattr(node, "_trackable_children", dict)()
        todo.extend((f"{path}.{name}" if path else name, child) for name, child in children.items())
    return found

"""Reads a SavedModel's own description: graphs, tags, signatures, versions. No variable is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure, nearest
from edgefreeze.inspection import schema
from edgefreeze.inspection.graph_def import shape
from edgefreeze.inspection.schema import TENSORFLOW_DTYPES
from edgefreeze.types import Tensor
from edgefreeze.worker import meta_graphs
from edgefreeze.worker.messages import parse
from edgefreeze.worker.signatures import DEFAULT

_INTERNAL = ("__saved_model_init_op", "__saved_model_train_op")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One way to call the model. `tensor` of its ends is the graph's name for them."""

    name: str
    method: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a SavedModel says of the graph that was chosen, and the graph's message."""

    graph_def: Any
    tags: tuple[tuple[str, ...], ...]
    """Of every graph in the file; the first is the chosen one's."""
    signatures: tuple[Signature, ...]
    tensorflow_version: str
    assets: tuple[str, ...]
    identifiers: tuple[str, ...]
    """What kinds of objects it was saved from, such as "_tf_keras_network"."""


def read(path: Path, tags: tuple[str, ...] | None) -> Described:
    """Read the folder's saved_model.pb. Raises Failure model-broken, model-signature-choice (tags)."""
    file = meta_graphs.file_of(path)
    assert file is not None
    saved = parse(file, schema.tensorflow("SavedModel"))
    if not saved.meta_graphs:
        raise Failure(
            "model-broken",
            f"The SavedModel {path} has no graph.",
            expected="at least one MetaGraph",
            found="none",
            next="Save or copy the model again.",
        )
    meta = meta_graphs.choose_tags(saved.meta_graphs, tags, path)
    others = [m for m in saved.meta_graphs if m is not meta]
    objects = meta.object_graph_def.nodes if meta.HasField("object_graph_def") else ()
    return Described(
        graph_def=meta.graph_def,
        tags=tuple(tuple(sorted(m.meta_info_def.tags)) for m in (meta, *others)),
        signatures=tuple(
            _signature(name, meta.signature_def[name])
            for name in sorted(meta.signature_def, key=lambda n: (n != DEFAULT, n))
            if name not in _INTERNAL
        ),
        tensorflow_version=meta.meta_info_def.tensorflow_version,
        assets=tuple(sorted(a.filename for a in meta.asset_file_def)),
        identifiers=tuple(
            sorted(
                {
                    o.user_object.identifier
                    for o in objects
                    if o.user_object.identifier.startswith("_tf_keras")
                }
            )
        ),
    )


def choose(signatures: Sequence[Signature], wanted: str | None, path: Path) -> Signature | None:
    """The signature of a name, else serving_default, else the first; None where there is none.

    Raises Failure model-signature-choice.
    """
    names = [s.name for s in signatures]
    if wanted is not None and wanted not in names:
        near = nearest(wanted, names)
        raise Failure(
            "model-signature-choice",
            f"The SavedModel {path} has no signature {wanted!r}"
            + (f"; did you mean {near!r}?" if near else "."),
            expected=", ".join(names) or "none: it has no signatures",
            found=wanted,
            next=f"--signature {near or names[0]}" if names else None,
        )
    return next((s for s in signatures if s.name == (wanted or s.name)), None)


def _signature(name: str, definition: Any) -> Signature:
    return Signature(
        name=name,
        method=definition.method_name,
        inputs=tuple(_tensor(key, definition.inputs[key]) for key in sorted(definition.inputs)),
        outputs=tuple(_tensor(key, definition.outputs[key]) for key in sorted(definition.outputs)),
    )


def _tensor(key: str, info: Any) -> Tensor:
    known = shape(info.tensor_shape) if info.HasField("tensor_shape") else None
    return Tensor(name=key, tensor=info.name, dtype=TENSORFLOW_DTYPES.get(info.dtype, ""), shape=known)

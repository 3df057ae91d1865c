"""Writing a function as a SavedModel whose signature has the keys that it should have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.types import Tensor
from edgefreeze.worker.sources import trace


def save(module: Any, folder: Path, signature: str, function: Any, inputs: Sequence[Tensor]) -> None:
    """Write a SavedModel with one signature.

    module: a tf.Module that holds what the function captures. function: takes the inputs in order, returns a
    dict. TensorFlow makes Python arguments of the keys and takes those only that can be: so they are saved
    under other names and given theirs in the file.
    """
    import tensorflow as tf

    arguments = {f"argument_{index}": t.name for index, t in enumerate(inputs)}
    specs = [replace(t, name=argument) for argument, t in zip(arguments, inputs, strict=True)]
    traced = trace(lambda values: dict(function(*values.values())), specs)
    tf.saved_model.save(module, str(folder), signatures={signature: traced})
    _rename(folder / "saved_model.pb", signature, arguments)
    # Its random identifier would give the same model another digest each time; nothing reads it.
    (folder / "fingerprint.pb").unlink(missing_ok=True)


def _rename(file: Path, signature: str, names: dict[str, str]) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (meta,) = model.meta_graphs
    inputs = meta.signature_def[signature].inputs
    infos = {names.get(key, key): info for key, info in inputs.items()}
    copies = {key: type(info).FromString(info.SerializeToString()) for key, info in infos.items()}
    for key in list(inputs):
        del inputs[key]
    for key, info in copies.items():
        inputs[key].CopyFrom(info)
    for node in meta.object_graph_def.nodes:
        if node.WhichOneof("kind") == "bare_concrete_function":
            keywords = node.bare_concrete_function.argument_keywords
            keywords[:] = [names.get(key, key) for key in keywords]
    file.write_bytes(model.SerializeToString(deterministic=True))

"""SavedModel folders: the original (fp32), so that it is measured in the same harness as what was made of it,
and the frozen function in the same form (frozen), for what loads nothing but SavedModels.

The frozen one has no variables and no objects: one graph, one signature, one operation that fills the tables
on loading. It is written as TensorFlow 1 wrote it, which every loader takes, since nothing in it depends on
what the process did before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.text import size
from edgefreeze.types import Shape, Tensor
from edgefreeze.worker.formats import Made, Unfit, Written
from edgefreeze.worker.freeze import Frozen
from edgefreeze.worker.signatures import DEFAULT

RUNTIME = "tf_saved_model"
_LIMIT = 2**31 - 1
_SCHEMA = 1
"""saved_model_schema_version: the only one that there is."""


def path(precision: str) -> str:
    """The folder that is written."""
    return "saved_model" if precision == "fp32" else f"saved_model.{precision}"


def write(made: Made, precision: str, out: Path, options: Mapping[str, Any]) -> Written:
    """Write saved_model/ or saved_model.frozen/. Its `tensor` names are the keys of the signature."""
    source, folder = made.source, out / path(precision)
    if precision == "fp32":
        source.save(folder)
        method, signature = source.save_method, source.signature
        inputs, outputs = source.inputs, source.outputs
    else:
        signature = source.signature or DEFAULT
        _save(made.frozen, folder, signature)
        method = f"{made.frozen.method}; saved as a SavedModel"
        inputs, outputs = made.frozen.inputs, made.frozen.outputs
    return Written(
        inputs=tuple(replace(t, tensor=t.name) for t in inputs),
        outputs=tuple(replace(t, tensor=t.name) for t in outputs),
        method=method,
        signature=signature,
    )


def _save(frozen: Frozen, folder: Path, signature: str) -> None:
    """Write a frozen graph as a SavedModel, the same bytes for the same graph. Raises Unfit beyond
    protobuf's 2 GiB."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel(saved_model_schema_version=_SCHEMA)
    meta = model.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    meta.graph_def.CopyFrom(frozen.graph)
    definition = meta.signature_def[signature]
    definition.method_name = "tensorflow/serving/predict"
    for tensors, infos in ((frozen.inputs, definition.inputs), (frozen.outputs, definition.outputs)):
        for tensor in tensors:
            _describe(infos[tensor.name], tensor)
    for name in frozen.init_ops:
        meta.collection_def["saved_model_main_op"].node_list.value.append(name)
    count = model.ByteSize()
    if count > _LIMIT:
        raise Unfit(f"The graph takes {size(count)}, and a SavedModel's graph at most {size(_LIMIT)}.")
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(model.SerializeToString(deterministic=True))


def _describe(info: Any, tensor: Tensor) -> None:
    from tensorflow.dtypes import as_dtype

    info.name = tensor.tensor
    info.dtype = as_dtype(tensor.dtype).as_datatype_enum
    shape: Shape | None = tensor.shape
    if shape is None:
        info.tensor_shape.unknown_rank = True
    else:
        for dimension in shape:
            info.tensor_shape.dim.add(size=-1 if dimension is None else dimension)

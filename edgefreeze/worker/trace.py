"""The operation `trace`: the values of many tensors of one artifact, inner ones included, in bulk: one pass
for some hundred tensors, not one for each."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.device.tensors import as_bytes, decode_golden, is_text
from edgefreeze.errors import Failure
from edgefreeze.worker.reasons import reason

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

VALUES = "values.npz"
AT_ONCE = 512
_MOST_ELEMENTS = 1 << 26
"""Of one tensor: larger ones are left out."""

Fetch = Callable[[Sequence[Any]], list[Any]]


def trace(request: dict[str, Any]) -> dict[str, Any]:
    """Run the artifact on the first of `cases` and write the tensors' values to VALUES in `out`.

    tensors: [name, handle] each, the handle being what the runtime calls it: the numbers of the subgraph and
    of the tensor in a .tflite file, a name elsewhere; of a GraphDef that of a node, all of whose outputs are
    written as "name:i". Returns {"there": the names, in the order of the arrays "0", "1", … in the file}.
    Raises Failure runtime-failed.
    """
    inputs, _ = decode_golden(Path(request["cases"]).read_bytes())[0]
    fetchers = {"tf_frozen": _tensorflow, "tflite": _tflite, "onnxruntime": _onnx}
    path = Path(request["out"]) / VALUES
    there: list[str] = []
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, value in fetchers[request["runtime"]](request, inputs):
                array = np.asarray(value)
                if is_text(array) or array.dtype.kind not in "biufc" or array.size > _MOST_ELEMENTS:
                    continue
                with archive.open(f"{len(there)}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
                there.append(name)
    except Exception as error:
        raise Failure(
            "runtime-failed",
            f"{request['model']} does not run with its inner tensors fetched.",
            expected=f"an artifact that runs in {request['runtime']}",
            found=reason(error),
        ) from error
    return {"there": there}


def _groups(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def _whatever_runs(fetch: Fetch, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """(item, value) for all that can be fetched: a branch not taken makes the whole group fail, so that it
    is halved."""
    try:
        yield from zip(items, fetch(items), strict=True)
    except Exception:
        if len(items) > 1:
            middle = len(items) // 2
            yield from _whatever_runs(fetch, items[:middle])
            yield from _whatever_runs(fetch, items[middle:])


def _tensorflow(request: dict[str, Any], inputs: Arrays) -> Iterator[tuple[str, Any]]:
    import tensorflow as tf
    from tensorflow.core.protobuf import rewriter_config_pb2

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(Path(request["model"]).read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    config = tf.compat.v1.ConfigProto()
    # As it stands: what an optimiser makes of it has other nodes.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.rewrite_options.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
    config.graph_options.optimizer_options.opt_level = -1
    feeds = {t["tensor"]: inputs[t["name"]] for t in request["artifact"]["inputs"]}
    wanted = [
        tensor
        for _, node in request["tensors"]
        for tensor in graph.get_operation_by_name(node).outputs
        if tensor.dtype not in (tf.resource, tf.variant, tf.string) and not tensor.dtype._is_ref_dtype
    ]
    with tf.compat.v1.Session(graph=graph, config=config) as session:
        if request["artifact"].get("init_ops"):
            session.run(list(request["artifact"]["init_ops"]))

        def fetch(tensors: Sequence[Any]) -> list[Any]:
            return list(session.run(list(tensors), feeds))

        for group in _groups(wanted):
            for tensor, value in _whatever_runs(fetch, group):
                yield tensor.name, value


def _tflite(request: dict[str, Any], inputs: Arrays) -> Iterator[tuple[str, Any]]:
    from ai_edge_litert import interpreter as litert

    interpreter = litert.Interpreter(
        model_path=request["model"],
        experimental_preserve_all_tensors=True,
        # A delegate keeps what is between its nodes to itself.
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    known = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    for end in request["artifact"]["inputs"]:
        array = inputs[end["name"]]
        interpreter.resize_tensor_input(known[end["tensor"]], list(array.shape))
    interpreter.allocate_tensors()
    for end in request["artifact"]["inputs"]:
        interpreter.set_tensor(known[end["tensor"]], inputs[end["name"]])
    interpreter.invoke()
    for name, (subgraph, index) in request["tensors"]:
        try:
            value = interpreter.get_tensor(index, subgraph)
        except (ValueError, RuntimeError):
            continue  # one that is not allocated: a scratch tensor, or of a branch that was not taken
        yield name, value


def _onnx(request: dict[str, Any], inputs: Arrays) -> Iterator[tuple[str, Any]]:
    import onnx
    import onnxruntime

    model = onnx.load(request["model"])
    own = list(model.graph.output)
    produced = {name for node in model.graph.node for name in node.output}
    for tensor in model.graph.initializer:
        yield tensor.name, onnx.numpy_helper.to_array(tensor)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    feeds = {t["tensor"]: _text(inputs[t["name"]]) for t in request["artifact"]["inputs"]}
    names = [name for name, _ in request["tensors"] if name in produced]
    with tempfile.TemporaryDirectory() as folder:
        for group in _groups(names):
            del model.graph.output[:]
            model.graph.output.extend(own)
            listed = {o.name for o in own}
            model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in group if n not in listed)
            path = str(Path(folder) / "model.onnx")
            onnx.save(model, path)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            yield from zip(group, session.run(list(group), feeds), strict=True)


def _text(array: Any) -> Any:
    """ONNX Runtime takes strings as str."""
    if not is_text(array):
        return array
    texts = as_bytes(array)
    for index, item in enumerate(texts.flat):
        texts.flat[index] = item.decode("utf-8", "replace")
    return texts

"""tf2onnx on a frozen graph. It reports success for operations that it left as they were, so the result is
checked here by its operations, and afterwards by running it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgefreeze.text import size
from edgefreeze.worker import layers
from edgefreeze.worker.formats import Unfit
from edgefreeze.worker.freeze import Frozen
from edgefreeze.worker.reasons import reason

_LIMIT = 2**31 - 1
_ROUTES = (
    "Ways out: another format (tflite, saved_model:frozen, frozen_pb); --inputs and --outputs, to leave what "
    "is before or after outside."
)


def names(frozen: Frozen) -> dict[str, str]:
    """What the ONNX model calls the frozen graph's inputs and outputs: the node's name."""
    return {t.tensor: t.tensor.removesuffix(":0") for t in (*frozen.inputs, *frozen.outputs)}


def export(frozen: Frozen, opset: int) -> Any:
    """The graph as an onnx.ModelProto, whose inputs and outputs have the node names of the frozen graph.
    Raises Unfit, naming the operations that ONNX does not have, or the size beyond protobuf's 2 GiB."""
    import tf2onnx

    from edgefreeze.worker.onnx_models import operations  # noqa: F401 - tells tf2onnx of more operations

    if frozen.init_ops:
        raise Unfit(f"The model looks things up in a table, which ONNX has no operation for. {_ROUTES}")
    weights = frozen.graph.ByteSize()
    if weights > _LIMIT:
        raise Unfit(f"The model takes {size(weights)}, and an ONNX file holds at most {size(_LIMIT)}.")
    try:
        with _repeatable(), _frugal():
            model, _ = tf2onnx.convert.from_graph_def(
                frozen.graph,
                name="model",
                input_names=[t.tensor for t in frozen.inputs],
                output_names=[t.tensor for t in frozen.outputs],
                opset=opset,
                tensors_to_rename=names(frozen),
            )
    except Exception as error:  # it raises whatever it stumbles over
        raise Unfit(f"tf2onnx failed: {reason(error)}") from error
    unknown: dict[str, set[str]] = {}
    for op, node in _unknown(model.graph, {o.domain: o.version for o in model.opset_import}):
        unknown.setdefault(op, set()).add(node)
    if unknown:
        where = "; ".join(layers.describe(op, sorted(nodes)) for op, nodes in sorted(unknown.items()))
        raise Unfit(f"ONNX has no operation for {where}. {_ROUTES}")
    if model.ByteSize() > _LIMIT:
        raise Unfit(
            f"The model takes {size(model.ByteSize())}, and an ONNX file holds at most {size(_LIMIT)}."
        )
    return model


@contextmanager
def _repeatable() -> Iterator[None]:
    """tf2onnx walks over sets of nodes, and nodes hash by their address: another order of nodes, and another
    survivor of two equal ones, in every process. Here they hash by name, with the worker's fixed seed. Its
    names come from one counter for the whole process, which starts anew once all is imported that counts."""
    from tf2onnx import utils
    from tf2onnx.graph import Node
    from tf2onnx.rewriter import loop_rewriter_base  # noqa: F401

    utils.INTERNAL_NAME = 1
    by_address = Node.__hash__
    Node.__hash__ = lambda node: hash(node.name)
    try:
        yield
    finally:
        Node.__hash__ = by_address


@contextmanager
def _frugal() -> Iterator[None]:
    """tf2onnx copies the graph before each of its optimisers, twice over, and leaves the copies to a garbage
    collector that hardly ever looks: TensorFlow's many objects make a full collection rare. Here each is
    collected at once, and what was there before is not looked at. For ResNet50 (94 MB) that is a peak of 2.4
    GB where it was 5.4, in half the time."""
    from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase

    optimize = GraphOptimizerBase.optimize

    def collected(self: Any, graph: Any, iteration: int) -> Any:
        result = optimize(self, graph, iteration)
        gc.collect()
        return result

    gc.collect()
    gc.freeze()
    GraphOptimizerBase.optimize = collected
    try:
        yield
    finally:
        GraphOptimizerBase.optimize = optimize
        gc.unfreeze()


def _unknown(graph: Any, opsets: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """(type, name) of the nodes, subgraphs included, that no standard operator set has."""
    import onnx

    for node in graph.node:
        if node.domain not in opsets or not onnx.defs.has(node.op_type, opsets[node.domain], node.domain):
            yield node.op_type, node.name
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _unknown(inner, opsets)

"""ONNX, from the frozen graph: model.onnx. tf2onnx reports success for operations that it left as they were,
so the result is checked here by its operations and afterwards by running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.text import size
from edgefreeze.worker.formats import Made, Unfit, Written
from edgefreeze.worker.reasons import reason

RUNTIME = "onnxruntime"
PATH = "model.onnx"
PRECISIONS = ("fp32",)
TOLERANCE = {"fp32": 1e-4}
NEWEST_OPSET = 18
"""tf2onnx's highest."""
_LIMIT = 2**31 - 1


def write(made: Made, out: Path, options: Mapping[str, Any]) -> Written:
    """Write model.onnx, whose inputs and outputs have the node names of the frozen graph.

    options: "opset", at most 18. Raises Unfit, naming the operations that ONNX does not have.
    """
    import tf2onnx

    frozen = made.plain
    if frozen.init_ops:
        raise Unfit("The model looks things up in a table, which ONNX has no operation for.")
    opset = int(options.get("opset", NEWEST_OPSET))
    if opset > NEWEST_OPSET:
        raise Unfit(f"tf2onnx writes opset {NEWEST_OPSET} at most, and {opset} was asked for.")
    plain = {t.tensor: t.tensor.removesuffix(":0") for t in (*frozen.inputs, *frozen.outputs)}
    try:
        with _repeatable():
            model, _ = tf2onnx.convert.from_graph_def(
                frozen.graph,
                name="model",
                input_names=[t.tensor for t in frozen.inputs],
                output_names=[t.tensor for t in frozen.outputs],
                opset=opset,
                tensors_to_rename=plain,
            )
    except Exception as error:  # it raises whatever it stumbles over
        raise Unfit(f"tf2onnx failed: {reason(error)}") from error
    unknown = sorted(set(_unknown(model.graph, {o.domain: o.version for o in model.opset_import})))
    if unknown:
        raise Unfit(f"ONNX has no operation for {', '.join(unknown)}.")
    if model.ByteSize() > _LIMIT:
        raise Unfit(
            f"The model takes {size(model.ByteSize())}, and an ONNX file holds at most {size(_LIMIT)}."
        )
    (out / PATH).write_bytes(model.SerializeToString(deterministic=True))
    return Written(
        inputs=tuple(replace(t, tensor=plain[t.tensor]) for t in frozen.inputs),
        outputs=tuple(replace(t, tensor=plain[t.tensor]) for t in frozen.outputs),
        method=f"tf2onnx {tf2onnx.__version__} on the frozen graph, opset {opset}",
    )


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


def _unknown(graph: Any, opsets: Mapping[str, int]) -> Iterator[str]:
    """The types of nodes, subgraphs included, that no standard operator set has."""
    import onnx

    for node in graph.node:
        if node.domain not in opsets or not onnx.defs.has(node.op_type, opsets[node.domain], node.domain):
            yield node.op_type
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _unknown(inner, opsets)

"""Batch norm folded into the weights before it, constants merged, nodes that do nothing taken out.

The folds compute in float64 on NumPy, so the same model gives the same bytes on any CPU. Each function
takes a GraphDef and returns an edited copy, in which what became useless still stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.worker.graphs import producer, unused

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_PASSING = ("Identity", "StopGradient", "PreventGradient", "Snapshot")
_CONTROL_FLOW = ("Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond")
_WEIGHTED = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "MatMul": 2}
"""Operations whose second input is weights, and the rank of what they give."""
_FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def without_identities(graph: Any, keep: Iterable[str]) -> Any:
    """Consumers of nodes that only pass a tensor on take it from where it is made.

    keep: names that stay. One that a control dependency points to, or that guards a branch, stays as well.
    """
    graph = _copy(graph)
    nodes = {node.name: node for node in graph.node}
    awaited = {producer(i) for node in graph.node for i in node.input if i.startswith("^")}
    past: dict[str, str] = {}
    kept = set(keep)
    for node in graph.node:
        plain = node.op in _PASSING and len(node.input) == 1 and node.name not in kept | awaited
        if plain and nodes[producer(node.input[0])].op.removeprefix("Ref") not in _CONTROL_FLOW:
            past[node.name] = node.input[0]
    for node in graph.node:
        for index, ref in enumerate(node.input):
            while producer(ref) in past and not ref.startswith("^"):
                ref = past[producer(ref)]
            node.input[index] = ref
    return graph


def without_duplicates(graph: Any) -> Any:
    """Constants of equal type and content become one, that of the first name."""
    graph = _copy(graph)
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for node in sorted((n for n in graph.node if n.op == "Const" and not n.input), key=lambda n: n.name):
        digest = hashlib.sha256(node.attr["value"].SerializeToString(deterministic=True)).digest()
        same[node.name] = first.setdefault(digest, node.name)
    for node in graph.node:
        for index, ref in enumerate(node.input):
            name = producer(ref)
            if same.get(name, name) != name:
                node.input[index] = ref.replace(name, same[name], 1)
    return graph


def batch_norm(graph: Any) -> Any:
    """Scales and shifts by channel that follow a Conv2D, DepthwiseConv2dNative or MatMul go into its weights
    and one BiasAdd, under the last one's name."""
    graph = _copy(graph)
    nodes = {node.name: node for node in graph.node}
    consumers: dict[str, list[Any]] = {}
    for node in graph.node:
        for ref in node.input:
            consumers.setdefault(producer(ref), []).append(node)
    for node in list(graph.node):
        if node.op in _WEIGHTED:
            _fold(graph, node, nodes, consumers)
    return graph


def _fold(graph: Any, node: Any, nodes: dict[str, Any], consumers: dict[str, list[Any]]) -> None:
    weights = _constant(nodes, node.input[1])
    if weights is None or not _by_last_axis(node) or weights.dtype.kind != "f":
        return
    grouped = node.op == "DepthwiseConv2dNative"
    channels = weights.shape[-1] * (weights.shape[-2] if grouped else 1)
    scale, shift = np.ones(channels), np.zeros(channels)
    chain: list[Any] = []
    last = node
    while len(consumers.get(last.name, ())) == 1:
        after = consumers[last.name][0]
        step = _step(after, last.name, nodes, channels, _WEIGHTED[node.op], consumers)
        if step is None:
            break
        scale, shift = scale * step[0], shift * step[0] + step[1]
        chain.append(after)
        last = after
    scaled = weights.astype(np.float64) * (scale.reshape(weights.shape[-2:]) if grouped else scale)
    worthwhile = len(chain) > 1 or any(n.op in _FUSED for n in chain)
    fits = np.abs(scaled).max(initial=0) < np.finfo(weights.dtype).max
    if not worthwhile or not fits or not np.isfinite(shift).all():
        return
    dtype = weights.dtype
    node.input[1] = _add_constant(graph, nodes, f"{node.name}/folded_weights", scaled.astype(dtype))
    bias = _add_constant(graph, nodes, f"{last.name}/folded_bias", shift.astype(dtype))
    control = [i for n in chain for i in n.input if i.startswith("^")]
    last.op = "BiasAdd"
    last.ClearField("attr")
    last.attr["T"].CopyFrom(node.attr["T"])
    last.attr["data_format"].s = b"NHWC"
    last.input[:] = [node.name, bias, *dict.fromkeys(control)]


def _by_last_axis(node: Any) -> bool:
    if node.op == "MatMul":
        return not node.attr["transpose_b"].b
    return node.attr["data_format"].s in (b"", b"NHWC")


def _step(
    node: Any, before: str, nodes: dict[str, Any], channels: int, rank: int, consumers: dict[str, list[Any]]
) -> tuple[Array, Array] | None:
    """(scale, shift) of a node that is affine by channel, in float64; None if it is not."""
    data = [i for i in node.input if not i.startswith("^")]
    if node.op in _FUSED:
        return _fused(node, before, data, nodes, consumers)
    if len(data) != 2 or before not in data:
        return None
    left = data[0] == before
    constant = _constant(nodes, data[1] if left else data[0])
    if constant is None or constant.ndim > rank or constant.size not in (1, channels):
        return None
    if constant.size > 1 and constant.shape[-1] != channels:
        return None
    value = np.broadcast_to(constant.astype(np.float64).reshape(-1), (channels,))
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op == "Mul":
        return value, zeros
    if node.op in ("Add", "AddV2"):
        return ones, value
    if node.op == "BiasAdd" and left and node.attr["data_format"].s in (b"", b"NHWC"):
        return ones, value
    if node.op == "Sub":
        return (ones, -value) if left else (-ones, value)
    if node.op == "RealDiv" and left and np.all(value != 0):
        return 1 / value, zeros
    return None


def _fused(
    node: Any, before: str, data: list[str], nodes: dict[str, Any], consumers: dict[str, list[Any]]
) -> tuple[Array, Array] | None:
    parts = [_constant(nodes, ref) for ref in data[1:5]]
    others = [i for c in consumers.get(node.name, ()) for i in c.input if i.startswith(f"{node.name}:")]
    plain = data[0] == before and node.attr["data_format"].s in (b"", b"NHWC") and not others
    if not plain or node.attr["is_training"].b or any(p is None for p in parts):
        return None
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parts)
    epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else 1e-4
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _constant(nodes: dict[str, Any], ref: str) -> Array | None:
    """The value of a tensor that is a constant, as it may be behind Identity nodes."""
    from tensorflow.python.framework import tensor_util

    node = nodes[producer(ref)]
    while node.op == "Identity" and len(node.input) == 1:
        node = nodes[producer(node.input[0])]
    return tensor_util.MakeNdarray(node.attr["value"].tensor) if node.op == "Const" else None


def _add_constant(graph: Any, nodes: dict[str, Any], wish: str, value: Array) -> str:
    from tensorflow.python.framework import tensor_util

    node = graph.node.add(name=unused(wish, nodes.__contains__), op="Const")
    node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    nodes[node.name] = node
    return str(node.name)


def _copy(graph: Any) -> Any:
    copy = type(graph)()
    copy.CopyFrom(graph)
    return copy

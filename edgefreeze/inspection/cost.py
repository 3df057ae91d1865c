"""What one inference costs on paper: floating-point operations, and bytes read and written, by operation.

A multiplication and an addition are two operations, as in FLOPs of papers (MACs are half). Bytes count each
tensor of an operation once, weights included, as if nothing stayed in a cache.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edgefreeze.inspection import operations
from edgefreeze.inspection.graph import HOLDING, Graph, Node, Value
from edgefreeze.inspection.shapes import infer

_CONVOLUTIONS = {
    # operation: axes of the weights that are summed over for one element of the output
    "Conv2D": slice(0, -1),
    "Conv3D": slice(0, -1),
    "DepthwiseConv2dNative": slice(0, 2),
    "CONV_2D": slice(1, None),
    "DEPTHWISE_CONV_2D": slice(1, 3),
    "Conv": slice(1, None),
    "FULLY_CONNECTED": slice(1, None),
}
_TRANSPOSED = {
    # operation: where its data and its weights stand, and the axes of the weights that a datum meets
    "Conv2DBackpropInput": (2, 1, (0, 1, 2)),
    "Conv3DBackpropInputV2": (2, 1, (0, 1, 2, 3)),
    "TRANSPOSE_CONV": (2, 1, (0, 1, 2)),
    "ConvTranspose": (0, 1, None),
}
_UNKNOWN = re.compile(r"(?i:(xla)?einsum|\w*(lstm|gru|rnn)\w*)")
"""What hangs on more than the shapes of inputs and outputs: an equation, or steps in time."""
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Gemm", "BATCH_MATMUL")
_POOLS = ("MaxPool", "AvgPool", "AveragePool", "MAX_POOL_2D", "AVERAGE_POOL_2D")
_PER_ELEMENT = {
    "Softmax": 5, "LogSoftmax": 5, "SOFTMAX": 5, "Sigmoid": 4, "LOGISTIC": 4, "Tanh": 6, "TANH": 6,
    "FusedBatchNorm": 2, "FusedBatchNormV2": 2, "FusedBatchNormV3": 2, "BatchNormalization": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCost:
    """All operations of a kind together. `uncounted`: how many of them have shapes that are not known."""

    op: str
    count: int
    flops: int
    bytes: int
    uncounted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one inference on one element of the batch, the costliest operation first. A loop's body counts
    once: how often it runs the graph does not say."""

    flops: int
    bytes: int
    uncounted: int
    by_operation: tuple[OperationCost, ...]


def cost(graph: Graph) -> Cost:
    """The cost of a graph."""
    values = infer(graph)
    sums: dict[str, list[int]] = {}
    for node in graph.nodes:
        if node.op in HOLDING:
            continue
        row = sums.setdefault(node.op, [0, 0, 0, 0])
        row[0] += 1
        found = _of(node, values)
        if found is None:
            row[3] += 1
        else:
            row[1] += found[0]
            row[2] += found[1]
    rows = [
        OperationCost(op=op, count=count, flops=flops, bytes=size, uncounted=unknown)
        for op, (count, flops, size, unknown) in sums.items()
    ]
    rows.sort(key=lambda row: (-row.flops, -row.bytes, row.op))
    return Cost(
        flops=sum(row.flops for row in rows),
        bytes=sum(row.bytes for row in rows),
        uncounted=sum(row.uncounted for row in rows),
        by_operation=tuple(rows),
    )


def _of(node: Node, values: dict[str, Value]) -> tuple[int, int] | None:
    """(flops, bytes), None where a shape is not known."""
    inputs = [values.get(tensor, Value()) for tensor in node.inputs if tensor]
    output = values.get(node.outputs[0], Value()) if node.outputs else Value(shape=())
    sizes = [value.bytes for value in (*inputs, output)]
    flops = _flops(node, inputs, output)
    if flops is None or None in sizes:
        return (0, 0) if node.op in operations.table().moving else None
    return flops, sum(size for size in sizes if size is not None)


def _flops(node: Node, inputs: list[Value], output: Value) -> int | None:
    if node.op in operations.table().moving:
        return 0
    count = output.elements
    if count is None or _UNKNOWN.fullmatch(node.op):
        return None
    if node.op in _CONVOLUTIONS:
        shape = inputs[1].shape if len(inputs) > 1 else None
        if shape is None or None in shape:
            return None
        return 2 * count * math.prod(s for s in shape[_CONVOLUTIONS[node.op]] if s is not None)
    if node.op in _TRANSPOSED:
        return _transposed(inputs, *_TRANSPOSED[node.op])
    if node.op in _PRODUCTS:
        shape = inputs[0].shape if inputs else None
        flipped = any(node.attrs.get(key) for key in ("transpose_a", "adj_x", "transA"))
        inner = shape[-2 if flipped else -1] if shape and len(shape) > 1 else None
        return None if inner is None else 2 * count * inner
    if node.op in _POOLS:
        kernel = node.attrs.get("ksize") or node.attrs.get("kernel_shape")
        if kernel is None:
            kernel = (node.attrs.get("filter_h", 1), node.attrs.get("filter_w", 1))
        return count * int(math.prod(kernel))
    if any(word in node.op.lower() for word in ("mean", "sum", "reduce", "globalaverage", "globalmax")):
        return inputs[0].elements if inputs else None
    per_element: int = _PER_ELEMENT.get(node.op, 1)
    return count * per_element


def _transposed(inputs: list[Value], data: int, weights: int, axes: tuple[int, ...] | None) -> int | None:
    """Of a transposed convolution: each element of the data is multiplied with the weights of its channel.
    axes: None for all but the first."""
    if len(inputs) <= max(data, weights):
        return None
    count, shape = inputs[data].elements, inputs[weights].shape
    if count is None or shape is None or len(shape) < 3:
        return None
    met = [shape[axis] for axis in axes] if axes is not None else list(shape[1:])
    return None if None in met else 2 * count * math.prod(size for size in met if size is not None)

"""Shapes of the tensors of a graph, for one element of the batch, as far as they follow from the graph.

Not TensorFlow's inference: rules for the operations of which models are made. A tensor of which no rule
knows the shape stays unknown, and cost.py says how many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgefreeze.inspection.graph import Graph, Node, Value

Known = tuple[int, ...]
Rule = Callable[[Node, list[Value]], "Known | None"]

_FEW = 64
_CHANNELS_LAST = ("NHWC", "NDHWC", "NWC")


def infer(graph: Graph) -> dict[str, Value]:
    """What is known of each tensor, a free first dimension being 1. The graph is not changed."""
    values = {name: replace(value, shape=_one(value.shape)) for name, value in graph.values.items()}
    for node in graph.nodes:
        inputs = [values.get(tensor, Value()) for tensor in node.inputs]
        for index, tensor in enumerate(node.outputs):
            value = values.setdefault(tensor, Value())
            if not value.dtype and inputs:
                value.dtype = inputs[0].dtype
            if _open(value.shape) and index == 0:
                value.shape = _shape(node, inputs) or value.shape
        if node.outputs and values[node.outputs[0]].integers is None:
            values[node.outputs[0]].integers = _integers(node, inputs)
    return values


def _one(shape: Any) -> Any:
    return (1, *shape[1:]) if shape and shape[0] is None else shape


def _open(shape: Any) -> bool:
    return shape is None or None in shape


def _shape(node: Node, inputs: list[Value]) -> Known | None:
    rule = _RULES.get(node.op)
    try:
        return rule(node, inputs) if rule else None
    except (LookupError, TypeError, ValueError, ZeroDivisionError):
        return None  # an input of which too little is known, or a graph that makes no sense


def _known(value: Value) -> Known:
    if value.shape is None or None in value.shape:
        raise ValueError
    return tuple(size for size in value.shape if size is not None)


def _ints(value: Value) -> Known:
    if value.integers is None:
        raise ValueError
    return value.integers


def _same(node: Node, inputs: list[Value]) -> Known:
    return _known(inputs[0])


def _broadcast(node: Node, inputs: list[Value]) -> Known:
    shapes = [_known(value) for value in inputs]
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(max(sizes) if 0 not in sizes else 0 for sizes in zip(*padded, strict=True))


def _slide(size: int, kernel: int, stride: int, padding: str, dilation: int = 1) -> int:
    """Positions of a window: ceil(size / stride) for SAME, only whole windows for VALID."""
    if padding == "SAME":
        return -(-size // stride)
    return max(0, -(-(size - (kernel - 1) * dilation) // stride))


def _window(node: Node, inputs: list[Value]) -> Known:
    """Conv2D, DepthwiseConv2dNative, pooling of TensorFlow."""
    shape, last = _known(inputs[0]), node.attrs.get("data_format", "NHWC") in _CHANNELS_LAST
    spatial = range(1, len(shape) - 1) if last else range(2, len(shape))
    channel = len(shape) - 1 if last else 1
    strides = node.attrs["strides"]
    dilations = node.attrs.get("dilations") or (1,) * len(shape)
    if "ksize" in node.attrs:
        kernel, channels = [node.attrs["ksize"][axis] for axis in spatial], shape[channel]
    else:
        weights = _known(inputs[1])
        kernel = list(weights[: len(spatial)])
        channels = weights[-1] if node.op != "DepthwiseConv2dNative" else weights[-1] * weights[-2]
    if node.attrs["padding"] not in ("SAME", "VALID"):
        raise ValueError
    sizes = list(shape)
    sizes[channel] = channels
    for axis, extent in zip(spatial, kernel, strict=True):
        sizes[axis] = _slide(shape[axis], extent, strides[axis], node.attrs["padding"], dilations[axis])
    return tuple(sizes)


def _onnx_window(node: Node, inputs: list[Value]) -> Known:
    """Conv and pooling of ONNX: channels first, pads given at both ends."""
    shape = _known(inputs[0])
    spatial = len(shape) - 2
    kernel = node.attrs.get("kernel_shape") or _known(inputs[1])[2:]
    strides = node.attrs.get("strides") or (1,) * spatial
    dilations = node.attrs.get("dilations") or (1,) * spatial
    pads = node.attrs.get("pads") or (0,) * (2 * spatial)
    same = str(node.attrs.get("auto_pad", "")).startswith("SAME")
    sizes = [
        _slide(
            shape[2 + i] + (0 if same else pads[i] + pads[i + spatial]),
            kernel[i],
            strides[i],
            "SAME" if same else "VALID",
            dilations[i],
        )
        for i in range(spatial)
    ]
    channels = _known(inputs[1])[0] if node.op == "Conv" else shape[1]
    return (shape[0], channels, *sizes)


def _global_pool(node: Node, inputs: list[Value]) -> Known:
    shape = _known(inputs[0])
    return (*shape[:2], *(1 for _ in shape[2:]))


def _matmul(node: Node, inputs: list[Value]) -> Known:
    a, b = _known(inputs[0]), _known(inputs[1])
    flip_a = any(node.attrs.get(key) for key in ("transpose_a", "adj_x", "transA"))
    flip_b = any(node.attrs.get(key) for key in ("transpose_b", "adj_y", "transB"))
    rows = a[-1] if flip_a else a[-2]
    columns = b[-2] if flip_b else b[-1]
    return (*(a[:-2] if len(a) >= len(b) else b[:-2]), rows, columns)


def _reshape(node: Node, inputs: list[Value]) -> Known:
    shape = list(_ints(inputs[1]))
    if _open(inputs[0].shape) and shape[:1] == [-1] and 0 not in shape:
        return (1, *shape[1:])  # whatever it is made of: a free first dimension is the batch
    total = math.prod(_known(inputs[0]))
    shape = [_known(inputs[0])[i] if size == 0 else size for i, size in enumerate(shape)]
    if -1 in shape:
        shape[shape.index(-1)] = total // math.prod(size for size in shape if size != -1)
    return tuple(shape)


def _axes(node: Node, inputs: list[Value], rank: int, *keys: str) -> list[int]:
    given: Sequence[int] | None = None
    for key in keys:
        if key in node.attrs:
            found = node.attrs[key]
            given = (found,) if isinstance(found, int) else found
    if given is None and len(inputs) > 1:
        given = _ints(inputs[1])
    return [axis % rank for axis in given or ()]


def _reduce(node: Node, inputs: list[Value]) -> Known:
    shape = _known(inputs[0])
    axes = _axes(node, inputs, len(shape), "axes") or list(range(len(shape)))
    keep = node.attrs.get("keep_dims", node.attrs.get("keepdims", "axes" in node.attrs))
    return tuple(1 if i in axes else s for i, s in enumerate(shape) if keep or i not in axes)


def _squeeze(node: Node, inputs: list[Value]) -> Known:
    shape = _known(inputs[0])
    axes = _axes(node, inputs, len(shape), "squeeze_dims", "axes")
    return tuple(s for i, s in enumerate(shape) if (i not in axes if axes else s != 1))


def _expand(node: Node, inputs: list[Value]) -> Known:
    shape = list(_known(inputs[0]))
    given = node.attrs.get("axes") or _ints(inputs[1])
    for axis in sorted(axis % (len(shape) + len(given)) for axis in given):
        shape.insert(axis, 1)
    return tuple(shape)


def _concat(node: Node, inputs: list[Value]) -> Known:
    if node.op == "ConcatV2":
        axis, parts = _ints(inputs[-1])[0], inputs[:-1]
    else:
        axis, parts = node.attrs["axis"], inputs
    shapes = [_known(value) for value in parts]
    axis %= len(shapes[0])
    total = sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def _pack(node: Node, inputs: list[Value]) -> Known:
    shape = list(_known(inputs[0]))
    shape.insert(node.attrs.get("axis", 0) % (len(shape) + 1), len(inputs))
    return tuple(shape)


def _pad(node: Node, inputs: list[Value]) -> Known:
    shape, pads = _known(inputs[0]), _ints(inputs[1])
    if node.op == "Pad" and len(pads) == 2 * len(shape):
        # TensorFlow lists (before, after) for each axis; ONNX, which has a mode, all befores.
        before, after = (
            (pads[: len(shape)], pads[len(shape) :]) if "mode" in node.attrs else (pads[::2], pads[1::2])
        )
        return tuple(b + s + a for b, s, a in zip(before, shape, after, strict=True))
    return tuple(pads[2 * i] + s + pads[2 * i + 1] for i, s in enumerate(shape))


def _transpose(node: Node, inputs: list[Value]) -> Known:
    shape = _known(inputs[0])
    order = node.attrs["perm"] if "perm" in node.attrs else _ints(inputs[1])
    return tuple(shape[axis] for axis in order)


def _gather(node: Node, inputs: list[Value]) -> Known:
    shape, indices = _known(inputs[0]), _known(inputs[1])
    axis = _ints(inputs[2])[0] if len(inputs) > 2 else int(node.attrs.get("axis", 0))
    axis %= len(shape)
    return (*shape[:axis], *indices, *shape[axis + 1 :])


def _strided_slice(node: Node, inputs: list[Value]) -> Known:
    shape = _known(inputs[0])
    if node.attrs.get("ellipsis_mask") or node.attrs.get("new_axis_mask"):
        raise ValueError
    begin, end, strides = (_ints(value) for value in inputs[1:4])
    sizes = []
    for axis, size in enumerate(shape):
        if axis >= len(begin):
            sizes.append(size)
        elif not node.attrs.get("shrink_axis_mask", 0) >> axis & 1:
            sizes.append(len(range(size)[_part(node, axis, begin, end, strides)]))
    return tuple(sizes)


def _part(node: Node, axis: int, begin: Known, end: Known, strides: Known) -> slice:
    first = None if node.attrs.get("begin_mask", 0) >> axis & 1 else begin[axis]
    last = None if node.attrs.get("end_mask", 0) >> axis & 1 else end[axis]
    return slice(first, last, strides[axis])


def _integers(node: Node, inputs: list[Value]) -> tuple[int, ...] | None:
    """The elements of what is computed from shapes and small constants."""
    try:
        if node.op == "Shape":
            return _known(inputs[0])
        if node.op in ("Identity", "Cast", "Squeeze", "Unsqueeze", "ExpandDims", "Reshape"):
            return inputs[0].integers
        if node.op in ("Pack", "ConcatV2", "Concat"):
            parts = inputs[:-1] if node.op == "ConcatV2" else inputs
            joined = tuple(i for value in parts for i in _ints(value))
            return joined if len(joined) <= _FEW else None  # a chain of them would double at each
        if node.op == "StridedSlice":
            begin, end, strides = (_ints(value) for value in inputs[1:4])
            found = _ints(inputs[0])
            if node.attrs.get("shrink_axis_mask", 0) & 1:
                return (found[begin[0]],)
            return found[_part(node, 0, begin, end, strides)]
        if node.op in ("GatherV2", "Gather"):
            return tuple(_ints(inputs[0])[i] for i in _ints(inputs[1]))
        if node.op in ("Prod", "ReduceProd"):
            return (math.prod(_ints(inputs[0])),)
        if node.op == "Mul":
            (a,), (b,) = _ints(inputs[0]), _ints(inputs[1])
            return (a * b,)
    except (LookupError, TypeError, ValueError):
        return None
    return None


_UNARY = (
    "Relu Relu6 Sigmoid Tanh Softmax LogSoftmax Identity BiasAdd FusedBatchNorm FusedBatchNormV2 "
    "FusedBatchNormV3 Cast Exp Log Sqrt Rsqrt Square Neg Abs Elu Selu LeakyRelu Softplus Erf LRN "
    "ReadVariableOp StopGradient CheckNumerics Round Floor Ceil Sin Cos Gelu BatchNormalization Clip "
    "HardSigmoid HardSwish LeakyReLU Reciprocal Softsign ZerosLike OnesLike EnsureShape "
    "PlaceholderWithDefault Dropout Cumsum LayerNormalization QuantizeLinear DequantizeLinear"
)
_BINARY = (
    "Add AddV2 Sub Mul RealDiv Div Maximum Minimum Pow SquaredDifference FloorDiv FloorMod Greater Less "
    "GreaterEqual LessEqual Equal NotEqual LogicalAnd LogicalOr SelectV2 Select Where PRelu Max Min Sum AddN"
)
_REDUCTIONS = "Mean Prod All Any ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd"


def _ambiguous(node: Node, inputs: list[Value]) -> Known:
    """Max, Min and Sum reduce in TensorFlow, and are elementwise in ONNX."""
    return _reduce(node, inputs) if "keep_dims" in node.attrs else _broadcast(node, inputs)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY.split(), _same),
    **dict.fromkeys(_BINARY.split(), _broadcast),
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    **dict.fromkeys(("Max", "Min", "Sum"), _ambiguous),
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool"), _window),
    **dict.fromkeys(("Conv", "AveragePool"), _onnx_window),
    "MaxPool": lambda node, inputs: (_window if "ksize" in node.attrs else _onnx_window)(node, inputs),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matmul),
    "Gemm": _matmul,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    **dict.fromkeys(("ExpandDims", "Unsqueeze"), _expand),
    **dict.fromkeys(("ConcatV2", "Concat"), _concat),
    "Pack": _pack,
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    "Transpose": _transpose,
    **dict.fromkeys(("Gather", "GatherV2"), _gather),
    "StridedSlice": _strided_slice,
    "Shape": lambda node, inputs: (len(_known(inputs[0])),),
}

"""Quantisation scales that a file's own content, or the values of the model in floats, contradict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgefreeze.difference.causes import Cause
from edgefreeze.difference.traced import Traced
from edgefreeze.inspection.graph import Node

Array = np.ndarray[Any, Any]
_AS_THEY_ARE = {
    "PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE",
    "SPLIT", "SPLIT_V", "GATHER", "GATHER_ND", "TILE", "MAX_POOL_2D", "AVERAGE_POOL_2D", "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2",
}  # fmt: skip
"""Operations of TensorFlow Lite whose specification wants input and output of one scale."""
_WITH_BIAS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


def at_odds(side: Traced, nodes: Sequence[Node]) -> Cause | None:
    """A scale of a quantised .tflite file that the rest of the file contradicts: a bias is quantised by input
    scale times kernel scale, and some operations hand integers on as they are, so that input and output have
    one scale (TensorFlow Lite's quantisation specification)."""
    for node in nodes:
        given = side.scales.get(node.inputs[0]) if node.inputs else None
        if given is None or not node.outputs or len(given.scales) != 1:
            continue
        made = side.scales.get(node.outputs[0])
        if node.op in _AS_THEY_ARE and made is not None and given != made:
            what = f"{node.op}, which hands integers on as they are, gives {made.scales[0]:g}"
            return _cause(side, node.name, node.inputs[0], given.scales[0], what)
        if node.op in _WITH_BIAS and len(node.inputs) > 2:
            kernel, bias = side.scales.get(node.inputs[1]), side.scales.get(node.inputs[2])
            if kernel is None or bias is None or len(bias.scales) not in (1, len(kernel.scales)):
                continue
            wanted = float(np.median(np.asarray(bias.scales) / np.asarray(kernel.scales)))
            if abs(wanted - given.scales[0]) > 0.01 * wanted:
                maker = side.graph.producers().get(node.inputs[0])
                what = f"the bias of {node.op} {node.name!r}, which takes it, was quantised for {wanted:g}"
                return _cause(side, maker.name if maker else node.name, node.inputs[0], given.scales[0], what)
    return None


def _cause(side: Traced, node: str, tensor: str, scale: float, what: str) -> Cause:
    sentence = f"the quantisation scale of {tensor!r} in {side.name} is {scale:g}, and {what}: one is wrong"
    return Cause(kind="quantisation scale", node=node, sentence=sentence, how="seen")


def saturated(reference: Array, quantised: Array) -> float:
    """Share of a quantised tensor's elements that stand at its largest or smallest value, where the
    reference goes beyond."""
    top, bottom = float(quantised.max()), float(quantised.min())
    if top == bottom:
        return 0.0
    beyond = ((quantised >= top) & (reference > top)) | ((quantised <= bottom) & (reference < bottom))
    return float(np.mean(beyond))

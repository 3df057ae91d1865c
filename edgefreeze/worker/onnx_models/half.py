"""ONNX in half precision: weights and arithmetic of 16 bits, inputs and outputs as they were."""

from __future__ import annotations

from typing import Any


def convert(model: Any) -> Any:
    """The model with float16 inside. Operations that ONNX Runtime has no float16 for stay as they are, with
    casts around them. Raises what the converter raises."""
    from onnxruntime.transformers import float16

    return float16.convert_float_to_float16(model, keep_io_types=True)

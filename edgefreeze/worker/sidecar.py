"""What travels inside a converted file beside its numbers: names, labels, signature, how to prepare inputs.

Applications read it with their own runtime: a TFLite file has it as a metadata buffer, an ONNX file as a
metadata property, both named KEY and both this JSON.
"""

from __future__ import annotations

from typing import Any

from edgefreeze.device.protocol import canonical
from edgefreeze.types import Tensor
from edgefreeze.worker.formats import Made

KEY = "edgefreeze"
SCHEMA = 1


def encode(made: Made, precision: str) -> bytes:
    """Canonical JSON: schema, signature, precision, inputs and outputs (name, dtype and shape, with null for
    a free dimension), and where they are known labels and normalise."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "signature": made.source.signature,
        "precision": precision,
        "inputs": [_tensor(t) for t in made.plain.inputs],
        "outputs": [_tensor(t) for t in made.plain.outputs],
    }
    if made.labels:
        content["labels"] = list(made.labels)
    if made.normalise:
        content["normalise"] = made.normalise
    return canonical(content)


def _tensor(tensor: Tensor) -> dict[str, Any]:
    shape = None if tensor.shape is None else list(tensor.shape)
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}

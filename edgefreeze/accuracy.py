"""Accuracy of each artifact as the device computes it, beside the original's.

Evaluation data is an .npz: the signature's inputs under their names, and the true classes (integers, one
a row) under "label". The prediction is the argmax over the last axis of the model's first output.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefreeze.device import tensors
from edgefreeze.errors import Failure
from edgefreeze.release.manifest import Release
from edgefreeze.transport.client import Helper
from edgefreeze.types import Artifact
from edgefreeze.worker import client

LABEL = "label"
_CHUNK_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of rows whose predicted class is the true one, 0 to 1, of one format."""

    format: str
    accuracy: float
    original: float
    rows: int


Evaluation = tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]
"""Inputs by name, and the labels."""


def load(path: Path) -> Evaluation:
    """Inputs by name and the labels. Raises Failure samples-bad."""
    try:
        arrays = tensors.decode(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Failure("samples-bad", f"{path}: {error}", expected="an .npz of inputs and 'label'") from None
    labels = arrays.pop(LABEL, None)
    if labels is None or labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu" or not arrays:
        raise Failure(
            "samples-bad",
            f"{path}: no usable labels",
            expected="integers of shape (rows,) under 'label', beside the signature's inputs",
            found="nothing under 'label'" if labels is None else f"{labels.dtype} of shape {labels.shape}",
        )
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != len(labels):
            raise Failure(
                "samples-bad", f"{path}: '{name}' has not one row a label", expected=f"{len(labels)} rows",
                found=f"shape {array.shape}",
            )  # fmt: skip
    return arrays, labels


def share(outputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    """Share of rows whose argmax over the last axis is the label. outputs: (rows, classes). Pure."""
    return float(np.mean(np.argmax(outputs.reshape(len(labels), -1), axis=-1) == labels))


def on_device(
    helper: Helper, release: Release, model: Path, data: Evaluation, signature: str | None, *, threads: int
) -> tuple[Accuracy, ...]:
    """Send the inputs to the device, compute there with every artifact, and judge what comes back."""
    inputs, labels = data
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "inputs.npz", Path(folder) / "original.npz"
        given.write_bytes(tensors.encode(inputs))
        client.run(
            {
                "op": "evaluate",
                "model": str(model),
                "signature": signature,
                "data": str(given),
                "out": str(out),
            }
        )
        original = tensors.decode(out.read_bytes())
    name = next(iter(release.primary.outputs)).name
    reference = share(original[name], labels)
    return tuple(
        Accuracy(
            format=artifact.format,
            accuracy=share(_answers(helper, release, artifact, inputs, name, threads), labels),
            original=reference,
            rows=len(labels),
        )
        for artifact in release.shipped
    )


def _answers(
    helper: Helper,
    release: Release,
    artifact: Artifact,
    inputs: dict[str, np.ndarray[Any, Any]],
    output: str,
    threads: int,
) -> np.ndarray[Any, Any]:
    """One output of an artifact for all rows, in calls of as many rows as fit in a message, or as the
    artifact's fixed batch takes; the last call is filled up with its last row then."""
    rows = len(next(iter(inputs.values())))
    fixed = next((t.shape[0] for t in artifact.inputs if t.shape and t.shape[0]), None)
    size = sum(a.nbytes for a in inputs.values()) // rows + 1
    chunk = fixed or max(1, _CHUNK_BYTES // size)
    parts = []
    for start in range(0, rows, chunk):
        taken = min(chunk, rows - start)
        index = np.minimum(np.arange(start, start + (fixed or taken)), rows - 1)
        answer = helper.request(
            "infer",
            {
                "app": release.manifest["app"],
                "release": release.id,
                "format": artifact.format,
                "threads": threads,
            },
            blob=tensors.encode({key: array[index] for key, array in inputs.items()}),
        )
        parts.append(_outputs(helper, answer)[output][:taken])
    return np.concatenate(parts)


def _outputs(helper: Helper, answer: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    try:
        return tensors.decode(answer["blob"])
    except (KeyError, ValueError) as error:
        raise Failure(
            "protocol", f"{helper.where}: the outputs that came back are no .npz: {error}"
        ) from None

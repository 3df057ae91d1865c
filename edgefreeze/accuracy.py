"""Accuracy of each artifact, here and as the device computes it, beside the original's.

Evaluation data is an .npz: the signature's inputs under their names, and the true classes (integers, one
a row) under "label"; or a folder of images with a folder for each class. The prediction is the argmax over
the classes of the model's first output, which has two or more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgefreeze.conversion import Options, of_model
from edgefreeze.device import tensors
from edgefreeze.device.errors import DeviceError
from edgefreeze.errors import Failure
from edgefreeze.release.manifest import Release
from edgefreeze.text import clean
from edgefreeze.transport.client import Helper
from edgefreeze.types import Artifact, Conversion
from edgefreeze.worker import client, prove

LABEL = "label"
_CHUNK_BYTES = 8_000_000

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of rows whose predicted class is the true one, 0 to 1, of one artifact ("tflite:int8")."""

    format: str
    accuracy: float
    original: float
    rows: int
    worse: int | None = None
    """Rows that the original has right and the artifact wrong; None where that is not known."""
    better: int | None = None
    """Rows that the artifact has right and the original wrong."""

    @property
    def lost(self) -> float:
        """Points of accuracy lost against the original: 0.5 is from 99.0 % to 98.5 %."""
        return 100 * (self.original - self.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Data with true classes. Of a folder of images, inputs and labels are there once the model was asked."""

    path: Path
    inputs: dict[str, Array] | None = None
    labels: Array | None = None
    output: str = ""
    """The output that predicts."""
    original: float = 0.0
    """The original's accuracy."""
    right: Array | None = None
    """Which rows the original has right."""


def open_data(path: Path) -> Evaluation:
    """The data at a path, as far as can be seen without the model. Raises Failure samples-bad."""
    if path.is_dir():
        return Evaluation(path=path)
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
    return Evaluation(path=path, inputs=arrays, labels=labels)


def right(outputs: Array, labels: Array, name: str) -> Array:
    """Which rows have their largest element at the label; booleans of shape (rows,). Pure.

    outputs: (rows, classes), two classes at least; axes of one element between the two are left out.
    name: the output's. Raises Failure samples-bad for any other shape: in a single column the largest is
    always the first, and where to cut a probability is not ours to know.
    """
    shape, numbers = outputs.shape, outputs.dtype.kind in "biuf"
    rows, classes = (shape[0], shape[-1]) if outputs.ndim > 1 else (outputs.size, 1)
    if not numbers or not outputs.ndim or rows != len(labels) or outputs.size != rows * max(classes, 1):
        problem = "is no row of classes for each row of the data"
    elif classes < 2:
        problem = "has no classes to choose from: it is one number a row, of which nothing is the largest"
    else:
        found: Array = np.argmax(outputs.reshape(rows, classes), axis=-1) == labels
        return found
    raise Failure(
        "samples-bad",
        f"no accuracy: the model's output '{clean(name, 80)}' {problem}",
        expected=f"numbers of shape ({len(labels)}, classes), two classes or more",
        found=f"{outputs.dtype} of shape {shape}",
        next="without --eval and --max-accuracy-drop; or a model that gives a score for each class",
    )


def reference(model: Path, data: Evaluation, options: Options) -> Evaluation:
    """The data with the original's own accuracy, computed in the worker. Raises Failure: what loading the
    model raises, samples-bad."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "original.npz"
        asked = {"op": "evaluate", "model": str(model), **of_model(options), "data": str(data.path)}
        result = client.run({**asked, "normalise": options.normalise, "out": str(out)})
        answers = tensors.decode(out.read_bytes())
    labels = answers.get(LABEL)
    if labels is None:
        raise Failure(
            "samples-bad",
            f"{data.path}: no labels",
            expected="a folder for each class with its images, or labels.csv beside them",
            found="images without labels",
        )
    inputs = data.inputs or {k.partition("|")[2]: v for k, v in answers.items() if k.startswith("in|")}
    name = str(result["outputs"][0])
    known = right(answers[f"out|{name}"], labels, name)
    return replace(
        data, inputs=inputs, labels=labels, output=name, original=float(np.mean(known)), right=known
    )


def on_host(
    made: Conversion, folder: Path, data: Evaluation, most_lost: float | None
) -> tuple[Conversion, tuple[Accuracy, ...]]:
    """(the conversion, with those artifacts refused that lose more than `most_lost` points of accuracy; the
    accuracy of each verified artifact), computed here."""
    artifacts, found = [], []
    for artifact in made.artifacts:
        if artifact.status != "verified":
            artifacts.append(artifact)
            continue
        try:
            with prove.opened(artifact, folder) as runner:
                mine = _accuracy(artifact, data, lambda blob: runner.infer(blob, prove.TIMEOUT_S)[1])
        except DeviceError as error:
            message = f"It fails on the evaluation data: {clean(error.message, 300)}"
            artifacts.append(replace(artifact, status="refused", reason=message))
            continue
        found.append(mine)
        reason = too_low(mine, most_lost)
        artifacts.append(replace(artifact, status="refused", reason=reason) if reason else artifact)
    return replace(made, artifacts=tuple(artifacts)), tuple(found)


def too_low(found: Accuracy, most_lost: float | None) -> str | None:
    """Why an artifact's accuracy will not do; None where it does. Pure."""
    if most_lost is None or found.lost <= most_lost + 1e-9:
        return None
    return (
        f"accuracy {found.accuracy:.2%} of {found.rows} rows where the original has {found.original:.2%}: "
        f"{found.lost:.2f} points lost, {most_lost:g} allowed"
    )


def on_device(helper: Helper, release: Release, data: Evaluation, *, threads: int) -> tuple[Accuracy, ...]:
    """Send the inputs to the device, compute there with every artifact, and judge what comes back."""

    def asked(artifact: Artifact) -> Callable[[bytes], bytes]:
        where = {"app": release.manifest["app"], "release": release.id, "threads": threads}
        named = {**where, "format": f"{artifact.format}:{artifact.precision}"}
        return lambda blob: _blob(helper, helper.request("infer", named, blob=blob))

    return tuple(_accuracy(artifact, data, asked(artifact)) for artifact in release.provable)


def _accuracy(artifact: Artifact, data: Evaluation, infer: Callable[[bytes], bytes]) -> Accuracy:
    assert data.labels is not None
    found = right(_answers(artifact, data, infer), data.labels, data.output)
    return Accuracy(
        format=artifact.key,
        accuracy=float(np.mean(found)),
        original=data.original,
        rows=len(data.labels),
        worse=None if data.right is None else int(np.sum(data.right & ~found)),
        better=None if data.right is None else int(np.sum(found & ~data.right)),
    )


def _answers(artifact: Artifact, data: Evaluation, infer: Callable[[bytes], bytes]) -> Array:
    """One output of an artifact for all rows, in calls of as many rows as fit in a message, or as the
    artifact's fixed batch takes; the last call is filled up with its last row then."""
    inputs = data.inputs
    assert inputs is not None
    rows = len(next(iter(inputs.values())))
    fixed = next((t.shape[0] for t in artifact.inputs if t.shape and t.shape[0]), None)
    size = sum(a.nbytes for a in inputs.values()) // rows + 1
    chunk = fixed or max(1, _CHUNK_BYTES // size)
    parts = []
    for start in range(0, rows, chunk):
        taken = min(chunk, rows - start)
        index = np.minimum(np.arange(start, start + (fixed or taken)), rows - 1)
        answer = infer(tensors.encode({key: array[index] for key, array in inputs.items()}))
        parts.append(tensors.decode(answer)[data.output][:taken])
    return np.concatenate(parts)


def _blob(helper: Helper, answer: dict[str, Any]) -> bytes:
    try:
        blob: bytes = answer["blob"]
        tensors.decode(blob)
    except (KeyError, ValueError) as error:
        raise Failure(
            "protocol", f"{helper.where}: the outputs that came back are no .npz: {error}"
        ) from None
    return blob

"""One model to one artifact, proved. What `edgefreeze export` does."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edgefreeze import calibration, conversion
from edgefreeze.conversion import Options
from edgefreeze.errors import Failure
from edgefreeze.freezing import WANTED, place
from edgefreeze.progress import Progress
from edgefreeze.targets import Format, Freeze
from edgefreeze.types import Artifact, Conversion, Parity, State, Tensor
from edgefreeze.worker import sources
from edgefreeze.worker.formats import require_options

FOLDERS = ("saved_model", "tensorrt")
"""Formats that are folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An artifact on disk: a file, or a folder for a SavedModel. `status` is "verified" or "unverified"."""

    format: str
    precision: str
    status: str
    path: str
    bytes: int | None
    sha256: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    init_ops: tuple[str, ...]
    states: tuple[State, ...]
    parity: Parity | None
    notes: tuple[str, ...]
    reason: str | None
    golden: str
    cached: bool
    seconds: float


def export(
    model: Path, out: Path, wanted: Format, options: Options, progress: Progress, *,
    freeze: Freeze | None = None, allow_unverified: bool = False, cache: bool = True,
) -> Exported:  # fmt: skip
    """Convert a model on disk to one format, prove it in a fresh process, and write `out`.

    freeze: how to freeze, a target's. Raises Failure: the model's and the freezing's refusals;
    format-refused where the model cannot become the format; parity-failed; unverified where nothing could
    be compared; calibration-*. Then nothing is written.
    """
    started = time.monotonic()
    if options.calibration is not None:
        calibration.check(options.calibration)
    elif wanted.facts.calibrated:
        raise calibration.missing(wanted.key)
    require_options(wanted.format, wanted.resolved, {"opset": wanted.opset})
    sources.find(model)
    _require_free(out, folder=wanted.format in FOLDERS)
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as made:
        folder = Path(made)
        every = (wanted,) if wanted.key == WANTED[0].key else (wanted, *WANTED)
        proved, cached = conversion.convert(
            model, folder, every, freeze or Freeze(), options, progress, log="export", cached=cache
        )
        artifact = proved.artifacts[0]
        _require_good(artifact, proved, allow_unverified)
        assert artifact.path is not None
        _put(folder / artifact.path, out)
    return Exported(
        format=artifact.format,
        precision=artifact.precision,
        status=artifact.status,
        path=str(out),
        bytes=artifact.bytes,
        sha256=artifact.sha256,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        init_ops=artifact.init_ops,
        states=proved.states,
        parity=artifact.parity,
        notes=artifact.notes,
        reason=artifact.reason,
        golden=proved.golden.text,
        cached=cached,
        seconds=time.monotonic() - started,
    )


def _require_good(artifact: Artifact, made: Conversion, allow_unverified: bool) -> None:
    if artifact.path is None:
        raise Failure(
            "format-refused",
            f"The model cannot become {artifact.key}: {artifact.reason}",
            expected="operations that the format has",
            found=artifact.reason,
        )
    if artifact.status == "refused":
        raise Failure(
            "parity-failed",
            f"{artifact.key} does not compute what the model computes: {artifact.reason}",
            expected=f"every output within {artifact.tolerance:g} of its range",
            found=artifact.reason,
            next="another precision, more typical --calibration data, or --tolerance OUTPUT=ERROR",
        )
    if artifact.status == "unverified" and not allow_unverified:
        raise Failure(
            "unverified",
            f"{artifact.key} could not be proved: {artifact.reason or 'no inputs to compare on'}",
            expected="inputs on which the model runs, and a runtime that runs the artifact",
            found=made.golden.text,
            next="--samples FILE with inputs of yours, or --allow-unverified",
        )


def _require_free(out: Path, *, folder: bool) -> None:
    if folder and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Failure("config-exists", f"{out} is there already", expected="a new folder", next="another -o")
    if not folder and out.is_dir():
        raise Failure("config-exists", f"{out} is a folder", expected="a file to write", next="another -o")


def _put(made: Path, out: Path) -> None:
    if made.is_file():
        place(made, out)
        return
    try:
        if out.exists():
            out.rmdir()
        shutil.copytree(made, out)
    except OSError as error:
        raise Failure("config-value", f"{out} cannot be written: {error.strerror}", found=str(out)) from None

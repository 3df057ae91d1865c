"""One model to one frozen .pb, proved. What `edgefreeze freeze` and edgefreeze.freeze do."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edgefreeze import conversion
from edgefreeze.conversion import Options
from edgefreeze.errors import CONFIG, GATE, Failure
from edgefreeze.progress import Progress, Silent
from edgefreeze.shown import Shown
from edgefreeze.targets import Format, Freeze
from edgefreeze.types import Artifact, Conversion, Parity, PassEffect, State, Tensor

WANTED = (Format(format="frozen_pb"),)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Frozen(Shown):
    """A frozen graph on disk. `tensor` of inputs and outputs is what to feed and fetch; `init_ops` are to
    be run once after loading.

    status: "frozen" (proved equal to the model in a fresh process) or "unverified" (it loads there, but no
    inputs were to be had, or no proof was wanted: `golden` says which).
    """

    status: str
    path: str
    method: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    init_ops: tuple[str, ...]
    states: tuple[State, ...]
    parity: Parity | None
    passes: tuple[PassEffect, ...]
    golden: str
    seconds: float
    peak_bytes: int


def freeze(model: Path, out: Path, options: Options, progress: Progress | None = None) -> Frozen:
    """Freeze a model on disk, write `out`, and prove in a fresh process that it computes what the model
    computes.

    Raises Failure: the model's and the freezing's refusals; parity-failed; unverified where no inputs could
    be made and options.verify asks for the proof. Then nothing is written.
    """
    progress = progress or Silent()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as made:
        folder = Path(made)
        proved, _ = conversion.convert(
            model, folder, WANTED, Freeze(), options, progress, log="freeze", cached=False
        )
        return finish(proved, folder, out, options, started)


def finish(made: Conversion, folder: Path, out: Path, options: Options, started: float) -> Frozen:
    """Put what was made in the folder, and proved, in its place. Raises as `freeze`."""
    artifact = made.artifacts[0]
    if artifact.path is None:
        raise Failure(
            "freeze-refused",
            f"The frozen graph cannot be written: {artifact.reason}",
            expected="a GraphDef file",
            found=artifact.reason,
        )
    if artifact.status != "verified" and options.verify:
        raise _unverified(artifact, made)
    place(folder / artifact.path, out)
    return Frozen(
        status="frozen" if artifact.status == "verified" else "unverified",
        path=str(out),
        method=artifact.method or "",
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        init_ops=artifact.init_ops,
        states=made.states,
        parity=artifact.parity,
        passes=artifact.passes,
        golden=made.golden.text,
        seconds=time.monotonic() - started,
        peak_bytes=made.peak_bytes,
    )


def status_of(failure: Failure) -> str | None:
    """The `status` of a --json document that ends in this failure: "refused", "unverified", or None where
    it says nothing of the model."""
    if failure.code == "unverified":
        return "unverified"
    return "refused" if failure.exit_status in (CONFIG, GATE) else None


def _unverified(artifact: Artifact, made: Conversion) -> Failure:
    return Failure(
        "unverified",
        "The frozen graph could not be proved: " + (artifact.reason or "no inputs to compare on"),
        expected="inputs on which the model runs",
        found=made.golden.method,
        next="--samples FILE with inputs of yours, or --no-verify to write it unproved",
    )


def place(made: Path, out: Path) -> None:
    """Move a file to its place, whole or not at all."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(made, part)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failure("config-value", f"{out} cannot be written: {error.strerror}", found=str(out)) from None

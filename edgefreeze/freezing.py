"""One model to one frozen .pb, proved. What `edgefreeze freeze` and edgefreeze.freeze do."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefreeze.build import convert_stages, log_file
from edgefreeze.errors import CONFIG, GATE, Failure
from edgefreeze.progress import Progress, Silent
from edgefreeze.types import Artifact, Conversion, Parity, PassEffect, State, Tensor
from edgefreeze.worker import client, prove

TOLERANCE = 1e-5
LONGEST_S = 2 * 3600.0
"""A worker that takes longer hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to freeze: which part of the model, proved on what, and how far optimised.

    signature, tags: of a SavedModel. inputs, outputs: names of a graph's nodes, "node" or "node:i".
    samples: see worker/samples.py. batch: fixes a free batch dimension. verify: False leaves the proof out,
    and the result is "unverified". custom_objects: "module:name" of a Keras model's own classes. trust:
    lets code run that the model brings. hoist_state: variables that the model changes become inputs and
    outputs.
    """

    signature: str | None = None
    tags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    samples: Path | None = None
    batch: int | None = None
    optimize: str = "none"
    verify: bool = True
    custom_objects: tuple[str, ...] = ()
    trust: bool = False
    hoist_state: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
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


def request(model: Path, folder: Path, options: Options) -> dict[str, Any]:
    """What the worker is asked (see worker/__main__.py), to write into the folder."""
    return {
        "op": "convert",
        "model": str(model),
        "signature": options.signature,
        "tags": list(options.tags) or None,
        "inputs": list(options.inputs) or None,
        "outputs": list(options.outputs) or None,
        "custom_objects": list(options.custom_objects),
        "trust": options.trust,
        "samples": str(options.samples) if options.samples else None,
        "verify": options.verify,
        "allow_unverified": True,
        "formats": [{"format": "frozen_pb", "precision": "fp32", "options": {}}],
        "freeze": {
            "optimize": options.optimize,
            "lower_control_flow": False,
            "batch": options.batch,
            "hoist_state": options.hoist_state,
        },
        "tolerances": {"frozen_pb": TOLERANCE},
        "out": str(folder),
    }


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
        result = client.run(
            request(model, folder, options),
            on_event=convert_stages(progress),
            log=log_file("freeze"),
            timeout_s=LONGEST_S,
        )
        conversion = msgspec.convert(result, Conversion, strict=False)
        return finish(conversion, folder, out, options, progress, started)


def finish(
    conversion: Conversion, folder: Path, out: Path, options: Options, progress: Progress, started: float
) -> Frozen:
    """Prove what the worker wrote into the folder, and put it in its place. Raises as `freeze`."""
    progress.step("prove", "proving it in a fresh process")
    artifact = prove.prove(conversion, folder).artifacts[0]
    if artifact.path is None:
        raise Failure(
            "freeze-refused",
            f"The frozen graph cannot be written: {artifact.reason}",
            expected="a GraphDef file",
            found=artifact.reason,
        )
    if artifact.status != "verified" and options.verify:
        raise _unverified(artifact, conversion)
    _place(folder / artifact.path, out)
    return Frozen(
        status="frozen" if artifact.status == "verified" else "unverified",
        path=str(out),
        method=artifact.method or "",
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        init_ops=artifact.init_ops,
        states=conversion.states,
        parity=artifact.parity,
        passes=artifact.passes,
        golden=conversion.golden.text,
        seconds=time.monotonic() - started,
        peak_bytes=conversion.peak_bytes,
    )


def status_of(failure: Failure) -> str | None:
    """The `status` of a --json document that ends in this failure: "refused", "unverified", or None where
    it says nothing of the model."""
    if failure.code == "unverified":
        return "unverified"
    return "refused" if failure.exit_status in (CONFIG, GATE) else None


def _unverified(artifact: Artifact, conversion: Conversion) -> Failure:
    return Failure(
        "unverified",
        "The frozen graph could not be proved: " + (artifact.reason or "no inputs to compare on"),
        expected="inputs on which the model runs",
        found=conversion.golden.method,
        next="--samples FILE with inputs of yours, or --no-verify to write it unproved",
    )


def _place(made: Path, out: Path) -> None:
    """Move a file to its place, whole or not at all."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(made, part)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failure("config-value", f"{out} cannot be written: {error.strerror}", found=str(out)) from None

"""One model to one frozen .pb, proved. What `edgefreeze freeze` does."""

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
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.types import Conversion, Parity, Tensor
from edgefreeze.worker import client, prove

TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A frozen graph on disk. `tensor` of inputs and outputs is what to feed and fetch."""

    status: str
    path: str
    method: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    init_ops: tuple[str, ...]
    parity: Parity | None
    golden: str
    seconds: float
    peak_bytes: int


def freeze(
    model: Path,
    out: Path,
    progress: Progress,
    *,
    signature: str | None = None,
    samples: Path | None = None,
    batch: int | None = None,
    optimize: str = "none",
) -> Frozen:
    """Freeze a model with convert_variables_to_constants_v2, write `out`, and prove in a fresh process that
    it computes what the model computes.

    Raises Failure: the model's and the freezing's refusals; parity-failed, and then nothing is written.
    """
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="edgefreeze-"))
    try:
        request: dict[str, Any] = {
            "op": "convert",
            "model": str(model),
            "signature": signature,
            "tags": None,
            "samples": str(samples) if samples else None,
            "formats": [{"format": "frozen_pb", "precision": "fp32", "options": {}}],
            "freeze": {"optimize": optimize, "lower_control_flow": False, "batch": batch},
            "tolerances": {"frozen_pb": TOLERANCE},
            "out": str(folder),
        }
        result = client.run(request, on_event=convert_stages(progress), log=log_file("freeze"))
        conversion = msgspec.convert(result, Conversion, strict=False)
        progress.step("prove", "proving it in a fresh process")
        artifact = prove.prove(conversion, folder).artifacts[0]
        assert artifact.path is not None
        _place(folder / artifact.path, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Frozen(
        status="frozen",
        path=str(out),
        method=artifact.method or "",
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        init_ops=artifact.init_ops,
        parity=artifact.parity,
        golden=f"{conversion.golden.cases} {conversion.golden.source}: {conversion.golden.method}",
        seconds=time.monotonic() - started,
        peak_bytes=conversion.peak_bytes,
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

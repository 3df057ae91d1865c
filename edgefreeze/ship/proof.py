"""Whether a runtime on a device computes: a tiny model in it, not an import. The models are in tiny/, made by
tests/make_tiny.py."""

from __future__ import annotations

import functools
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgefreeze import runtimes
from edgefreeze.device import tensors
from edgefreeze.errors import UNREACHABLE, Failure
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Content
from edgefreeze.ship import trial
from edgefreeze.ship.plan import RuntimePlan, binding
from edgefreeze.text import clean
from edgefreeze.transport.client import Helper
from edgefreeze.types import DeviceFacts, Tensor

TINY = Path(__file__).parent / "tiny"
_CLOSE = 1e-4
"""Of outputs between 0 and some 10: another CPU, another order of sums."""


class TinyModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model for one runtime: y = relu(x · w + b), of four numbers three."""

    format: str
    runtime: str
    """The module of device/runtimes that runs it."""
    path: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def file(self) -> Path:
        """The model's file or folder."""
        return TINY / self.path

    @property
    def files(self) -> tuple[Path, ...]:
        """The model's file, or those of its folder."""
        return tuple(sorted(self.file.iterdir())) if self.file.is_dir() else (self.file,)

    @property
    def artifact(self) -> dict[str, Any]:
        """As a manifest describes it."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields | {"precision": "fp32", "status": "unverified"}

    def asked(self) -> bytes:
        """The input, as an .npz."""
        return tensors.encode({self.inputs[0].name: question()})

    def wrong(self, answered: bytes) -> str | None:
        """What is wrong with what came back, an .npz; None where it is right."""
        try:
            found = tensors.decode(answered).get(self.outputs[0].name)
        except ValueError as error:
            return f"what comes back is no .npz: {clean(str(error), 200)}"
        right = answer()
        if found is None or found.shape != right.shape or not np.allclose(found, right, atol=_CLOSE):
            computed = np.asarray(found).ravel()[:4].tolist()
            return f"it computes {computed} where {right.ravel().tolist()} is right"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of it."""

    ok: bool
    seconds: float
    """Start of the process, import, load, one inference. Of a first time: nothing is compiled yet."""
    reason: str | None = None


@functools.cache
def models() -> dict[str, TinyModel]:
    """The tiny model of each runtime."""
    return msgspec.json.decode((TINY / "models.json").read_bytes(), type=dict[str, TinyModel])


def question() -> np.ndarray:
    """The input, [1, 4]."""
    return np.asarray([[1.0, -2.0, 3.0, 0.5]], np.float32)


def answer() -> np.ndarray:
    """What the model computes of it, [1, 3]."""
    w = np.asarray([[1, -1, 0.5], [0.25, 2, -1], [-0.5, 1, 1], [2, 0, -4]], np.float32)
    b = np.asarray([0.5, 1.0, -0.25], np.float32)
    found: np.ndarray = np.maximum(question() @ w + b, 0.0)
    return found


def _why(failure: Failure) -> str:
    return clean(failure.message + (f" ({failure.found})" if failure.found else ""), 400)


def _placed(file: Path) -> trial.Placed:
    data = file.read_bytes()
    content = Content(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), source=file)
    return trial.Placed(path=file.relative_to(TINY).as_posix(), content=content)


def prove(helper: Helper, facts: DeviceFacts, plan: RuntimePlan, progress: Progress) -> Proof:
    """Infer with a runtime that is on the device. What fails there is a result; a Failure is of the way."""
    name = plan.choice.runtime
    model = models()[name]
    bound = binding(facts, (plan,), runtimes.table().runner)
    started = time.monotonic()
    progress.step("prove", f"inferring with {name} on the device")
    files = [_placed(file) for file in model.files]
    try:
        with trial.brought(helper, model.artifact, files, bound, 1, progress) as infer:
            reason = model.wrong(infer(model.asked()))
    except Failure as failure:
        if failure.exit_status == UNREACHABLE or failure.code == "protocol":
            raise
        return Proof(ok=False, seconds=time.monotonic() - started, reason=_why(failure))
    return Proof(ok=reason is None, seconds=time.monotonic() - started, reason=reason)

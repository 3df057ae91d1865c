"""Whether a runtime on a device computes: a tiny model in it, not an import. The models are in tiny/, made by
tests/make_tiny.py."""

from __future__ import annotations

import functools
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edgefreeze import runtimes
from edgefreeze.device import tensors
from edgefreeze.errors import Failure
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


def prove(helper: Helper, facts: DeviceFacts, plan: RuntimePlan, progress: Progress) -> Proof:
    """Infer with a runtime that is on the device. What fails there is a result; a Failure is of the way."""
    name = plan.choice.runtime
    model = models()[name]
    file = TINY / model.path
    data = file.read_bytes()
    content = Content(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), source=file)
    entry = {
        "format": model.format,
        "precision": "fp32",
        "status": "unverified",
        "runtime": model.runtime,
        "path": model.path,
        "inputs": msgspec.to_builtins(model.inputs),
        "outputs": msgspec.to_builtins(model.outputs),
    }
    bound = binding(facts, (plan,), runtimes.table().runner)
    started = time.monotonic()
    progress.step("prove", f"inferring with {name} on the device")
    files = [trial.Placed(path=model.path, content=content)]
    blob = tensors.encode({model.inputs[0].name: question()})
    try:
        with trial.brought(helper, entry, files, bound, 1, progress) as infer:
            outputs = tensors.decode(infer(blob))
    except Failure as failure:
        if failure.code in ("protocol", "connection-lost", "unreachable"):
            raise
        return Proof(ok=False, seconds=time.monotonic() - started, reason=_why(failure))
    except ValueError as error:
        return Proof(ok=False, seconds=time.monotonic() - started, reason=clean(str(error), 300))
    seconds = time.monotonic() - started
    found = outputs.get(model.outputs[0].name)
    if found is None or found.shape != answer().shape or not np.allclose(found, answer(), atol=_CLOSE):
        return Proof(ok=False, seconds=seconds, reason=f"it computes {np.asarray(found).tolist()}")
    return Proof(ok=True, seconds=seconds)

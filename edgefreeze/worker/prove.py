"""The proof on the host: each artifact in its own runtime, in a fresh process that never saw the original.

The process is the device's own runner, from the very helper that is sent to boards. A process that loaded
the original can lie: what a broken artifact lacks may still be there.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from edgefreeze.device.child import Runner
from edgefreeze.device.errors import DeviceError
from edgefreeze.errors import Failure
from edgefreeze.formats import FORMATS
from edgefreeze.text import clean
from edgefreeze.transport import pyz
from edgefreeze.types import Artifact, Conversion, Parity

GREETING_S = 120.0
TIMEOUT_S = 1800.0
THREADS = 1
STRICT = "frozen_pb"
"""Everything is derived from the frozen graph: where it differs nothing is worth keeping."""

_NOT_THERE = ("ModuleNotFoundError", "ImportError")
_NO_FLEX = "link the Flex delegate"
"""What TensorFlow Lite says of Select TF ops where it was built without them, as every wheel is."""
_FLEX = re.compile(r"Flex[A-Z]\w*(?= ?\))")
_SELECT_OPS = (
    "It holds operations of TensorFlow's own (--select-ops), which the TensorFlow Lite installed here lacks, "
    "so it could not be run:"
)


def prove(conversion: Conversion, folder: Path) -> Conversion:
    """The conversion with every artifact that was made "verified" or "refused", or left "unverified" where
    its runtime is not installed here.

    folder: where the worker wrote. Raises Failure parity-failed where the frozen graph does not compute what
    the model computes.
    """
    golden = bool(conversion.golden.cases)
    proved = [
        _prove(artifact, folder, golden) if artifact.status == "unverified" and artifact.path else artifact
        for artifact in conversion.artifacts
    ]
    refuse_wrong(proved)
    return replace(conversion, artifacts=tuple(proved))


def refuse_wrong(artifacts: Sequence[Artifact]) -> None:
    """Raise Failure parity-failed if the frozen graph ran and does not match, or did not run."""
    for artifact in artifacts:
        if artifact.format != STRICT or artifact.status != "refused" or artifact.path is None:
            continue
        worst = _worst(artifact.parity)
        raise Failure(
            "parity-failed",
            f"The frozen graph does not compute what the model computes: {artifact.reason}",
            expected=f"every output within {artifact.tolerance:g} of its range",
            found=worst or artifact.reason,
            retry_safe=True,
            next="Nothing was sent. Freeze it with --optimize none, or leave out what the message names.",
        )


@contextmanager
def opened(artifact: Artifact, folder: Path, *, golden: bool = False) -> Iterator[Runner]:
    """A fresh process that has loaded an artifact of the folder, and the golden data where asked.

    Raises DeviceError where it cannot be loaded.
    """
    assert artifact.path is not None
    request = {
        "artifact": msgspec.to_builtins(artifact),
        "path": str((folder / artifact.path).resolve()),
        "golden": str((folder / "golden.npz").resolve()) if golden else None,
        "threads": THREADS,
        "sys_paths": [],
        "pycache": sys.pycache_prefix,
    }
    with tempfile.TemporaryDirectory(prefix="edgefreeze-prove-") as scratch:
        program = Path(scratch) / "helper.pyz"
        program.write_bytes(pyz.build()[0])
        with Runner(sys.executable, str(program), THREADS, GREETING_S) as runner:
            runner.call("load", request, TIMEOUT_S)
            yield runner


def _prove(artifact: Artifact, folder: Path, golden: bool) -> Artifact:
    """As `prove`, one of them; without golden data it is only loaded, and stays "unverified"."""
    if FORMATS[artifact.format][artifact.precision].recipe:
        return _prove_recipe(artifact, folder, golden)
    try:
        with opened(artifact, folder, golden=golden) as runner:
            if not golden:
                return artifact
            parity = msgspec.convert(runner.call("check", {}, TIMEOUT_S), Parity, strict=False)
    except DeviceError as error:
        message = clean(error.message, 500)
        if message.startswith(_NOT_THERE):
            return replace(
                artifact, reason=f"The runtime {artifact.runtime} is not installed here: {message}"
            )
        if _NO_FLEX in message:
            return replace(artifact, reason=f"{_SELECT_OPS} {', '.join(sorted(set(_FLEX.findall(message))))}")
        return replace(artifact, status="refused", reason=f"It does not run in {artifact.runtime}: {message}")
    if parity.ok:
        return replace(artifact, status="verified", parity=parity)
    return replace(artifact, status="refused", parity=parity, reason=_worst(parity))


def _prove_recipe(artifact: Artifact, folder: Path, golden: bool) -> Artifact:
    """Its ONNX model must do in ONNX Runtime, where that is installed; the device proves the engine."""
    plain = replace(
        artifact, format="onnx", precision="fp32", runtime="onnxruntime", path=f"{artifact.path}/model.onnx"
    )
    found = _prove(plain, folder, golden)
    if found.status == "refused":
        return replace(artifact, status="refused", parity=found.parity, reason=found.reason)
    if not golden:
        return replace(artifact, reason="There are no golden inputs for the device to prove its engine on.")
    return replace(
        artifact,
        built_there=True,
        reason="The device builds the engine, and its self-test there is the proof.",
    )


def _worst(parity: Parity | None) -> str | None:
    """The outputs that do not match, in words."""
    wrong = [o for o in (parity.outputs if parity else ()) if not o.ok]
    return "; ".join(f"output {o.name!r}: {o.reason}" for o in wrong) or None

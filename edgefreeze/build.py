"""A model and a target in, a proved release out, on the host. TensorFlow runs in the worker only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefreeze.errors import Failure
from edgefreeze.inventory import state_root
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Release, assemble
from edgefreeze.runtimes import table
from edgefreeze.targets import FORMATS, Format, Target
from edgefreeze.types import Conversion
from edgefreeze.worker import client, prove

_STAGES = {
    "start": "starting TensorFlow",
    "load": "loading the model",
    "optimize": "optimizing the frozen graph",
    "golden": "computing golden outputs",
    "freeze": "freezing",
    "convert": "converting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build made: the release, and all that the worker said of it, refusals included."""

    release: Release
    conversion: Conversion
    seconds: dict[str, float]


def wanted_formats(target: Target, only: tuple[str, ...], no_tf: bool) -> tuple[Format, ...]:
    """The target's formats, narrowed by --format and --no-tf. Raises Failure format-unknown."""
    for name in only:
        if name not in FORMATS:
            raise Failure(
                "format-unknown", f"there is no format '{name}'", expected=", ".join(FORMATS), found=name
            )
    known: dict[str, Format] = {f.format: f for f in target.formats}
    formats = (
        tuple(known[name] if name in known else _format(name) for name in only) if only else target.formats
    )
    if no_tf:
        formats = tuple(f for f in formats if not needs_tensorflow(f.format))
        if not formats:
            raise Failure(
                "format-unknown",
                f"without TensorFlow nothing is left of the target '{target.name}'",
                expected="a format that runs without TensorFlow",
                found=", ".join(f.format for f in target.formats),
                next="add --format tflite",
            )
    return formats


def _format(name: str) -> Format:
    """A format that the target does not list, with defaults."""
    return msgspec.convert({"format": name}, Format)


def needs_tensorflow(format_name: str) -> bool:
    """Whether a format needs TensorFlow on the device."""
    return table().of_format(format_name) == "tensorflow"


def build(
    model: Path,
    target: Target,
    *,
    app: str,
    out: Path,
    progress: Progress,
    formats: tuple[Format, ...] | None = None,
    samples: Path | None = None,
    signature: str | None = None,
) -> Built:
    """Freeze, convert and prove a model for a target, into the folder `out`.

    Raises Failure: the model's and the freezing's refusals, parity-failed where the frozen graph differs,
    unverified where nothing could be verified.
    """
    formats = formats or target.formats
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    request: dict[str, Any] = {
        "op": "convert",
        "model": str(model),
        "signature": signature,
        "tags": None,
        "samples": str(samples) if samples else None,
        # The frozen graph is made in any case: everything else is derived from it, and it is the proof.
        "formats": [
            {"format": f.format, "precision": f.precision, "options": {"opset": f.opset} if f.opset else {}}
            for f in _with_frozen(formats)
        ],
        "freeze": msgspec.to_builtins(target.freeze),
        "tolerances": {f.format: f.tolerance for f in _with_frozen(formats)},
        "out": str(out),
    }

    result = client.run(request, on_event=convert_stages(progress), log=log_file("worker"))
    conversion = msgspec.convert(result, Conversion, strict=False)
    converted = time.monotonic()
    progress.step("prove", "proving each artifact in its own runtime")
    proved = prove.prove(conversion, out)
    for artifact in proved.artifacts:
        if artifact.status == "refused":
            progress.note(f"{artifact.format} refused: {artifact.reason}")
    release = assemble(
        app=app, target=target, conversion=proved, folder=out, formats=tuple(f.format for f in formats)
    )
    return Built(
        release=release,
        conversion=proved,
        seconds={"convert": converted - started, "prove": time.monotonic() - converted},
    )


def convert_stages(progress: Progress) -> Callable[[dict[str, Any]], None]:
    """The worker's events, as steps of a progress."""

    def on_event(event: dict[str, Any]) -> None:
        if event.get("event") == "stage":
            name = str(event.get("name"))
            detail = f" to {event['format']}" if event.get("format") else ""
            progress.step(name, _STAGES.get(name, name) + detail)

    return on_event


def _with_frozen(formats: tuple[Format, ...]) -> tuple[Format, ...]:
    if any(f.format == "frozen_pb" for f in formats):
        return formats
    return (*formats, Format(format="frozen_pb", tolerance=1e-5))


def log_file(name: str) -> Path:
    """A new log in the host's state folder, named by time; the newest 50 are kept."""
    folder = state_root() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[:-50]:
        old.unlink(missing_ok=True)
    return folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{time.monotonic_ns() % 10**6:06d}-{name}.log"

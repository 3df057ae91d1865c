"""A model on disk to proved artifacts in a folder: what freeze, build, export and deploy have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from edgefreeze import cache, logs
from edgefreeze.errors import Failure, nearest, out_of_range
from edgefreeze.progress import Progress
from edgefreeze.targets import Format, Freeze
from edgefreeze.types import Conversion
from edgefreeze.worker import client, prove

LONGEST_S = 2 * 3600.0
"""A worker that takes longer hangs."""

_STAGES = {
    "start": "starting TensorFlow",
    "load": "loading the model",
    "optimize": "optimising the frozen graph",
    "golden": "computing golden outputs",
    "freeze": "freezing",
    "convert": "converting",
    "evaluate": "computing the original's outputs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may say about a model and its conversion.

    signature, tags: of a SavedModel. inputs, outputs: names of a graph's nodes, "node" or "node:i".
    samples: what to prove on, calibration: what to measure ranges of activations on; see worker/samples.py.
    batch: fixes a free batch dimension. optimize: "none", "safe", "max"; None: the target's. verify: False
    leaves the proof out, and the result is "unverified". custom_objects: "module:name" of a Keras model's
    own classes. trust: lets code run that the model brings. hoist_state: variables that the model changes
    become inputs and outputs. tolerances: by output, instead of the precision's. labels: names of the
    classes, and normalise: how inputs were normalised; both go along with the artifacts.
    """

    signature: str | None = None
    tags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    samples: Path | None = None
    calibration: Path | None = None
    batch: int | None = None
    optimize: str | None = None
    verify: bool = True
    custom_objects: tuple[str, ...] = ()
    trust: bool = False
    hoist_state: bool = False
    select_ops: bool = False
    tolerances: dict[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    normalise: str | None = None

    def __post_init__(self) -> None:
        """Raise Failure usage for a value that cannot be."""
        if self.batch is not None and self.batch < 1:
            raise out_of_range("batch", self.batch, "1 or more")
        if self.optimize not in (None, "none", "safe", "max"):
            raise out_of_range("optimize", self.optimize, "none, safe or max")
        if self.normalise not in (None, "0..1", "-1..1", "0..255", "imagenet"):
            raise out_of_range("normalise", self.normalise, "0..1, -1..1, 0..255 or imagenet")
        for name, error in self.tolerances.items():
            if not 0 <= error <= 1:
                raise out_of_range(f"tolerance of {name}", error, "0 to 1")


def request(
    model: Path, folder: Path, wanted: Sequence[Format], freeze: Freeze, options: Options
) -> dict[str, Any]:
    """What the worker is asked (see worker/__main__.py), to write into the folder."""
    settings = msgspec.to_builtins(freeze)
    settings |= {
        key: value
        for key, value in (("optimize", options.optimize), ("batch", options.batch))
        if value is not None
    }
    return {
        "op": "convert",
        "model": str(model),
        **of_model(options),
        "samples": str(options.samples) if options.samples else None,
        "calibration": str(options.calibration) if options.calibration else None,
        "verify": options.verify,
        "allow_unverified": True,
        "formats": [_entry(entry, options) for entry in wanted],
        "freeze": {**settings, "hoist_state": options.hoist_state},
        "labels": list(options.labels) or None,
        "normalise": options.normalise,
        "out": str(folder),
    }


def of_model(options: Options) -> dict[str, Any]:
    """The part of a worker's request that says how to load the model."""
    return {
        "signature": options.signature,
        "tags": list(options.tags) or None,
        "inputs": list(options.inputs) or None,
        "outputs": list(options.outputs) or None,
        "custom_objects": list(options.custom_objects),
        "trust": options.trust,
    }


def _entry(wanted: Format, options: Options) -> dict[str, Any]:
    special: dict[str, Any] = {"opset": wanted.opset} if wanted.opset else {}
    if options.select_ops and wanted.format == "tflite":
        special["select_ops"] = True
    return {
        "format": wanted.format,
        "precision": wanted.resolved,
        "tolerance": wanted.allowed,
        "options": special,
    }


def convert(
    model: Path,
    folder: Path,
    wanted: Sequence[Format],
    freeze: Freeze,
    options: Options,
    progress: Progress,
    *,
    log: str,
    cached: bool = True,
) -> tuple[Conversion, bool]:
    """(the conversion with every artifact proved or refused, whether it was in the cache), in `folder`.

    log: what the worker's log is named after. cached: False converts anew whatever is known.
    Raises Failure: the model's and the freezing's refusals; parity-failed where the frozen graph differs;
    usage for a tolerance of an output that the model has not.
    """
    asked = request(model, folder, wanted, freeze, options)
    identity = cache.identity(asked, options.tolerances) if cached and cache.may(asked) else None
    if identity is not None:
        known = cache.restore(identity, folder)
        if known is not None:
            progress.step("cache", "nothing changed: taking what an earlier build made and proved")
            return known, True
    result = client.run(asked, on_event=stages(progress), log=logs.new(log), timeout_s=LONGEST_S)
    conversion = replace(
        msgspec.convert(result, Conversion, strict=False), labels=options.labels, normalise=options.normalise
    )
    started = time.monotonic()
    proved = prove_all(conversion, folder, options.tolerances, progress)
    proved = replace(proved, seconds={**proved.seconds, "prove": round(time.monotonic() - started, 3)})
    if identity is not None:
        cache.keep(identity, folder, proved)
    return proved, False


def prove_all(
    conversion: Conversion, folder: Path, tolerances: dict[str, float], progress: Progress
) -> Conversion:
    """What the worker wrote into the folder, proved. Raises as `convert`."""
    progress.step("prove", "proving each artifact in its own runtime")
    return prove.prove(_with_tolerances(conversion, tolerances), folder)


def _with_tolerances(conversion: Conversion, tolerances: dict[str, float]) -> Conversion:
    names = [t.name for t in conversion.outputs]
    for name in tolerances:
        if name not in names:
            near = nearest(name, names)
            raise Failure(
                "usage",
                f"--tolerance: the model has no output '{name}'{f'; did you mean {near!r}?' if near else ''}",
                expected=", ".join(names),
                found=name,
            )
    if not tolerances:
        return conversion
    return replace(
        conversion, artifacts=tuple(replace(a, tolerances=dict(tolerances)) for a in conversion.artifacts)
    )


def stages(progress: Progress) -> Callable[[dict[str, Any]], None]:
    """The worker's events, as steps of a progress."""

    def on_event(event: dict[str, Any]) -> None:
        if event.get("event") == "stage":
            name = str(event.get("name"))
            detail = f" to {event['format']}" if event.get("format") else ""
            progress.step(name, _STAGES.get(name, name) + detail)

    return on_event

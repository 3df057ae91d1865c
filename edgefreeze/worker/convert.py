"""The operation `convert`: load once, freeze once, write every artifact and the golden data."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze import formats as facts
from edgefreeze import stack
from edgefreeze.device.tensors import encode_golden
from edgefreeze.types import Artifact, Conversion, GoldenData, PassEffect
from edgefreeze.worker import (
    calibration,
    digests,
    formats,
    golden,
    limits,
    memory,
    optimize,
    samples,
    sources,
    state,
    tables,
)
from edgefreeze.worker.calibration import Calibration
from edgefreeze.worker.freeze import Frozen, freeze
from edgefreeze.worker.sources import Options, Source

GOLDEN = "golden.npz"
_PACKAGES = ("keras", "numpy", "tf2onnx", "onnx", "onnxruntime", "protobuf", "ai-edge-litert")

Emit = Callable[[dict[str, Any]], None]


class Stages:
    """Announces each step and keeps how long it took."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, **details: str) -> Iterator[None]:
        """Around a step: an event before, its duration after."""
        self._emit({"event": "stage", "name": name, **details})
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[" ".join((name, *details.values()))] = round(time.monotonic() - started, 3)


def convert(request: dict[str, Any], emit: Emit) -> Conversion:
    """Do what the request asks (see __main__), and say what was made. Artifacts are "unverified", or
    "refused" with the reason. Raises Failure where the model itself will not do."""
    stage = Stages(emit)
    path, out = Path(request["model"]), Path(request["out"])
    wanted = [_wanted(entry) for entry in request["formats"]]
    settings = request.get("freeze") or {}
    level = settings.get("optimize", "none")
    optimize.require_level(level)
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)

    with stage("load"):
        options = Options.of(request)
        count = limits.signature_bytes(path, options)
        if count is not None and any((a.format, a.precision) != ("saved_model", "fp32") for a, _ in wanted):
            limits.refuse_too_large(count)
        kind, source = sources.load(path, options)
        model_sha256 = digests.sha256(path) if source.files is None else digests.of_files(source.files)
    return complete(source, kind, model_sha256, wanted, request, out, stage)


def complete(
    source: Source,
    kind: str,
    model_sha256: str,
    wanted: list[tuple[Artifact, dict[str, Any]]],
    request: dict[str, Any],
    out: Path,
    stage: Stages,
) -> Conversion:
    """The conversion of a model that is loaded, with the request's `freeze`, `samples`, `verify` and
    `allow_unverified`."""
    settings = request.get("freeze") or {}
    with stage("freeze"):
        source, states, settled = state.settle(source, bool(settings.get("hoist_state")))
        inlining = bool(settings.get("aggressive_inlining"))
        plain = freeze(source, aggressive_inlining=inlining)
        lowered = plain
        if settings.get("lower_control_flow"):
            lowered = freeze(source, lower_control_flow=True, aggressive_inlining=inlining)
        if settled:
            lowered = replace(lowered, method=f"{settled}; {lowered.method}")
    with stage("golden"):
        calibrated = _calibration(source, request)
        cases, why = _golden(source, plain, request, calibrated)
        if cases is not None:
            pairs = list(zip(cases.inputs, cases.outputs, strict=True))
            (out / GOLDEN).write_bytes(encode_golden(pairs))
    frozen, effects = lowered, tuple[PassEffect, ...]()
    with stage("optimize"):
        level = settings.get("optimize", "none")
        if cases is None and level != "none":
            frozen = replace(lowered, method=f"{lowered.method}; not optimised (nothing to compare on)")
        elif cases is not None:
            frozen, effects = optimize.optimize(lowered, level, optimize.runs(cases.inputs))

    written: dict[int, Artifact] = {}
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as scratch:
        made = formats.Made(
            source=source,
            frozen=frozen,
            plain=plain,
            scratch=Path(scratch),
            calibration=calibrated,
            labels=tuple(request.get("labels") or ()),
            normalise=request.get("normalise"),
        )
        # The SavedModel first: TensorFlow numbers its functions by how many the process has had.
        for index in sorted(range(len(wanted)), key=lambda i: wanted[i][0].format != "saved_model"):
            artifact, options = wanted[index]
            with stage("convert", format=artifact.key):
                started = time.monotonic()
                artifact = _write(artifact, made, out, options)
                artifact = replace(artifact, reason=artifact.reason or why)
                if artifact.format == "frozen_pb":
                    artifact = replace(artifact, passes=effects)
            written[index] = replace(artifact, seconds=round(time.monotonic() - started, 3))
            memory.give_back()

    return Conversion(
        model_kind=kind,
        model_sha256=model_sha256,
        signature=source.signature,
        inputs=frozen.inputs,
        outputs=frozen.outputs,
        artifacts=tuple(written[index] for index in range(len(wanted))),
        golden=cases.data if cases is not None else GoldenData(source="none", method=why or "", cases=0),
        states=states,
        versions=versions(),
        peak_bytes=memory.peak(),
        seconds=stage.seconds,
    )


def _calibration(source: Source, request: dict[str, Any]) -> Calibration | None:
    """The calibration data that was given. Raises Failure calibration-bad."""
    given = request.get("calibration")
    return calibration.read(Path(given), source.inputs, request.get("normalise")) if given else None


def _golden(
    source: Source, frozen: Frozen, request: dict[str, Any], calibrated: Calibration | None
) -> tuple[golden.Golden | None, str | None]:
    """(golden data, or None; why there is none). Raises Failure samples-bad, model-stateful; for inputs
    that cannot be made only unless that is allowed."""
    if not request.get("verify", True):
        return None, "No proof was asked for."
    given = request.get("samples")
    normalise = request.get("normalise")
    calls = samples.calls(Path(given), source.inputs, rows=1, normalise=normalise) if given else None
    if calibrated is not None and calls is not None:
        calibration.require_covers(calibrated, calls)
    try:
        if calls is None and calibrated is not None:
            made = golden.make(source, calibrated.calls)
            method = f"{made.data.cases} of {calibrated.given} calibration samples"
            return replace(made, data=replace(made.data, method=method)), None
        return golden.make(source, calls, tables.keys(frozen.graph)), None
    except golden.Undrawable as failure:
        if not request.get("allow_unverified"):
            raise
        return None, f"{failure.message} The last attempt ended with {failure.found}"


def _wanted(entry: dict[str, Any]) -> tuple[Artifact, dict[str, Any]]:
    """(the artifact to be, options of its format). Raises Failure format-unknown, opset-unknown.

    A precision that lacks calibration data is refused where it is written, so that the others are made.
    """
    name = entry["format"]
    precision = entry.get("precision") or facts.default(name)
    options = entry.get("options") or {}
    writer = formats.module(name, precision)
    formats.require_options(name, precision, options)
    tolerance = entry.get("tolerance")
    if tolerance is None:
        tolerance = facts.FORMATS[name][precision].tolerance
    artifact = Artifact(
        format=name,
        precision=precision,
        status="unverified",
        runtime=writer.RUNTIME,
        tolerance=tolerance,
    )
    return artifact, options


def _write(artifact: Artifact, made: formats.Made, out: Path, options: dict[str, Any]) -> Artifact:
    writer = formats.module(artifact.format, artifact.precision)
    path = out / writer.path(artifact.precision)
    try:
        written = writer.write(made, artifact.precision, out, options)
    except formats.Unfit as unfit:
        _remove(path)
        return replace(artifact, status="refused", reason=str(unfit))
    return replace(
        artifact,
        path=path.name,
        bytes=digests.size(path),
        sha256=digests.sha256(path),
        inputs=written.inputs,
        outputs=written.outputs,
        signature=written.signature,
        init_ops=written.init_ops,
        method=written.method,
        notes=written.notes,
    )


def _clear(out: Path) -> None:
    """Take away what an earlier conversion left, so that nothing old is taken for new."""
    for name in formats.names():
        writer = formats.module(name)
        for precision in facts.FORMATS[name]:
            _remove(out / writer.path(precision))
    _remove(out / GOLDEN)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """The versions that decide what comes out."""
    import tensorflow as tf

    return {**stack.versions(_PACKAGES), "tensorflow": tf.__version__}

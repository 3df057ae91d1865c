"""The operation `convert`: load once, freeze once, write every artifact and the golden data."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.device.tensors import encode_golden
from edgefreeze.errors import Failure
from edgefreeze.types import Artifact, Conversion
from edgefreeze.worker import digests, formats, golden, optimize, sources
from edgefreeze.worker.freeze import freeze
from edgefreeze.worker.samples import read_samples
from edgefreeze.worker.sources import Options

_PACKAGES = ("keras", "numpy", "tf2onnx", "onnx", "protobuf", "ai-edge-litert")

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
    wanted = [(f["format"], f.get("precision", "fp32"), f.get("options") or {}) for f in request["formats"]]
    writers = [formats.module(name, precision) for name, precision, _ in wanted]
    settings = request.get("freeze") or {}
    level = settings.get("optimize", "none")
    if level not in optimize.LEVELS:
        raise Failure(
            "usage",
            f"There is no optimize level {level!r}.",
            expected=", ".join(optimize.LEVELS),
            found=level,
        )
    tags = request.get("tags")
    out.mkdir(parents=True, exist_ok=True)

    with stage("load"):
        kind = sources.find(path)
        options = Options(
            signature=request.get("signature"),
            tags=tuple(tags) if tags else None,
            batch=settings.get("batch"),
        )
        source = sources.module(kind).load(path, options)
        model_sha256 = digests.sha256(path)
    with stage("freeze"):
        plain = freeze(source, aggressive_inlining=bool(settings.get("aggressive_inlining")))
        lowered = (
            freeze(
                source, lower_control_flow=True, aggressive_inlining=bool(settings.get("aggressive_inlining"))
            )
            if settings.get("lower_control_flow")
            else plain
        )
    with stage("golden"):
        samples = read_samples(Path(request["samples"])) if request.get("samples") else None
        cases = golden.make(source, samples)
        (out / "golden.npz").write_bytes(encode_golden(list(zip(cases.inputs, cases.outputs, strict=True))))
    with stage("optimize"):
        frozen = optimize.optimize(lowered, level, optimize.compare_runs(cases.inputs))

    made = formats.Made(source=source, frozen=frozen, plain=plain)
    artifacts = []
    for (name, precision, format_options), writer in zip(wanted, writers, strict=True):
        with stage("convert", format=name):
            tolerance = (request.get("tolerances") or {}).get(name, writer.TOLERANCE[precision])
            artifact = Artifact(
                format=name,
                precision=precision,
                status="unverified",
                runtime=writer.RUNTIME,
                tolerance=tolerance,
            )
            artifacts.append(_write(artifact, writer, made, out, format_options))
        artifacts[-1] = replace(artifacts[-1], seconds=stage.seconds[f"convert {name}"])

    return Conversion(
        model_kind=kind,
        model_sha256=model_sha256,
        signature=source.signature,
        inputs=frozen.inputs,
        outputs=frozen.outputs,
        artifacts=tuple(artifacts),
        golden=cases.data,
        versions=versions(),
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        seconds=stage.seconds,
    )


def _write(
    artifact: Artifact, writer: formats.FormatModule, made: formats.Made, out: Path, options: dict[str, Any]
) -> Artifact:
    path = out / writer.PATH
    _remove(path)
    try:
        written = writer.write(made, out, options)
    except formats.Unfit as unfit:
        _remove(path)
        return replace(artifact, status="refused", reason=str(unfit))
    return replace(
        artifact,
        path=writer.PATH,
        bytes=digests.size(path),
        sha256=digests.sha256(path),
        inputs=written.inputs,
        outputs=written.outputs,
        signature=written.signature,
        method=written.method,
    )


def _remove(path: Path) -> None:
    """Take away what an earlier run, or a failed conversion, left."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """The versions that decide what comes out."""
    import tensorflow as tf

    found = {"python": platform.python_version(), "tensorflow": tf.__version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

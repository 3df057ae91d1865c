"""A release: the canonical manifest whose SHA-256 is its id, and the envelope around it.

The manifest holds what is the same wherever and whenever the release is built: app, target, files, what
must run them, tolerances, provenance. Time, sequence, golden inputs and outputs (whose last bits differ
from CPU to CPU) and facts of the host stand in the envelope.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

import edgefreeze
from edgefreeze.device import tensors
from edgefreeze.device.protocol import SHA256, canonical, is_safe_path
from edgefreeze.errors import Failure
from edgefreeze.runtimes import table
from edgefreeze.targets import Target, named_rule
from edgefreeze.types import Artifact, Conversion, Tensor

SCHEMA = 1
GOLDEN = "golden.npz"
SIGNATURE = "envelope.sig"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes to bring: their digest, size, and where the host has them."""

    sha256: str
    bytes: int
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release in a folder of the host."""

    id: str
    manifest: dict[str, Any]
    manifest_text: str
    envelope_text: str
    folder: Path
    artifacts: tuple[Artifact, ...]
    contents: tuple[Content, ...]
    """The files and the golden data."""
    signature: str | None = None
    """Of the envelope: an armoured SSH signature."""

    @property
    def primary(self) -> Artifact:
        """The artifact that `run` uses: the first, in the target's order, that can be proved, or at all."""
        return next(iter(self.provable or self.artifacts))

    def at(self, folder: Path) -> Release:
        """The same after its folder was moved."""
        moved = (replace(c, source=folder / c.source.relative_to(self.folder)) for c in self.contents)
        return replace(self, folder=folder, contents=tuple(moved))

    @property
    def provable(self) -> tuple[Artifact, ...]:
        """The artifacts that a device must prove: those that were proved here, and those that it builds."""
        return tuple(a for a in self.artifacts if a.provable)


def assemble(
    *,
    app: str,
    target: Target,
    conversion: Conversion,
    folder: Path,
    sequence: int = 0,
    formats: tuple[str, ...] | None = None,
    allow_unverified: bool = False,
) -> Release:
    """Write manifest.json and envelope.json beside what the worker made, and describe the release.

    Verified artifacts enter, and those that the device builds and proves; with allow_unverified also those
    that could not be checked; never one that was refused. `formats` (keys) narrows them further, and says
    their order. Raises Failure unverified where none is left.
    """
    artifacts = [
        a
        for a in conversion.artifacts
        if (a.provable or (allow_unverified and a.status == "unverified"))
        and (formats is None or a.key in formats)
    ]
    if formats is not None:
        artifacts.sort(key=lambda a: formats.index(a.key))
    if not artifacts:
        reasons = "; ".join(f"{a.key}: {a.reason}" for a in conversion.artifacts if a.reason)
        unchecked = any(a.status == "unverified" for a in conversion.artifacts)
        raise Failure(
            "unverified",
            "no artifact of the model was verified: nothing can be released",
            expected="an artifact that computes what the model computes",
            found=reasons or None,
            next="--samples FILE with inputs of yours, or --allow-unverified" if unchecked else None,
        )
    if not (folder / GOLDEN).exists():
        (folder / GOLDEN).write_bytes(tensors.encode_golden([]))
    files = sorted(
        {c.source: c for a in artifacts for c in _files(folder, a)}.values(),
        key=lambda c: c.source.as_posix(),
    )
    known = table()
    requires = {
        runtime: known.program.get(runtime)
        or ",".join(p for p in (known.own[runtime], named_rule(target.runtimes.get(runtime))[1]) if p)  # type: ignore[call-overload]
        for runtime in sorted({known.runner[a.runtime] for a in artifacts if a.runtime})
    }
    manifest = {
        "schema": SCHEMA,
        "app": app,
        "target": target.name,
        "artifacts": [_describe(a) for a in artifacts],
        "files": [
            {"path": c.source.relative_to(folder).as_posix(), "sha256": c.sha256, "bytes": c.bytes}
            for c in files
        ],
        "requires": requires,
        "model": {
            "signature": conversion.signature,
            "inputs": [_interface(t) for t in conversion.inputs],
            "outputs": [_interface(t) for t in conversion.outputs],
            "labels": list(conversion.labels),
            "normalise": conversion.normalise,
        },
        "provenance": {
            "edgefreeze": edgefreeze.__version__,
            "model_kind": conversion.model_kind,
            "model_sha256": conversion.model_sha256,
            "freeze": msgspec.to_builtins(target.freeze),
            "versions": {k: v for k, v in sorted(conversion.versions.items()) if k != "python"},
        },
    }
    manifest_bytes = canonical(manifest)
    golden = _content(folder / GOLDEN)
    envelope = {
        "schema": SCHEMA,
        "manifest_sha256": hashlib.sha256(manifest_bytes).hexdigest(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "sequence": sequence,
        "golden": {"sha256": golden.sha256, "bytes": golden.bytes, "cases": conversion.golden.cases},
        "host": {
            "machine": platform.machine(),
            "python": platform.python_version(),
            "golden": conversion.golden.method,
        },
    }
    envelope_bytes = canonical(envelope)
    (folder / "manifest.json").write_bytes(manifest_bytes)
    (folder / "envelope.json").write_bytes(envelope_bytes)
    (folder / SIGNATURE).unlink(missing_ok=True)
    return Release(
        id=envelope["manifest_sha256"],  # type: ignore[arg-type]
        manifest=manifest,
        manifest_text=manifest_bytes.decode(),
        envelope_text=envelope_bytes.decode(),
        folder=folder,
        artifacts=tuple(artifacts),
        contents=(*files, golden),
    )


def _interface(tensor: Tensor) -> dict[str, Any]:
    """An input or output as an application knows it, whatever the artifact."""
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": None if tensor.shape is None else list(tensor.shape),
    }


def _describe(artifact: Artifact) -> dict[str, Any]:
    """What of an artifact belongs to its identity: no timings, no measured errors."""
    keep = (
        "format",
        "precision",
        "status",
        "path",
        "runtime",
        "inputs",
        "outputs",
        "init_ops",
        "signature",
        "tolerance",
        "tolerances",
        "method",
    )
    whole = msgspec.to_builtins(artifact)
    built = {"built_there": True} if artifact.built_there else {}
    return {key: whole[key] for key in keep} | built


def _files(folder: Path, artifact: Artifact) -> list[Content]:
    assert artifact.path is not None
    path = folder / artifact.path
    return [_content(p) for p in (sorted(path.rglob("*")) if path.is_dir() else [path]) if p.is_file()]


def _content(path: Path) -> Content:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Content(sha256=digest, bytes=path.stat().st_size, source=path)


def load(folder: Path) -> Release:
    """Read a release folder again, checking every file against the manifest.

    Raises Failure bad-manifest, naming the file.
    """
    try:
        manifest_bytes = (folder / "manifest.json").read_bytes()
        envelope_bytes = (folder / "envelope.json").read_bytes()
        signed = folder / SIGNATURE
        signature = signed.read_text("ascii") if signed.exists() else None
        manifest, envelope = json.loads(manifest_bytes), json.loads(envelope_bytes)
        artifacts = tuple(msgspec.convert(a, Artifact, strict=True) for a in manifest["artifacts"])
        listed = [(f["path"], f["sha256"], f["bytes"]) for f in manifest["files"]]
        golden = envelope["golden"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure("bad-manifest", f"{folder} is no release: {error}") from None
    identity = hashlib.sha256(manifest_bytes).hexdigest()
    if envelope.get("manifest_sha256") != identity:
        raise Failure("bad-manifest", f"{folder}: the envelope is of another manifest", found=identity)
    contents = []
    for path, digest, _ in [*listed, (GOLDEN, golden, 0)]:
        if not is_safe_path(path) or not SHA256.fullmatch(str(digest)):
            raise Failure(
                "bad-manifest", f"{folder}: the manifest lists an unsafe path", found=str(path)[:80]
            )
        if not (folder / path).is_file():
            raise Failure("bad-manifest", f"{folder}: {path} is missing")
        content = _content(folder / path)
        if content.sha256 != digest:
            raise Failure(
                "bad-manifest",
                f"{folder}: {path} is not what the manifest says",
                expected=digest,
                found=content.sha256,
            )
        contents.append(content)
    return Release(
        id=identity,
        manifest=manifest,
        manifest_text=manifest_bytes.decode(),
        envelope_text=envelope_bytes.decode(),
        folder=folder,
        artifacts=artifacts,
        contents=tuple(contents),
        signature=signature,
    )

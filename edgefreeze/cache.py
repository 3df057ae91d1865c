"""Proved conversions by content: the same model, data, options, versions and code give what they gave.

Under the user's cache folder (XDG), a folder for each: the artifacts, golden.npz, conversion.json, named by
the digest of all that decides them. Files are hard links where the file system allows it, and hashed again
before they are taken. What was not used for longest goes when all take more than LIMIT_BYTES.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

import edgefreeze
from edgefreeze.device.protocol import canonical
from edgefreeze.inventory import cache_root
from edgefreeze.types import Conversion
from edgefreeze.worker import digests, sources

LIMIT_BYTES = 8_000_000_000
_RESULT = "conversion.json"
_DATA = ("samples", "calibration")
_DECIDING = (
    "tensorflow", "tensorflow-cpu", "keras", "tf-keras", "numpy", "protobuf", "onnx", "tf2onnx",
    "onnxruntime", "onnxslim", "onnxconverter-common", "ai-edge-litert", "ai-edge-quantizer", "flatbuffers",
    "pillow",
)  # fmt: skip


class _Kept(msgspec.Struct, frozen=True):
    conversion: Conversion
    files: dict[str, str]
    """Digests by path relative to the folder."""


def may(request: dict[str, Any]) -> bool:
    """Whether the request decides the result: code of the user's own, or that the model brings, may change
    without a trace in it."""
    return not request["custom_objects"] and not request["trust"] and request["verify"]


def identity(request: dict[str, Any], more: Any = None) -> str:
    """The digest of all that decides a conversion. Raises Failure model-* where there is no such model.

    request: as the worker gets it; paths count by their content. more: what else decides, as JSON.
    """
    model = Path(request["model"])
    sources.find(model)
    plain = {k: v for k, v in request.items() if k not in ("out", "model", *_DATA)}
    data = {
        k: digests.sha256(Path(request[k])) for k in _DATA if request.get(k) and Path(request[k]).exists()
    }
    deciding = {
        "request": plain,
        "more": more,
        "model": digests.sha256(model) if model.is_dir() else digests.of_files(_model_files(model)),
        "data": data,
        "versions": _versions(),
        "code": _code(),
    }
    return hashlib.sha256(canonical(deciding)).hexdigest()


def _model_files(model: Path) -> tuple[Path, ...]:
    """The file that is the model; of a checkpoint, named by how its files begin, or by one of them, all."""
    if model.is_file() and model.suffix not in (".meta", ".index"):
        return (model,)
    start = model.stem if model.is_file() else model.name
    files = (p for p in sorted(model.parent.iterdir()) if p.is_file())
    return tuple(p for p in files if p.name.startswith((start + ".", start + "-")))


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _DECIDING:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@cache
def _code() -> str:
    """The digest of edgefreeze's own code: a newer one never takes an older one's work for its own."""
    root = Path(edgefreeze.__file__).parent
    whole = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        whole.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()


def restore(identity: str, folder: Path) -> Conversion | None:
    """Put what is kept under the identity into the folder: its conversion; None where nothing whole is."""
    kept = _root() / identity
    try:
        result = msgspec.json.decode((kept / _RESULT).read_bytes(), type=_Kept, strict=False)
        if any(digests.sha256(kept / path) != digest for path, digest in result.files.items()):
            raise ValueError("damaged")
        for path in result.files:
            _link(kept / path, folder / path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.DecodeError):
        shutil.rmtree(kept, ignore_errors=True)
        return None
    with suppress(OSError):
        os.utime(kept)
    return result.conversion


def keep(identity: str, folder: Path, conversion: Conversion) -> None:
    """Keep what a conversion made in the folder. A cache that cannot be written is none: no error."""
    root = _root()
    part = root / f".{identity}.{os.getpid()}"
    with suppress(OSError):
        part.mkdir(parents=True)
        files = {p.relative_to(folder).as_posix(): digests.sha256(p) for p in _files(folder)}
        for path in files:
            _link(folder / path, part / path)
        (part / _RESULT).write_bytes(msgspec.json.encode(_Kept(conversion=conversion, files=files)))
        with suppress(OSError):  # somebody else was first, with the same
            part.rename(root / identity)
        _prune(root)
    shutil.rmtree(part, ignore_errors=True)


def _root() -> Path:
    return cache_root() / "builds"


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.rglob("*")) if p.is_file())


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _prune(root: Path) -> None:
    """Delete what was not used for longest, until the rest fits."""
    entries = sorted((p for p in root.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for entry in entries:
        total += sum(p.stat().st_size for p in _files(entry))
        if total > LIMIT_BYTES and entry is not entries[0]:
            shutil.rmtree(entry, ignore_errors=True)

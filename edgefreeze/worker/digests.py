"""The identity of a model or an artifact on disk, file or folder. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from edgefreeze.device.protocol import canonical


def files(path: Path) -> list[Path]:
    """The regular files beneath a folder by their relative POSIX paths; a file is its own list."""
    if path.is_file():
        return [path]
    return sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path).as_posix())


def size(path: Path) -> int:
    """Bytes of a file, or of all files beneath a folder."""
    return sum(p.stat().st_size for p in files(path))


def sha256(path: Path) -> str:
    """A file's SHA-256; a folder's is that of the canonical JSON of [[path, sha256, bytes], ...]."""
    if path.is_file():
        return _file(path)
    rows = [[p.relative_to(path).as_posix(), _file(p), p.stat().st_size] for p in files(path)]
    return hashlib.sha256(canonical(rows)).hexdigest()


def of_files(paths: Sequence[Path]) -> str:
    """Of files that belong together by name and not by folder, as `sha256` has it for a folder."""
    rows = [[p.name, _file(p), p.stat().st_size] for p in sorted(paths)]
    return hashlib.sha256(canonical(rows)).hexdigest()


def _file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A runtime as plain files in a folder of the host: what is in it, without what inference does not need."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.device.protocol import is_safe_path
from edgefreeze.errors import Failure
from edgefreeze.text import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """A file of a runtime's tree."""

    path: str
    sha256: str
    bytes: int
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A runtime put together in a folder of the host. `id` is the digest of the canonical listing."""

    id: str
    runtime: str
    folder: Path
    files: tuple[TreeFile, ...]
    packages: dict[str, str]

    @property
    def bytes(self) -> int:
        """What it weighs unpacked."""
        return sum(file.bytes for file in self.files)

    def listing(self) -> list[list[Any]]:
        """As the device's `tree` operation takes it."""
        return [[f.path, f.sha256, f.bytes, f.executable] for f in self.files]


def strip(folder: Path, patterns: tuple[str, ...]) -> None:
    """Remove what inference does not need. Patterns are of paths below the folder; ** spans folders."""
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink() or any(_matches(relative, pattern) for pattern in patterns):
            path.unlink()


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/") and _matches(path, pattern[3:]):
        return True
    return fnmatch.fnmatchcase(path, pattern.replace("**", "*"))


def versions(folder: Path) -> dict[str, str]:
    """Names and versions of the packages in a tree, from their .dist-info folders."""
    found = {}
    for info in folder.glob("*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        found[name.lower().replace("_", "-")] = version
    return dict(sorted(found.items()))


def listed(folder: Path) -> list[TreeFile]:
    """The files of a tree, but what differs from one unpacking to the next. Raises Failure runtime-fetch."""
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder).as_posix()
        if relative == ".lock" or "/__pycache__/" in f"/{relative}" or relative.endswith("/direct_url.json"):
            continue
        if not is_safe_path(relative):
            raise Failure("runtime-fetch", f"a package holds a file with an odd name: {clean(relative, 80)}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        info = path.stat()
        files.append(
            TreeFile(path=relative, sha256=digest, bytes=info.st_size, executable=bool(info.st_mode & 0o100))
        )
    return sorted(files, key=lambda f: f.path)

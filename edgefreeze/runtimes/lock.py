"""Which files a runtime was put together from, so that the same release brings the same bytes next year: a
file in the release's folder, one beside edgefreeze.toml, for version control, or else one in the cache. It
names no hosts."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgefreeze.errors import Failure

FILE = "edgefreeze.lock"


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file: a wheel, or a package of Debian's."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Digests of the files that may be it: an index often has one for several systems."""
    debian: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a requirement was resolved to for a Python on a platform."""

    requirement: tuple[str, ...]
    python: str
    platform: str
    pins: tuple[Pin, ...]

    @property
    def key(self) -> tuple[tuple[str, ...], str, str]:
        """What it answers."""
        return self.requirement, self.python, self.platform


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: int
    runtimes: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file; it need not be there."""

    path: Path

    def find(self, requirement: tuple[str, ...], python: str, platform: str) -> Entry | None:
        """What was resolved before. Raises Failure config-value where the file is no lock."""
        return next((e for e in self._read() if e.key == (requirement, python, platform)), None)

    def keep(self, entry: Entry) -> None:
        """Write an entry, in place of an older one, whole or not at all. Raises Failure config-value."""
        others = [e for e in self._read() if e.key != entry.key]
        rows = sorted((*others, entry), key=lambda e: e.key)
        content = msgspec.to_builtins(_File(schema=1, runtimes=tuple(rows)))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd, part = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            with os.fdopen(fd, "w") as file:
                json.dump(content, file, indent=1)
                file.write("\n")
            Path(part).chmod(0o644)
            Path(part).replace(self.path)
        except OSError as error:
            raise Failure(
                "config-value", f"{self.path} cannot be written: {error.strerror}", found=str(self.path)
            ) from None

    def _read(self) -> tuple[Entry, ...]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_File).runtimes
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.DecodeError) as error:
            raise Failure(
                "config-value",
                f"{self.path} is no lock of runtimes: {error}",
                expected="what edgefreeze wrote",
                next=f"restore {self.path} from version control, or remove it: it is written anew",
            ) from None

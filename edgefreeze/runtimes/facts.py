"""The packages' facts, as runtimes.toml has them."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from edgefreeze import toml


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of runtimes.toml."""

    package: str
    version: str
    machine: tuple[str, ...]
    python: str
    glibc: str
    unpacked_mb: int
    extra: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    """Packages of Debian's that go along, with all that they need: the index has none for the machine."""
    exclude: tuple[str, ...] = ()


class Debian(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Debian's packages, unpacked into a tree."""

    suite: dict[str, str]
    """The device's Python to the suite whose packages are built for it."""
    architecture: dict[str, str]
    """The device's machine to Debian's name of it."""
    leave: tuple[str, ...]
    """Patterns of packages that the device has, or that inference does not need."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """runtimes.toml."""

    own: dict[str, str]
    program: dict[str, str]
    """By runtime, the program that the board itself must have; nothing brings it."""
    format: dict[str, str]
    runner: dict[str, str]
    debian: Debian
    package: dict[str, tuple[Package, ...]]
    """By runtime, its rows."""

    def packages(self, runtime: str) -> tuple[Package, ...]:
        """The rows of a runtime, first that fits first."""
        return self.package[runtime]

    def of_format(self, name: str) -> str:
        """The runtime ("tensorflow", "litert", …) that a format needs on a device."""
        return self.runner[self.format[name]]


@functools.cache
def table() -> Table:
    """The packages' facts."""
    return toml.read(Path(__file__).parent / "runtimes.toml", Table)

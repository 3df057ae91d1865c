"""What a tree's libraries need of the device's own system, read from the libraries: a wheel's tag says what
its maker meant, and is wrong often enough (ai-edge-litert 2.3 is tagged glibc 2.27 and needs 2.34)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "armv7l": "EM_ARM"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One shared library of a tree."""

    path: str
    """Below the tree's folder."""
    machine: str
    """As ELF calls it: EM_AARCH64."""
    soname: str | None
    glibc: tuple[int, ...]
    """The newest version of a symbol of glibc's that it asks for; empty where it asks for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a tree needs of the system it runs on."""

    glibc: str | None
    """The oldest glibc that has all symbols, "2.34"."""
    glibc_of: str | None
    """The library that asks for it."""
    foreign: tuple[str, ...]
    """Libraries for another machine."""


def needs(folder: Path, machine: str) -> Needs:
    """The needs of the tree in `folder` on a machine ("aarch64")."""
    return summed(tuple(libraries(folder)), machine)


def summed(found: Iterable[Library], machine: str) -> Needs:
    """The needs of libraries together. Pure."""
    found = tuple(found)
    meant = _MACHINES.get(machine)
    own = [library for library in found if library.machine == meant]
    newest = max(own, key=lambda library: library.glibc, default=None)
    return Needs(
        glibc=".".join(map(str, newest.glibc)) if newest and newest.glibc else None,
        glibc_of=newest.path if newest and newest.glibc else None,
        foreign=tuple(sorted(library.path for library in found if library.machine != meant)),
    )


def libraries(folder: Path) -> Iterator[Library]:
    """Every ELF file of a tree that is a library or a program."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        library = read(path, path.relative_to(folder).as_posix())
        if library is not None:
            yield library


def read(path: Path, name: str) -> Library | None:
    """One ELF file's needs; None where it has no dynamic section, or is no whole ELF file."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
            dynamic = next((s for s in elf.iter_segments() if isinstance(s, DynamicSegment)), None)
            if dynamic is None:
                return None
            tags = list(dynamic.iter_tags())
            return Library(
                path=name,
                machine=str(elf["e_machine"]),
                soname=next((t.soname for t in tags if t.entry.d_tag == "DT_SONAME"), None),
                glibc=max(_glibc_versions(elf), default=()),
            )
        except (ELFError, UnicodeDecodeError):
            return None


def _glibc_versions(elf: Any) -> Iterator[tuple[int, ...]]:
    from elftools.elf.gnuversions import GNUVerNeedSection

    for section in elf.iter_sections():
        if not isinstance(section, GNUVerNeedSection):
            continue
        for _, versions in section.iter_versions():
            for version in versions:
                found = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)+)", version.name)
                if found:
                    yield tuple(int(part) for part in found[1].split("."))

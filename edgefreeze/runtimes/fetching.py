"""A chosen row as a Tree: resolved to exact files once, put together in a folder of the cache, and looked
through for what its libraries need of the device."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgefreeze.device.protocol import canonical
from edgefreeze.errors import Failure
from edgefreeze.inventory import cache_root
from edgefreeze.runtimes import debian, wheels
from edgefreeze.runtimes.choosing import Choice
from edgefreeze.runtimes.facts import table
from edgefreeze.runtimes.lock import FILE, Entry, Lock, Pin
from edgefreeze.runtimes.needs import Needs, needs
from edgefreeze.runtimes.tree import Tree, TreeFile, listed, strip, versions
from edgefreeze.types import DeviceFacts

_LAYOUT = 3
"""Counts up when the same pins are laid out otherwise, so that no old tree of the cache is taken for new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where packages come from."""

    wheels: Path | None = None
    """A folder of wheels and .deb files: nothing is asked of a network."""
    lock: Path | None = None
    """The project's lock; default: one in the cache."""
    release: Path | None = None
    """A release's folder, which keeps a lock of its own: it comes before the project's."""
    upgrade: bool = False
    """Resolve anew what the lock has."""
    mirror: str | None = None
    """A mirror of Debian's; default: the one that this machine's own apt uses."""


def platform_tag(facts: DeviceFacts) -> str:
    """The platform for which packages are resolved: 'aarch64-manylinux_2_36'. Pure."""
    return wheels.platform(facts.machine, glibc_minor(facts) or 17)


def glibc_minor(facts: DeviceFacts) -> int | None:
    """N of the device's glibc 2.N; None where it has another libc."""
    found = re.fullmatch(r"glibc 2\.(\d+).*", facts.libc)
    return int(found[1]) if found else None


def fetch(choice: Choice, facts: DeviceFacts, sources: Sources | None = None) -> Tree:
    """Put a chosen package and all that it needs together in a folder, or find it there from before.

    Raises Failure runtime-fetch with the words of what fetches; runtime-unavailable where a library needs a
    newer system than the device's, whatever its package's tag says.
    """
    assert choice.package is not None
    sources = sources or Sources()
    python = ".".join(facts.python.split(".")[:2])
    platform = platform_tag(facts)
    pins = _pins(choice, python, platform, facts.machine, sources)
    identity = [
        [msgspec.to_builtins(p) for p in pins],
        list(choice.package.exclude),
        python,
        platform,
        _LAYOUT,
    ]
    key = hashlib.sha256(canonical(identity)).hexdigest()[:24]
    home = cache_root() / "runtimes"
    folder = home / f"{choice.runtime}-{python}-{platform}-{key}"
    listing = folder / "listing.json"
    if not listing.exists():
        home.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="making-", dir=home))
        try:
            _assemble(pins, choice, python, platform, facts, sources, made)
            # Lost race: somebody else made the same one meanwhile; theirs is as good.
            with contextlib.suppress(OSError):
                os.rename(made, folder)  # noqa: PTH104 - must fail onto a full folder, as rename(2) does
        finally:
            shutil.rmtree(made, ignore_errors=True)
    stored = json.loads(listing.read_bytes())
    require_system(Needs(**stored["needs"]), facts, choice)
    files = tuple(TreeFile(**entry) for entry in stored["files"])
    return Tree(
        id=hashlib.sha256(canonical([[f.path, f.sha256, f.bytes, f.executable] for f in files])).hexdigest(),
        runtime=choice.runtime,
        folder=folder / "tree",
        files=files,
        packages=stored["packages"],
    )


def _pins(choice: Choice, python: str, platform: str, machine: str, sources: Sources) -> tuple[Pin, ...]:
    assert choice.package is not None
    requirement = (*choice.requirement, *(f"{name} (Debian)" for name in choice.package.debian))
    key = requirement, python, platform
    project = Lock(sources.lock or cache_root() / "runtimes" / FILE)
    own = None if sources.release is None else Lock(sources.release / FILE)
    known = None
    if not sources.upgrade:
        known = (own and own.find(*key)) or project.find(*key)
    if known is None:
        pins = wheels.resolve(choice.requirement, python, platform, sources.wheels)
        if choice.package.debian:
            found = debian.resolve(choice.package.debian, python, machine, table().debian, _archive(sources))
            pins += found
        known = Entry(requirement=requirement, python=python, platform=platform, pins=pins)
        project.keep(known)
    # A release may lie where nobody can write; what it was put together from is then the project's to know.
    if own is not None and own.find(*key) != known and os.access(own.path.parent, os.W_OK):
        own.keep(known)
    return known.pins


def _archive(sources: Sources) -> debian.Archive:
    return debian.Archive(mirror=sources.mirror, folder=sources.wheels, cache=cache_root() / "debian")


def _assemble(
    pins: tuple[Pin, ...],
    choice: Choice,
    python: str,
    platform: str,
    facts: DeviceFacts,
    sources: Sources,
    made: Path,
) -> None:
    assert choice.package is not None
    tree = made / "tree"
    tree.mkdir()
    wheels.install([p for p in pins if not p.debian], python, platform, sources.wheels, tree)
    debs = [p for p in pins if p.debian]
    if debs:
        debian.install(debs, python, facts.machine, table().debian, _archive(sources), tree)
    strip(tree, choice.package.exclude)
    content = {
        "files": [msgspec.to_builtins(f) for f in listed(tree)],
        "packages": versions(tree) | {p.name: p.version for p in debs},
        "needs": msgspec.to_builtins(needs(tree, facts.machine)),
    }
    (made / "listing.json").write_bytes(canonical(content))


def require_system(found: Needs, facts: DeviceFacts, choice: Choice) -> None:
    """Pure. Raises Failure runtime-unavailable where the device's system is too old for a tree."""
    what = choice.requirement[0]
    minor = glibc_minor(facts)
    if found.foreign:
        raise Failure(
            "runtime-unavailable",
            f"{what} holds libraries for another machine",
            expected=facts.machine,
            found=", ".join(found.foreign[:3]),
            device_state="not touched",
        )
    if found.glibc and (minor is None or tuple(map(int, found.glibc.split("."))) > (2, minor)):
        raise Failure(
            "runtime-unavailable",
            f"{what}: {found.glibc_of} needs a newer C library than the device's, whatever its tag says",
            expected=f"glibc {found.glibc}",
            found=facts.libc,
            device_state="not touched",
            next="narrow its version in the target's [runtimes], or update the device's system",
        )

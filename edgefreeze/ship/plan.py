"""What a ship has to bring: pure. Release, runtimes and the device's answer in; a list of content out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.release.manifest import Content, Release
from edgefreeze.runtimes import Choice, Tree
from edgefreeze.text import size
from edgefreeze.types import DeviceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlan:
    """A runtime on the device: the interpreter's own packages, or a tree to bring."""

    choice: Choice
    tree: Tree | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipPlan:
    """What the release needs on the device, what of it is missing there, and what that weighs."""

    release: Release
    runtimes: tuple[RuntimePlan, ...]
    bring: tuple[Content, ...]
    """Missing there, each digest once, in the order to send."""
    offsets: dict[str, int]
    """Of those, by digest: how much an earlier try left there before it broke off."""
    bytes_total: int
    """All that the release and its runtimes consist of."""
    bytes_needed: int

    @property
    def bytes_saved(self) -> int:
        """What the device has already."""
        return self.bytes_total - self.bytes_needed


def everything(release: Release, runtimes: Iterable[RuntimePlan]) -> tuple[Content, ...]:
    """All content that the device must have, each digest once: the release's files, then the trees'."""
    found: dict[str, Content] = {c.sha256: c for c in release.contents}
    for runtime in runtimes:
        if runtime.tree is not None:
            for file in runtime.tree.files:
                found.setdefault(
                    file.sha256,
                    Content(sha256=file.sha256, bytes=file.bytes, source=runtime.tree.folder / file.path),
                )
    return tuple(found.values())


def plan(
    release: Release,
    runtimes: tuple[RuntimePlan, ...],
    missing: frozenset[str],
    partial: Mapping[str, int] | None = None,
) -> ShipPlan:
    """The plan, given the digests that the device says it lacks, and how much it has of some of those."""
    content = everything(release, runtimes)
    bring = tuple(c for c in content if c.sha256 in missing)
    offsets = {c.sha256: min((partial or {}).get(c.sha256, 0), c.bytes) for c in bring}
    return ShipPlan(
        release=release,
        runtimes=runtimes,
        bring=bring,
        offsets={digest: offset for digest, offset in offsets.items() if offset > 0},
        bytes_total=sum(c.bytes for c in content),
        bytes_needed=sum(c.bytes - offsets[c.sha256] for c in bring),
    )


def binding(facts: DeviceFacts, runtimes: tuple[RuntimePlan, ...], runner: dict[str, str]) -> dict[str, Any]:
    """Which interpreter and which tree runs each runner module on this device. `runner` maps modules of
    device/runtimes to runtimes."""
    trees = {r.choice.runtime: (r.tree.id if r.tree else None) for r in runtimes}
    return {
        "python": facts.python_executable,
        "runtimes": {
            module: {"tree": trees[runtime]} for module, runtime in sorted(runner.items()) if runtime in trees
        },
    }


def check_space(ship: ShipPlan, facts: DeviceFacts, keep_free_mb: int, where: str) -> None:
    """As check_room, of what a ship brings."""
    check_room(ship.bring, facts, keep_free_mb, where, ship.offsets)


def check_room(
    bring: Sequence[Content],
    facts: DeviceFacts,
    keep_free_mb: int,
    where: str,
    offsets: Mapping[str, int] | None = None,
) -> None:
    """Raise Failure disk-space where the device cannot hold what is to come and keep its reserve.

    Files of a file system with 4 KiB blocks: each is counted rounded up. offsets: by digest, how much of a
    file is there already, with its blocks.
    """
    there = offsets or {}
    needed = sum(_blocks(c.bytes) - _blocks(there.get(c.sha256, 0)) for c in bring) * 4096
    needed += keep_free_mb * 1_000_000
    coming = sum(c.bytes - there.get(c.sha256, 0) for c in bring)
    if facts.disk_free_bytes is not None and facts.disk_free_bytes < needed:
        raise Failure(
            "disk-space",
            f"{where}: too little space on the device",
            expected=f"{size(needed)} free ({size(coming)} to bring, {keep_free_mb} MB reserve)",
            found=f"{size(facts.disk_free_bytes)} free",
            device_state="unchanged: nothing has been sent",
            retry_safe=True,
            next="free some space there, or root = … on another disk for this device in edgefreeze.toml",
        )
    # Content is linked into its place, so a file costs one inode; folders come on top.
    inodes = len(bring) + len(bring) // 4 + 64
    if facts.disk_free_inodes is not None and 0 < facts.disk_free_inodes < inodes:
        raise Failure(
            "disk-space",
            f"{where}: too few inodes on the device",
            expected=f"{inodes} free",
            found=f"{facts.disk_free_inodes} free",
            device_state="unchanged: nothing has been sent",
            retry_safe=True,
        )


def _blocks(count: int) -> int:
    return -(-count // 4096)

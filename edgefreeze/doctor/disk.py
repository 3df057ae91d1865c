"""Is there room, and is it a file system on which a release is safe?"""

from __future__ import annotations

from typing import Any

from edgefreeze.device import readings
from edgefreeze.doctor.case import Case, Finding
from edgefreeze.text import clean, size

MODEL_MB = 50
"""Reckoned for a release beside its runtimes."""
INODES = {"tensorflow": 15_000, "litert": 1_500, "onnxruntime": 2_500}
_FEW_FILES = 1_500
"""Of a runtime that brings NumPy and little else."""
"""Files and folders of a runtime's tree, about."""
NO_LINKS = ("vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk")
"""File systems without the links that `current` and the store are made of."""
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs")


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    return (space(case), inodes(case), mount(case))


def space(case: Case) -> Finding:
    """Room for the release, its runtimes, and what must be left."""
    free = case.facts.disk_free_bytes
    if free is None:
        return Finding(name="disk", level="fine", found="the device does not say")
    keep = case.target.limits.keep_free_mb
    brought = [r for r in case.runtimes if r.bring is not None]
    first = sum(r.unpacked_mb for r in brought if r.first) + MODEL_MB + keep
    everything = sum(r.unpacked_mb for r in brought) + MODEL_MB + keep
    said = f"{size(free)} free in {clean(case.health.root, 100) or 'its folder'}"
    if free < first * 10**6:
        return Finding(
            name="disk",
            level="failure",
            found=f"{said}; the preferred format needs about {size(first * 10**6)}",
            fix="free some space there, or root = … on another disk for this device in edgefreeze.toml",
        )
    if free < everything * 10**6:
        return Finding(
            name="disk",
            level="warning",
            found=f"{said}; all formats of the target need about {size(everything * 10**6)}",
            fix="free some space there, or leave TensorFlow out: --no-tf",
        )
    return Finding(name="disk", level="fine", found=said)


def inodes(case: Case) -> Finding:
    """A card may be full of small files."""
    free = case.facts.disk_free_inodes
    if free is None:
        return Finding(name="inodes", level="fine", found="no limit that the device tells")
    brought = [r for r in case.runtimes if r.bring is not None]
    need = 500 + sum(INODES.get(r.name, _FEW_FILES) for r in brought)
    if free >= need:
        return Finding(name="inodes", level="fine", found=f"{free} free")
    first = 500 + sum(INODES.get(r.name, _FEW_FILES) for r in brought if r.first)
    return Finding(
        name="inodes",
        level="failure" if free < first else "warning",
        found=f"{free} free; the runtimes that would be brought have about {need} files",
        fix="remove small files there (caches, old logs), or root = … on another disk",
    )


def mount(case: Case) -> Finding:
    """The file system of edgefreeze's folder, and the flags that it is mounted with."""
    place = mounted(case.health.texts)
    if place is None:
        return Finding(name="mount", level="fine", found="the device does not say")
    kind, options = place["type"], place["options"]
    said = f"{clean(kind, 40)} at {clean(place['mount'], 100)}"
    elsewhere = "root = … on another file system for this device in edgefreeze.toml"
    if "ro" in options:
        return Finding(
            name="mount",
            level="failure",
            found=f"{said}, read-only",
            fix=f"sudo mount -o remount,rw {clean(place['mount'], 100)}; if that fails: dmesg, and the card",
        )
    if not case.health.writable:
        return Finding(
            name="mount",
            level="failure",
            found=f"{said}: the folder belongs to another user",
            fix=f"sudo chown -R $USER {clean(case.health.root, 100)}, or {elsewhere}",
        )
    if "noexec" in options:
        return Finding(
            name="mount",
            level="failure",
            found=f"{said}, noexec: the runtimes' libraries cannot be loaded from there",
            fix=elsewhere,
        )
    if kind in NO_LINKS:
        return Finding(
            name="mount",
            level="failure",
            found=f"{said}: it has no links, with which a release is switched",
            fix=elsewhere,
        )
    if "nobarrier" in options or "barrier=0" in options:
        return Finding(
            name="mount",
            level="warning",
            found=f"{said}, nobarrier: what was made durable may be gone after a power cut",
            fix="mount it with barriers",
        )
    if kind in ("tmpfs", "ramfs", "overlay"):
        gone = "gone after a reboot" if kind != "overlay" else "perhaps gone after a reboot (an overlay)"
        return Finding(
            name="mount", level="warning", found=f"{said}: what is put there is {gone}", fix=elsewhere
        )
    if kind in NETWORK:
        return Finding(
            name="mount",
            level="warning",
            found=f"{said}: a network file system, on which locks and links may not hold",
            fix=elsewhere,
        )
    return Finding(name="mount", level="fine", found=f"{said}, writable, programs may run")


def mounted(texts: dict[str, str]) -> dict[str, Any] | None:
    """The entry of /proc/mounts of the file system that `df` names for edgefreeze's folder. Pure."""
    rows = readings.parse_df(texts.get("df", ""))
    if not rows:
        return None
    fitting = [m for m in readings.parse_mounts(texts.get("mounts", "")) if m["mount"] == rows[-1]["mount"]]
    return fitting[-1] if fitting else None

"""The helper is killed at, or gets an error from, each system call that changes the file system: by strace,
so that neither Python nor the helper knows of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

from edgefreeze.errors import Failure
from edgefreeze.inventory import Service

from . import check
from .cases import Attempt, Case, Kind, shipped
from .world import VARIANTS, Site, Variant, World

CHANGES = (
    "write", "pwrite64", "rename", "renameat", "renameat2", "fsync", "fdatasync", "ftruncate", "link", "linkat",
    "symlink", "symlinkat", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "chmod", "fchmod", "fchmodat",
)  # fmt: skip
"""What changes a disk. `write` is also what the helper says to the host: killed there is a case too."""
ERRORS = {
    "fsync": ("EIO", "ENOSPC"), "write": ("EIO", "ENOSPC", "EDQUOT"), "rename": ("EIO", "ENOSPC"),
    "link,linkat": ("EIO", "EMLINK"), "mkdir": ("ENOSPC", "EROFS"), "symlink": ("ENOSPC", "EIO"),
    "unlink": ("EIO", "EROFS"), "ftruncate": ("EIO",), "openat": ("EMFILE", "EIO"),
}  # fmt: skip
WAYS = ("ship", "service", "install")
SERVICE = Service(
    restart=("true",), health=("true",), successes=1, period_s=0.05, restart_timeout_s=5.0, deadline_s=5.0
)


@cache
def lacks() -> str | None:
    """Why nothing can be traced here, None where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-qq", "-o", os.devnull, "-e", "trace=write", "true"], capture_output=True, text=True
    )
    return None if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()[-200:]}"


def traced(
    folder: Path, inject: str | None, calls: tuple[str, ...] = CHANGES, python: str = sys.executable
) -> str:
    """A "python" that runs under strace; its log is folder/strace.log. Only its main thread is traced, in
    which all that changes the disk is done, and none of the processes that it starts."""
    options = ["-qq", "-o", str(folder / "strace.log"), "-e", "trace=" + ",".join("?" + c for c in calls)]
    if inject:
        options += ["-e", "inject=" + inject]
    script = folder / "python3"
    script.write_text("#!/bin/sh\nexec strace " + " ".join(options) + f' {python} "$@"\n')
    script.chmod(0o755)
    return str(script)


def go(site: Site, way: str) -> Failure | None:
    """One way to bring B: over a connection, with a service around the switch, or from a file on the device."""
    if way == "install":
        site.enrolled = not site.variant.signed
        done = subprocess.run(
            [site.python, "-I", str(site.pyz), "install", str(site.world.packed), "--root", str(site.root), "--enrol"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        known = {0, 1, 3, 5, 6, 7, -9, 137}
        check.require(done.returncode in known, f"install ended with {done.returncode}: {done.stderr[-500:]}")
        check.require("Traceback" not in done.stderr, f"install: {done.stderr[-1500:]}")
        return None
    if way == "service":
        site.service = SERVICE
    return shipped(site)


def counted(world: World) -> dict[str, Counter[str]]:
    """How often each call is made, by way and variant, counted in ships without a fault."""
    if "syscalls" not in world.counts:
        found: dict[str, Counter[str]] = {}
        for way in WAYS:
            for variant in VARIANTS:
                folder = world.folder / f"count-{way}-{variant.name}"
                shutil.copytree(world.base(variant), folder / "device", symlinks=True)
                site = Site(world, variant, folder / "device")
                site.python = traced(folder, None, (*CHANGES, "openat"))
                failure = go(site, way)
                assert failure is None, failure
                lines = (folder / "strace.log").read_text().splitlines()
                calls = (line.partition("(")[0] for line in lines)
                found[f"{way}-{variant.name}"] = Counter(call for call in calls if call.isalnum())
                shutil.rmtree(folder)
        world.counts["syscalls"] = found
    return world.counts["syscalls"]  # type: ignore[no-any-return]


def _kill_places(world: World) -> list[tuple[str, int]]:
    places = []
    for way in WAYS:
        for seed in range(4):
            if way == "install" and seed & 2:
                continue  # the helper stands beside the file
            for call, count in sorted(counted(world)[f"{way}-{Variant.of(seed).name}"].items()):
                if call != "openat":
                    places += [(f"{way}/{call}/{number}", seed) for number in range(1, count + 1)]
    return places


def _kill(case: Case, site: Site) -> Attempt:
    way, call, number = case.place.split("/")
    site.program = "quick" if way == "service" else "true"
    site.python = traced(site.folder, f"{call}:signal=KILL:when={number}", (call,))
    failure = go(site, way)
    return Attempt(failure, struck="killed by SIGKILL" in (site.folder / "strace.log").read_text())


def _error_places(world: World) -> list[tuple[str, int]]:
    places = []
    for way, seed in (("ship", 0), ("ship", 3), ("service", 1), ("install", 1)):
        calls = counted(world)[f"{way}-{Variant.of(seed).name}"]
        for names, errors in ERRORS.items():
            count = sum(calls[name] for name in names.split(","))
            first = calls["openat"] * 2 // 3 if names == "openat" else 0  # after the interpreter's own start
            for number in range(first + 1, count + 1):
                places += [(f"{way}/{names}/{error}/{number}", seed) for error in errors]
    return places


def _error(case: Case, site: Site) -> Attempt:
    way, names, error, number = case.place.split("/")
    site.program = "quick" if way == "service" else "true"
    site.python = traced(site.folder, f"{names}:error={error}:when={number}", tuple(names.split(",")))
    failure = go(site, way)
    return Attempt(failure, struck="(INJECTED)" in (site.folder / "strace.log").read_text())


KINDS = [
    Kind("helper-killed", _kill_places, _kill, lacks),
    Kind("call-failed", _error_places, _error, lacks),
]

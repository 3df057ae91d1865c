"""File systems that are full, have no inodes, turn read-only, or lose power: small ones, mounted for a case."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from . import syscalls
from .cases import Attempt, Case, Kind, linking_copy, shipped
from .connection import messages, watched
from .world import Site, Variant, World

SIZES = 40
BLOCK = 4096
FAST = Path("/dev/shm")
"""Images are kept in memory, where it can be had: what they lose is decided by the file system in them."""
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-m", "0", "-J", "size=4"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
MEGABYTES = {"ext4": 48, "xfs": 320, "btrfs": 120}
POWER = {
    "ext4-ordered": ("ext4", "data=ordered", (1, 2)),
    "ext4-writeback": ("ext4", "data=writeback", (3,)),
    "xfs": ("xfs", "nouuid", (1,)),
    "btrfs": ("btrfs", "", (1,)),
}
"""Name to the kind of file system, its options, and the seeds to take."""


@cache
def cannot_mount() -> str | None:
    """Why nothing can be mounted here, None where it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    tried = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, text=True)
    if tried.returncode == 0:
        subprocess.run(["umount", folder], check=True)
    folder.rmdir()
    return None if tried.returncode == 0 else f"mount: {tried.stderr.strip()}"


@cache
def cannot_make(kind: str) -> str | None:
    """Why no file system of a kind can be mounted from a file."""
    if reason := cannot_mount():
        return reason
    if shutil.which(MAKE[kind][0]) is None:
        return f"{MAKE[kind][0]} is not installed"
    if kind not in Path("/proc/filesystems").read_text().split():
        return f"the kernel has no {kind}"
    return None if Path("/dev/loop-control").exists() else "there are no loop devices"


def mounted(site: Site, source: str, *options: str) -> Path:
    """Mount on a folder of the case's until it ends."""
    folder = site.folder / "mnt"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, source, folder], check=True, capture_output=True)
    site.stack.callback(unmount, folder)
    return folder


def unmount(folder: Path) -> None:
    """Unmount, whoever still looks."""
    if folder.is_mount():
        subprocess.run(["umount", "-l", folder], check=True)


def _tmpfs(site: Site, options: str) -> None:
    folder = mounted(site, "none", "-t", "tmpfs", "-o", options)
    root = folder / "device"
    shutil.copytree(site.root, root, symlinks=True, copy_function=linking_copy())
    site.root = root


def _full_places(world: World) -> list[tuple[str, int]]:
    reserved = [(f"reserve/{number}", number % 4) for number in range(SIZES)]
    return reserved + [(f"last/{number}", seed) for number in range(SIZES) for seed in range(4)]


def _full(case: Case, site: Site) -> Attempt:
    """last: so many blocks are free, and the helper may use them all; reserve: just about what it leaves."""
    what, number = case.place.split("/")
    _tmpfs(site, "size=24m,mode=700")
    free = int(number) * BLOCK
    if what == "reserve":
        free += (16 << 20) - SIZES // 2 * BLOCK
    else:
        site.program = "greedy"
    filler = site.folder / "mnt" / "filler"
    now = os.statvfs(site.folder / "mnt")
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(BLOCK, now.f_bavail * now.f_frsize - free))
    failure = shipped(site)
    filler.unlink()
    return Attempt(failure, struck=failure is not None or what == "reserve")


def _inode_places(world: World) -> list[tuple[str, int]]:
    return [(str(number), number % 4) for number in range(SIZES)]


def _no_inodes(case: Case, site: Site) -> Attempt:
    _tmpfs(site, "size=40m,mode=700")
    folder = site.folder / "mnt"
    found = os.statvfs(folder)
    used = found.f_files - found.f_ffree
    options = f"remount,nr_inodes={used + int(case.place)}"
    subprocess.run(["mount", "-o", options, folder], check=True, capture_output=True)
    failure = shipped(site)
    subprocess.run(["mount", "-o", "remount,nr_inodes=100000", folder], check=True, capture_output=True)
    return Attempt(failure)


def _cannot_limit() -> str | None:
    """Why there is no quota. That of btrfs is real; ext4's needs a quota format in the kernel, and a helper that is
    not root."""
    if reason := cannot_make("btrfs"):
        return reason
    return None if shutil.which("btrfs") else "btrfs-progs, which set quotas, are not installed"


def _quota_places(world: World) -> list[tuple[str, int]]:
    template(world, "btrfs", Variant.of(0))
    return [(str(12 + number), 0) for number in range(SIZES)]


def _quota(case: Case, site: Site) -> Attempt:
    """So many blocks more may be used, though the file system has room, and says so. What is to be reserved for
    an entry of a folder counts."""
    _image(site, "btrfs", "")
    folder = str(site.folder / "mnt")

    def btrfs(*words: str) -> str:
        done = subprocess.run(["btrfs", *words], check=True, capture_output=True, text=True)
        return done.stdout

    btrfs("quota", "enable", folder)
    btrfs("quota", "rescan", "-w", folder)
    used = int(btrfs("qgroup", "show", "--raw", "--sync", folder).split("0/5")[1].split()[0])
    btrfs("qgroup", "limit", str(used + int(case.place) * BLOCK), "0/5", folder)
    failure = shipped(site)
    btrfs("qgroup", "limit", "none", "0/5", folder)
    return Attempt(failure, struck=failure is not None)


def _images(world: World) -> Path:
    return (FAST if FAST.is_dir() else world.folder) / f"{world.folder.parent.name}-{os.getuid()}-images"


def forget(world: World) -> None:
    """Remove the images of a run, and what libfaketime leaves of a process that is killed."""
    shutil.rmtree(_images(world), ignore_errors=True)
    for pattern in ("faketime_shm_*", "sem.faketime_sem_*"):
        for left in FAST.glob(pattern):
            if not Path("/proc", left.name.rpartition("_")[2]).exists():
                left.unlink(missing_ok=True)


def template(world: World, kind: str, variant: Variant) -> Path:
    """An image with a device on which A is active; made when first asked for, copied for each case."""
    folder = _images(world)
    image = folder / f"{kind}-{variant.name}"
    if not image.exists():
        folder.mkdir(exist_ok=True)
        with image.open("wb") as file:
            file.truncate(MEGABYTES[kind] << 20)
        subprocess.run([*MAKE[kind], str(image)], check=True, capture_output=True)
        mount = world.folder / f"mount-{kind}"
        mount.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True, capture_output=True)
        shutil.copytree(world.base(variant), mount / "device", symlinks=True, copy_function=linking_copy())
        subprocess.run(["umount", mount], check=True)
    return image


def _image(site: Site, kind: str, options: str) -> Path:
    image = template(site.world, kind, site.variant).parent / f"case-{os.getpid()}"
    _copy(template(site.world, kind, site.variant), image)
    site.stack.callback(lambda: image.unlink(missing_ok=True))
    site.root = mounted(site, str(image), "-o", ",".join(filter(None, ("loop", options)))) / "device"
    return image


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


def _readonly_places(world: World) -> list[tuple[str, int]]:
    found = messages(world)[Variant.of(1).name]
    template(world, "ext4", Variant.of(1))
    return [(f"{what}/{number}", 1) for what, count in found.items() for number in range(1, count + 1)]


def _turns_readonly(case: Case, site: Site) -> Attempt:
    """At a message the kernel finds an error in the file system and goes on read-only, as it does with a card
    that dies."""
    what, number = case.place.split("/")
    image = _image(site, "ext4", "errors=remount-ro")
    device = site.root.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").readlink().name
    left, struck = [int(number)], []

    def fail(now: str) -> None:
        left[0] -= now == what
        if left[0] == 0:
            Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")
            struck.append(True)

    with watched(fail):
        failure = shipped(site)
    unmount(site.folder / "mnt")
    subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, check=False)
    mounted(site, str(image), "-o", "loop")
    return Attempt(failure, struck=bool(struck))


def _power_places(name: str, world: World) -> list[tuple[str, int]]:
    kind, _, seeds = POWER[name]
    places = []
    for seed in seeds:
        template(world, kind, Variant.of(seed))
        calls = syscalls.counted(world)[f"ship-{Variant.of(seed).name}"]
        for call in sorted(calls.keys() - {"openat"}):
            places += [(f"{call}/{number}", seed) for number in range(1, calls[call] + 1)]
    return places


def _power_cut(name: str, case: Case, site: Site) -> Attempt:
    """Just before a call what the file system has written is all that there is: the image is copied, and what
    is mounted from then on is the copy."""
    kind, options, _ = POWER[name]
    image = _image(site, kind, options)
    call, number = case.place.split("/")
    site.python = syscalls.traced(site.folder, f"{call}:signal=KILL:when={number}", (call,))
    failure = shipped(site)
    copy = image.with_name(f"{image.name}-cut")
    _copy(image, copy)
    site.stack.callback(lambda: copy.unlink(missing_ok=True))
    unmount(site.folder / "mnt")
    mounted(site, str(copy), "-o", ",".join(filter(None, ("loop", options))))
    return Attempt(failure, struck="killed by SIGKILL" in (site.folder / "strace.log").read_text())


def _power(name: str) -> Kind:
    return Kind(
        f"power-{name}",
        lambda world: _power_places(name, world),
        lambda case, site: _power_cut(name, case, site),
        lambda: syscalls.lacks() or cannot_make(POWER[name][0]),
    )


KINDS = [
    Kind("disk-full", _full_places, _full, cannot_mount),
    Kind("no-inodes", _inode_places, _no_inodes, cannot_mount),
    Kind("quota", _quota_places, _quota, _cannot_limit),
    Kind("turns-read-only", _readonly_places, _turns_readonly, lambda: cannot_make("ext4")),
    *(_power(name) for name in POWER),
]

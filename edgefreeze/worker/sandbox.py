"""What a process may do that loads a model of unknown origin: limits on memory and processor time, no
network, and no writing but into given folders. Standard library only; each part by itself, as far as the
system allows it, and what took hold is told.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PROCESSOR_S = 4 * 3600
"""Processor time, all threads together."""
FILE_BYTES = 16 << 30

_SPARE_BYTES = 4 << 30
"""Address space beyond the machine's memory: libraries, stacks and arenas reserve more than they use."""

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
"""System calls; the numbers are the same on all architectures that Landlock is on."""
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_WRITING = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))
"""Writing files; removing and making entries of all kinds. Reading and running stay free."""
_REFER = 1 << 13


def enter(writable: Sequence[Path]) -> tuple[str, ...]:
    """Confine this process, which must have one thread, and its children for good.

    writable: folders beneath which files may be made and changed. Returns what took hold, of "memory",
    "processor", "network", "files".
    """
    held = []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") + _SPARE_BYTES
    for name, kind, most in (
        ("memory", resource.RLIMIT_AS, memory),
        ("processor", resource.RLIMIT_CPU, PROCESSOR_S),
        ("", resource.RLIMIT_FSIZE, FILE_BYTES),
        ("", resource.RLIMIT_CORE, 0),
    ):
        with suppress(OSError, ValueError):
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
            held.append(name)
    libc = ctypes.CDLL(None, use_errno=True)
    if _without_network(libc):
        held.append("network")
    if _without_writing(libc, writable):
        held.append("files")
    return tuple(filter(None, held))


def _without_network(libc: ctypes.CDLL) -> bool:
    """A network namespace of its own, which has no interface that is up."""
    unshare = getattr(libc, "unshare", None)
    if unshare is None:
        return False
    return bool(unshare(_CLONE_NEWNET) == 0 or unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _without_writing(libc: ctypes.CDLL, writable: Sequence[Path]) -> bool:
    """Landlock: writing only beneath these folders, and to the devices that swallow everything."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = _WRITING | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = libc.syscall(_LANDLOCK_CREATE, struct.pack("=Q", rights), 8, 0)
    if rules < 0:
        return False
    try:
        for path in writable:
            _allow(libc, rules, path, rights)
        for device in ("/dev/null", "/dev/zero", "/dev/tty"):
            with suppress(OSError):
                _allow(libc, rules, Path(device), rights & (_WRITE_FILE | _TRUNCATE))
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, folder), 0)
    finally:
        os.close(folder)

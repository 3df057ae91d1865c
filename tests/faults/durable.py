"""What of a disk is durable: the weakest file system that POSIX allows, and the rules that the order of changes
must keep. Every call that changes a disk is recorded.

What was written is lost unless its file was fsynced, and a name unless its folder was. Rules:

    published    what gets a name that others read, or is moved under one, is durable with all in it
    answered     when a request is answered, nothing that it changed is volatile any more, and of what was moved
                 out of staging/ both folders are synced
    switched     `current` is moved when the release, state.json (TRIAL) and the trusted sequence are durable;
                 COMMITTED is written when `current` is
    marked       the listing that makes a runtime whole comes when the runtime is durable
    unsigned     an envelope is replaced when it is durable that the signature of the old one is gone
"""

import errno
import json
import os
from collections.abc import Callable
from typing import Any

Key = tuple[int, int]
GARBAGE = ("staging", "trash", "tmp", "partial", "cache")
VOLATILE = ("lock",)


class Violation(Exception):
    """A rule was broken."""


class Disk:
    """What is volatile: files whose content, and folders whose names are not durable."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.dirty: dict[Key, str] = {}
        self.changed: dict[Key, dict[str, str]] = {}
        self.moved_from: set[Key] = set()
        self.real: dict[str, Callable[..., Any]] = {}
        self.links = True

    def install(self) -> None:
        """Watch the functions of os."""
        for name in (
            "open",
            "write",
            "ftruncate",
            "fsync",
            "fdatasync",
            "rename",
            "link",
            "symlink",
            "mkdir",
            "unlink",
            "rmdir",
        ):
            self.real[name] = getattr(os, name)
            setattr(os, name, getattr(self, "_" + name))

    def remove(self) -> None:
        """Watch no more."""
        for name, function in self.real.items():
            setattr(os, name, function)

    def _open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        new = flags & os.O_CREAT and not os.path.lexists(path)
        fd: int = self.real["open"](path, flags, mode, dir_fd=dir_fd)
        if new:
            self._name(path, "added")
        if flags & os.O_TRUNC or new:
            self._touch(fd, path)
        return fd

    def _write(self, fd: int, data: Any) -> Any:
        done = self.real["write"](fd, data)
        self._touch(fd, os.readlink("/proc/self/fd/%d" % fd))
        return done

    def _ftruncate(self, fd: int, length: int) -> None:
        self.real["ftruncate"](fd, length)
        self._touch(fd, os.readlink("/proc/self/fd/%d" % fd))

    def _fsync(self, fd: int) -> None:
        self.real["fsync"](fd)
        found = os.fstat(fd)
        self.dirty.pop((found.st_dev, found.st_ino), None)
        self.changed.pop((found.st_dev, found.st_ino), None)
        self.moved_from.discard((found.st_dev, found.st_ino))

    def _fdatasync(self, fd: int) -> None:
        self.real["fdatasync"](fd)
        found = os.fstat(fd)
        self.dirty.pop((found.st_dev, found.st_ino), None)

    def _rename(self, source: str, target: str) -> None:
        if not self._garbage(target):
            self._require_durable(source, f"published: {self._short(source)} becomes {self._short(target)}")
            self._require_order(source, target)
            if os.path.basename(os.path.dirname(source)) == "staging":
                self.moved_from.add(_key(os.path.dirname(source)))
        self.real["rename"](source, target)
        self._name(source, "removed")
        self._name(target, "added")

    def _link(self, source: str, target: str, **how: Any) -> None:
        if not self.links:
            raise OSError(errno.EPERM, "no links here")
        self.real["link"](source, target, **how)
        self._name(target, "added")

    def _symlink(self, source: str, target: str) -> None:
        self.real["symlink"](source, target)
        self._name(target, "added")

    def _mkdir(self, path: str, mode: int = 0o777) -> None:
        self.real["mkdir"](path, mode)
        self._name(path, "added")

    def _unlink(self, path: str, *, dir_fd: Any = None) -> None:
        self.real["unlink"](path, dir_fd=dir_fd)
        self._name(path, "removed", dir_fd)

    def _rmdir(self, path: str, *, dir_fd: Any = None) -> None:
        self.real["rmdir"](path, dir_fd=dir_fd)
        self._name(path, "removed", dir_fd)

    def _touch(self, fd: int, path: str) -> None:
        found = os.fstat(fd)
        if path.startswith(self.root):
            self.dirty[(found.st_dev, found.st_ino)] = path

    def _name(self, path: str, how: str, dir_fd: Any = None) -> None:
        folder = os.readlink("/proc/self/fd/%d" % dir_fd) if dir_fd is not None else os.path.dirname(path)
        try:
            key = _key(folder)
        except OSError:
            return
        names = self.changed.setdefault(key, {})
        base = os.path.basename(path)
        if how == "removed" and names.get(base) == "added":
            names[base] = "passed"  # came and went: durable or not, nobody looks for it
        else:
            names[base] = how

    def _short(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def _garbage(self, path: str) -> bool:
        parts = self._short(path).split(os.sep)
        return any(part in GARBAGE or part.startswith("tmp-") for part in parts)

    # --- rules

    def _require_durable(self, path: str, rule: str) -> None:
        if os.path.islink(path):
            return
        for inside, _, names in os.walk(path):
            if self.changed.get(_key(inside)):
                raise Violation(f"{rule}, and the names in {self._short(inside)} are volatile")
            for name in names:
                self._require_file(os.path.join(inside, name), rule)
        if not os.path.isdir(path):
            self._require_file(path, rule)

    def _require_file(self, path: str, rule: str) -> None:
        if not os.path.islink(path) and _key(path) in self.dirty:
            raise Violation(f"{rule}, and the content of {self._short(path)} is volatile")

    def _pending(self, folder: str, name: str, how: tuple[str, ...] = ("added", "removed")) -> bool:
        return self.changed.get(_key(folder), {}).get(name) in how

    def _require_order(self, source: str, target: str) -> None:
        folder, name = os.path.split(target)
        if name == "current":
            release = os.path.basename(os.readlink(source))
            self._require_durable(os.path.join(folder, "releases", release), "switched")
            if self._pending(os.path.join(folder, "releases"), release):
                raise Violation("switched: the release's name is volatile")
            if self._pending(folder, "state.json"):
                raise Violation("switched: TRIAL is volatile")
            trust = os.path.join(self.root, "trust")
            if os.path.isdir(trust) and self._pending(trust, "sequences.json"):
                raise Violation("switched: the sequence is volatile")
        if name == "state.json":
            with open(source) as file:
                committed = json.load(file)["phase"] == "COMMITTED"
            if committed and self._pending(folder, "current"):
                raise Violation("switched: COMMITTED is written, and `current` is volatile")
        if os.path.basename(folder) == "runtimes" and name.endswith(".json"):
            if self._pending(folder, name[: -len(".json")]):
                raise Violation("marked: a runtime is marked, and its name is volatile")
        if name == "envelope.json" and self._pending(folder, "envelope.sig", ("removed",)):
            raise Violation("unsigned: the old signature may still be there")

    def answered(self, what: str) -> None:
        """The host is told that it is done."""
        for inside, _, names in os.walk(self.root):
            if self._garbage(os.path.join(inside, "x")):
                if _key(inside) in self.moved_from:
                    raise Violation(f"answered: {what}: {self._short(inside)} is not synced")
                continue
            pending = self.changed.get(_key(inside), {})
            lost = [n for n, how in pending.items() if how == "added" and n not in VOLATILE]
            if lost:
                raise Violation(f"answered: {what}: names in {self._short(inside)} are volatile: {lost}")
            if "current" in pending or (pending.get("trash") or pending.get("allowed_signers")) == "removed":
                raise Violation(f"answered: {what}: what went may come back")
            removed = [n for n, how in pending.items() if how == "removed"]
            if removed and os.path.basename(inside) == "releases":
                raise Violation(f"answered: {what}: a release that went may come back")
            if any(n.endswith(".service") or n == "recover.pyz" for n in removed):
                raise Violation(f"answered: {what}: the unit that went may come back")
            for name in names:
                if name not in VOLATILE:
                    self._require_file(os.path.join(inside, name), f"answered: {what}")


def _key(path: str) -> Key:
    found = os.lstat(path)
    return found.st_dev, found.st_ino

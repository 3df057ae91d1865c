"""Whether what is on the disk is always what may be read after a power cut: the device's own code does all that
it does to a disk, every call that changes one is recorded, and a model of what is durable judges their order.

    python -I order.py PACKAGE REQUESTS ROOT SCENARIO

PACKAGE is a folder with edgefreeze/device in it, perhaps a mutated one. The model is the weakest file system that
POSIX allows: what was written is lost unless its file was fsynced, and a name unless its folder was. Rules:

    published    what gets a name that others read, or is moved under one, is durable with all in it
    answered     when a request is answered, nothing that it changed is volatile any more, and of what was moved
                 out of staging/ both folders are synced
    switched     `current` is moved when the release, state.json (TRIAL) and the trusted sequence are durable;
                 COMMITTED is written when `current` is
    marked       the listing that makes a runtime whole comes when the runtime is durable
    unsigned     an envelope is replaced when it is durable that the signature of the old one is gone
"""

import contextlib
import errno
import json
import os
import sys
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


class Board:
    """A device that is asked by function calls, with a new session wherever one begins."""

    def __init__(self, root: str, disk: Disk, given: dict[str, Any]) -> None:
        from edgefreeze.device import session

        self._session = session
        self.disk, self.given, self.root = disk, given, root
        self.session = session.Session(root, "program")

    def ask(self, op: str, args: dict[str, Any], blob: bytes = b"") -> dict[str, Any]:
        """One request, answered."""
        from edgefreeze.device import ops, requests

        request = requests.Request(args, iter([blob] if blob else []), len(blob), lambda event: None)
        result = ops.run(self.session, ops.find(op), request)
        if op != "put":
            self.disk.answered(op)
        return result

    def renew(self) -> None:
        """The connection ends, and another begins."""
        self.session.close()
        self.disk.answered("bye")
        self.session = self._session.Session(self.root, "program")
        self.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})

    def bring(self, name: str, **more: Any) -> dict[str, Any]:
        """Put and stage a release; how it is named in requests."""
        release = self.given[name]
        self.put(release)
        self.ask("stage", {**release["args"], **more})
        return dict(release["named"])

    def put(self, release: dict[str, Any]) -> None:
        """Put its contents, as far as they are missing."""
        for sha256, data in release["contents"]:
            self.ask("put", {"sha256": sha256, "bytes": len(data) // 2}, bytes.fromhex(data))


def everyday(board: Board) -> None:
    """Two releases, one of them signed, a runtime, a trial, a rollback, a prune, and who is trusted."""
    given = board.given
    board.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    board.put(given["tree"])
    board.ask("commit", {})
    board.ask("tree", {"id": given["tree"]["id"], "files": given["tree"]["listing"]})
    assert board.ask("has_tree", {"id": given["tree"]["id"]})["present"]
    a = board.bring("a")
    board.ask("activate", dict(a, allow_unverified=True))
    board.renew()
    b = board.bring("b", **given["b"]["signed"], enrol=True)
    app = board.session.opened("cam")
    app.releases.record_selftest(b["release"], {"passed": True, "tested": 1})
    board.disk.answered("selftest")
    assert app.releases.selftest(b["release"]), "the self-test is not on record"
    app.releases.keep_service(b["release"], given["service"])
    board.disk.answered("keep_service")
    board.ask("activate", dict(b, allow_unverified=True, trial=True))
    board.ask("confirm", {"app": "cam"})
    board.bring("b", **given["b"]["signed"])
    board.renew()
    assert board.ask("rollback", {"app": "cam"})["release"] == a["release"]
    board.ask("activate", dict(b, allow_unverified=True, trial=True))
    board.renew()  # nobody confirmed
    known = board.session.opened("cam").where()
    assert (known["active"], known["phase"]) == (a["release"], "COMMITTED"), known
    key = {"key": given["key"], "who": "tester"}
    added = board.ask("trust_add", key)
    board.ask("trust_policy", {"policy": "allow-unsigned", "who": "tester"})
    board.ask("trust_remove", {"fingerprint": added["fingerprint"], "who": "tester"})
    assert len(board.session.trust.history()) == 4
    board.ask("activate", dict(b, allow_unverified=True))
    c = board.bring("c")
    board.ask("discard", c)
    assert not os.path.exists(os.path.join(board.root, "apps/cam/releases", c["release"]))
    board.bring("c")
    board.ask("prune", {"app": "cam", "keep": 1})
    found = sorted(os.listdir(os.path.join(board.root, "apps/cam/releases")))
    assert found == sorted([a["release"], b["release"]]), found
    events = [e["event"] for e in board.session.existing("cam").memory.history()]
    assert events.count("recovered") == 1, events


def damaged(board: Board) -> None:
    """A file, a manifest and a runtime are damaged, and brought again; old history is cut."""
    from edgefreeze.device import state

    given = board.given
    board.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    a = board.bring("a")
    board.ask("activate", dict(a, allow_unverified=True))
    folder = os.path.join(board.root, "apps/cam/releases", a["release"])
    for name in (given["a"]["file"], "manifest.json"):
        os.chmod(os.path.join(folder, name), 0o600)
        with open(os.path.join(folder, name), "r+b") as file:
            file.write(b"!")
    board.renew()
    try:
        board.bring("a")
    except Exception as error:
        assert getattr(error, "code", None) == "digest-mismatch", error
        board.bring("a")
    with open(os.path.join(folder, given["a"]["file"]), "rb") as file:
        assert not file.read().startswith(b"!")
    state.MAX_HISTORY = 300
    for _ in range(4):
        board.session.opened("cam").memory.log("tried", None, None, "tester")
        board.disk.answered("log")
    os.unlink(os.path.join(board.root, "apps/cam/current"))
    os.sync()
    board.disk.changed.clear()
    board.renew()
    assert board.session.opened("cam").where()["active"] == a["release"]


def without_links(board: Board) -> None:
    """A file system that has none: everything is copied."""
    board.disk.links = False
    everyday(board)


def large(board: Board) -> None:
    """A file that breaks off and goes on, many small ones, and one that is only passing through."""
    from edgefreeze.device.protocol import EndOfStream

    big = board.given["big"]
    sha256, data = big["sha256"], b"x" * big["bytes"]
    store = board.session.store

    def torn() -> Any:
        yield data[:1000]
        raise EndOfStream("gone")

    with contextlib.suppress(EndOfStream):
        store.put(sha256, len(data), torn())
    assert store.missing([(sha256, len(data))])[1] == {sha256: 1000}
    assert store.put(sha256, len(data), iter([data[1000:]]), 1000)
    for other, text in board.given["many"]:
        board.ask("put", {"sha256": other, "bytes": len(text)}, text.encode())
    board.ask("commit", {})
    wanted = [(sha256, len(data))] + [(other, len(text)) for other, text in board.given["many"]]
    assert store.missing(wanted) == ([], {})
    assert all(os.path.isfile(store.object_path(digest)) for digest, _ in wanted)
    passing, text = board.given["passing"]
    store.put(passing, len(text), iter([text.encode()]), passing=True)
    folder = store.scratch([("a/b", passing, len(text))])
    assert os.path.isfile(os.path.join(folder, "a/b"))
    board.session.close()


def measured(board: Board) -> None:
    """A run's journal begins, and keeps what it is told."""
    from edgefreeze.device.journal import Journal

    written = Journal(board.root, "0123456789abcdef", {"app": "cam"})
    board.disk.answered("a run that begins")
    for kind in ("cold", "block", "end"):
        written.event({"kind": kind})
        board.disk.answered(f"its {kind}")
    written.close()


def engine(board: Board) -> None:
    """An engine is built of a recipe, and the next time taken as it is."""
    from edgefreeze.device import engines, trtexec

    def build(command: list[str], folder: str, timeout_s: float) -> engines.Done:
        for argument in command:
            option, _, path = argument.partition("=")
            if option in ("--saveEngine", "--timingCacheFile"):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.write(fd, b"of trtexec's")
                os.close(fd)
        return engines.Done("", 0, 0, 0)

    options = frozenset(["--timingCacheFile"])
    engines.find = lambda: "trtexec"
    engines.ask = lambda path: trtexec.Program(path, "10.3.0", options)
    engines.call = build
    recipe = os.path.join(os.path.dirname(board.root), "recipe")
    os.makedirs(recipe)
    with open(os.path.join(recipe, "model.onnx"), "w") as file:
        file.write("a model")
    with open(os.path.join(recipe, "recipe.json"), "w") as file:
        json.dump({"schema": 1, "arguments": [trtexec.MODEL, trtexec.ENGINE]}, file)
    board.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    release = board.bring("a")["release"]
    kept = os.path.join(board.root, "apps/cam/releases", release, "engines")
    timings = os.path.join(board.root, "cache", "tensorrt")
    made = engines.ensure(recipe, kept, timings)
    board.disk.answered("an engine")
    assert made.fresh
    assert os.path.isfile(made.path)
    assert len(os.listdir(timings)) == 1
    assert not engines.ensure(recipe, kept, timings).fresh
    board.disk.answered("an engine that was there")


def bootstrap(board: Board) -> None:
    """The helper itself is brought."""
    program, data = board.given["bootstrap"], b"the helper"
    ask = (
        json.dumps({"sha256": board.given["helper"], "bytes": len(data), "root": board.root}).encode() + b"\n"
    )
    near, far = os.pipe()
    board.disk.real["write"](far, ask + data)
    os.close(far)
    os.dup2(near, 0)
    path = os.path.join(board.root, "helper", board.given["helper"] + ".pyz")
    os.makedirs(os.path.dirname(path), 0o700)
    os.sync()
    board.disk.changed.clear()

    def started(*_: Any) -> None:
        assert os.path.isfile(path), "the helper is not there"
        board.disk.answered("start")
        raise SystemExit(0)

    os.execv = started  # type: ignore[assignment]
    real = os.fdopen

    class Written:
        """A buffered file, whose write is one of the disk's."""

        def __init__(self, fd: int, mode: str) -> None:
            self.fd = fd

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None:
            os.close(self.fd)

        def write(self, content: bytes) -> None:
            os.write(self.fd, content)

        def flush(self) -> None:
            pass

        def fileno(self) -> int:
            return self.fd

    os.fdopen = Written  # type: ignore[assignment]
    try:
        exec(program, {"__name__": "__main__"})
    except SystemExit as end:
        assert end.code == 0, end.code
    else:
        raise AssertionError("the helper was not started")
    finally:
        os.fdopen = real


def at_boot(board: Board) -> None:
    """The unit that recovers at boot is put there, follows the helper, and goes."""
    home = os.environ["HOME"] = os.path.join(board.root, "home")
    program = board.session.program = os.path.join(board.root, "program")
    os.environ.pop("XDG_RUNTIME_DIR", None)
    for path, content in ((program, "one"), (program + "-2", "two")):
        with open(path, "w") as file:
            file.write(content)
    os.mkdir(home)
    os.sync()
    board.disk.dirty.clear()
    board.disk.changed.clear()
    assert board.ask("recover_at_boot", {"keep": True})["enabled"]
    board.session.program = program + "-2"
    board.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    with open(os.path.join(board.root, "helper/recover.pyz")) as file:
        assert file.read() == "two"
    unit = board.ask("recover_at_boot", {"keep": True})["unit"]
    folder = os.path.dirname(unit)
    link = os.path.join(folder, "default.target.wants", os.path.basename(unit))
    os.unlink(link)
    os.symlink("elsewhere", link)
    assert board.ask("recover_at_boot", {"keep": True})["enabled"]
    with open(os.path.join(folder, "other.service"), "w"):
        pass
    os.sync()
    board.disk.changed.clear()
    assert board.ask("recover_at_boot", {"keep": False})["unit"] is None


SCENARIOS: list[Callable[[Board], None]] = [
    everyday, damaged, without_links, large, measured, engine, bootstrap, at_boot,
]  # fmt: skip


def main(package: str, requests: str, root: str, wanted: str) -> int:
    """Play one scenario; 0 where no rule was broken."""
    sys.path.insert(0, package)
    with open(requests) as file:
        given = json.load(file)
    os.umask(0o077)
    os.mkdir(root)
    disk = Disk(os.path.realpath(root))
    disk.install()
    try:
        next(s for s in SCENARIOS if s.__name__ == wanted)(Board(disk.root, disk, given))
    except Violation as broken:
        print(f"VIOLATION {wanted}: {broken}")
        return 1
    except Exception as error:
        print(f"FAILED {wanted}: {type(error).__name__}: {error}")
        return 2
    finally:
        disk.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

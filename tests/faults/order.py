"""Whether what is on the disk is always what may be read after a power cut: the device's own code does all that
it does to a disk, and a model of what is durable (durable.py) judges the order.

    python -I order.py PACKAGE REQUESTS ROOT SCENARIO

PACKAGE is a folder with edgefreeze/device in it, perhaps a mutated one.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # which -I leaves out

from durable import Disk, Violation


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

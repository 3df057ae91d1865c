"""The helper is killed before every single system call that changes the disk, one run for each.

A second release is sent and activated over a first. However it is cut, `current` names a whole release,
old or new, and the same run again ends with the new one.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DRIVER = """
import json, os, signal, sys
program, root, fatal, requests = sys.argv[1:]
sys.path.insert(0, program)
from edgefreeze.device import ops, session
from edgefreeze.device.requests import Request

count = 0
def cut(name):
    real = getattr(os, name)
    def call(*args, **kwargs):
        global count
        count += 1
        if count == int(fatal):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, name, call)
for name in ("rename", "fsync", "symlink", "link", "mkdir", "unlink", "ftruncate", "write", "chmod"):
    cut(name)

held = session.Session(root, program)
for op, args, blob in json.loads(open(requests).read()):
    blob = bytes.fromhex(blob)
    request = Request(args, iter([blob] if blob else []), len(blob), lambda event: None)
    ops.run(held, ops.find(op), request)
held.close()
print(count)
"""


def requests_of(release: Any, look: Any, tail: list[Any]) -> list[Any]:
    puts = [["put", {"sha256": look.sha(d), "bytes": len(d)}, d.hex()] for d in release.contents]
    opening = ["open_app", {"app": "cam", "who": "tester", "mode": "write"}, ""]
    return [opening, *puts, ["stage", release.args, ""], *tail]


def count_calls(program: Path, base: Path, root: Path, requests: Path) -> int:
    """How many calls there are to be cut."""
    subprocess.run(["cp", "-a", base, root], check=True)
    done = drive(program, root, 0, requests)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def drive(program: Path, root: Path, fatal: int, requests: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-c", DRIVER, program, root, str(fatal), requests],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("last", ["activate", "rollback"])
def test_cut_anywhere(program: Path, tmp_path: Path, made: Any, look: Any, last: str, step: int) -> None:
    """step 1: before every call; 7: before every seventh, and the last ones."""
    import json
    import shutil

    old, new = made(content=b"old"), made(content=b"new", golden=b"new golden")
    activate = ["activate", dict(new.named, allow_unverified=True), ""]
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    before = [["activate", dict(old.named, allow_unverified=True), ""]]
    if last == "activate":
        first.write_text(json.dumps(requests_of(old, look, before)))
        second.write_text(
            json.dumps(requests_of(new, look, [activate, ["prune", {"app": "cam", "keep": 1}, ""]]))
        )
        goal = new.id
    else:
        both = requests_of(old, look, before) + requests_of(new, look, [activate])
        first.write_text(json.dumps(both))
        second.write_text(json.dumps([both[0], ["rollback", {"app": "cam", "to": old.id}, ""]]))
        goal = old.id
    base = tmp_path / "base"
    base.mkdir()
    done = drive(program, base, 0, first)
    assert done.returncode == 0, done.stderr
    calls = count_calls(program, base, tmp_path / "root", second)
    assert calls > 10, "the driver cuts nothing"
    seen = set()
    for fatal in sorted(
        {*range(1, calls, step), *range(max(1, calls - 3 * step), calls + 1, max(1, step // 2))}
    ):
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", base, root], check=True)
        done = drive(program, root, fatal, second)
        now = look.current(root)
        assert now in (old.id, new.id)
        assert look.whole(root, now)
        assert done.returncode == -9, done.stderr
        seen.add(now)
        again = drive(program, root, 0, second)
        assert again.returncode == 0, again.stderr
        assert look.current(root) == goal
        assert look.whole(root, goal)
        assert not list((root / "apps" / "cam" / "staging").iterdir())
        assert not [p for p in (root / "apps" / "cam").iterdir() if p.name.startswith(".")]
    assert seen == {old.id, new.id}


def test_all_is_durable_before_a_release_is_named(
    tmp_path: Path, program: Path, made: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been fsynced, by inode, when a release gets its name and when `current` gets it."""
    import os

    from edgefreeze.device import ops, session
    from edgefreeze.device.requests import Request

    synced: list[int] = []
    real_fsync, real_rename = os.fsync, os.rename
    named: list[str] = []

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        real_fsync(fd)

    def rename(source: str, target: str) -> None:
        if Path(target).parent.name == "releases":
            inside = [Path(source), *Path(source).rglob("*")]
            assert {p.stat().st_ino for p in inside} <= set(synced)
            synced.clear()
            named.append("release")
        if Path(target).name == "current":
            parents = [app / "releases", app / "staging", app / "state.json"]
            assert {p.stat().st_ino for p in parents} <= set(synced)
            named.append("current")
            synced.clear()
        real_rename(source, target)

    root = tmp_path / "device"
    root.mkdir()
    app = root / "apps" / "cam"
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    held = session.Session(str(root), str(program))
    release = made()
    for op, args, blob in requests_of(
        release, look, [["activate", dict(release.named, allow_unverified=True), ""]]
    ):
        data = bytes.fromhex(blob)
        ops.run(held, ops.find(op), Request(args, iter([data]), len(data), lambda event: None))
    held.close()
    assert named == ["release", "current"]
    assert app.stat().st_ino in synced

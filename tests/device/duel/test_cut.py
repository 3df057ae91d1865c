"""A duel that is cut, whoever is killed: no process stays, no sample is lost, and nothing piles up."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgefreeze.benchmark.store import recovered
from edgefreeze.device import files, journal, protocol
from edgefreeze.device.errors import DeviceError
from tests.device.duel.conftest import ABOUT, beat, in_process, planned, race, sensors

pytestmark = pytest.mark.alone


# --- nothing is lost, nobody stays


def descendants(pid: int) -> set[int]:
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    out: set[int] = set()
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            out.add(child)
            todo.append(child)
    return out


def cut(
    helper: Any, one: Any, run: str, how: Callable[[Any], None], answer: bool = False
) -> tuple[int, set[int]]:
    """Begin a duel, let it come to its samples, and cut it; (samples that had been streamed, its processes)."""
    one.stage(helper)
    plan = planned("a", "b", min_samples=4000, max_seconds=100)
    about = {"plan": msgspec.to_builtins(plan), "about": msgspec.to_builtins(ABOUT)}
    number = helper.send("bench", {**one.named, "plan": plan.as_args(), "run": run, "about": about})
    streamed = blocks = 0
    while blocks < 5:
        message = protocol.read_message(helper.stdout)
        assert message["id"] == number
        event = message["event"]
        if answer:
            beat(helper)
        if event["kind"] == "block":
            blocks += 1
            streamed += len(event["samples_ns"])
    time.sleep(0.15)
    there = descendants(helper.process.pid)
    how(helper)
    return streamed, there


@pytest.mark.parametrize("how", ["the host is gone", "the helper is killed", "the helper is asked to leave"])
def test_whoever_is_killed_no_process_stays_and_no_sample_is_lost(start: Any, release: Any, how: str) -> None:
    helper = start()

    def end(helper: Any) -> None:
        if how == "the host is gone":
            helper.stdin.close()
            helper.stdout.close()
        else:
            helper.process.send_signal(signal.SIGKILL if "killed" in how else signal.SIGTERM)

    run = "ef" * 8
    streamed, there = cut(helper, release(a={"ms": 2.0}, b={"ms": 2.0}), run, end)
    assert there
    began = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() for pid in there):
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    helper.process.wait(30)
    again = start()
    (left,) = again.ask("bench_left")["runs"]
    assert left["run"] == run
    data = again.ask("bench_read", {"run": run})["data"]
    result = recovered(data, "test")
    kept = sum(len(c.samples) for c in result.contestants)
    assert kept > streamed, "the block that was running is there as well"
    assert result.complete is False
    assert result.device == "d"
    again.ask("bench_forget", {"run": run})
    assert again.ask("bench_left")["runs"] == []


def test_a_link_that_is_cut_without_a_word_is_noticed(start: Any, release: Any) -> None:
    """The streams stay open and nothing comes any more: as when a cable is pulled."""
    helper = start("--idle", "5")
    both = release(a={"ms": 2.0}, b={"ms": 2.0})
    _, there = cut(helper, both, "9a" * 8, lambda helper: None, answer=True)
    pulled = threading.Event()

    def take() -> None:
        while not pulled.is_set():
            protocol.read_message(helper.stdout)

    reading = threading.Thread(target=take)
    reading.start()
    for _ in range(7):  # while it answers, it is there
        assert helper.process.poll() is None
        beat(helper)
        time.sleep(1)
    pulled.set()
    reading.join(20)
    assert there
    assert all(Path(f"/proc/{pid}").exists() for pid in there)
    began = time.monotonic()
    assert helper.process.wait(30) == 0
    assert time.monotonic() - began < 15
    assert not [pid for pid in there if Path(f"/proc/{pid}").exists()]


def test_what_was_measured_is_on_the_disk_before_it_is_told_and_nothing_is_timed_meanwhile(
    release: Any, program: Path, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the calls: a power cut costs the block under way at most."""
    from edgefreeze.device.child import Runner

    sync, call, path = os.fdatasync, Runner.call, tmp_path / "bench" / ("56" * 8 + ".jsonl")
    order: list[str] = []

    def synced(fd: int) -> None:
        sync(fd)
        order.append(f"synced {os.fstat(fd).st_size}")

    def called(runner: Runner, op: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        order.append(f"ask {op}")
        answer = call(runner, op, args, timeout_s)
        order.append(f"answer {op}")
        return answer

    def told(event: dict[str, Any]) -> None:
        assert json.loads(path.read_text().splitlines()[-1]) == event
        order.append(f"told {event['kind']}")
        if event["kind"] in journal.DURABLE:
            assert order[-2] == f"synced {path.stat().st_size}", "all of it, and before the host knows"

    monkeypatch.setattr(os, "fdatasync", synced)
    monkeypatch.setattr(Runner, "call", called)
    written = journal.Journal(str(tmp_path), "56" * 8, {"head": 1})
    both = release(a={"ms": 0.2}, b={"ms": 0.2})
    in_process(both, planned("a", "b", rounds=5), program, package, tmp_path, sensors(), written, told)
    written.close()
    timed = [i for i, entry in enumerate(order) if entry == "ask block"]
    assert len(timed) >= 10
    assert {order[i + 1] for i in timed} == {"answer block"}, "nothing is synced while a block is timed"
    kinds = [entry.split()[1] for entry in order if entry.startswith("told")]
    durable = [kind for kind in kinds if kind in journal.DURABLE]
    assert kinds.count("block") == 10
    assert sum(entry.startswith("synced") for entry in order) == 1 + len(durable), "the head, and these"


@pytest.mark.parametrize("rest", [b"", b"\0" * 700, b"\0" * 700 + b"\n", b'{"kind":"blo', b"[1]\n"])
def test_what_a_power_cut_leaves_behind_the_last_sync_is_no_obstacle(tmp_path: Path, rest: bytes) -> None:
    run = "78" * 8
    plan = {"plan": msgspec.to_builtins(planned("a")), "about": msgspec.to_builtins(ABOUT)}
    written = journal.Journal(str(tmp_path), run, {"about": plan})
    written.event({"kind": "block", "contestant": 0, "block": 0, "samples_ns": [5, 6]})
    written.close()
    with (tmp_path / "bench" / f"{run}.jsonl").open("ab") as stream:
        stream.write(rest)
    result = recovered(journal.read(str(tmp_path), run), "test")
    assert result.contestants[0].samples == [5, 6]
    assert result.complete is False


def test_two_at_once_would_measure_each_other(start: Any, release: Any, root: Path) -> None:
    helper = start()
    one = release(a={"ms": 1.0})
    one.stage(helper)
    held = journal.Journal(str(root), "12" * 8, {})
    assert (
        helper.refuse("bench", {**one.named, "plan": planned("a").as_args(), "run": "34" * 8})["code"]
        == "locked"
    )
    assert helper.ask("bench_left")["runs"] == [], "what is under way is not left over"
    held.close()
    race(helper, one, planned("a", rounds=2), run="34" * 8)


@pytest.mark.parametrize("failing", ["fdatasync", "listdir", "fsync"])
def test_a_journal_that_cannot_begin_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    (tmp_path / "bench").mkdir()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as broken:
        broken.setattr(os, failing, full)
        with pytest.raises(DeviceError) as caught:
            journal.Journal(str(tmp_path), "12" * 8, {})
        assert caught.value.code == "disk-space"
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert journal.left(str(tmp_path)) == []
    journal.Journal(str(tmp_path), "12" * 8, {}).close()


def test_a_run_that_is_forgotten_meanwhile_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "list_folder", lambda path: ["gone.jsonl"])
    journal.Journal(str(tmp_path), "12" * 8, {}).close()


def test_runs_that_nobody_fetches_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(journal.KEPT + 3):
        written = journal.Journal(str(tmp_path), f"{number:016x}", {})
        written.close()
        os.utime(tmp_path / "bench" / f"{number:016x}.jsonl", (number, number))
    left = [entry["run"] for entry in journal.left(str(tmp_path))]
    assert left == [f"{number:016x}" for number in range(3, journal.KEPT + 3)]


# --- what is sent to be measured only


def test_a_release_that_is_only_measured_goes_and_one_that_was_there_stays(
    start: Any, release: Any, root: Path
) -> None:
    old, new = release(a={"ms": 0.1}), release(a={"ms": 0.2})
    helper = start()
    old.stage(helper)
    for one in (old, new):
        for content in one.contents:
            digest = hashlib.sha256(content).hexdigest()
            helper.ask("put", {"sha256": digest, "bytes": len(content), "passing": True}, content)
        helper.ask("stage", {**one.args, "passing": True})
        race_args = {**one.named, "plan": planned("a", rounds=2).as_args()}
        assert helper.ask("bench", race_args)["failed"] == {}
    assert helper.close() == 0
    there = sorted(p.name for p in (root / "apps" / "cam" / "releases").iterdir())
    assert there == [old.id]
    stored = [p for p in (root / "store").rglob("*") if p.is_file() and p.name != "lock"]
    assert len(stored) == len(old.contents)


def test_one_that_was_only_measured_goes_also_where_the_helper_was_killed(
    start: Any, release: Any, root: Path
) -> None:
    helper = start()
    one = release(a={"ms": 0.1})
    helper.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    helper.put(*one.contents)
    helper.ask("stage", {**one.args, "passing": True})
    helper.process.kill()
    helper.process.wait()
    assert (root / "apps" / "cam" / "releases" / one.id).is_dir()
    again = start()
    assert again.ask("status")["apps"][0]["releases"], "it is still there"
    again.ask("open_app", {"app": "cam", "who": "tester", "mode": "write"})
    assert not (root / "apps" / "cam" / "releases" / one.id).exists()
    assert again.ask("status")["apps"] == [], "an app in which nothing ever was is none"

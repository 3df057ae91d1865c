"""The duel on the device, with a runtime that takes as long as its model says and has the faults it names."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgefreeze.benchmark.plan import DuelPlan, Effort, Entrant, duel
from edgefreeze.benchmark.result import About, Collector, DuelResult, pair
from edgefreeze.benchmark.store import recovered
from edgefreeze.device import journal, protocol, tensors
from edgefreeze.device.duel import CHUNK_SAMPLES, Duel
from edgefreeze.device.timing import LEAD_CALLS, MOST_SAMPLES, Spool
from edgefreeze.targets import Bench
from edgefreeze.types import DeviceFacts
from tests.device.litert_fake import PACKAGE

FACTS = DeviceFacts(
    machine="x86_64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-x86_64", bits=64,
)  # fmt: skip
DEFAULTS = Bench(samples=200, seconds=10.0)
ABOUT = About(release="r", device="d", facts=FACTS, app="cam", run="ab" * 8, started="2026-11-21T11:08:00Z")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("site")
    (folder / "ai_edge_litert").mkdir()
    (folder / "ai_edge_litert" / "__init__.py").write_text("")
    (folder / "ai_edge_litert" / "interpreter.py").write_text(PACKAGE)
    return str(folder)


def cases(count: int = 3) -> list[tensors.Case]:
    draw = np.random.default_rng(1)
    inputs = [draw.normal(size=(1, 8)).astype("f4") for _ in range(count)]
    return [({"x": x}, {"y": x * 2}) for x in inputs]


Race = Callable[..., Any]


@pytest.fixture
def release(made: Any, package: str) -> Callable[..., Any]:
    """release(a={"ms": 1}, b={…}) -> a release with an artifact for each, named so."""

    def make(**models: dict[str, Any]) -> Any:
        end = {"dtype": "float32", "shape": [None, 8]}
        return made(
            files={f"{name}.tflite": json.dumps(how).encode() for name, how in models.items()},
            golden=tensors.encode_golden(cases()),
            artifacts=[
                {
                    "format": name, "precision": "fp32", "status": "verified", "path": f"{name}.tflite",
                    "runtime": "tflite", "inputs": [{"name": "x", "tensor": "x", **end}],
                    "outputs": [{"name": "y", "tensor": "y", **end}], "init_ops": [], "tolerance": 1e-5,
                }
                for name in models
            ],
            runtimes={"tflite": {"tree": None, "paths": [package]}},
        )  # fmt: skip

    return make


def planned(*names: str, rounds: int = 20, **effort: Any) -> DuelPlan:
    entrants = tuple(Entrant(artifact=name) for name in names)
    effort = {"cold_starts": 1, **effort}
    return duel(entrants, DEFAULTS, seed=5, effort=Effort(**effort), rounds=rounds)


def race(helper: Any, release: Any, plan: DuelPlan, **more: Any) -> tuple[DuelResult, dict[str, Any]]:
    release.stage(helper)
    helper.events.clear()
    answer = helper.ask("bench", {**release.named, "plan": plan.as_args(), **more})
    collector = Collector(plan=plan)
    for event in helper.events:
        if event["kind"] != "heartbeat":
            collector.add(event)
    return collector.result(ABOUT, parity=answer["checks"]), answer


def found(result: DuelResult, contestant: str | None = None) -> dict[str, str]:
    return {f.code: f.message for f in result.findings if f.contestant == contestant}


def test_a_fair_duel_has_its_samples_and_tells_them_apart(start: Any, release: Any) -> None:
    plan = planned("a", "b", min_samples=200)
    result, _ = race(start(), release(a={"ms": 1.0}, b={"ms": 1.3}), plan)
    a, b = result.contestants
    assert len(a.samples) == len(b.samples) == 200
    assert len(a.samples_ns) == 20
    assert a.warmup_ns
    assert a.blocks[0][0] is not None
    assert a.memory["pss_bytes"]
    assert (a.bytes or 0) > 5
    assert a.version == "ai-edge-litert of unknown version" or "litert" in (a.version or "")
    comparison = statistics_of(result, "a", "b")
    assert comparison.verdict == "slower"
    assert 1.1 < comparison.ratio < 1.7
    assert [e.when for e in result.environment] == ["before", *["during"] * 40, "after"]
    assert result.environment[-1].at_ns > 10**8
    assert result.parity["a"]["ok"]


def statistics_of(result: DuelResult, baseline: str, candidate: str) -> Any:
    compared = pair(result, candidate, baseline)
    assert compared is not None
    return compared


def test_at_least_the_samples_and_the_seconds_and_at_most_the_cap(start: Any, release: Any) -> None:
    one = release(a={"ms": 1.0})
    helper = start()
    result, _ = race(helper, one, planned("a", min_samples=20, min_seconds=0.6))
    assert sum(result.contestants[0].samples) / 1e9 >= 0.5
    assert len(result.contestants[0].samples) > 60, "more than the least number, as the seconds are not up"
    result, _ = race(helper, one, planned("a", min_samples=5000, max_seconds=0.5))
    assert len(result.contestants[0].samples) < 700


def test_a_fixed_rate_leaves_the_time_between_and_says_what_came_too_late(start: Any, release: Any) -> None:
    helper = start()
    one = release(a={"ms": 1.0})
    began = time.monotonic()
    result, _ = race(helper, one, planned("a", min_samples=40, rate_hz=50.0))
    assert time.monotonic() - began > 0.7, "40 calls at 50 Hz"
    assert len(result.contestants[0].samples) == 40
    assert "late" not in found(result, "a")
    slow, _ = race(helper, release(a={"ms": 12.0}), planned("a", min_samples=40, rate_hz=200.0))
    assert "40 calls could not begin in time at 200 Hz" in found(slow, "a")["late"]


def test_the_batch_is_the_golden_rows_over_and_over(start: Any, release: Any, made: Any) -> None:
    helper = start()
    result, _ = race(helper, release(a={"ms": 0.1}), planned("a", rounds=8, batch=5))
    assert result.contestants[0].failed is None
    assert result.options["batch"] == 5
    fixed = release(a={"ms": 0.1})
    fixed.manifest["artifacts"][0]["inputs"][0]["shape"] = [1, 8]
    fixed.text = protocol.canonical(fixed.manifest).decode()
    fixed.id = fixed.envelope["manifest_sha256"] = hashlib.sha256(fixed.text.encode()).hexdigest()
    result, _ = race(helper, fixed, planned("a", rounds=8, batch=5))
    assert result.contestants[0].failed == "its batch is fixed"


def test_cold_starts_come_in_drawn_order_each_in_a_fresh_process(start: Any, release: Any) -> None:
    helper, both = start(), release(a={"ms": 0.1}, b={"ms": 0.1})
    plan = planned("a", "b", rounds=2, cold_starts=3)
    result, _ = race(helper, both, plan)
    assert [e["contestant"] for e in helper.events if e["kind"] == "cold"] == list(plan.starts)
    assert sorted(plan.starts) == [0, 0, 0, 1, 1, 1]
    for contestant in result.contestants:
        assert len(contestant.starts) == 3
        assert all(s.import_ns > 10**6 and s.process_ns > 10**6 for s in contestant.starts), "all anew"
        assert all(s.disk_bytes is not None for s in contestant.starts)
        assert len(contestant.samples_ns) == 2
        totals = sorted(s.total_ms for s in contestant.starts)
        assert contestant.cold_start is not None
        assert contestant.cold_start["total_ms"] == totals[1]
        assert contestant.start_range_ms == (totals[0], totals[2])
    refused = helper.refuse("bench", {**both.named, "plan": {**plan.as_args(), "starts": [0, 0]}})
    assert refused["code"] == "protocol"


def test_a_start_that_takes_long_is_not_repeated_and_one_that_fails_is_out(start: Any, release: Any) -> None:
    helper = start()
    plan = planned("a", "b", rounds=2, cold_starts=3)
    broken = release(a={"ms": 0.1}, b={"ms": 0.1, "crash_after": 1})
    broken.stage(helper)
    answer = helper.ask("bench", {**broken.named, "plan": {**plan.as_args(), "long_start_s": 0.001}})
    kinds = [(e["kind"], e["contestant"]) for e in helper.events if e["kind"] in ("cold", "failed")]
    assert sorted(kinds) == [("cold", 0), ("failed", 1)]
    assert "SIGABRT" in answer["failed"]["1"]


def test_contestants_are_held_to_the_processors_that_are_named(start: Any, release: Any) -> None:
    """All of their threads: the fake runtime starts one when it is imported."""
    helper, both = start(), release(a={"ms": 0.1}, b={"ms": 0.1})
    allowed = tuple(sorted(os.sched_getaffinity(0)))
    result, _ = race(helper, both, planned("a", "b", rounds=2))
    assert [c.cpus for c in result.contestants] == [allowed, allowed], "recorded also where nothing is named"
    result, _ = race(helper, both, planned("a", "b", rounds=2, cpus=allowed[-1:]))
    assert [c.cpus for c in result.contestants] == [allowed[-1:]] * 2
    assert result.options["cpus"] == [allowed[-1]]
    assert helper.ask("probe")["cpus"] == list(allowed), "the helper itself is not held"


def test_a_processor_that_is_not_there_is_refused_before_anything_runs(start: Any, release: Any) -> None:
    helper, one = start(), release(a={"ms": 0.1})
    one.stage(helper)
    helper.events.clear()
    refused = helper.refuse("bench", {**one.named, "plan": planned("a", cpus=(4000,)).as_args()})
    assert (refused["code"], refused["found"]) == ("no-cpu", [4000])
    assert [e for e in helper.events if e["kind"] != "heartbeat"] == []
    profile = {**one.named, "calls": 1, "cpus": [4000]}
    assert helper.refuse("profile", profile)["code"] == "no-cpu"


def test_without_xnnpack_is_a_contestant_of_its_own(start: Any, release: Any) -> None:
    entrants = (Entrant(artifact="a"), Entrant(artifact="a", xnnpack=False))
    plan = duel(entrants, DEFAULTS, seed=1, effort=Effort(min_samples=80, cold_starts=1))
    result, _ = race(start(), release(a={"ms": 1.0}), plan)
    assert [c.format for c in result.contestants] == ["a", "a@no-xnnpack"]
    assert 1.4 < statistics_of(result, "a", "a@no-xnnpack").ratio < 3, "it was made twice as slow"


def test_another_release_runs_beside(start: Any, release: Any) -> None:
    helper = start()
    before, after = release(a={"ms": 1.0}), release(a={"ms": 1.5})
    before.stage(helper)
    entrants = (Entrant(artifact="a"), Entrant(artifact="a", release=before.id))
    plan = duel(entrants, DEFAULTS, seed=1, effort=Effort(min_samples=80, cold_starts=1))
    result, _ = race(helper, after, plan)
    assert [c.format for c in result.contestants] == ["a", "active:a"]
    (comparison,) = result.comparisons
    assert (comparison.baseline, comparison.candidate, comparison.verdict) == ("active:a", "a", "slower")


def test_no_page_fault_of_ours_falls_between_two_calls(tmp_path: Path) -> None:
    """Found by the medians of samples by their place in the block: the second took 60 microseconds longer."""
    spool = Spool(str(tmp_path / "block"), MOST_SAMPLES)
    view, before = spool.view, resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for index in range(0, MOST_SAMPLES, 64):
        view[index] = index + 1
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del view
    spool.close()
    assert faults < 10, "of 98 pages"
    assert (tmp_path / "block").stat().st_size == 8 * MOST_SAMPLES


@pytest.mark.slow
def test_the_same_artifact_twice_ties_in_19_of_20_real_duels(start: Any, release: Any) -> None:
    helper, twice = start(), release(a={"ms": 1.0}, b={"ms": 1.0})
    twice.stage(helper)
    ties = 0
    for _ in range(20):
        result, _ = race(helper, twice, planned("a", "b"))
        ties += statistics_of(result, "a", "b").verdict == "no difference shown"
    assert ties >= 19


# --- faults of contestants


def test_stale_outputs_are_found_while_measuring(start: Any, release: Any) -> None:
    result, answer = race(
        start(), release(a={"ms": 0.5}, b={"ms": 0.2, "stale_after": 60}), planned("a", "b")
    )
    assert answer["failed"] == {"1": "its outputs are stale: they are those of the input before"}
    assert result.contestants[1].p50_ms is None, "a fast wrong answer has no latency"
    assert len(result.contestants[0].samples) == 200, "the race goes on"


def test_a_wrong_output_has_no_latency(start: Any, release: Any) -> None:
    result, _ = race(start(), release(a={"ms": 0.2, "factor": 1.1}), planned("a", rounds=2))
    assert "outputs are wrong" in (result.contestants[0].failed or "")


def test_a_leak_is_named(start: Any, release: Any) -> None:
    result, _ = race(start(), release(a={"ms": 0.5, "leak": 1 << 20}, b={"ms": 0.5}), planned("a", "b"))
    assert re.search(r"memory grows by 1\.[01] MB a call", found(result, "a")["leak"])
    assert "leak" not in found(result, "b")


def test_an_outlier_every_fifty_calls_is_named_with_its_rhythm(start: Any, release: Any) -> None:
    one, plan = release(a={"ms": 1.0, "outlier": [50, 20.0]}), planned("a", min_samples=400)
    for _ in range(3):  # where the machine is overloaded, its own pauses are as long
        result, _ = race(start(), one, plan)
        said = found(result, "a").get("outliers", "")
        if re.match(r"every 50 calls one takes (19|2\d)", said):
            return
    raise AssertionError(said)


def test_a_crash_is_a_result_and_its_samples_stay(start: Any, release: Any) -> None:
    plan = planned("a", "b", min_samples=400)
    result, answer = race(
        start(), release(a={"ms": 0.5, "crash_after": 250}, b={"ms": 0.5}), plan, run="cd" * 8
    )
    assert "SIGABRT" in answer["failed"]["0"]
    crashed = result.contestants[0]
    assert crashed.p50_ms is None
    counted = len(crashed.samples) + len(crashed.warmup_ns) + 1 + 3  # the first call, and the check
    led = LEAD_CALLS * (len(crashed.samples_ns) + -(-len(crashed.warmup_ns) // CHUNK_SAMPLES))
    assert 249 - led <= counted <= 249, "every sample up to the crash"
    assert crashed.samples_ns[-1], "those of the block in which it crashed, too"


def test_one_that_hangs_is_a_result(start: Any, release: Any) -> None:
    plan = planned("a", "b", rounds=8)
    args = {**plan.as_args(), "timeout_s": 1.0}
    helper, both = start(), release(a={"ms": 0.2, "hang_after": 40}, b={"ms": 0.2})
    both.stage(helper)
    answer = helper.ask("bench", {**both.named, "plan": args})
    assert "longer than" in answer["failed"]["0"]
    assert "1" not in answer["failed"]


# --- faults of the device


def in_process(
    release: Any, plan: DuelPlan, program: Path, package: str, tmp_path: Path, sense: Any,
    written: journal.Journal | None = None, told: Callable[[dict[str, Any]], None] = lambda event: None,
) -> DuelResult:  # fmt: skip
    """The real race with sensors of the test's, which the helper itself reads from the board."""
    from edgefreeze.device.child import Runner

    golden = tmp_path / "golden.npz"
    golden.write_bytes(release.golden)
    for name, data in release.files.items():
        (tmp_path / name).write_bytes(data)

    class Stand:
        manifest = release.manifest

        def start(self, artifact: dict[str, Any], threads: int, cpus: Any = None) -> Runner:
            return Runner(sys.executable, str(program), threads, 30.0, cpus)

        def load(
            self, runner: Runner, artifact: dict[str, Any], threads: int, timeout: float, batch: Any
        ) -> Any:
            args = {
                "artifact": artifact, "path": str(tmp_path / artifact["path"]), "golden": str(golden),
                "threads": threads, "sys_paths": [package], "pycache": None, "batch": batch,
            }  # fmt: skip
            return runner.call("load", args, timeout)

    collector = Collector(plan=plan)
    stand: Any = Stand()

    def tell(event: dict[str, Any]) -> None:
        told(event)
        collector.add(event)

    answer = Duel(lambda release: stand, plan.as_args(), tell, written, sense=sense).run()
    return collector.result(ABOUT, parity=answer["checks"])


def sensors(**changes: Callable[[int], Any]) -> Callable[[], dict[str, Any]]:
    """Readings of the real sensors, but for some that are functions of how often they were read."""
    from edgefreeze.device.sensors import environment

    count = -1

    def sense() -> dict[str, Any]:
        nonlocal count
        count += 1
        return {**environment(), **{name: value(count) for name, value in changes.items()}}

    return sense


@pytest.mark.parametrize(
    ("changes", "code", "invalid", "said"),
    [
        ({"throttled": lambda i: "throttled" if i == 9 else ""}, "throttled", True, "the board reported throttled"),
        ({"throttled": lambda i: "throttled since boot" if i > 9 else ""}, "throttled", True, "throttled"),
        ({"throttled": lambda i: "under-voltage since boot"}, None, False, ""),
        ({"temperature_c": lambda i: 45 + i}, "heat", False, "went from 45 to"),
        ({"temperature_c": lambda i: 45 + i % 2}, None, False, ""),
        ({"quota_cpus": lambda i: 2.0 if i < 9 else 0.5}, "quota", True, "changed from 2 processors to 0.5"),
        ({"starved_s": lambda i: 3.0 + 0.1 * i, "quota_cpus": lambda i: 0.5}, "quota", True, "held them back"),
        ({"cpu_mhz_min": lambda i: 1500 if i < 9 else 600}, "clock", False, "fell from 1500 to 600 MHz"),
        ({"swap_used_bytes": lambda i: i << 20}, "swap", False, "swapped out"),
    ],
)  # fmt: skip
def test_what_the_board_does_is_named(
    release: Any, program: Path, package: str, tmp_path: Path, changes: Any, code: str | None, invalid: bool,
    said: str,
) -> None:  # fmt: skip
    both = release(saved_model={"ms": 0.3}, b={"ms": 0.5})
    result = in_process(
        both, planned("saved_model", "b", rounds=10), program, package, tmp_path, sensors(**changes)
    )
    watched = {"throttled", "heat", "quota", "clock", "swap"} & set(found(result))
    assert watched == ({code} if code else set())
    (comparison,) = result.comparisons
    assert (comparison.verdict == "invalid") is invalid
    if code:
        assert said in found(result)[code]
    if invalid:
        assert comparison.reason == found(result)[code or ""]
        assert comparison.advice


def test_a_core_kept_busy_half_way_is_named(
    release: Any, program: Path, package: str, tmp_path: Path
) -> None:
    """A real process, that counts up from half-way on."""
    readings = 0
    hogs: list[subprocess.Popen[bytes]] = []
    real = sensors()

    def sense() -> dict[str, Any]:
        nonlocal readings
        readings += 1
        if readings == 12:
            hogs.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        return real()

    try:
        result = in_process(
            release(a={"ms": 5.0}), planned("a", min_samples=500), program, package, tmp_path, sense
        )
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert "processors busy from" in found(result)["busy"]


@pytest.fixture
def group() -> Iterator[tuple[Path, Callable[[float], None]]]:
    """A control group of the test's, and what limits it to so many processors; cgroup v2, or v1's cpu."""
    top = Path("/sys/fs/cgroup")
    second = (
        "cpu" in (top / "cgroup.subtree_control").read_text().split()
        if (top / "cgroup.procs").exists()
        else False
    )
    folder = (top if second else top / "cpu") / f"edgefreeze-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")

    def limit(processors: float) -> None:
        if second:
            (folder / "cpu.max").write_text(f"{int(processors * 100_000)} 100000")
        else:
            (folder / "cpu.cfs_quota_us").write_text(str(int(processors * 100_000)))

    yield folder, limit
    deadline = time.monotonic() + 10
    while (folder / "cgroup.procs").read_text():
        assert time.monotonic() < deadline, "something stayed in the group"
        time.sleep(0.1)
    folder.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["half-way", "from the beginning"])
def test_a_real_quota_is_noticed_and_named(start: Any, release: Any, group: Any, when: str) -> None:
    """The kernel's own: the helper is in a control group of which a fifth of a processor is left."""
    folder, limit = group
    helper, both = start(), release(saved_model={"ms": 2.0}, b={"ms": 2.0})
    (folder / "cgroup.procs").write_text(str(helper.process.pid))
    both.stage(helper)
    plan = planned("saved_model", "b", min_samples=400)
    collector = Collector(plan=plan)
    if when != "half-way":
        limit(0.2)
    number = helper.send("bench", {**both.named, "plan": plan.as_args()})
    blocks = 0
    while "event" in (message := protocol.read_message(helper.stdout)):
        assert message["id"] == number
        event = message["event"]
        blocks += event["kind"] == "block"
        if event["kind"] != "heartbeat":
            collector.add(event)
        else:
            beat(helper)
        if blocks == 20 and when == "half-way":
            limit(0.2)
    result = collector.result(ABOUT, parity=message["result"]["checks"])
    said = found(result)["quota"]
    if when == "half-way":
        assert "the CPU quota changed from none to 0.2 processors after" in said
    else:
        assert re.search(r"the CPU quota of 0.2 processors held them back for \d", said)
    assert (result.comparisons[0].verdict, result.comparisons[0].reason) == ("invalid", said)
    helper.close()


def test_a_board_that_says_it_throttles(
    start: Any, release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the helper, with a firmware tool of the test's."""
    tool = tmp_path / "bin" / "vcgencmd"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho throttled=0x40004\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    result, _ = race(
        start(), release(a={"ms": 0.2}, saved_model={"ms": 0.2}), planned("a", "saved_model", rounds=8)
    )
    assert "throttled" in found(result)["throttled"]
    assert result.comparisons[0].verdict == "invalid"


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


def beat(helper: Any) -> None:
    """What a host answers to a heartbeat."""
    protocol.write_frame(helper.stdin, b"J", protocol.BEAT)
    helper.stdin.flush()


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

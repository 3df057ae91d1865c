"""What goes wrong in a duel on the device is a result, and is named: of a contestant, and of the board."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.benchmark.result import Collector
from edgefreeze.device import protocol
from edgefreeze.device.duel import CHUNK_SAMPLES
from edgefreeze.device.timing import LEAD_CALLS
from tests.device.duel.conftest import ABOUT, beat, found, in_process, planned, race, sensors

pytestmark = pytest.mark.alone


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

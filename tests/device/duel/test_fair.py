"""What makes a duel on the device fair: its samples, its order, its starts, its processors."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.benchmark.plan import Effort, Entrant, duel
from edgefreeze.benchmark.result import DuelResult, pair
from edgefreeze.device import protocol
from edgefreeze.device.timing import MOST_SAMPLES, Spool
from tests.device.duel.conftest import DEFAULTS, found, planned, race

pytestmark = pytest.mark.alone


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
    assert "litert" in (a.version or "")
    comparison = statistics_of(result, "a", "b")
    assert comparison.verdict == "slower"
    assert 1.1 < comparison.ratio < 1.7
    assert [e.when for e in result.environment] == ["before", *["during"] * 40, "after"]
    assert result.environment[-1].at_ns > 10**8
    assert result.parity["a"].ok


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

"""What disturbed a measurement, from events of known disturbances; and that a quiet one has no findings."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from edgefreeze.benchmark.events import Block, Environment, Warmup
from edgefreeze.benchmark.quality import Finding, findings
from edgefreeze.benchmark.result import Collector
from tests.benchmark.made import about, collected, plan_of

PLAN = plan_of("saved_model", "tflite")


def quiet(seed: int = 1) -> Collector:
    return collected(PLAN, {"saved_model": 10.0, "tflite": 4.0}, seed=seed)


def judged(collector: Collector, **more: Any) -> dict[tuple[str, str | None], Finding]:
    events = collector.events
    found = findings(
        PLAN.contestants,
        [e for e in events if isinstance(e, Block)],
        [e for e in events if isinstance(e, Environment)],
        [e for e in events if isinstance(e, Warmup)],
        **more,
    )
    return {(f.code, f.contestant): f for f in found}


def changed(collector: Collector, kind: type, change: Any) -> Collector:
    """Events of a kind, each replaced by change(its number, itself)."""
    count = -1
    for place, event in enumerate(collector.events):
        if isinstance(event, kind):
            count += 1
            collector.events[place] = change(count, event)
    return collector


def test_a_quiet_measurement_has_no_findings() -> None:
    noted = [codes for seed in range(50) if (codes := judged(quiet(seed)))]
    assert len(noted) <= 2, noted


def test_load_of_others_is_told_from_when_on() -> None:
    def half_way(number: int, event: Environment) -> Environment:
        assert event.at_ns is not None
        late = max(0.0, event.at_ns / 1e9 - 2.0)
        return msgspec.structs.replace(event, busy_s=(event.busy_s or 0) + late)

    found = judged(changed(quiet(), Environment, half_way))
    assert set(found) == {("busy", None)}
    said = found["busy", None].message
    assert "1.0 processors busy from 2." in said or "1.0 processors busy from 1." in said
    assert not found["busy", None].invalid


def test_a_drift_of_one_contestant() -> None:
    def slower(number: int, event: Block) -> Block:
        if event.contestant != 1:
            return event
        factor = 1 + 0.3 * event.block / 40
        return msgspec.structs.replace(event, samples_ns=[int(ns * factor) for ns in event.samples_ns])

    found = judged(changed(quiet(), Block, slower))
    assert ("drift", "tflite") in found
    assert "+2" in found["drift", "tflite"].message
    assert ("drift", "saved_model") not in found


def test_two_modes_and_a_warm_up_that_did_not_settle() -> None:
    rng = np.random.default_rng(1)

    def two(number: int, event: Block) -> Block:
        if event.contestant != 0:
            return event
        return msgspec.structs.replace(
            event, samples_ns=[int(ns * (1.5 if rng.random() < 0.4 else 1)) for ns in event.samples_ns]
        )

    collector = changed(quiet(), Block, two)
    collector = changed(collector, Warmup, lambda n, e: msgspec.structs.replace(e, stable=n != 1))
    found = judged(collector)
    assert set(found) == {("modes", "saved_model"), ("unsettled", "tflite")}
    assert "10 ms, and 14.9 ms for 40%" in found["modes", "saved_model"].message


@pytest.mark.parametrize(("each", "leaks"), [(1 << 20, True), (64 << 10, True), (8 << 10, False), (0, False)])
def test_a_leak_by_what_a_call_leaves_behind(each: int, leaks: bool) -> None:
    calls = [0, 0]

    def grow(number: int, event: Block) -> Block:
        calls[event.contestant] += len(event.samples_ns)
        return msgspec.structs.replace(event, rss_bytes=100_000_000 + each * calls[event.contestant])

    found = judged(changed(quiet(), Block, grow))
    assert (("leak", "tflite") in found) is leaks
    if each == 1 << 20:
        assert "grows by 1.0 MB a call" in found["leak", "tflite"].message


def test_throttling_takes_the_verdict_and_says_why() -> None:
    collector = changed(
        quiet(),
        Environment,
        lambda n, e: msgspec.structs.replace(e, throttled="throttled" if n == 20 else ""),
    )
    result = collector.result(about())
    (comparison,) = result.comparisons
    assert comparison.verdict == "invalid"
    assert comparison.ratio == pytest.approx(0.4, abs=0.01), "the ratio is still told"
    assert comparison.reason == "throttled: the board reported throttled, first after 1.9 s"
    assert "cool it" in (comparison.advice or "")

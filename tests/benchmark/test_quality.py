"""What disturbed a measurement, from events of known disturbances; and that a quiet one has no findings."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from edgefreeze.benchmark.events import Block, Environment, Warmup
from edgefreeze.benchmark.quality import Finding, findings, on_the_cpu
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


# --- each disturbance on its own, at its bounds


def entries(count: int, **of: Any) -> list[Environment]:
    """One entry a second; values are called with the second, or constant."""
    found = []
    for second in range(count):
        known = {key: value(second) if callable(value) else value for key, value in of.items()}
        found.append(Environment(**{"when": "during", "at_ns": second * 10**9, **known}))
    return found


def alone(environment: list[Environment], **more: Any) -> list[Finding]:
    return list(findings((), (), environment, (), **more))


def block(number: int, samples: list[int], **more: Any) -> Block:
    return Block(contestant=0, block=number, samples_ns=samples, **more)


def of_blocks(blocks: list[Block], **more: Any) -> dict[str, Finding]:
    return {f.code: f for f in findings(("tflite",), blocks, (), (), **more)}


@pytest.mark.parametrize(
    ("first", "later", "said"),
    [
        ("", "throttled", "throttled, first after 3.0 s"),
        ("", "under-voltage since boot", "under-voltage, first after 3.0 s"),
        ("", "throttled, throttled since boot", "throttled, first after 3.0 s"),
        ("throttled since boot", "throttled", "throttled, first after 3.0 s"),
        ("throttled since boot", "throttled since boot", None),
        (None, None, None),
        ("throttled", "", "throttled, first after 0.0 s"),
    ],
)
def test_only_what_was_throttled_meanwhile_counts(first: str | None, later: str | None, said: str) -> None:
    found = alone(entries(5, throttled=lambda s: later if s >= 3 else first))
    assert [f.message for f in found] == ([f"throttled: the board reported {said}"] if said else [])
    assert all(f.invalid and f.code == "throttled" and f.contestant is None for f in found)
    assert alone([]) == []


def test_a_quota_that_changes_spoils_the_measurement() -> None:
    (found,) = alone(entries(5, quota_cpus=lambda s: 2.0 if s >= 3 else None))
    assert (found.code, found.invalid) == ("quota", True)
    assert found.message == "throttled: the CPU quota changed from none to 2 processors after 3.0 s"
    (found,) = alone(entries(5, quota_cpus=lambda s: 0.5 if s >= 1 else 1.5))
    assert "from 1.5 processors to 0.5 processors after 1.0 s" in found.message
    assert alone(entries(5, quota_cpus=2.0)) == []


def test_a_quota_that_held_them_back_for_a_hundredth_of_the_time_spoils_it() -> None:
    """Of 100 s one second is borne; of 2 s a twentieth of one."""
    for count, borne in ((101, 1.0), (3, 0.05)):
        for starved, spoilt in ((borne * 0.99, False), (borne * 1.01, True)):
            found = alone(
                entries(count, quota_cpus=2.0, starved_s=lambda s, e=count - 1, x=starved: 7 + x * s / e)
            )
            assert [f.code for f in found] == ["quota"] * spoilt
    (found,) = alone(entries(11, quota_cpus=2.0, starved_s=lambda s: s / 2))
    assert found.message == "throttled: the CPU quota of 2 processors held them back for 5.0 of 10.0 s"
    assert found.invalid
    (found,) = alone(entries(11, starved_s=lambda s: s / 2))
    assert "the CPU quota held them back" in found.message
    assert alone(entries(1, starved_s=9.0)) == [], "a count since the boot says nothing of this measurement"


@pytest.mark.parametrize(
    ("rise", "count", "told"), [(8.0, 20, True), (7.9, 20, False), (8.0, 2, False), (9.0, 20, True)]
)
def test_a_temperature_that_rose_by_eight_degrees_is_told(rise: float, count: int, told: bool) -> None:
    found = alone(entries(count, temperature_c=lambda s: 50 + rise * s / (count - 1)))
    assert [f.code for f in found] == ["heat"] * told
    if told:
        assert found[0].message == f"the temperature went from 50 to {50 + rise:.0f} °C"
        assert not found[0].invalid
    # What goes up and down again is no trend.
    assert alone(entries(20, temperature_c=lambda s: 50 + 4.5 * (-1) ** s)) == []
    assert [f.code for f in alone(entries(20, temperature_c=lambda s: 60 - s))] == ["heat"], "cooling too"


def test_a_clock_that_fell_by_a_tenth_is_told() -> None:
    def clock(last: float, count: int = 9, **more: Any) -> list[str]:
        found = alone(entries(count, cpu_mhz=lambda s: 1500.0 if s < 5 else last, **more))
        return [f.message for f in found if f.code == "clock"]

    assert clock(1349.0) == ["the clock fell from 1500 to 1349 MHz"]
    assert clock(1351.0) == []
    assert clock(600.0, count=5) == [], "five are too few for thirds of two"
    assert clock(600.0, when="before") == [], "what matters is the race"
    # The slowest processor counts where it is known.
    assert clock(1500.0, cpu_mhz_min=lambda s: 1500.0 if s < 5 else 600.0) == [
        "the clock fell from 1500 to 600 MHz"
    ]


def test_load_of_others_counts_from_half_a_processor_over_half_a_second() -> None:
    def busy(load: float, every: float = 1.0) -> list[str]:
        found = [
            Environment(
                when="during",
                at_ns=int(s * every * 1e9),
                busy_s=100 + s * every * (1 + load),
                own_s=50 + s * every,
            )
            for s in range(9)
        ]
        return [f.message for f in alone(found)]

    assert busy(0.49) == []
    assert busy(0.51) == ["something else kept 0.5 processors busy from 0.0 s on, for 8.0 s"]
    assert busy(2.0) == ["something else kept 2.0 processors busy from 0.0 s on, for 8.0 s"]
    # Entries that come faster are taken together until half a second is over.
    assert busy(2.0, every=0.25) == ["something else kept 2.0 processors busy from 0.0 s on, for 2.0 s"]
    assert busy(2.0, every=0.05) == []
    assert alone(entries(9, busy_s=lambda s: 3.0 * s)) == [], "whose it was is not known"


def test_the_load_of_others_is_averaged_over_the_time_in_which_there_was_any() -> None:
    def of_others(second: int) -> float:
        return 0.0 if second <= 2 else min(second - 2, 1) * 1.0 + max(0, second - 3) * 3.0

    (found,) = alone(entries(6, busy_s=lambda s: s + of_others(s), own_s=lambda s: s))
    assert found.message == "something else kept 2.3 processors busy from 2.0 s on, for 3.0 s"


@pytest.mark.parametrize(("grown", "told"), [(4 << 20, False), ((4 << 20) + 1, True), (-(9 << 20), False)])
def test_what_was_swapped_out_meanwhile_is_told_from_four_mebibytes_on(grown: int, told: bool) -> None:
    found = alone(entries(3, swap_used_bytes=lambda s: (90 << 20) + grown * (s == 2)))
    assert [(f.code, f.message) for f in found] == [("swap", "4.2 MB were swapped out meanwhile")] * told


def test_a_drift_must_be_of_a_twentieth_and_no_chance() -> None:
    def drift(share: float, count: int = 20) -> dict[str, Finding]:
        blocks = [block(i, [int(1e6 * (1 + share * i / (count - 1)))] * 3) for i in range(count)]
        return of_blocks(blocks)

    assert "drift" not in drift(0.05)
    assert (
        drift(0.06)["drift"].message
        == "its latency drifted by +6% of its median from the first block to the last"
    )
    assert "-" in drift(-0.2)["drift"].message
    assert "drift" not in drift(0.5, count=7), "of seven nothing is known"


def test_a_call_that_takes_longer_now_and_then_is_told_with_its_rhythm() -> None:
    def blocks(places: list[int]) -> list[Block]:
        samples = [10**6 + 10**3 * (i % 7) + 10**7 * (i in places) for i in range(200)]
        return [block(i, samples[10 * i : 10 * i + 10]) for i in range(20)]

    rhythm = of_blocks(blocks(list(range(3, 200, 20))))["outliers"]
    assert rhythm.message == "every 20 calls one takes 10 ms longer than the others"
    some = of_blocks(blocks([3, 50, 61]))["outliers"]
    assert some.message == "3 of 200 calls take 10 ms longer than the others"
    assert not some.invalid


def test_the_calls_before_a_block_count_for_a_rhythm_though_they_are_slower_by_nature() -> None:
    """The first two calls of each block take twice as long, and every 25th call ten times."""
    number = 0
    blocks = []
    for i in range(20):
        calls = []
        for place in range(12):
            calls.append(
                (2 if place < 2 else 1) * (10**6 + 10**3 * (number % 7)) * (10 if number % 25 == 13 else 1)
            )
            number += 1
        blocks.append(block(i, calls[2:], lead_ns=calls[:2]))
    found = of_blocks(blocks)["outliers"]
    assert found.message.startswith("every 25 calls one takes")


def test_a_leak_needs_eight_blocks_after_the_first_quarter_and_four_mebibytes() -> None:
    def leak(each: int, count: int = 40, calls: int = 10, first: int = 0) -> list[str]:
        blocks = [
            block(i, [10**6 + i % 3] * calls, rss_bytes=10**8 + each * calls * i + (first if i < 3 else 0))
            for i in range(count)
        ]
        found = of_blocks(blocks).get("leak")
        return [found.message] if found else []

    assert leak(33 << 10) == ["its memory grows by 33.8 kB a call"]
    assert leak(31 << 10) == []
    assert leak(1 << 20, count=10) == ["its memory grows by 1.0 MB a call"]
    assert leak(1 << 20, count=9) == [], "a quarter of nine are left out, and seven are too few"
    assert leak(40 << 10, count=12) == [], "three mebibytes may be anything"
    assert leak(0, first=-(50 << 20)) == [], "caches grow at first"
    nothing = [block(i, [10**6] * 10) for i in range(40)]
    assert "leak" not in of_blocks(nothing)


def test_calls_that_could_not_begin_in_time_are_told_from_a_hundredth_on() -> None:
    def late(missed: int, rate_hz: float | None = 30.0) -> list[str]:
        blocks = [block(i, [10**6 + i % 3] * 10, missed=missed if i == 0 else 0) for i in range(20)]
        found = of_blocks(blocks, rate_hz=rate_hz).get("late")
        return [found.message] if found else []

    assert late(2) == []
    assert late(3) == ["3 of 200 calls could not begin in time at 30 Hz"]
    assert late(3, rate_hz=None) == []


def test_a_contestant_that_never_ran_has_no_findings_and_a_duels_threads_are_told() -> None:
    assert of_blocks([block(0, [])]) == {}
    (found,) = alone(entries(5, throttled="throttled"), threads=4)
    assert found.threads == 4
    assert on_the_cpu(("a", "b"), threads=2).message.startswith("a, b ran on the CPU")
    assert on_the_cpu(("a",), threads=2).threads == 2

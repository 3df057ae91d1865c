"""Results beside each other: what is unlike is said, and what cannot be judged is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from edgefreeze.benchmark import comparing
from edgefreeze.benchmark.quality import Finding
from edgefreeze.benchmark.result import DuelResult
from edgefreeze.benchmark.statistics import LEAST_ROUNDS
from tests.benchmark.made import about, collected, made, plan_of


def with_facts(result: DuelResult, **facts: Any) -> DuelResult:
    return dataclasses.replace(result, facts=dataclasses.replace(result.facts, **facts))


def with_contestants(result: DuelResult, **fields: Any) -> DuelResult:
    changed = tuple(dataclasses.replace(c, **fields) for c in result.contestants)
    return dataclasses.replace(result, contestants=changed)


BEFORE = made(saved_model=10.0, tflite=4.0)
AFTER = made(seed=2, saved_model=10.0, tflite=4.6)


def test_releases_are_compared_and_what_is_unlike_is_said() -> None:
    found = comparing.compare([BEFORE, AFTER])
    assert found.differences == ()
    verdicts = {r.format: r.comparison.verdict for r in found.pairs[0].rows}
    assert verdicts == {"saved_model": "no difference shown", "tflite": "slower"}
    assert [r.format for r in found.slower] == ["tflite"]
    (row,) = found.slower
    assert row.comparison.ratio == pytest.approx(1.15, abs=0.02)
    other = collected(plan_of("tflite", threads=(4,)), {"tflite": 4.0}).result(about())
    assert comparing.compare([BEFORE, other]).pairs[0].rows == ()
    (difference,) = comparing.differences([BEFORE, with_facts(AFTER, cpu_model="Cortex-A53")])
    assert difference.startswith("CPU: Cortex-A72 in doorbell")
    assert "Cortex-A53" in difference


def test_every_later_result_is_compared_with_the_first() -> None:
    faster = made(seed=3, saved_model=5.0, tflite=4.0)
    found = comparing.compare([BEFORE, AFTER, faster])
    assert [(p.baseline, p.candidate) for p in found.pairs] == [(comparing.name(BEFORE),) * 2] * 2
    verdicts = [{r.format: r.comparison.verdict for r in p.rows} for p in found.pairs]
    assert verdicts[1] == {"saved_model": "faster", "tflite": "no difference shown"}
    assert [r.format for r in found.slower] == ["tflite"]


def test_a_result_is_named_by_what_tells_it_from_others() -> None:
    assert comparing.name(BEFORE) == "doorbell aaaaaaaaaaaa on cam1, 2026-11-21T11:08:00Z"
    bare = dataclasses.replace(BEFORE, app=None, started=None)
    assert comparing.name(bare) == "model aaaaaaaaaaaa on cam1, undated"


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("machine", "x86_64", "machine: aarch64 in {a}; x86_64 in {b}"),
        ("board", None, "board: A board in {a}; unknown in {b}"),
        ("cpu_count", 8, "processors: 4 in {a}; 8 in {b}"),
        ("os", "Debian 13", "system: Debian 12 in {a}; Debian 13 in {b}"),
        ("kernel", "6.12", "kernel: 6.6 in {a}; 6.12 in {b}"),
        ("python", "3.13.5", "Python: 3.11.2 in {a}; 3.13.5 in {b}"),
    ],
)
def test_a_fact_of_the_device_that_differs_is_told(fact: str, value: Any, said: str) -> None:
    other = dataclasses.replace(with_facts(BEFORE, **{fact: value}), device="cam2")
    names = {"a": comparing.name(BEFORE), "b": comparing.name(other)}
    assert comparing.differences([BEFORE, other]) == (said.format(**names),)
    assert comparing.differences([BEFORE, other, other]) == (said.format(**names),), "once"


def test_conditions_that_differ_are_told() -> None:
    def said(**changes: Any) -> list[str]:
        found = comparing.differences([BEFORE, dataclasses.replace(BEFORE, device="cam2", **changes)])
        return [text.replace(comparing.name(BEFORE), "A").partition(" in doorbell")[0] for text in found]

    assert said(emulated=True) == ["emulation: no in A; yes"]
    assert said(complete=False) == ["cut short: no in A; yes"]
    assert said(options={**BEFORE.options, "batch": 8}) == ["batch: unknown in A; 8"]
    assert said(options={**BEFORE.options, "rate_hz": 30.0}) == ["rate: unknown in A; 30.0"]
    quick = tuple(msgspec.structs.replace(e, governor="performance") for e in BEFORE.environment)
    assert said(environment=quick) == ["governor: ondemand in A; performance"]
    assert said(release="b" * 64, started="2026-11-22T11:08:00Z") == [], "they are what is compared"


def test_the_governor_is_that_of_the_race_and_not_of_before() -> None:
    resting = tuple(
        msgspec.structs.replace(e, governor="powersave") if e.when != "during" else e
        for e in BEFORE.environment
    )
    assert comparing.differences([BEFORE, dataclasses.replace(BEFORE, environment=resting)]) == ()


def test_runtimes_that_differ_are_told_and_unknown_ones_are_not() -> None:
    newer = with_contestants(BEFORE, version="runtime 2.0")
    first, second = comparing.differences([BEFORE, newer])
    assert first.startswith("runtime of saved_model: runtime 1.0 in")
    assert second.startswith("runtime of tflite: runtime 1.1 in")
    for unknown in (with_contestants(BEFORE, version=None), dataclasses.replace(BEFORE, contestants=())):
        assert comparing.differences([BEFORE, unknown]) == ()
        assert comparing.differences([unknown, BEFORE]) == ()


def test_contestants_on_other_processors_are_unlike_and_older_results_do_not_say() -> None:
    on = [with_contestants(BEFORE, cpus=cpus) for cpus in ((0, 1), (2, 3))]
    (difference,) = comparing.differences(on)
    assert difference.startswith("processors that it may use: 0-1 in")
    assert comparing.differences([BEFORE, on[0]]) == ()
    assert comparing.differences([on[0], BEFORE]) == ()


def test_what_cannot_be_judged_is_invalid_and_says_in_which_result() -> None:
    hot = Finding(code="throttled", contestant=None, invalid=True, message="throttled: hot", advice="cool it")
    mild = dataclasses.replace(hot, invalid=False)
    elsewhere = dataclasses.replace(hot, threads=4)
    few = with_contestants(
        AFTER, samples_ns=tuple((1,) for _ in range(LEAST_ROUNDS - 1)) + ((),) * LEAST_ROUNDS
    )
    enough = with_contestants(AFTER, samples_ns=tuple((1,) for _ in range(LEAST_ROUNDS)))
    for other, reason, advice in (
        (with_contestants(AFTER, failed="killed"), f"failed in {comparing.name(AFTER)}: killed", "see why"),
        (dataclasses.replace(AFTER, findings=(hot,)), "throttled: hot", "cool it"),
        (few, f"too few: {LEAST_ROUNDS - 1} rounds in {comparing.name(AFTER)}", "measure to the end"),
    ):
        for pair in ((BEFORE, other), (other, BEFORE)):
            row = comparing.compare(pair).pairs[0].rows[0]
            found = row.comparison
            assert (found.verdict, found.reason, found.advice) == ("invalid", reason, advice)
            assert (found.ratio, found.interval) == (None, None)
            assert row.cells[3:] == ("", f"invalid: {reason}")
    for other in (dataclasses.replace(AFTER, findings=(mild, elsewhere)), enough):
        rows = comparing.compare([BEFORE, other]).pairs[0].rows
        assert all(r.comparison.verdict != "invalid" for r in rows)


def test_a_row_of_the_table() -> None:
    row = comparing.compare([BEFORE, AFTER]).pairs[0].rows[1]
    interval = row.comparison.interval
    assert interval is not None
    assert row.cells == (
        "tflite", f"{row.before_ms:.3f}", f"{row.after_ms:.3f}",
        f"{row.comparison.ratio:.2f} ({interval[0]:.2f}–{interval[1]:.2f})", "slower",
    )  # fmt: skip
    # Three digits after the point below ten milliseconds, one from there on; a dash for what is not known.
    assert dataclasses.replace(row, before_ms=None, after_ms=10.0).cells[1:3] == ("–", "10.0")
    assert dataclasses.replace(row, before_ms=9.9994).cells[1] == "9.999"
    assert dataclasses.replace(row, threads=2).cells[0] == "tflite (2 threads)"


def test_the_threads_are_told_with_the_verdict() -> None:
    four = [
        collected(plan_of("tflite", threads=(4,)), {"tflite": ms}, seed=seed).result(about())
        for seed, ms in ((1, 4.0), (2, 5.0))
    ]
    (row,) = comparing.compare(four).pairs[0].rows
    assert (row.threads, row.comparison.threads, row.comparison.verdict) == (4, 4, "slower")
    broken = with_contestants(four[1], failed="killed")
    assert comparing.compare([four[0], broken]).pairs[0].rows[0].comparison.threads == 4


def test_the_interval_of_unpaired_results_holds() -> None:
    """The same artifact twice, each in a duel of its own: different in at most 1 of 100, here of 300."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(300):
        pair = [
            (1e7 * np.exp(rng.normal(0, 0.02, (20, 1)) + rng.normal(0, 0.03, (20, 10)))) for _ in range(2)
        ]
        _, low, high = comparing.unpaired(pair[0].astype(int).tolist(), pair[1].astype(int).tolist())
        wrong += not low <= 1 <= high
    assert wrong <= 9, "99 % of 300, with room for chance (P < 0.01 beyond 8)"


def test_the_ratio_of_unpaired_results_is_after_over_before_and_empty_rounds_do_not_count() -> None:
    rng = np.random.default_rng(8)
    before, after = (
        [[int(ms * 1e6 * np.exp(rng.normal(0, 0.01))) for _ in range(5)] for _ in range(12)] for ms in (4, 6)
    )
    ratio, low, high = comparing.unpaired(before, after)
    assert ratio == pytest.approx(1.5, abs=0.02)
    assert low < ratio < high
    assert 1.47 < low < high < 1.53, "the noise is of one percent"
    assert comparing.unpaired([[], *before], [*after, []]) == (ratio, low, high)
    # Fewer rounds on either side know less: the interval is wider.
    _, less, more = comparing.unpaired(before, after[:8])
    assert more / less > high / low

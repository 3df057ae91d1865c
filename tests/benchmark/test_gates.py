"""Gates: the language, and that the unfavourable bound decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.accuracy import Accuracy
from edgefreeze.benchmark import gates
from edgefreeze.benchmark.plan import Entrant, duel
from edgefreeze.benchmark.quality import Finding
from edgefreeze.benchmark.statistics import percentile_bound_ms
from edgefreeze.errors import Failure
from edgefreeze.targets import Bench
from tests.benchmark.made import FACTS, about, collected, made


@pytest.mark.parametrize(
    ("text", "metric", "names", "limit"),
    [
        ("p95<40ms", "p95", (), 40.0),
        (" p50 ( tflite:int8 ) <= 1.5 s ", "p50", ("tflite:int8",), 1500.0),
        ("p99(tflite@no-xnnpack)<250us", "p99", ("tflite@no-xnnpack",), 0.25),
        ("rss<300MB", "rss", (), 3e8),
        ("peak<1GiB", "peak", (), 2.0**30),
        ("accuracy_drop<0.5%", "accuracy_drop", (), 0.5),
        ("speedup(frozen_pb,saved_model)>=1.1", "speedup", ("frozen_pb", "saved_model"), 1.1),
    ],
)
def test_what_can_be_said(text: str, metric: str, names: tuple[str, ...], limit: float) -> None:
    gate = gates.parse(text)
    assert (gate.metric, gate.names, gate.limit) == (metric, names, limit)
    assert gate.text == text.strip()


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("p96<40ms", 1, "a metric"),
        ("p95>40ms", 4, "judged from above"),
        ("p95<40", 7, "a unit: us, µs, ms, s"),
        ("p95<40MB", 7, "a unit"),
        ("p95 40ms", 5, "<= or <"),
        ("p95<ms", 5, "a number"),
        ("p95<40ms please", 10, "nothing more"),
        ("speedup(a)>=1", 11, "two artifacts"),
        ("speedup(a,b)<1", 13, "judged from below"),
        ("speedup(a,b)>=1%", 16, "nothing more"),
        ("p95(a,b)<1ms", 9, "one artifact, or none"),
        ("p95(", 5, "an artifact"),
        ("p95(a<1ms", 6, "')'"),
        ("p95<4?0ms", 6, "a metric, a comparison and a limit"),
        ("", 1, "a metric"),
    ],
)
def test_mistakes_are_pointed_at(text: str, place: int, expected: str) -> None:
    with pytest.raises(Failure) as caught:
        gates.parse(text)
    failure = caught.value
    assert (failure.code, failure.exit_status) == ("gate-syntax", 2)
    assert f"from character {place} on" in failure.message
    assert expected in (failure.expected or "")
    assert (failure.found or "").splitlines()[1].index("^") == place - 1


@given(st.text(max_size=30))
def test_any_text_is_a_gate_or_a_mistake(text: str) -> None:
    try:
        metric = gates.parse(text).metric
    except Failure as failure:
        metric = failure.code
    assert metric in {*gates.UNITS, "gate-syntax"}


def one(text: str, result: Any, drops: Any = (), runs: str = "tflite") -> gates.Judgement:
    return gates.judge([gates.parse(text)], runs, result, drops)[0]


def test_the_bound_decides_and_not_the_figure() -> None:
    result = made(calls=20, saved_model=10.0, tflite=4.0)
    contestant = result.of("tflite")
    assert contestant is not None
    bound = percentile_bound_ms(contestant.samples, 95)
    assert bound is not None
    assert contestant.p95_ms is not None
    assert bound > contestant.p95_ms
    between = (bound + contestant.p95_ms) / 2
    assert contestant.p95_ms < between
    assert not one(f"p95<{between}ms", result).passed
    assert one(f"p95<{bound + 1e-6}ms", result).passed
    assert one(f"p95(saved_model)<{bound}ms", result).passed is False
    assert "with 99 % confidence" in one("p95<40ms", result).reason


def test_a_speedup_is_judged_on_the_lower_end() -> None:
    result = made(saved_model=10.0, tflite=8.0)
    (comparison,) = result.comparisons
    assert comparison.interval is not None
    least = 1 / comparison.interval[1]
    assert 1.2 < least < 1.25
    assert one("speedup(tflite,saved_model)>=1.2", result).passed
    assert not one(f"speedup(tflite,saved_model)>={least + 0.001}", result).passed
    assert not one("speedup(saved_model,tflite)>=1", result).passed
    assert "there are saved_model, tflite" in one("speedup(tflite,onnx)>=1", result).reason


def test_what_cannot_be_judged_does_not_pass() -> None:
    result = made(saved_model=10.0, tflite=4.0)
    assert "too few: 200 samples; p99 needs 662" in one("p99<1s", result).reason
    assert "no contestant" in one("p50(onnx)<1s", result).reason
    assert not one("p50<1s", None).passed
    failed = replace(result, contestants=tuple(replace(c, failed="killed") for c in result.contestants))
    assert one("p50<1s", failed).reason == "tflite failed: killed"
    hot = Finding(code="throttled", contestant=None, invalid=True, message="throttled: hot", advice="cool it")
    spoilt = replace(result, findings=(hot,))
    assert "invalid: throttled" in one("p50<1s", spoilt).reason
    assert one("rss<300MB", spoilt).passed, "memory does not depend on the clock"


def test_memory_size_and_start() -> None:
    result = made(saved_model=10.0, tflite=4.0)
    assert one("peak<=120MB", result).passed
    assert not one("peak<120MB", result).passed
    assert one("size<1MB", result).passed
    assert one("start<1s", result).passed
    assert not one("start<100ms", result).passed
    assert one("mean<5ms", result).passed


def test_a_start_is_judged_on_the_slowest_and_its_confidence_is_said() -> None:
    """The largest of n observations bounds their median from above at 1 - 2^-n."""
    whole = made(tflite=4.0)
    first = whole.contestants[0].starts[0]
    starts = tuple(replace(first, import_ns=ms * 10**6) for ms in (900, 200, 300))
    slow = replace(whole, contestants=(replace(whole.contestants[0], starts=starts),))
    rest = first.total_ms - first.import_ns / 1e6
    judged = one("start<900ms", slow)
    assert not judged.passed, "one of three took longer"
    assert judged.bound == pytest.approx(900 + rest)
    assert "at most" in judged.reason
    assert "87.5 % confidence (the median and the largest of 3 starts)" in judged.reason
    assert one("start<1s", slow).passed
    assert "one start" in one("start<1s", whole).reason


def test_a_drop_of_accuracy_is_judged_on_its_upper_bound() -> None:
    def drop(rows: int, worse: int, better: int = 0) -> Accuracy:
        return Accuracy(
            format="tflite",
            accuracy=0.9 - (worse - better) / rows,
            original=0.9,
            rows=rows,
            worse=worse,
            better=better,
        )

    assert one("accuracy_drop<0.5%", None, [drop(2000, 0)]).passed
    assert not one("accuracy_drop<0.5%", None, [drop(100, 0)]).passed, "a hundred rows cannot show that"
    assert not one("accuracy_drop<0.5%", None, [drop(2000, 10)]).passed
    assert not one("accuracy_drop<0.5%", None, []).passed
    # Clopper and Pearson's upper bound of 0 of n at 99.5 % is 1 - 0.005^(1/n).
    judged = one("accuracy_drop<9%", None, [drop(500, 0)])
    assert judged.bound == pytest.approx(100 * (1 - 0.005 ** (1 / 500)), rel=1e-6)


def test_a_regression_against_what_is_active() -> None:
    entrants = (Entrant(artifact="tflite"), Entrant(artifact="tflite", release="b" * 64))
    plan = duel(entrants, Bench(), seed=1)
    for ms, percent, passed in ((4.0, 5, True), (4.3, 5, False), (4.3, 12, True), (3.0, 0, True)):
        result = collected(plan, {"tflite": ms, "active:tflite": 4.0}).result(about())
        judged = gates.judge([gates.regression(percent)], "tflite", result)[0]
        assert judged.passed is passed, judged
    alone = made(tflite=4.0)
    assert gates.judge([gates.regression(5)], "tflite", alone)[0].passed, "nothing to fall behind"


def test_emulated_figures_decide_nothing() -> None:
    emulated = replace(FACTS, emulated=True)
    wanted = [gates.parse("p50<1s")]
    with pytest.raises(Failure) as caught:
        gates.require_real(wanted, emulated, "cam1", allowed=False)
    assert (caught.value.code, caught.value.exit_status) == ("gate-emulated", 6)
    gates.require_real(wanted, emulated, "cam1", allowed=True)
    gates.require_real(wanted, FACTS, "cam1", allowed=False)
    gates.require_real([], emulated, "cam1", allowed=False)

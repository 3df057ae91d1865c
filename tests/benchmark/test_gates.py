"""Gates: the language, and that the unfavourable bound decides."""

from __future__ import annotations

import math
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


def test_what_spoilt_another_number_of_threads_spoils_no_gate() -> None:
    """Gates are judged on the first number of threads of a sweep; a throttled duel with four is another."""
    result = made(saved_model=10.0, tflite=4.0)
    hot = Finding(code="throttled", contestant=None, invalid=True, message="hot", advice="cool it", threads=4)
    assert one("p50<1s", replace(result, findings=(hot,))).passed
    assert not one("p50<1s", replace(result, findings=(hot, replace(hot, threads=1)))).passed


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


# --- what is shown


def test_the_first_mistake_of_a_gate_is_shown_under_its_text() -> None:
    with pytest.raises(Failure) as caught:
        gates.parse("p95<40")
    assert caught.value.found == "p95<40\n......^ the end"
    with pytest.raises(Failure) as caught:
        gates.parse("  p95 ? 40ms")
    assert caught.value.found == "  p95 ? 40ms\n......^ here"
    with pytest.raises(Failure) as caught:
        gates.parse("sized<40ms")
    assert "did you mean 'size'" in (caught.value.expected or "")
    with pytest.raises(Failure) as caught:
        gates.parse("speedup(a>=1")
    assert caught.value.expected == "',' and a second artifact"
    for text in ("speedup>=1", "speedup(a,b,c)>=1"):
        with pytest.raises(Failure) as caught:
            gates.parse(text)
        assert caught.value.expected == "two artifacts: speedup(faster,slower)"


@pytest.mark.parametrize(
    ("text", "below", "strict"),
    [
        ("p95<40ms", True, True),
        ("p95<=40ms", True, False),
        ("speedup(a,b)>1", False, True),
        ("speedup(a,b)>=1", False, False),
    ],
)
def test_signs(text: str, below: bool, strict: bool) -> None:
    gate = gates.parse(text)
    assert (gate.below, gate.strict) == (below, strict)


@pytest.mark.parametrize(
    ("unit", "bytes_"),
    [("B", 1), ("kB", 10**3), ("KB", 10**3), ("MB", 10**6), ("GB", 10**9), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)],
)  # fmt: skip
def test_units_of_sizes(unit: str, bytes_: int) -> None:
    assert gates.parse(f"size<2{unit}").limit == 2 * bytes_


@pytest.mark.parametrize(("unit", "ms"), [("us", 1e-3), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3)])
def test_units_of_times(unit: str, ms: float) -> None:
    assert gates.parse(f"p50<2.5{unit}").limit == pytest.approx(2.5 * ms)


def test_a_limit_that_is_just_met_passes_where_the_sign_lets_it() -> None:
    result = made(saved_model=10.0, tflite=4.0)
    size = result.contestants[1].bytes
    assert one(f"size<={size}B", result).passed
    assert not one(f"size<{size}B", result).passed
    assert one(f"size<{size + 1}B", result).passed
    assert not one(f"size<={size - 1}B", result).passed
    found = result.comparisons[0]
    assert found.interval is not None
    exact = replace(gates.parse("speedup(tflite,saved_model)>=1"), limit=1 / found.interval[1])
    for strict in (True, False):
        judged = gates.judge([replace(exact, strict=strict)], "tflite", result)[0]
        assert judged.passed is not strict
        assert judged.figure == pytest.approx(1 / (found.ratio or 0))
        assert "at least" in judged.reason


def test_the_reason_has_the_figure_and_its_bound_in_the_metrics_unit() -> None:
    result = made(calls=20, saved_model=10.0, tflite=4.0)
    said = one("p95<40ms", result)
    assert said.figure is not None
    assert said.bound is not None
    assert said.reason == (
        f"tflite: {said.figure:.4g} ms, at most {said.bound:.4g} ms with 99 % confidence (of 400 samples)"
    )
    assert one("size<1MB", result).reason == "tflite: 0.4 MB (on disk)"
    assert one("peak<200MB", result).reason.startswith("tflite: 120 MB")
    assert one("rss<200MB", result).reason.startswith("tflite: ")
    speed = one("speedup(tflite,saved_model)>=1", result)
    assert speed.reason.startswith("tflite against saved_model: 2.499 times")
    assert "at least 2.4" in speed.reason
    mean = one("mean<40ms", result)
    assert mean.figure is not None
    assert mean.bound is not None
    assert mean.figure < mean.bound < mean.figure * 1.02


def test_a_regression_is_shown_in_percent() -> None:
    entrants = (Entrant(artifact="tflite"), Entrant(artifact="tflite", release="b" * 64))
    result = collected(duel(entrants, Bench(), seed=1), {"tflite": 4.4, "active:tflite": 4.0}).result(about())
    gate = gates.regression(5)
    assert (gate.text, gate.limit, gate.strict, gate.below) == ("--max-regress 5%", 1.05, False, True)
    assert gates.regression(2.5).text == "--max-regress 2.5%"
    judged = gates.judge([gate], "tflite", result)[0]
    assert judged.reason.startswith("tflite against active:tflite: +10.3 %")
    assert "%, at most +1" in judged.reason


def test_what_has_to_be_measured_or_evaluated_for_gates() -> None:
    speed, accuracy = gates.parse("p50<1s"), gates.parse("accuracy_drop<1%")
    assert gates.against_active([speed, gates.regression(5)])
    assert not gates.against_active([speed, accuracy])
    assert gates.of_accuracy([speed, accuracy])
    assert not gates.of_accuracy([speed, gates.regression(5)])


def test_a_failure_names_the_gates_that_did_not_pass_and_only_those() -> None:
    result = made(saved_model=10.0, tflite=4.0)
    judged = gates.judge([gates.parse(t) for t in ("p50<1us", "p50<1s", "size<1B")], "tflite", result)
    assert [j.passed for j in judged] == [False, True, False]
    failure = gates.failure(judged, "tflite", "cam1 runs b")
    assert failure is not None
    assert (failure.code, failure.message) == ("gate-failed", "tflite does not pass p50<1us, size<1B")
    assert failure.expected == "p50<1us\nsize<1B"
    assert failure.found == f"{judged[0].reason}\n{judged[2].reason}"
    assert (failure.device_state, failure.retry_safe) == ("cam1 runs b", True)
    assert gates.failure(judged[1:2], "tflite") is None


def test_what_was_not_measured_does_not_pass() -> None:
    result = made(saved_model=10.0, tflite=4.0)
    bare = replace(
        result,
        contestants=tuple(
            replace(c, bytes=None, memory={"peak_bytes": None}, starts=(), cold_start=None)
            for c in result.contestants
        ),
    )
    for text in ("size<1GB", "rss<1GB", "peak<1GB", "start<9s"):
        judged = one(text, bare)
        assert not judged.passed
        assert (judged.figure, judged.bound) == (None, None)
        assert "not measured" in judged.reason
    few = replace(
        result, contestants=tuple(replace(c, samples_ns=c.samples_ns[:7]) for c in result.contestants)
    )
    assert one("mean<1s", few).reason == "too few: 7 blocks; 8 are needed"
    assert one("speedup(tflite,saved_model)>=1", few).reason.startswith("too few: 7 whole rounds")
    some = replace(
        result, contestants=tuple(replace(c, samples_ns=((), *c.samples_ns[:8])) for c in result.contestants)
    )
    assert one("mean<1s", some).passed, "a block without samples is none"


def test_the_bounds_of_a_share_are_clopper_and_pearsons() -> None:
    """By the binomial distribution's tails, which the bounds make as large as is allowed."""

    def tail(count: int, rows: int, p: float, *, upper: bool) -> float:
        ks = range(count + 1) if upper else range(count, rows + 1)
        return sum(math.comb(rows, k) * p**k * (1 - p) ** (rows - k) for k in ks)

    for count, rows in ((0, 20), (3, 20), (20, 20), (1, 500), (50, 100)):
        for upper in (True, False):
            bound = gates._clopper_pearson(count, rows, 0.005, upper=upper)
            if (upper and count == rows) or (not upper and count == 0):
                assert bound == float(upper)
            else:
                assert tail(count, rows, bound, upper=upper) == pytest.approx(0.005, rel=1e-6)
                assert (bound > count / rows) is upper


def test_rows_won_make_up_for_rows_lost_only_as_far_as_is_sure() -> None:
    def judged(worse: int | None, better: int | None) -> gates.Judgement:
        accuracy = Accuracy(
            format="tflite", accuracy=0.9, original=0.9, rows=1000, worse=worse, better=better
        )
        return one("accuracy_drop<1%", None, [accuracy])

    lost = judged(20, 0).bound
    both = judged(20, 20).bound
    assert lost is not None
    assert both is not None
    won = gates._clopper_pearson(20, 1000, 0.005, upper=False)
    assert both == pytest.approx(lost - 100 * won)
    assert not judged(None, 3).passed
    assert not judged(3, None).passed
    assert "(of 1000 rows)" in judged(20, 20).reason
    assert "points" in judged(20, 20).reason

"""Statistics against distributions whose answers are known."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from edgefreeze.benchmark.statistics import (
    CONFIDENCE,
    ENOUGH,
    LEAST_ROUNDS,
    LOOKED_AT,
    compare,
    expanded_tail,
    largest_bounds_median,
    modes,
    outliers,
    percentile_bound_ms,
    percentile_ms,
    trend,
)


def rounds(rng: np.random.Generator, factor: float, drift: np.ndarray) -> list[list[int]]:
    """20 rounds of 10 samples around 10 ms, with a drift that both contestants see."""
    return [
        [int(1e7 * factor * np.exp(d + rng.normal(0, 0.015) + rng.normal(0, 0.03))) for _ in range(10)]
        for d in drift
    ]


def test_percentiles_are_stated_only_where_they_can_be() -> None:
    samples = [int(ms * 1e6) for ms in range(1, 1001)]
    for percent, least in ENOUGH.items():
        assert percentile_ms(samples[: least - 1], percent) is None
        assert percentile_ms(samples[:least], percent) is not None
    assert percentile_ms(samples, 50) == pytest.approx(500.5)
    assert percentile_ms(samples, 90) == pytest.approx(900.1)
    assert percentile_ms(samples, 99) == pytest.approx(990.01)


@pytest.mark.parametrize(("quantile", "least"), [(0.90, 64), (0.95, 130), (0.99, 662)])
def test_the_least_counts_are_those_of_the_binomial_bound(quantile: float, least: int) -> None:
    def confidence(n: int) -> float:
        return 1 - quantile**n - n * (1 - quantile) * quantile ** (n - 1)

    assert confidence(least) >= 0.99 > confidence(least - 1)
    assert ENOUGH[round(quantile * 100)] == least


def test_a_slower_candidate_is_found_and_the_same_one_is_not() -> None:
    rng = np.random.default_rng(5)
    found = same = 0
    for seed in range(200):
        drift = np.cumsum(rng.normal(0, 0.01, 20))
        found += (
            compare("a", "b", rounds(rng, 1, drift), rounds(rng, 1.05, drift), seed=seed).verdict == "slower"
        )
        tie = compare("a", "b", rounds(rng, 1, drift), rounds(rng, 1, drift), seed=seed)
        same += tie.verdict == "no difference shown"
    assert found >= 190
    assert same >= 190


@pytest.mark.parametrize(("count", "t"), [(20, 2.8609), (8, 3.4995), (100, 2.6264)])
def test_the_tail_is_that_of_students_distribution(count: int, t: float) -> None:
    """Quantiles of Student's t at 0.995 from the printed tables."""
    expected = NormalDist().cdf(-t * (count / (count - 1)) ** 0.5)
    assert expanded_tail(0.005, count) == pytest.approx(expected, rel=0.03)


def simulated(rng: np.random.Generator, factor: float) -> tuple[list[list[int]], list[list[int]]]:
    """Two contestants whose rounds drift together, with noise of rounds and calls and an outlier now and
    then; the second is `factor` as slow."""
    drift = np.cumsum(rng.normal(0, 0.0125, 20))[:, None]
    pair = []
    for scale in (1.0, factor):
        level = drift + rng.normal(0, 0.015, (20, 1)) + rng.normal(0, 0.03, (20, 10))
        outliers = 1 + (rng.random((20, 10)) < 0.05) * rng.exponential(1, (20, 10))
        pair.append((1e7 * scale * np.exp(level) * outliers).astype(int).tolist())
    return pair[0], pair[1]


@pytest.mark.slow
def test_the_same_artifact_differs_in_at_most_one_duel_of_a_hundred() -> None:
    rng = np.random.default_rng(5)
    verdicts = [compare("a", "b", *simulated(rng, 1), seed=i).verdict for i in range(10_000)]
    assert sum(v in ("faster", "slower") for v in verdicts) <= 100
    assert "invalid" not in verdicts
    slower = [compare("a", "b", *simulated(rng, 1.05), seed=i).verdict for i in range(1000)]
    assert sum(v == "slower" for v in slower) >= 950


def test_the_ratio_is_the_medians() -> None:
    base = [[100, 100, 100]] * 10
    result = compare("a", "b", base, [[50, 50, 5000]] * 10, seed=1)
    assert result.ratio == pytest.approx(0.5)
    assert result.verdict == "faster"
    assert 0 < CONFIDENCE < 1


def test_too_few_rounds_is_no_verdict() -> None:
    result = compare("a", "b", [[1]] * 20, [[2]] * (LEAST_ROUNDS - 1), seed=1)
    assert result.verdict == "invalid"
    assert result.ratio is None
    assert str(LEAST_ROUNDS - 1) in (result.reason or "")


# --- what is derived beside the ratio


def test_the_upper_bound_covers_its_percentile_in_99_of_100() -> None:
    rng = np.random.default_rng(12)
    for percent, count in ((50, 200), (90, 64), (95, 130), (99, 662)):
        truth = float(np.exp(0.2 * NormalDist().inv_cdf(percent / 100)))
        drawn = 1e6 * np.exp(rng.normal(0, 0.2, (2000, count)))
        covered = sum((percentile_bound_ms(samples, percent) or 0) >= truth for samples in drawn)
        assert covered >= 1962, (
            f"p{percent}: {covered} of 2000 (1980, with four standard deviations of chance)"
        )
    assert percentile_bound_ms([1] * 63, 90) is None


def test_with_the_least_count_the_bound_is_the_second_largest_sample() -> None:
    for percent, least in ((90, 64), (95, 130), (99, 662)):
        samples = [int(1e6 * value) for value in range(1, least + 1)]
        assert percentile_bound_ms(samples, percent) == least - 1


def test_the_mean_is_compared_too_and_sees_what_the_median_hides() -> None:
    rng = np.random.default_rng(3)
    drift = np.zeros(20)
    base = rounds(rng, 1, drift)
    spiky = [[*block[:-1], block[-1] + 20_000_000] for block in rounds(rng, 1, drift)]
    found = compare("a", "b", base, spiky, seed=1)
    assert found.verdict == "no difference shown"
    assert found.mean_ratio == pytest.approx(1.2, abs=0.02)
    assert found.mean_interval is not None
    assert found.mean_interval[0] > 1.15


def test_where_the_noise_hides_everything_the_verdict_is_invalid() -> None:
    rng = np.random.default_rng(5)
    noisy = [[[int(1e7 * np.exp(rng.normal(0, 0.6))) for _ in range(3)] for _ in range(20)] for _ in range(2)]
    found = compare("a", "b", noisy[0], noisy[1], seed=1)
    assert found.verdict == "invalid"
    assert (found.reason or "").startswith("noisy: the interval is")
    assert found.advice


def test_trends_are_found_and_chance_is_not() -> None:
    rng = np.random.default_rng(2)
    assert sum(trend(rng.normal(0, 1, 20).tolist())[1] < 0.01 for _ in range(1000)) <= 18
    change, p = trend([10 + 0.1 * i + e for i, e in enumerate(rng.normal(0, 0.1, 20))])
    assert change == pytest.approx(1.9, abs=0.3)
    assert p < 1e-4
    assert trend([1.0] * 20) == (0.0, 1.0)
    assert trend([1.0, 2.0]) == (0.0, 1.0)


def test_two_modes_are_two_and_one_is_one() -> None:
    rng = np.random.default_rng(4)
    one = [
        (1e6 * np.exp(rng.normal(0, s, 200))).astype(int).tolist()
        for s in (0.005, 0.03, 0.3)
        for _ in range(100)
    ]
    assert sum(modes(samples) is not None for samples in one) <= 3
    assert modes((1e6 * (1 + rng.random(200))).astype(int).tolist()) is None, "a uniform one is no two"
    both = np.concatenate([rng.normal(1e6, 2e4, 140), rng.normal(1.4e6, 2e4, 60)]).astype(int)
    rng.shuffle(both)
    found = modes(both.tolist())
    assert found is not None
    low, high, share = found
    assert (low, high) == (pytest.approx(1e6, rel=0.02), pytest.approx(1.4e6, rel=0.02))
    assert share == pytest.approx(0.3, abs=0.01)


def test_outliers_and_their_rhythm() -> None:
    rng = np.random.default_rng(6)

    def noisy(count: int) -> np.ndarray:
        """Now and then the scheduler takes 4 ms."""
        return 1e6 * np.exp(rng.normal(0, 0.03, count)) + (rng.random(count) < 0.03) * rng.exponential(
            4e6, count
        )

    regular = noisy(400)
    regular[17::50] += 20e6
    found = outliers(regular.tolist())
    assert found is not None
    assert found.every == 50
    assert found.extra_ns == pytest.approx(20e6, rel=0.1)
    rhythms = sum(
        (f := outliers(noisy(400).tolist())) is not None and f.every is not None for _ in range(300)
    )
    assert rhythms <= 3, "chance makes no rhythm"
    assert outliers((1e6 * np.exp(rng.normal(0, 0.03, 400))).tolist()) is None
    assert outliers([1e6] * 10) is None


def test_the_bound_is_an_order_statistic_of_the_binomial_distribution() -> None:
    """By hand: of ten samples the largest bounds the median, as P(Binomial(10, 1/2) <= 8) = 1 - 11/1024."""
    assert percentile_bound_ms([int(1e6 * v) for v in range(10, 0, -1)], 50) == 10.0
    ranks = {n: percentile_bound_ms([int(1e6 * v) for v in range(1, n + 1)], 50) for n in (10, 11, 12, 20)}
    for n, rank in ranks.items():
        assert rank is not None

        def at_most(k: int, n: int = n) -> float:
            return sum(math.comb(n, i) for i in range(k + 1)) / 2**n

        assert at_most(int(rank) - 1) >= CONFIDENCE > at_most(int(rank) - 2)
    assert percentile_bound_ms([10**6] * 9, 50) is None


def test_the_largest_of_some_bounds_the_median() -> None:
    assert largest_bounds_median(1) == 0.5
    assert largest_bounds_median(3) == 0.875


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_the_verdict_and_the_intervals_are_of_the_candidate_over_the_baseline(factor: float) -> None:
    rng = np.random.default_rng(11)
    drift = np.cumsum(rng.normal(0, 0.01, 20))
    base, other = rounds(rng, 1, drift), rounds(rng, factor, drift)
    found = compare("a", "b", base, other, seed=1)
    assert found.verdict == ("faster" if factor < 1 else "slower")
    assert (found.reason, found.advice) == (None, None)
    for ratio, interval in ((found.ratio, found.interval), (found.mean_ratio, found.mean_interval)):
        assert ratio == pytest.approx(factor, rel=0.02)
        assert interval is not None
        assert interval[0] < ratio < interval[1]
        assert factor * 0.96 < interval[0] < interval[1] < factor * 1.04
    back = compare("b", "a", other, base, seed=1)
    assert back.ratio is not None
    assert found.ratio is not None
    assert back.ratio * found.ratio == pytest.approx(1.0), "the other way round it is the inverse"


def test_a_round_that_one_of_the_two_lacks_is_left_out() -> None:
    base, other = [[100]] * 10, [[50]] * 10
    whole = compare("a", "b", base, other, seed=1)
    assert compare("a", "b", [[], *base], [[9999], *other], seed=1) == whole
    assert compare("a", "b", [[9999], *base], [[], *other], seed=1) == whole
    assert compare("a", "b", base[:LEAST_ROUNDS], other, seed=1).verdict == "faster"


def test_the_seed_alone_decides_the_draw() -> None:
    rng = np.random.default_rng(11)
    pair = rounds(rng, 1, np.zeros(20)), rounds(rng, 1.01, np.zeros(20))
    assert compare("a", "b", *pair, seed=1) == compare("a", "b", *pair, seed=1)
    assert compare("a", "b", *pair, seed=1).interval != compare("a", "b", *pair, seed=2).interval


def test_a_trend_needs_eight_values_and_ties_are_no_steps() -> None:
    assert trend([float(i) for i in range(7)]) == (0.0, 1.0)
    change, p = trend([float(i) for i in range(8)])
    assert change == pytest.approx(7.0)
    # Mann and Kendall by hand: S = 28, Var = 8 * 7 * 21 / 18, z = 27 / sqrt(Var).
    assert p == pytest.approx(2 * (1 - NormalDist().cdf(27 / (8 * 7 * 21 / 18) ** 0.5)))
    down, same = trend([float(-i) for i in range(8)])
    assert (down, same) == (pytest.approx(-7.0), pytest.approx(p))
    # Two groups of four ties: S = 16, Var = (8*7*21 - 2*4*3*13) / 18.
    _, tied = trend([1.0] * 4 + [2.0] * 4)
    assert tied == pytest.approx(2 * (1 - NormalDist().cdf(15 / ((8 * 7 * 21 - 2 * 4 * 3 * 13) / 18) ** 0.5)))
    assert trend([1.0, 2.0] * 2 + [2.0, 1.0] * 2)[1] == 1.0, "as much up as down"


def test_two_modes_need_forty_samples_a_tenth_each_and_to_lie_two_percent_apart() -> None:
    def two(low: float, high: float, lower: int, upper: int) -> list[int]:
        """Groups of a spread of a thousandth."""
        rng = np.random.default_rng(9)
        both = [low * np.exp(rng.normal(0, 1e-3, lower)), high * np.exp(rng.normal(0, 1e-3, upper))]
        return np.concatenate(both).astype(int).tolist()

    assert modes(two(1e6, 2e6, 20, 20)) is not None
    assert modes(two(1e6, 2e6, 20, 19)) is None
    assert modes(two(1e6, 2e6, 90, 10)) is not None
    assert modes(two(1e6, 2e6, 92, 8)) is None
    assert modes(two(1e6, 2e6, 10, 90)) is not None
    assert modes(two(1e6, 2e6, 8, 92)) is None
    assert modes(two(1e6, 1.03e6, 50, 50)) is not None
    assert modes(two(1e6, 1.01e6, 50, 50)) is None
    exact = modes([10**6] * 30 + [3 * 10**6] * 10)
    assert exact == (pytest.approx(1e6), pytest.approx(3e6), 0.25), "without any spread, too"
    assert modes([10**6] * 40) is None


def spiked(count: int, places: list[int], factor: float = 10.0) -> list[float]:
    """Calls of a millisecond, with small steps, and some that take `factor` as long."""
    samples = [1e6 + 1e3 * (i % 7) for i in range(count)]
    for place in places:
        samples[place] *= factor
    return samples


def test_outliers_lie_beyond_three_medians_and_there_are_three_at_least() -> None:
    places = [3, 50, 61]
    found = outliers(spiked(100, places))
    assert found is not None
    assert (found.count, found.calls, found.every) == (3, 100, None)
    assert found.extra_ns == pytest.approx(9e6, rel=0.01)
    assert outliers(spiked(100, places[:2])) is None
    assert outliers(spiked(100, places, 2.9)) is None
    assert outliers(spiked(100, places, 3.1)) is not None
    assert outliers(spiked(39, [3, 11, 30])) is None
    assert outliers(spiked(40, [3, 11, 30])) is not None
    irregular = [0, 1, 5, 14, 20, 33, 41, 58, 77, 78]
    assert outliers(spiked(100, irregular)) is not None
    assert outliers(spiked(100, [*irregular, 95])) is None, "more than a tenth is another mode"
    # Where all vary as much, nothing stands out: ten times the median absolute deviation.
    wild = [1e6 * (1 + 0.9 * (-1) ** i) for i in range(100)]
    for place in places:
        wild[place] = 5e6
    assert outliers(wild) is None


def test_only_the_last_calls_are_looked_at() -> None:
    early = spiked(LOOKED_AT + 100, [5, 20, 77])
    assert outliers(early) is None
    late = spiked(LOOKED_AT + 100, [LOOKED_AT + 5, LOOKED_AT + 20, LOOKED_AT + 77])
    found = outliers(late)
    assert found is not None
    assert found.calls == LOOKED_AT


@pytest.mark.parametrize(("start", "every"), [(0, 10), (7, 25), (3, 20)])
def test_a_rhythm_is_its_step_and_one_beat_may_be_missed(start: int, every: int) -> None:
    beats = list(range(start, 200, every))
    for missing in (None, beats[2]):
        found = outliers(spiked(200, [b for b in beats if b != missing]))
        assert found is not None
        assert (found.every, found.count) == (every, len(beats) - (missing is not None))
        assert found.extra_ns == pytest.approx(9e6, rel=0.01)
    # Three are no rhythm, nor is what stops half-way.
    for places in (beats[:3], beats[: len(beats) // 2]):
        found = outliers(spiked(200, places))
        assert found is None or found.every is None


@pytest.mark.parametrize(("low", "high", "invalid"), [
    (0.96, 1.3, False), (0.77, 1.04, False), (0.77, 1.3, True), (0.93, 1.08, False),
])  # fmt: skip
def test_it_is_noisy_where_the_interval_reaches_far_to_both_sides(
    low: float, high: float, invalid: bool
) -> None:
    """Rounds of two ratios: the interval of their median reaches from the one to the other."""
    base = [[10_000_000]] * 20
    other = [[int(1e7 * (low if i % 2 else high))] for i in range(20)]
    found = compare("a", "b", base, other, seed=1)
    assert found.interval == (pytest.approx(low), pytest.approx(high))
    assert found.verdict == ("invalid" if invalid else "no difference shown")


def test_half_a_percent_is_left_out_at_each_end() -> None:
    """Of 20 rounds that differ by a step each, resampled: the expanded interval, at 0.005 and 0.995."""
    other = [[int(1e7 * math.exp(0.01 * (i - 9.5)))] for i in range(20)]
    found = compare("a", "b", [[10_000_000]] * 20, other, seed=3)
    assert found.interval is not None
    draws = np.random.default_rng(9).integers(0, 20, (200_000, 20))
    medians = np.median(0.01 * (draws - 9.5), axis=1)
    tail = expanded_tail(0.005, 20)
    for end, q in zip(found.interval, (tail, 1 - tail), strict=True):
        assert math.log(end) == pytest.approx(np.quantile(medians, q), abs=0.006)
    wider = np.quantile(medians, 0.02)
    assert math.log(found.interval[0]) < wider - 0.006

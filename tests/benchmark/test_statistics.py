"""Statistics against distributions whose answers are known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from edgefreeze.benchmark.statistics import (
    CONFIDENCE,
    ENOUGH,
    LEAST_ROUNDS,
    compare,
    expanded_tail,
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

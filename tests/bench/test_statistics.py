"""Statistics against distributions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from edgefreeze.bench.statistics import (
    CONFIDENCE,
    ENOUGH,
    LEAST_ROUNDS,
    compare,
    expanded_tail,
    percentile_ms,
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
    from statistics import NormalDist

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
    assert sum(v != "no difference shown" for v in verdicts) <= 100
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

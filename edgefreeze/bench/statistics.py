"""Statistics of a duel, derived from raw samples. Pure. Latencies in nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

ENOUGH = {50: 10, 90: 64, 95: 130, 99: 662}
"""Samples below which a percentile is not stated. From the binomial bound: with n samples the second
largest one bounds the q-quantile from above with 99 % confidence, 1 - q^n - n(1-q)q^(n-1) >= 0.99
(n = 64, 130, 662 for 90, 95, 99 %); 10 for the median is a convention."""

CONFIDENCE = 0.99
RESAMPLES = 4000
LEAST_ROUNDS = 8

Verdict = Literal["faster", "slower", "no difference shown", "invalid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate against baseline: the ratio of their medians (below 1: the candidate is faster)."""

    baseline: str
    candidate: str
    ratio: float | None
    interval: tuple[float, float] | None
    """Bootstrap interval at CONFIDENCE that resamples rounds (see expanded_tail)."""
    verdict: Verdict
    reason: str | None = None


def percentile_ms(samples_ns: Sequence[int], percent: int) -> float | None:
    """A percentile in milliseconds, or None where there are too few samples to state it."""
    if len(samples_ns) < ENOUGH[percent]:
        return None
    return float(np.percentile(np.asarray(samples_ns, dtype=np.float64), percent)) / 1e6


def expanded_tail(tail: float, count: int) -> float:
    """The tail at which a percentile bootstrap of `count` observations really leaves out `tail`.

    The plain one is too narrow for few observations: identical artifacts came out different in 1.8 % of
    duels instead of 1 %. Hesterberg's expanded percentile interval (What Teachers Should Know About the
    Bootstrap, 2015, section 5.3): Phi(-sqrt(n / (n - 1)) t), t the quantile of Student's distribution, here
    by its expansion in the normal one (Abramowitz and Stegun, 26.7.5).
    """
    normal, n = NormalDist(), count - 1
    z = -normal.inv_cdf(tail)
    t = z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    return normal.cdf(-((count / n) ** 0.5) * t)


def compare(
    baseline: str,
    candidate: str,
    baseline_rounds: Sequence[Sequence[int]],
    candidate_rounds: Sequence[Sequence[int]],
    *,
    seed: int,
) -> Comparison:
    """Compare two contestants round by round.

    *_rounds: samples of each round, in the order of the rounds; rounds that one of the two lacks are left
    out. A round's block is one observation (its median): samples within a block are not independent, so
    the bootstrap resamples rounds, both contestants' blocks of a round together.
    """
    pairs = [(b, c) for b, c in zip(baseline_rounds, candidate_rounds, strict=False) if b and c]
    if len(pairs) < LEAST_ROUNDS:
        return Comparison(
            baseline=baseline,
            candidate=candidate,
            ratio=None,
            interval=None,
            verdict="invalid",
            reason=f"{len(pairs)} whole rounds; {LEAST_ROUNDS} are needed",
        )
    # The log ratio of a round's medians is symmetric in the two contestants and free of the drift that
    # both saw in that round.
    logs = np.array([np.log(np.median(c) / np.median(b)) for b, c in pairs])
    draw = np.random.default_rng(seed).integers(0, len(logs), size=(RESAMPLES, len(logs)))
    middle = np.median(logs[draw], axis=1)
    tail = expanded_tail((1 - CONFIDENCE) / 2, len(logs))
    low, high = (float(np.exp(np.quantile(middle, q))) for q in (tail, 1 - tail))
    verdict: Verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference shown"
    return Comparison(
        baseline=baseline,
        candidate=candidate,
        ratio=float(np.exp(np.median(logs))),
        interval=(low, high),
        verdict=verdict,
    )

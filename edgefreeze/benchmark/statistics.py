"""Statistics of a duel, derived from raw samples. Pure. Latencies in nanoseconds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

ENOUGH = {50: 10, 90: 64, 95: 130, 99: 662}
"""Samples below which a percentile is not stated. From the binomial bound: with n samples the second
largest one bounds the q-quantile from above with 99 % confidence, 1 - q^n - n(1-q)q^(n-1) >= 0.99
(n = 64, 130, 662 for 90, 95, 99 %); 10 for the median is a convention."""

CONFIDENCE = 0.99
RESAMPLES = 4000
LEAST_ROUNDS = 8
LOOKED_AT = 20_000
"""Outliers are looked for among so many calls at most, the last."""
WIDEST = 0.10
"""An interval that reaches further than this to both sides of 1 shows nothing: the duel was too noisy."""

Verdict = Literal["faster", "slower", "no difference shown", "invalid"]
Rounds = Sequence[Sequence[int]]


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
    advice: str | None = None
    """What to do about an invalid one."""
    mean_ratio: float | None = None
    """The ratio of the mean latencies, which outliers move."""
    mean_interval: tuple[float, float] | None = None
    threads: int = 1


def percentile_ms(samples_ns: Sequence[int], percent: int) -> float | None:
    """A percentile in milliseconds, or None where there are too few samples to state it."""
    if len(samples_ns) < ENOUGH[percent]:
        return None
    return float(np.percentile(np.asarray(samples_ns, dtype=np.float64), percent)) / 1e6


def percentile_bound_ms(samples_ns: Sequence[int], percent: int) -> float | None:
    """An upper bound of a percentile at CONFIDENCE, in milliseconds: the least order statistic x_(k) with
    P(Binomial(n, q) <= k - 1) >= CONFIDENCE (David and Nagaraja, Order Statistics, 7.1). None as above.

    It takes samples as independent, which those of one block are not quite.
    """
    count, q = len(samples_ns), percent / 100
    if count < ENOUGH[percent]:
        return None
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    k = np.arange(count + 1)
    terms = logs[count] - logs[k] - logs[count - k] + k * math.log(q) + (count - k) * math.log(1 - q)
    below = np.cumsum(np.exp(terms))
    rank = int(np.searchsorted(below, CONFIDENCE)) + 1  # there is one: ENOUGH is made so
    return float(np.sort(np.asarray(samples_ns, dtype=np.float64))[rank - 1]) / 1e6


def largest_bounds_median(count: int) -> float:
    """The confidence with which the largest of `count` observations bounds the median from above:
    1 - 2^-count, as all lie below it with probability 1/2 each (the same order statistic, k = n, q = 1/2)."""
    return 1 - 0.5**count


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
    baseline_rounds: Rounds,
    candidate_rounds: Rounds,
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
            reason=f"too few: {len(pairs)} whole rounds; {LEAST_ROUNDS} are needed",
            advice="measure to the end, or for longer: --min-samples, --max-seconds",
        )
    # The log ratio of a round's medians is symmetric in the two contestants and free of the drift that
    # both saw in that round.
    logs = np.array([np.log(np.median(c) / np.median(b)) for b, c in pairs])
    draw = np.random.default_rng(seed).integers(0, len(logs), size=(RESAMPLES, len(logs)))
    tail = expanded_tail((1 - CONFIDENCE) / 2, len(logs))
    low, high = (float(np.exp(q)) for q in np.quantile(np.median(logs[draw], axis=1), (tail, 1 - tail)))
    base, other = (np.array([np.mean(pair[i]) for pair in pairs]) for i in (0, 1))
    means = other[draw].sum(axis=1) / base[draw].sum(axis=1)
    mean_low, mean_high = (float(q) for q in np.quantile(means, (tail, 1 - tail)))
    verdict: Verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference shown"
    noisy = verdict == "no difference shown" and high > 1 + WIDEST and low < 1 / (1 + WIDEST)
    return Comparison(
        baseline=baseline,
        candidate=candidate,
        ratio=float(np.exp(np.median(logs))),
        interval=(low, high),
        verdict="invalid" if noisy else verdict,
        reason=f"noisy: the interval is {low:.2f} to {high:.2f}" if noisy else None,
        advice="measure on an idle device, or for longer: --min-samples" if noisy else None,
        mean_ratio=float(other.sum() / base.sum()),
        mean_interval=(mean_low, mean_high),
    )


def middle(values: Sequence[float]) -> float:
    """The median."""
    return float(np.median(np.asarray(values, dtype=np.float64)))


def trend(values: Sequence[float]) -> tuple[float, float]:
    """(change from the first to the last by the Theil-Sen slope, two-sided p of Mann and Kendall's test that
    there is none), of values in the order of time. (0, 1) for fewer than 8."""
    found = np.asarray(values, dtype=np.float64)
    count = len(found)
    if count < 8:
        return 0.0, 1.0
    i, j = np.triu_indices(count, 1)
    steps = found[j] - found[i]
    score = float(np.sign(steps).sum())
    _, ties = np.unique(found, return_counts=True)
    variance = (
        count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())
    ) / 18
    if variance <= 0:
        return 0.0, 1.0
    z = (abs(score) - 1) / math.sqrt(variance) if score else 0.0
    return float(np.median(steps / (j - i))) * (count - 1), 2 * (1 - NormalDist().cdf(max(z, 0.0)))


def modes(samples_ns: Sequence[int]) -> tuple[float, float, float] | None:
    """(lower mode, upper mode, share of the upper one) in nanoseconds where the samples fall into two groups,
    else None.

    The split is Otsu's, of the logarithms; two groups are two where Ashman's D (Ashman, Bird and Zepf, 1994)
    is above 5 (about 2.7 for one normal distribution cut in half, 3.5 for a uniform one) and each has a
    tenth of the samples.
    """
    logs: Any = np.sort(np.log(np.asarray(samples_ns, dtype=np.float64)))
    count = len(logs)
    if count < 40:
        return None
    sums, squares = np.cumsum(logs), np.cumsum(logs**2)
    n = np.arange(1, count)
    low, high = sums[:-1] / n, (sums[-1] - sums[:-1]) / (count - n)
    cut = int(np.argmax(n * (count - n) * (high - low) ** 2))
    left, right = cut + 1, count - cut - 1
    spread = max(squares[cut] / left - low[cut] ** 2, 0.0) + max(
        (squares[-1] - squares[cut]) / right - high[cut] ** 2, 0.0
    )
    apart = math.sqrt(2) * (high[cut] - low[cut]) / math.sqrt(spread) if spread > 0 else math.inf
    if apart <= 5 or min(left, right) < count / 10 or high[cut] - low[cut] < 0.02:
        return None
    return (
        float(np.exp(np.median(logs[:left]))),
        float(np.exp(np.median(logs[left:]))),
        right / count,
    )


@dataclass(frozen=True, slots=True)
class Outliers:
    """Calls that take far longer than the others: how many, how much longer, and every how many calls."""

    count: int
    calls: int
    """Among how many."""
    extra_ns: float
    every: int | None
    """None: they come irregularly."""


def outliers(samples_ns: Sequence[float]) -> Outliers | None:
    """Samples beyond three times the median; None where there are none that matter.

    `every` where the largest of them come with a rhythm (see _rhythm). Without one there must be three of
    them, and they must stand out by ten times the median absolute deviation as well; more than a tenth of all
    are no outliers, but another mode.
    """
    found = np.asarray(samples_ns[-LOOKED_AT:], dtype=np.float64)
    if len(found) < 40:
        return None
    centre = float(np.median(found))
    far = np.flatnonzero(found > 3 * centre)
    if len(far) < 3:
        return None
    largest = np.sort(far[np.argsort(-found[far], kind="stable")][: min(400, max(4, len(found) // 12))])
    period = _rhythm(largest, len(found))
    if period is not None:
        start, every = period
        chosen = np.intersect1d(far, np.arange(start, len(found), every))
        return Outliers(len(chosen), len(found), float(np.median(found[chosen])) - centre, every)
    far = far[found[far] > centre + 10 * float(np.median(np.abs(found - centre)))]
    if not 3 <= len(far) <= len(found) // 10:
        return None
    return Outliers(len(far), len(found), float(np.median(found[far])) - centre, None)


def _rhythm(far: Any, count: int) -> tuple[int, int] | None:
    """(first, step) of an arithmetic progression of indices, from its start to `count`, of which nearly all
    are in `far`; None where chance would make one: where the share of indices in `far`, to the power of those
    that fit beyond the two that made the candidate, times the candidates, is no less than 1 %."""
    known = set(far.tolist())
    share, best = len(known) / count, None
    for a, b in itertools.pairwise(far):
        for other in {int(b), *(int(f) for f in far[far > a][:12])}:
            every = other - int(a)
            slots = range(int(a) % every, count, every)
            hits = sum(1 for slot in slots if slot in known)
            chance = share ** max(0, hits - 2) * 12 * len(known)
            fits = every > 1 and hits >= 4 and hits >= 0.8 * len(slots) and chance < 0.01
            if fits and (best is None or hits > best[0]):
                best = (hits, slots.start, every)
    return best[1:] if best else None

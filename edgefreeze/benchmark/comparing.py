"""Results beside each other: of two releases, devices or dates. Pure.

Two duels were measured at different times, so their rounds cannot be paired: the ratio of the medians has an
interval from a bootstrap that resamples each result's rounds on its own. What one duel holds alike (heat,
clock, load) is not alike here, which is why unlike facts are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgefreeze.benchmark import statistics
from edgefreeze.benchmark.result import Contestant, DuelResult
from edgefreeze.benchmark.statistics import Comparison, Verdict
from edgefreeze.text import ranges, short

SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant in two results."""

    format: str
    threads: int
    before_ms: float | None
    after_ms: float | None
    comparison: Comparison

    @property
    def cells(self) -> tuple[str, ...]:
        """For a table: name, before, after, ratio, verdict."""
        found = self.comparison
        ratio = ""
        if found.ratio is not None and found.interval is not None:
            ratio = f"{found.ratio:.2f} ({found.interval[0]:.2f}–{found.interval[1]:.2f})"
        why = f": {found.reason}" if found.reason else ""
        name = self.format + (f" ({self.threads} threads)" if self.threads > 1 else "")
        return name, _ms(self.before_ms), _ms(self.after_ms), ratio, found.verdict + why


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A result against the first one."""

    baseline: str
    candidate: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """All of it. differences: facts that are not alike, in words."""

    differences: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def slower(self) -> tuple[Row, ...]:
        """Rows that were shown to be slower than in the first result."""
        return tuple(r for p in self.pairs for r in p.rows if r.comparison.verdict == "slower")


def name(result: DuelResult) -> str:
    """A result in a few words."""
    return (
        f"{result.app or 'model'} {short(result.release)} on {result.device}, {result.started or 'undated'}"
    )


def differences(results: Sequence[DuelResult]) -> tuple[str, ...]:
    """In what the later results differ from the first so that their figures do not belong together.

    Release and date may differ: they are what is compared.
    """
    first = results[0]
    found: list[str] = []
    for other in results[1:]:
        for what, a, b in _facts(first, other):
            if a != b:
                found.append(f"{what}: {_said(a)} in {name(first)}; {_said(b)} in {name(other)}")
    return tuple(dict.fromkeys(found))


def _facts(a: DuelResult, b: DuelResult) -> list[tuple[str, object, object]]:
    def of(result: DuelResult) -> dict[str, object]:
        facts = result.facts
        governor = next((e.governor for e in result.environment if e.when == "during"), None)
        return {
            "emulation": result.emulated,
            "machine": facts.machine,
            "board": facts.board,
            "CPU": facts.cpu_model,
            "processors": facts.cpu_count,
            "system": facts.os,
            "kernel": facts.kernel,
            "Python": facts.python,
            "governor": governor,
            "batch": result.options.get("batch"),
            "rate": result.options.get("rate_hz"),
            "cut short": not result.complete,
        }

    found = [(what, value, of(b)[what]) for what, value in of(a).items()]
    theirs = {(c.format, c.threads): c for c in b.contestants}
    for mine in a.contestants:
        other = theirs.get((mine.format, mine.threads))
        if other is None:
            continue
        if mine.version and other.version:
            found.append((f"runtime of {mine.format}", mine.version, other.version))
        if mine.cpus is not None and other.cpus is not None:
            found.append(("processors that it may use", ranges(mine.cpus), ranges(other.cpus)))
    return found


def _said(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def compare(results: Sequence[DuelResult]) -> Compared:
    """Every later result against the first, contestant by contestant."""
    first = results[0]
    pairs = []
    for other in results[1:]:
        rows = []
        for mine in first.contestants:
            theirs = other.of(mine.format, mine.threads)
            if theirs is not None:
                rows.append(
                    Row(
                        format=mine.format,
                        threads=mine.threads,
                        before_ms=mine.p50_ms,
                        after_ms=theirs.p50_ms,
                        comparison=_apart(mine, theirs, first, other),
                    )
                )
        pairs.append(Pair(baseline=name(first), candidate=name(other), rows=tuple(rows)))
    return Compared(differences=differences(results), pairs=tuple(pairs))


def _apart(mine: Contestant, theirs: Contestant, first: DuelResult, other: DuelResult) -> Comparison:
    def invalid(reason: str, advice: str) -> Comparison:
        return Comparison(
            baseline=name(first), candidate=name(other), ratio=None, interval=None, verdict="invalid",
            reason=reason, advice=advice, threads=mine.threads,
        )  # fmt: skip

    for contestant, result in ((mine, first), (theirs, other)):
        if contestant.failed:
            return invalid(f"failed in {name(result)}: {contestant.failed}", "see why")
        spoilt = next((f for f in result.findings if f.invalid and f.threads == mine.threads), None)
        if spoilt is not None:
            return invalid(spoilt.message, spoilt.advice)
        rounds = [block for block in contestant.samples_ns if block]
        if len(rounds) < statistics.LEAST_ROUNDS:
            return invalid(f"too few: {len(rounds)} rounds in {name(result)}", "measure to the end")
    ratio, low, high = unpaired(mine.samples_ns, theirs.samples_ns)
    verdict: Verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference shown"
    return Comparison(
        baseline=name(first), candidate=name(other), ratio=ratio, interval=(low, high), verdict=verdict,
        threads=mine.threads,
    )  # fmt: skip


def unpaired(before: statistics.Rounds, after: statistics.Rounds) -> tuple[float, float, float]:
    """(ratio of the medians of the rounds' medians, and its interval at CONFIDENCE), rounds resampled in each
    result on its own."""
    rng = np.random.default_rng(SEED)
    drawn = []
    middles = []
    for rounds in (before, after):
        logs = np.log([np.median(block) for block in rounds if block])
        index = rng.integers(0, len(logs), size=(statistics.RESAMPLES, len(logs)))
        drawn.append(np.median(logs[index], axis=1))
        middles.append(float(np.median(logs)))
    fewest = min(sum(1 for block in rounds if block) for rounds in (before, after))
    tail = statistics.expanded_tail((1 - statistics.CONFIDENCE) / 2, fewest)
    low, high = (float(np.exp(q)) for q in np.quantile(drawn[1] - drawn[0], (tail, 1 - tail)))
    return float(np.exp(middles[1] - middles[0])), low, high


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"

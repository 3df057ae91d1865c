"""Which artifact a device should run, from its own duel. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgefreeze.benchmark import statistics
from edgefreeze.benchmark.result import Contestant, DuelResult
from edgefreeze.text import size


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """An artifact that was not chosen, its median latency where it was measured, and why."""

    artifact: str
    p50_ms: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The artifact chosen, and those that were not."""

    artifact: str
    reason: str
    runners_up: tuple[RunnerUp, ...]


def fastest(duel: DuelResult, *, memory_bytes: int | None = None) -> Choice | None:
    """The fastest artifact by median latency whose process stays within memory_bytes; of those between
    which no difference is shown, the one that comes first in the duel, which has the target's order of
    preference. None where none was measured.
    """
    out = {c.format: reason for c in duel.contestants if (reason := _unfit(c, memory_bytes))}
    able = [c for c in duel.contestants if c.format not in out]
    if not able:
        return None
    best = min(able, key=_median)
    level = [c for c in able if c is best or not _slower(best, c, duel.seed)]
    chosen = level[0]
    among = f" (no difference shown from {best.format}, and preferred)" if chosen is not best else ""
    return Choice(
        artifact=chosen.format,
        reason=f"the fastest of {len(able)} on {duel.device}{among}",
        runners_up=tuple(
            RunnerUp(
                artifact=c.format,
                p50_ms=c.p50_ms,
                reason=out.get(c.format) or _beside(c, chosen, level),
            )
            for c in sorted((c for c in duel.contestants if c is not chosen), key=_median)
        ),
    )


def _beside(other: Contestant, chosen: Contestant, level: list[Contestant]) -> str:
    if other in level:
        return "no difference shown"
    return f"takes {_median(other) / _median(chosen):.2f} times as long"


def _median(contestant: Contestant) -> float:
    return float("inf") if contestant.p50_ms is None else contestant.p50_ms


def _unfit(contestant: Contestant, memory_bytes: int | None) -> str | None:
    if contestant.failed:
        return f"failed: {contestant.failed}"
    if contestant.p50_ms is None:
        return "too few samples"
    peak = contestant.memory["peak_bytes"]
    if memory_bytes is not None and peak is not None and peak > memory_bytes:
        return f"takes {size(peak)} of memory; {size(memory_bytes)} are allowed"
    return None


def _slower(best: Contestant, other: Contestant, seed: int) -> bool:
    """Whether the duel shows that `other` is slower."""
    found = statistics.compare(best.format, other.format, best.samples_ns, other.samples_ns, seed=seed)
    return found.verdict == "slower"

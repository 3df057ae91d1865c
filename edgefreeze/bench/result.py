"""A duel's result, put together from the events that the device sent. Every raw sample is kept.

What comes from a device is checked here: an event that does not fit the schema is an error, not a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from edgefreeze.bench import statistics
from edgefreeze.bench.plan import DuelPlan
from edgefreeze.bench.statistics import Comparison
from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.types import DeviceFacts

SCHEMA = 1
BASELINE = "saved_model"


class Cold(msgspec.Struct, frozen=True, tag_field="kind", tag="cold", kw_only=True):
    """A contestant's start: process, import of the runtime, loading, first inference; nanoseconds."""

    contestant: int
    spawn_ns: int
    import_ns: int
    load_ns: int
    first_ns: int
    rss_bytes: int | None = None


class Block(msgspec.Struct, frozen=True, tag_field="kind", tag="block", kw_only=True):
    """One block of one contestant."""

    contestant: int
    block: int
    samples_ns: list[int]
    rss_bytes: int | None = None
    peak_bytes: int | None = None


class Environment(msgspec.Struct, frozen=True, tag_field="kind", tag="environment", kw_only=True):
    """What the board was doing."""

    when: str
    governor: str | None = None
    cpu_mhz: float | None = None
    temperature_c: float | None = None
    throttled: str | None = None
    load_1m: float | None = None


class Failed(msgspec.Struct, frozen=True, tag_field="kind", tag="failed", kw_only=True):
    """A contestant that timed out, crashed, was killed or computed something wrong: a result."""

    contestant: int
    reason: str


Event = Cold | Block | Environment | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One format's figures. Percentiles are None where there are too few samples to state them."""

    format: str
    samples_ns: tuple[tuple[int, ...], ...]
    """By round."""
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    cold_start: dict[str, float] | None
    """Milliseconds: process, import, load, first inference, total."""
    memory: dict[str, int | None]
    """peak_bytes and rss_bytes of the whole process."""
    bytes: int | None
    failed: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DuelResult:
    """A duel as it is stored and shown."""

    schema: int
    release: str
    device: str
    emulated: bool
    threads: int
    seed: int
    facts: DeviceFacts
    environment: tuple[Environment, ...]
    contestants: tuple[Contestant, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(slots=True)
class Collector:
    """Takes the device's events as they come, so that what was measured survives a lost connection."""

    plan: DuelPlan
    events: list[Event] = field(default_factory=list)

    def add(self, event: dict[str, Any]) -> None:
        """Check and keep one event. Raises Failure protocol."""
        try:
            known = msgspec.convert(event, Event, strict=True)
            index = getattr(known, "contestant", 0)
            if not 0 <= index < len(self.plan.contestants):
                raise msgspec.ValidationError(f"contestant {index}")
            if isinstance(known, Block) and not all(0 < ns < 10**13 for ns in known.samples_ns):
                raise msgspec.ValidationError("a latency that is none")
        except msgspec.ValidationError as error:
            raise Failure(
                "protocol", f"the device sent a measurement that is none: {clean(str(error), 200)}"
            ) from None
        self.events.append(known)

    def result(
        self, *, release: str, device: str, facts: DeviceFacts, sizes: dict[str, int | None]
    ) -> DuelResult:
        """The duel so far. `sizes`: bytes of each format's artifact."""
        contestants = tuple(self._contestant(i, name, sizes) for i, name in enumerate(self.plan.contestants))
        base = next((c for c in contestants if c.format == BASELINE), None)
        comparisons = (
            ()
            if base is None
            else tuple(_compare(base, c, self.plan.seed) for c in contestants if c is not base)
        )
        return DuelResult(
            schema=SCHEMA,
            release=release,
            device=device,
            emulated=facts.emulated,
            threads=self.plan.threads,
            seed=self.plan.seed,
            facts=facts,
            environment=tuple(e for e in self.events if isinstance(e, Environment)),
            contestants=contestants,
            comparisons=comparisons,
        )

    def _contestant(self, index: int, name: str, sizes: dict[str, int | None]) -> Contestant:
        mine = [e for e in self.events if getattr(e, "contestant", None) == index]
        blocks = sorted((e for e in mine if isinstance(e, Block)), key=lambda b: b.block)
        cold = next((e for e in mine if isinstance(e, Cold)), None)
        failed = next((e.reason for e in mine if isinstance(e, Failed)), None)
        samples = [ns for block in blocks for ns in block.samples_ns]
        return Contestant(
            format=name,
            samples_ns=tuple(tuple(block.samples_ns) for block in blocks),
            p50_ms=None if failed else statistics.percentile_ms(samples, 50),
            p90_ms=None if failed else statistics.percentile_ms(samples, 90),
            p99_ms=None if failed else statistics.percentile_ms(samples, 99),
            cold_start=_cold(cold),
            memory={
                "rss_bytes": max((b.rss_bytes for b in blocks if b.rss_bytes), default=None),
                "peak_bytes": max((b.peak_bytes for b in blocks if b.peak_bytes), default=None),
            },
            bytes=sizes.get(name),
            failed=clean(failed, 300) if failed else None,
        )


def _cold(cold: Cold | None) -> dict[str, float] | None:
    if cold is None:
        return None
    parts = {
        "process_ms": cold.spawn_ns / 1e6,
        "import_ms": cold.import_ns / 1e6,
        "load_ms": cold.load_ns / 1e6,
        "first_ms": cold.first_ns / 1e6,
    }
    return {**parts, "total_ms": sum(parts.values())}


def _compare(base: Contestant, other: Contestant, seed: int) -> Comparison:
    for contestant in (base, other):
        if contestant.failed:
            return Comparison(
                baseline=base.format,
                candidate=other.format,
                ratio=None,
                interval=None,
                verdict="invalid",
                reason=f"{contestant.format}: {contestant.failed}",
            )
    return statistics.compare(base.format, other.format, base.samples_ns, other.samples_ns, seed=seed)

"""A duel's result, put together from the events that the device sent. Every raw sample is kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import msgspec

from edgefreeze.benchmark import quality, statistics
from edgefreeze.benchmark.events import (
    SILENT,
    Block,
    Cold,
    Environment,
    Event,
    Failed,
    Operation,
    Warmup,
    parse,
)
from edgefreeze.benchmark.plan import ACTIVE, DuelPlan
from edgefreeze.benchmark.quality import Finding
from edgefreeze.benchmark.statistics import Comparison
from edgefreeze.errors import Failure
from edgefreeze.shown import Shown
from edgefreeze.text import clean
from edgefreeze.types import DeviceFacts, Parity

SCHEMA = 2
BASELINE = "saved_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A cold start in a process of its own; nanoseconds."""

    process_ns: int
    import_ns: int
    load_ns: int
    first_ns: int
    disk_bytes: int | None = None
    """Read from the disk meanwhile: 0 where the system's file cache had all of it."""

    @property
    def total_ms(self) -> float:
        """From the start of the process to the end of the first inference."""
        return (self.process_ns + self.import_ns + self.load_ns + self.first_ns) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One format's figures. Percentiles are None where there are too few samples to state them."""

    format: str
    """Its name: "tflite:int8", "tflite@no-xnnpack", "active:tflite"."""
    samples_ns: tuple[tuple[int, ...], ...]
    """By round."""
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None = None
    p99_ms: float | None
    mean_ms: float | None = None
    cold_start: dict[str, float] | None
    """Milliseconds: process, import, load, first inference, total; of the start in the middle by its total
    (of an even number the faster of the two)."""
    starts: tuple[Start, ...] = ()
    """All cold starts, in the order of time."""
    memory: dict[str, int | None]
    """Of the whole process: rss_bytes, pss_bytes and peak_bytes in steady state; loaded_* after loading."""
    bytes: int | None
    """The artifact's size on disk."""
    runtime_bytes: int | None = None
    """What its runtime weighs unpacked, where it was brought."""
    failed: str | None
    threads: int = 1
    version: str | None = None
    """The runtime's."""
    cpus: tuple[int, ...] | None = None
    """Processors that its threads could run on."""
    device: str | None = None
    """Where the runtime computed, by its own word: "gpu", "cpu"."""
    warmup_ns: tuple[int, ...] = ()
    lead_ns: tuple[tuple[int, ...], ...] = ()
    """Of each round, the calls before those that count."""
    blocks: tuple[tuple[float | None, int | None, int | None], ...] = ()
    """Of each round: seconds since the duel began, processor time in nanoseconds, resident bytes."""

    @property
    def start_range_ms(self) -> tuple[float, float] | None:
        """The fastest and the slowest cold start; None where there was only one, or none."""
        totals = [start.total_ms for start in self.starts]
        return (min(totals), max(totals)) if len(totals) > 1 else None

    @property
    def samples(self) -> list[int]:
        """All samples, in the order of time; nanoseconds."""
        return [ns for block in self.samples_ns for ns in block]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DuelResult(Shown):
    """A duel as it is stored and shown."""

    schema: int
    release: str
    device: str
    emulated: bool
    threads: int
    seed: Annotated[int, msgspec.Meta(ge=0)]
    facts: DeviceFacts
    environment: tuple[Environment, ...]
    contestants: tuple[Contestant, ...]
    comparisons: tuple[Comparison, ...]
    findings: tuple[Finding, ...] = ()
    """What disturbed the measurement."""
    app: str | None = None
    target: str | None = None
    run: str | None = None
    started: str | None = None
    """UTC."""
    complete: bool = True
    """False: the host, the connection or the device was lost before the end."""
    options: dict[str, Any] = field(default_factory=dict)
    """The plan: batch, rate_hz, samples and seconds of a block, rounds, warm-up; edgefreeze's version."""
    parity: dict[str, Parity] = field(default_factory=dict)
    """By contestant: how far its outputs were from the golden ones (device/parity.py)."""
    operations: dict[str, list[Operation]] = field(default_factory=dict)
    """By contestant: how long each operation takes, where --profile asked."""

    def of(self, name: str, threads: int | None = None) -> Contestant | None:
        """The contestant of this name, with so many threads (None: as many as the first duel's)."""
        wanted = self.threads if threads is None else threads
        return next((c for c in self.contestants if c.format == name and c.threads == wanted), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a run beside its samples; it travels to the device's journal and back."""

    release: str
    device: str
    facts: DeviceFacts
    app: str | None = None
    target: str | None = None
    run: str | None = None
    started: str | None = None
    runtimes: dict[str, int | None] = field(default_factory=dict)
    """Bytes of each artifact's runtime, where it was brought."""
    version: str | None = None
    """edgefreeze's."""
    gpu: bool = False
    """Whether the target's board has a GPU that inference should use."""


@dataclass(slots=True)
class Collector:
    """Takes the device's events as they come, so that what was measured survives a lost connection."""

    plan: DuelPlan
    events: list[Event] = field(default_factory=list)

    def add(self, event: dict[str, Any]) -> None:
        """Check and keep one event. Raises Failure protocol."""
        kind = event.get("kind")
        if not isinstance(kind, str) or kind not in SILENT:
            self.events.append(parse(event, len(self.plan.entrants)))

    def result(self, about: About, *, complete: bool = True, parity: object = None) -> DuelResult:
        """The duel so far. parity: the device's `checks`, by contestant. Raises Failure protocol."""
        plan = self.plan
        contestants = tuple(self._contestant(i, about) for i in range(len(plan.entrants)))
        environment = tuple(e for e in self.events if isinstance(e, Environment))
        found = quality.findings(
            plan.contestants,
            [e for e in self.events if isinstance(e, Block)],
            environment,
            [e for e in self.events if isinstance(e, Warmup)],
            threads=plan.threads,
            rate_hz=plan.rate_hz,
        )
        slow = [c.format for c in contestants if c.device == "cpu"]
        if about.gpu and slow:
            found = (quality.on_the_cpu(slow, threads=plan.threads), *found)
        return DuelResult(
            schema=SCHEMA,
            release=about.release,
            device=about.device,
            emulated=about.facts.emulated,
            threads=plan.threads,
            seed=plan.seed,
            facts=about.facts,
            environment=environment,
            contestants=contestants,
            comparisons=compared(contestants, found, plan.seed),
            findings=found,
            app=about.app,
            target=about.target,
            run=about.run,
            started=about.started,
            complete=complete,
            options={**plan.as_args(), "edgefreeze": about.version},
            parity={} if parity is None else _parity(parity, plan.contestants),
        )

    def _contestant(self, index: int, about: About) -> Contestant:
        entrant = self.plan.entrants[index]
        mine = [e for e in self.events if getattr(e, "contestant", None) == index]
        blocks = sorted((e for e in mine if isinstance(e, Block)), key=lambda b: b.block)
        colds = [e for e in mine if isinstance(e, Cold)]
        cold = next(iter(colds), None)
        starts = tuple(_start(c) for c in colds)
        failed = next((e.reason for e in mine if isinstance(e, Failed)), None)
        samples = [ns for block in blocks for ns in block.samples_ns]
        stated = {p: None if failed else statistics.percentile_ms(samples, p) for p in statistics.ENOUGH}
        return Contestant(
            format=entrant.name,
            threads=self.plan.threads,
            samples_ns=tuple(tuple(block.samples_ns) for block in blocks),
            p50_ms=stated[50],
            p90_ms=stated[90],
            p95_ms=stated[95],
            p99_ms=stated[99],
            mean_ms=sum(samples) / len(samples) / 1e6 if samples and not failed else None,
            cold_start=_middle(starts),
            starts=starts,
            memory={
                "rss_bytes": _most(b.rss_bytes for b in blocks),
                "peak_bytes": _most(b.peak_bytes for b in blocks),
                "pss_bytes": _most(b.pss_bytes for b in blocks),
                "loaded_rss_bytes": _most(c.rss_bytes for c in colds),
                "loaded_peak_bytes": _most(c.peak_bytes for c in colds),
                "loaded_pss_bytes": _most(c.pss_bytes for c in colds),
            },
            bytes=cold.bytes if cold else None,
            runtime_bytes=None if entrant.release else about.runtimes.get(entrant.artifact),
            failed=clean(failed, 300) if failed else None,
            version=clean(cold.version, 80) if cold and cold.version else None,
            cpus=tuple(cold.cpus) if cold and cold.cpus is not None else None,
            device=clean(cold.device, 20) if cold and cold.device else None,
            warmup_ns=tuple(ns for e in mine if isinstance(e, Warmup) for ns in e.samples_ns),
            lead_ns=tuple(tuple(b.lead_ns) for b in blocks),
            blocks=tuple((b.at_ns and b.at_ns / 1e9, b.cpu_ns, b.rss_bytes) for b in blocks),
        )


def _parity(told: object, names: tuple[str, ...]) -> dict[str, Parity]:
    """By contestant, what the device says by their numbers; cleaned. Raises Failure protocol."""
    try:
        found = msgspec.convert(told, dict[int, Parity], strict=False)
        if not all(0 <= index < len(names) for index in found):
            raise msgspec.ValidationError("a contestant that there is not")
    except msgspec.ValidationError as error:
        raise Failure(
            "protocol", f"the device's comparison with the golden outputs is none: {clean(str(error), 200)}"
        ) from None
    return {
        names[index]: replace(
            parity,
            outputs=tuple(
                replace(o, name=clean(o.name, 300), reason=o.reason and clean(o.reason, 300))
                for o in parity.outputs
            ),
        )
        for index, parity in found.items()
    }


def merged(results: list[DuelResult]) -> DuelResult:
    """Several duels of one release (one for each number of threads) as one result."""
    first = results[0]
    if len(results) == 1:
        return first
    return replace(
        first,
        environment=tuple(e for r in results for e in r.environment),
        contestants=tuple(c for r in results for c in r.contestants),
        comparisons=tuple(c for r in results for c in r.comparisons),
        findings=tuple(f for r in results for f in r.findings),
        complete=all(r.complete for r in results),
        options={**first.options, "threads": [r.threads for r in results]},
    )


def compared(
    contestants: tuple[Contestant, ...], findings: tuple[Finding, ...], seed: int
) -> tuple[Comparison, ...]:
    """Every contestant against the SavedModel, and against what is active on the device its like there."""
    by_name = {c.format: c for c in contestants}
    found = []
    base = by_name.get(BASELINE)
    for contestant in contestants:
        if base is not None and contestant is not base and not contestant.format.startswith(ACTIVE):
            found.append(_compare(base, contestant, findings, seed))
    for contestant in contestants:
        if contestant.format.startswith(ACTIVE):
            for other in contestants:
                if not other.format.startswith(ACTIVE):
                    found.append(_compare(contestant, other, findings, seed))
    return tuple(found)


def pair(result: DuelResult, candidate: str, baseline: str) -> Comparison | None:
    """Two contestants of a result compared, whichever they are; None where one is not there."""
    there, against = result.of(candidate), result.of(baseline)
    if there is None or against is None:
        return None
    found = tuple(f for f in result.findings if f.threads == result.threads)
    return _compare(against, there, found, result.seed)


def _most(values: Any) -> int | None:
    return max((v for v in values if v), default=None)


def _start(cold: Cold) -> Start:
    return Start(
        process_ns=cold.spawn_ns,
        import_ns=cold.import_ns,
        load_ns=cold.load_ns,
        first_ns=cold.first_ns,
        disk_bytes=cold.disk_bytes,
    )


def _middle(starts: tuple[Start, ...]) -> dict[str, float] | None:
    if not starts:
        return None
    middle = sorted(starts, key=lambda start: start.total_ms)[(len(starts) - 1) // 2]
    return {
        "process_ms": middle.process_ns / 1e6,
        "import_ms": middle.import_ns / 1e6,
        "load_ms": middle.load_ns / 1e6,
        "first_ms": middle.first_ns / 1e6,
        "total_ms": middle.total_ms,
    }


def _compare(base: Contestant, other: Contestant, findings: tuple[Finding, ...], seed: int) -> Comparison:
    for contestant in (base, other):
        if contestant.failed:
            return Comparison(
                baseline=base.format,
                candidate=other.format,
                ratio=None,
                interval=None,
                verdict="invalid",
                reason=f"{contestant.format}: {contestant.failed}",
                advice="leave it out with --format, or see why",
                threads=other.threads,
            )
    found = replace(
        statistics.compare(base.format, other.format, base.samples_ns, other.samples_ns, seed=seed),
        threads=other.threads,
    )
    spoilt = next((f for f in findings if f.invalid), None)
    if spoilt is not None and found.verdict != "invalid":
        return replace(found, verdict="invalid", reason=spoilt.message, advice=spoilt.advice)
    return found

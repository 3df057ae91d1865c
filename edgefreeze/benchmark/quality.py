"""What disturbed a measurement: pure. The device's events in, named findings out, each with its advice.

A finding that is `invalid` takes the verdicts away; the others are told beside them, because a disturbance
that hits all contestants alike leaves their ratio standing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgefreeze.benchmark import statistics
from edgefreeze.benchmark.events import Block, Environment, Warmup
from edgefreeze.text import size

WINDOW_S = 0.5
"""Load of others is judged over windows of at least this: the kernel counts it in hundredths of seconds."""
BUSY = 0.5
"""Processors kept busy by others that are worth telling."""
HEAT_C = 8.0
DRIFT = 0.05
LEAK_BYTES = 32 << 10
"""A call that leaves this much behind leaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a reader of the figures must know."""

    code: str
    """"throttled", "quota", "clock", "heat", "busy", "swap", "drift", "modes", "outliers", "leak",
    "unsettled", "late", "cpu-only"."""
    contestant: str | None
    """None: it concerns all."""
    invalid: bool
    message: str
    advice: str
    threads: int = 1


def findings(
    names: Sequence[str],
    blocks: Sequence[Block],
    environment: Sequence[Environment],
    warmups: Sequence[Warmup],
    *,
    threads: int = 1,
    rate_hz: float | None = None,
) -> tuple[Finding, ...]:
    """All findings: those of the device first, then each contestant's."""
    found = [*_throttled(environment), *_quota(environment), *_warmth(environment), *_others(environment)]
    for index, name in enumerate(names):
        mine = sorted((b for b in blocks if b.contestant == index), key=lambda b: b.block)
        found += _of_contestant(name, mine, rate_hz)
        unstable = [w for w in warmups if w.contestant == index and not w.stable]
        if unstable:
            found.append(
                _note("unsettled", name, "its warm-up ended before its latency had settled",
                      "measure for longer (--max-seconds), and look at the time series")
            )  # fmt: skip
    return tuple(
        Finding(code=f.code, contestant=f.contestant, invalid=f.invalid, message=f.message, advice=f.advice,
                threads=threads)
        for f in found
    )  # fmt: skip


def on_the_cpu(names: Sequence[str], *, threads: int = 1) -> Finding:
    """That these ran on the CPU of a board that has a GPU."""
    return Finding(
        code="cpu-only",
        contestant=None,
        invalid=False,
        message=f"{', '.join(names)} ran on the CPU, and the board's GPU was not used",
        advice="--format tensorrt:fp16, or a package of the runtime that is built for the GPU",
        threads=threads,
    )


def _note(code: str, contestant: str | None, message: str, advice: str, *, invalid: bool = False) -> Finding:
    return Finding(code=code, contestant=contestant, invalid=invalid, message=message, advice=advice)


def _at(entry: Environment) -> float:
    return (entry.at_ns or 0) / 1e9


# --- the device


def _throttled(environment: Sequence[Environment]) -> Iterator[Finding]:
    known = set((environment[0].throttled or "").split(", ")) if environment else set()
    for entry in environment:
        flags = [f for f in (entry.throttled or "").split(", ") if f]
        now = [f for f in flags if not f.endswith(" since boot")]
        new = [f.removesuffix(" since boot") for f in flags if f.endswith(" since boot") and f not in known]
        if now or new:
            yield _note(
                "throttled", None,
                f"throttled: the board reported {', '.join(dict.fromkeys(now + new))}, first after"
            f" {_at(entry):.1f} s",
                "cool it as it will be cooled in the field, or give it a stronger supply; then measure again",
                invalid=True,
            )  # fmt: skip
            return


def _quota(environment: Sequence[Environment]) -> Iterator[Finding]:
    quotas = [e.quota_cpus for e in environment]
    if len(set(quotas)) > 1:
        at = next(i for i in range(1, len(quotas)) if quotas[i] != quotas[i - 1])
        before, after = ("none" if q is None else f"{q:g} processors" for q in quotas[at - 1 : at + 1])
        yield _note(
            "quota", None,
            f"throttled: the CPU quota changed from {before} to {after} after"
            f" {_at(environment[at]):.1f} s",
            "measure with the quota that holds in the field, and keep it as it is meanwhile", invalid=True,
        )  # fmt: skip
        return
    readings = [(_at(e), e.starved_s) for e in environment if e.starved_s is not None]
    if len(readings) >= 2:
        lasted, starved = readings[-1][0] - readings[0][0], readings[-1][1] - readings[0][1]
        if starved > max(0.05, 0.01 * lasted):
            limit = f" of {quotas[0]:g} processors" if quotas[0] is not None else ""
            yield _note(
                "quota", None,
                f"throttled: the CPU quota{limit} held them back for {starved:.1f} of {lasted:.1f} s",
                "measure with a quota that is not used up, or report it as part of the device",
                invalid=True,
            )  # fmt: skip


def _warmth(environment: Sequence[Environment]) -> Iterator[Finding]:
    degrees = [e.temperature_c for e in environment if e.temperature_c is not None]
    if degrees:
        change, p = statistics.trend(degrees)
        if max(degrees) - min(degrees) >= HEAT_C and (p < 0.01 or abs(change) >= HEAT_C):
            yield _note(
                "heat", None, f"the temperature went from {degrees[0]:.0f} to {degrees[-1]:.0f} °C",
                "warm the board up first, or measure for longer, until its temperature stays",
            )  # fmt: skip
    clocks = [e.cpu_mhz_min or e.cpu_mhz for e in environment if e.when == "during"]
    known = [c for c in clocks if c]
    third = len(known) // 3
    if third >= 2:
        first, last = statistics.middle(known[:third]), statistics.middle(known[-third:])
        if last < 0.9 * first:
            yield _note(
                "clock", None, f"the clock fell from {first:.0f} to {last:.0f} MHz",
                "--set-governor performance, better cooling, or figures for the lower clock",
            )  # fmt: skip


def _others(environment: Sequence[Environment]) -> Iterator[Finding]:
    """Load of other processes, and swapping."""
    readings = [
        (_at(e), e.busy_s - e.own_s) for e in environment if e.busy_s is not None and e.own_s is not None
    ]
    loads: list[tuple[float, float, float]] = []
    start = 0
    for i in range(1, len(readings)):
        lasted = readings[i][0] - readings[start][0]
        if lasted >= WINDOW_S:
            loads.append((readings[start][0], readings[i][0], (readings[i][1] - readings[start][1]) / lasted))
            start = i
    busy = [(begin, end, load) for begin, end, load in loads if load >= BUSY]
    if busy:
        total = sum(end - begin for begin, end, _ in busy)
        share = sum((end - begin) * load for begin, end, load in busy) / total
        yield _note(
            "busy", None,
            f"something else kept {share:.1f} processors busy from {busy[0][0]:.1f} s on, for {total:.1f} s",
            "stop what else runs there, or expect it in the figures",
        )  # fmt: skip
    swaps = [e.swap_used_bytes for e in environment if e.swap_used_bytes is not None]
    if swaps and swaps[-1] - swaps[0] > 4 << 20:
        yield _note(
            "swap", None, f"{size(swaps[-1] - swaps[0])} were swapped out meanwhile",
            "the contestants do not fit into the memory beside the rest: --format with fewer of them",
        )  # fmt: skip


# --- a contestant


def _of_contestant(name: str, blocks: Sequence[Block], rate_hz: float | None) -> Iterator[Finding]:
    whole = [b for b in blocks if b.samples_ns]
    samples = [ns for b in whole for ns in b.samples_ns]
    if not samples:
        return
    centres = [statistics.middle(b.samples_ns) for b in whole]
    change, p = statistics.trend(centres)
    share = change / statistics.middle(centres)
    if p < 0.001 and abs(share) > DRIFT:
        yield _note(
            "drift", name,
            f"its latency drifted by {share:+.0%} of its median from the first block to the last",
            "look at temperature, clock and load in the time series; measure for longer",
        )  # fmt: skip
    groups = statistics.modes(samples)
    if groups:
        low, high, upper = groups
        yield _note(
            "modes", name,
            f"its latencies form two groups: {low / 1e6:.3g} ms, and {high / 1e6:.3g} ms for {upper:.0%}",
            "no single figure describes it; see whether inputs, clock steps or threads make the two",
        )  # fmt: skip
    far = statistics.outliers(_every_call(whole, statistics.middle(samples)))
    if far:
        few = f"{far.count} of {far.calls} calls take"
        rhythm = f"every {far.every} calls one takes" if far.every else few
        yield _note(
            "outliers", name, f"{rhythm} {far.extra_ns / 1e6:.3g} ms longer than the others",
            "the median hides them; a timer or another process may be why",
        )  # fmt: skip
    yield from _leak(name, whole)
    late = sum(b.missed for b in whole)
    if rate_hz and late > 0.01 * len(samples):
        yield _note(
            "late", name, f"{late} of {len(samples)} calls could not begin in time at {rate_hz:g} Hz",
            "the rate is too high for it there",
        )  # fmt: skip


def _every_call(blocks: Sequence[Block], centre: float) -> list[float]:
    """All calls in their order, those before the blocks too: what comes every so many calls comes in them as
    well. They are slower by nature, so each stands in proportion to its likes before the other blocks."""
    usual = [
        statistics.middle(same)
        for same in ([b.lead_ns[i] for b in blocks if i < len(b.lead_ns)] for i in range(20))
        if same
    ]
    found: list[float] = []
    for block in blocks:
        found += [ns * centre / usual[i] for i, ns in enumerate(block.lead_ns[: len(usual)])]
        found += block.samples_ns
    return found


def _leak(name: str, blocks: Sequence[Block]) -> Iterator[Finding]:
    """Resident memory that grows with the calls."""
    points = []
    calls = 0
    for block in blocks:
        calls += len(block.samples_ns) + len(block.lead_ns)
        if block.rss_bytes:
            points.append((calls, block.rss_bytes))
    later = points[len(points) // 4 :]  # what grows at first is caches
    if len(later) < 8:
        return
    (first_calls, first), (last_calls, last) = later[0], later[-1]
    _, p = statistics.trend([rss for _, rss in later])
    each = (last - first) / max(1, last_calls - first_calls)
    if p < 0.001 and each > LEAK_BYTES and last - first > 4 << 20:
        yield _note(
            "leak", name, f"its memory grows by {size(each)} a call",
            "it will be killed in the field: find what keeps its results, or another runtime version",
        )  # fmt: skip

"""Duels, gates and comparisons for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from edgefreeze.benchmark.events import Operation
from edgefreeze.benchmark.gates import Judgement
from edgefreeze.benchmark.plan import ACTIVE
from edgefreeze.benchmark.result import BASELINE, Contestant, DuelResult
from edgefreeze.benchmark.statistics import Comparison
from edgefreeze.report import tables
from edgefreeze.report.markup import marked
from edgefreeze.report.tables import add_row, new_table
from edgefreeze.text import ranges, short, size

if TYPE_CHECKING:
    from rich.console import Console

    from edgefreeze.benching import Measurement
    from edgefreeze.benchmark.comparing import Compared
    from edgefreeze.benchmark.store import Kept

EMULATED = "EMULATED: these figures show that it runs, not how fast a device is"


def title(duel: DuelResult) -> str:
    """What was measured, in a line."""
    options = duel.options
    several = len({c.threads for c in duel.contestants}) > 1
    threads = "" if several else f", {duel.threads} thread" + "s" * (duel.threads > 1)
    batch = f"batch {options['batch']}" if options.get("batch") else "batch of the golden inputs"
    cpus = f", processors {ranges(options['cpus'])}" if options.get("cpus") else ""
    rate = f", {options['rate_hz']:g} calls a second" if options.get("rate_hz") else ""
    return f"Latency on {duel.device}, {batch}{threads}{cpus}{rate}" + (
        " (emulated)" if duel.emulated else ""
    )


def print_duel(console: Console, duel: DuelResult) -> None:
    """The latency table: medians and ratios against the SavedModel, with their verdicts; what disturbed."""
    if duel.emulated:
        console.print(f"[bold yellow]{EMULATED}[/]")
    several = len({c.threads for c in duel.contestants}) > 1
    head, rows = duel_rows(duel)
    table = new_table(*head, title=title(duel))
    for row in rows:
        add_row(table, *row)
    tables.show(console, table)
    for comparison in duel.comparisons:
        if comparison.baseline.startswith(ACTIVE) or comparison.verdict == "invalid":
            console.print(escape(sentence(comparison, several=several)), style="dim")
    for finding in duel.findings:
        where = f"{finding.contestant}: " if finding.contestant else ""
        console.print(f"[yellow]![/] {escape(where + finding.message)} [dim]({escape(finding.advice)})[/]")
    if not duel.complete:
        console.print("[bold yellow]cut short: the connection, the host or the device was lost[/]")
    samples = sum(len(c.samples) for c in duel.contestants)
    console.print(
        f"[dim]{samples} samples, blocks interleaved in drawn order (seed {duel.seed}); × with 99 % interval;"
        " start: process, import, load and first inference, the middle one and the range; the system's file"
        " cache is left as it is[/]"
    )


def duel_rows(duel: DuelResult) -> tables.Rows:
    """A contestant a row, with its verdict against the SavedModel where that took part."""
    several = len({c.threads for c in duel.contestants}) > 1
    head = ["artifact", *(["threads"] if several else []), "p50 ms", "p90", "p99", "start ms", "peak memory"]
    base = any(c.format == BASELINE for c in duel.contestants)
    verdicts = {(c.candidate, c.threads): c for c in duel.comparisons if c.baseline == BASELINE}
    rows = []
    for contestant in duel.contestants:
        row = duel_row(contestant, verdicts.get((contestant.format, contestant.threads)))
        more = [str(contestant.threads)] if several else []
        rows.append([row[0], *more, *row[1:6], *(row[6:] if base else [row[7]])])
    return [*head, *(["× SavedModel", "verdict"] if base else [""])], rows


def print_bench(console: Console, outcome: Measurement) -> None:
    """What bench measured, and what the gates say."""
    duel = outcome.result
    console.print(marked("[bold]{} {}[/] on {}", duel.app, short(duel.release), duel.device))
    print_duel(console, duel)
    for name, operations in duel.operations.items():
        _print_operations(console, name, operations)
    print_gates(console, outcome.gates)
    console.print(f"[dim]kept as {duel.run}: edgefreeze results show {(duel.run or '')[:8]}[/]")


def _print_operations(console: Console, name: str, operations: list[Operation]) -> None:
    table = new_table("operation", "type", "ms a call", "share", title=f"{name}, by operation")
    total = sum(o.ns for o in operations) or 1.0
    for operation in sorted(operations, key=lambda o: -o.ns)[:15]:
        add_row(
            table, operation.name[-60:], operation.type, ms(operation.ns / 1e6), f"{operation.ns / total:.0%}"
        )  # fmt: skip
    tables.show(console, table)


def print_gates(console: Console, judged: Sequence[Judgement]) -> None:
    """Each gate: whether it was shown."""
    for gate in judged:
        mark = "[green]✓[/]" if gate.passed else "[red]✗[/]"
        console.print(f"{mark} {escape(gate.gate)}  [dim]{escape(gate.reason)}[/]")


def print_kept(console: Console, kept: Sequence[Kept]) -> None:
    """Stored results, a line each."""
    if not kept:
        console.print("no results are kept yet. Next: edgefreeze bench, or edgefreeze deploy")
        return
    table = new_table("run", "app", "release", "device", "started", "artifacts", "")
    for entry in kept:
        marks = [*(["emulated"] if entry.emulated else []), *([] if entry.complete else ["cut short"])]
        add_row(
            table, entry.id[:8], entry.app or "", short(entry.release), entry.device,
            entry.started or "", " ".join(entry.contestants), ", ".join(marks),
        )  # fmt: skip
    tables.show(console, table)


def print_compared(console: Console, found: Compared) -> None:
    """Results beside each other, the first as the baseline."""
    for difference in found.differences:
        console.print(f"[yellow]![/] {escape(difference)}")
    for part in found.pairs:
        table = new_table("artifact", "p50 ms", "then", "×", "verdict",
                          title=f"{part.candidate} against {part.baseline}")  # fmt: skip
        for row in part.rows:
            add_row(table, *row.cells)
        tables.show(console, table)


def sentence(found: Comparison, *, several: bool = False) -> str:
    """A comparison in words."""
    threads = f" ({found.threads} threads)" if several else ""
    ratio = "" if found.ratio is None or found.interval is None else f" × {interval(found)}"
    why = f": {found.reason}" if found.reason else ""
    advice = f" → {found.advice}" if found.advice else ""
    return f"{found.candidate} against {found.baseline}{threads}{ratio}  {found.verdict}{why}{advice}"


def interval(found: Comparison) -> str:
    """The ratio and its interval, to two digits of the ratio at least; nothing where there is none."""
    if found.ratio is None or found.interval is None:
        return ""
    places = 2 if found.ratio >= 0.095 else 3 if found.ratio >= 0.0095 else 4
    return f"{found.ratio:.{places}f} ({found.interval[0]:.{places}f}–{found.interval[1]:.{places}f})"


def ms(value: float | None) -> str:
    """Milliseconds for a person."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def duel_row(contestant: Contestant, comparison: Comparison | None) -> list[str]:
    """A contestant's cells: name, p50, p90, p99, start, peak memory, ratio, verdict."""
    if contestant.failed:
        return [contestant.format, "–", "–", "–", "–", "–", "–", f"failed: {contestant.failed}"]
    verdict = "baseline" if contestant.format == BASELINE else ""
    if comparison is not None:
        verdict = _verdict(comparison)
    peak = contestant.memory["peak_bytes"]
    return [
        contestant.format,
        ms(contestant.p50_ms),
        ms(contestant.p90_ms),
        ms(contestant.p99_ms),
        start(contestant),
        size(peak) if peak else "–",
        interval(comparison) if comparison else "",
        verdict,
    ]


def start(contestant: Contestant) -> str:
    """The cold start in the middle, and the range of all."""
    if contestant.cold_start is None:
        return "–"
    ends = contestant.start_range_ms
    middle = ms(contestant.cold_start["total_ms"])
    return middle if ends is None else f"{middle} ({ms(ends[0])}–{ms(ends[1])})"


def _verdict(comparison: Comparison) -> str:
    """An invalid one's reason stands below the table; its first word says which it is."""
    first = (comparison.reason or "").partition(":")[0]
    return f"invalid: {first}" if comparison.verdict == "invalid" else comparison.verdict

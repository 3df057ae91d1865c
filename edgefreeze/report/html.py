"""A result as one page: no network, no script; light, dark, on a phone, in print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from edgefreeze.benchmark import statistics
from edgefreeze.benchmark.events import Operation
from edgefreeze.benchmark.gates import Judgement
from edgefreeze.benchmark.result import BASELINE, Contestant, DuelResult
from edgefreeze.errors import Failure
from edgefreeze.report import svg
from edgefreeze.report.duel import EMULATED, interval, ms, start
from edgefreeze.text import ranges, short, size

_STARTS = (
    ("process_ms", "process"),
    ("import_ms", "import"),
    ("load_ms", "load"),
    ("first_ms", "first inference"),
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
CSS = Path(__file__).with_name("page.css")


def page(result: DuelResult, judged: Sequence[Judgement] = ()) -> str:
    """The whole page."""
    emulated = " (emulated)" if result.emulated else ""
    heading = f"{result.app or 'model'} {short(result.release)} on {result.device}{emulated}"
    body = "\n".join(_sections(result, judged, heading))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(heading)}: latency</title>\n<style>\n{CSS.read_text(encoding='utf-8')}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def write(path: Path, result: DuelResult, judged: Sequence[Judgement] = ()) -> None:
    """Write the page. Raises Failure config-value where it cannot be written."""
    try:
        path.write_text(page(result, judged), encoding="utf-8")
    except OSError as error:
        raise Failure(
            "config-value", f"{path} cannot be written: {error.strerror}", found=str(path)
        ) from None


def _sections(result: DuelResult, judged: Sequence[Judgement], heading: str) -> Iterator[str]:
    yield f"<h1>{escape(heading)}</h1>"
    what = f"{result.started or 'undated'} · target {result.target or '–'} · run {result.run or '–'}"
    yield f'<p class="soft">{escape(what)}</p>'
    if result.emulated:
        yield f'<p class="banner emulated">{EMULATED}.</p>'
    if not result.complete:
        yield '<p class="banner emulated">Cut short: the host, the connection or the device was lost.</p>'
    yield _latencies(result)
    if judged:
        yield _gates(judged)
    if result.findings:
        yield _findings(result)
    yield from _plots(result)
    yield _memory(result)
    if result.parity:
        yield _parity(result)
    for name, operations in result.operations.items():
        yield _operations(name, operations)
    yield _facts(result)
    yield _how(result)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """rows: cells that are HTML already. words: columns of running text."""

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = (' class="words"' if i in words else "" for i in range(len(row)))
        return "".join(f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    inner = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", [escape(h) for h in head])}</tr></thead>'
        f"<tbody>{inner}</tbody></table></div>"
    )


def _name(contestant: Contestant, result: DuelResult) -> str:
    several = len({c.threads for c in result.contestants}) > 1
    return contestant.format + (f" ×{contestant.threads}" if several else "")


def _latencies(result: DuelResult) -> str:
    verdicts = {(c.candidate, c.threads): c for c in result.comparisons if c.baseline == BASELINE}
    rows = []
    for one in result.contestants:
        found = verdicts.get((one.format, one.threads))
        if one.failed:
            word = f'<span class="failed">failed: {escape(one.failed)}</span>'
        elif found is None:
            word = "baseline" if one.format == BASELINE else ""
        else:
            why = f": {escape(found.reason)}" if found.reason else ""
            word = f'<span class="{found.verdict.split()[0]}">{found.verdict}{why}</span>'
        ratio = interval(found) if found else ""
        others = [ms(f) for f in (one.p90_ms, one.p95_ms, one.p99_ms, one.mean_ms)]
        rows.append([escape(_name(one, result)), ms(one.p50_ms), ratio, word, *others, str(len(one.samples))])
    head = ["artifact", "p50 ms", "× SavedModel (99 %)", "verdict", "p90", "p95", "p99", "mean", "samples"]
    beside = [c for c in result.comparisons if c.baseline != BASELINE]
    more = "".join(
        f"<p>{escape(c.candidate)} against {escape(c.baseline)}: × {interval(c)} "
        f'<span class="{c.verdict.split()[0]}">{c.verdict}</span></p>'
        for c in beside
    )
    return "<h2>Latency</h2>" + _table(head, rows, [3]) + more


def _gates(judged: Sequence[Judgement]) -> str:
    items = []
    for one in judged:
        kind, word = ("passed", "passed") if one.passed else ("failed", "not shown")
        items.append(
            f'<li><code>{escape(one.gate)}</code> <span class="tag {kind}">{word}</span>'
            f"<br><span class=soft>{escape(one.reason)}</span></li>"
        )
    return f'<h2>Gates</h2><ul class="findings">{"".join(items)}</ul>'


def _findings(result: DuelResult) -> str:
    items = []
    for one in result.findings:
        who = f"<b>{escape(one.contestant)}</b>: " if one.contestant else ""
        mark = ' <span class="tag invalid">invalid</span>' if one.invalid else ""
        items.append(
            f"<li>{who}{escape(one.message)}{mark}<br><span class=soft>{escape(one.advice)}</span></li>"
        )
    return f'<h2>What disturbed it</h2><ul class="findings">{"".join(items)}</ul>'


def _plots(result: DuelResult) -> Iterator[str]:
    able = [c for c in result.contestants if c.samples and not c.failed]
    names = [_name(c, result) for c in able]
    if able:
        rows = [(name, [ns / 1e6 for ns in c.samples]) for name, c in zip(names, able, strict=True)]
        yield "<h2>Distributions</h2>" + svg.distributions(rows, "ms")
        yield "<h2>Over time</h2>" + svg.key(names)
        yield '<p class="soft">The median of each block, relative to the contestant’s own.</p>'
        yield svg.lines(
            [svg.Series(n, list(_relative(c))) for n, c in zip(names, able, strict=True)],
            "× its own median", "Latency over time",
        )  # fmt: skip
    for unit, title, field in (
        ("°C", "Temperature", "temperature_c"),
        ("MHz", "Clock of the slowest processor", "cpu_mhz_min"),
        ("W", "Power", "power_w"),
    ):
        points = [
            (e.at_ns / 1e9, float(value))
            for e in result.environment
            if e.at_ns is not None and (value := getattr(e, field)) is not None
        ]
        if points:
            yield f'<p class="soft">{title}</p>' + svg.lines([svg.Series(title, points)], unit, title, 130)
    starts = [
        (name, [(what, c.cold_start[part]) for part, what in _STARTS])
        for name, c in zip(names, able, strict=True)
        if c.cold_start
    ]
    if starts:
        yield (
            "<h2>Cold start</h2>"
            + svg.key([what for _, what in _STARTS])
            + svg.bars(starts, "ms", "Cold start")
            + _every_start(result)
        )


def _every_start(result: DuelResult) -> str:
    """All cold starts of each contestant, and what they had to read from the disk."""
    rows = []
    for one in result.contestants:
        read = [s.disk_bytes for s in one.starts if s.disk_bytes is not None]
        if one.starts:
            totals = ", ".join(ms(s.total_ms) for s in one.starts)
            disk = ", ".join(size(count) for count in read) if read else "unknown"
            rows.append([escape(_name(one, result)), start(one), totals, disk])
    head = ["artifact", "ms, middle and range", "each, in turn", "read from the disk"]
    text = (
        "The bars are the start in the middle. The system’s file cache was left as it was: after a boot more"
        " has to be read from the disk than is said here."
    )
    return f'<p class="soft">{text}</p>' + _table(head, rows) if rows else ""


def _relative(contestant: Contestant) -> Iterator[tuple[float, float]]:
    centre = statistics.middle(contestant.samples)
    for (at, _, _), block in zip(contestant.blocks, contestant.samples_ns, strict=False):
        if at is not None and block:
            yield at, statistics.middle(block) / centre


def _memory(result: DuelResult) -> str:
    rows = []
    for one in result.contestants:
        used = [one.memory.get(k) for k in ("loaded_rss_bytes", "rss_bytes", "pss_bytes", "peak_bytes")]
        used += [one.bytes, one.runtime_bytes]
        rows.append([escape(_name(one, result)), *(size(b) if b else "–" for b in used)])
    head = [
        "artifact",
        "resident, loaded",
        "resident, steady",
        "proportional",
        "peak",
        "on disk",
        "runtime on disk",
    ]
    peaks = [
        (_name(c, result), [("peak", (c.memory.get("peak_bytes") or 0) / 1e6)])
        for c in result.contestants
        if c.memory.get("peak_bytes")
    ]
    return "<h2>Memory</h2>" + svg.bars(peaks, "MB", "Peak memory of the process") + _table(head, rows)


def _parity(result: DuelResult) -> str:
    rows = []
    for name, found in result.parity.items():
        for output in found.outputs:
            top1, sqnr = output.top1, output.sqnr_db
            rows.append(
                [escape(name), escape(output.name), f"{output.max_rel:.1e}", f"{output.tolerance:.0e}",
                 f"{output.cosine:.6f}", "–" if top1 is None else f"{top1:.1%}",
                 "exact" if sqnr is None else f"{sqnr:.0f}",
                 '<span class="passed">equal</span>' if output.ok else
                 f'<span class="failed">{escape(output.reason or "")}</span>']
            )  # fmt: skip
    head = ["artifact", "output", "largest error", "allowed", "cosine", "top-1", "SQNR dB", ""]
    text = '<p class="soft">Against the golden outputs, on the device; errors relative to their range.</p>'
    return "<h2>Does it compute the same</h2>" + text + _table(head, rows, [1, 7])


def _operations(name: str, operations: Sequence[Operation]) -> str:
    total = sum(o.ns for o in operations) or 1.0
    rows = [
        [
            escape(o.name),
            escape(o.type),
            ms(o.ns / 1e6),
            f"{o.ns / total:.1%}",
        ]
        for o in sorted(operations, key=lambda o: -o.ns)[:30]
    ]
    return f"<h2>{escape(name)}, by operation</h2>" + _table(
        ["operation", "type", "ms a call", "share"], rows
    )


def _facts(result: DuelResult) -> str:
    facts, during = result.facts, next((e for e in result.environment if e.when == "during"), None)
    versions = sorted({c.version for c in result.contestants if c.version})
    rows = [
        ("release", result.release),
        ("device", result.device + (", emulated" if result.emulated else "")),
        ("board", facts.board),
        ("processor", f"{facts.cpu_model or '?'}, {facts.cpu_count} of them, {facts.machine}"),
        ("memory", size(facts.ram_bytes) if facts.ram_bytes else None),
        ("system", f"{facts.os or '?'}, kernel {facts.kernel or '?'}, {facts.libc}"),
        ("Python", facts.python),
        ("runtimes", ", ".join(versions)),
        ("processors used", _cpus(result)),
        ("governor", during.governor if during else None),
        ("CPU quota", f"{during.quota_cpus:g}" if during and during.quota_cpus else None),
        ("power mode", during.power_mode if during else None),
        ("load before", _load(result)),
    ]
    inner = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in rows if v)
    return f"<h2>Facts</h2><dl>{inner}</dl>"


def _cpus(result: DuelResult) -> str | None:
    """On which processors the contestants could run, and whether they were held to them."""
    masks = dict.fromkeys(ranges(c.cpus) for c in result.contestants if c.cpus)
    word = "held to them" if result.options.get("cpus") else "all that the user may use"
    return f"{' and '.join(masks)}, {word}" if masks else None


def _load(result: DuelResult) -> str | None:
    load = result.environment[0].load_1m if result.environment else None
    return None if load is None else f"{load:.2f}"


def _how(result: DuelResult) -> str:
    plan = result.options
    warm = plan.get("warmup") or {}
    rate = plan.get("rate_hz")
    parts = [
        "Each artifact had a process of its own on the device, side by side; one ran at a time.",
        "Each was compared with the golden outputs before the race and after every block.",
        "Cold starts came in drawn order, each in a fresh process; the last process stayed for the race.",
        "Warm-up lasted until three chunks of calls agreed within 5 %,"
        f" {warm.get('seconds', '?')} s at most; up to five calls before each block do not count.",
        f"Then came rounds: a block of {plan.get('block_samples', '?')} calls of each contestant, in"
        " drawn order, every second round the mirror of the one before.",
        f"The order’s seed is {result.seed}.",
        f"Every contestant ran on the processors {cpus} only."
        if (cpus := ranges(plan.get("cpus") or ()))
        else "The contestants were not held to single processors.",
        f"Calls came at {rate:g} a second." if rate else "Calls came one right after the other.",
        "A sample is one whole call: prepared inputs in, NumPy arrays out.",
        "The ratio is the median of the rounds’ ratios of medians; its interval resamples whole rounds"
        " (4000 times, 99 %). Percentiles are stated from 10 (p50), 64 (p90), 130 (p95) and 662 (p99)"
        " samples on.",
        f"edgefreeze {plan.get('edgefreeze') or '?'}.",
    ]
    return f"<h2>How it was measured</h2><p>{escape(' '.join(parts))}</p>"

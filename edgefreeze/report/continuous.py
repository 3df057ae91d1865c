"""Comparisons for continuous integration: Markdown for a pull request, JUnit's XML. Pure."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from edgefreeze.benchmark.comparing import Compared

_MARKS = {"faster": "🟢", "slower": "🔴", "no difference shown": "⚪", "invalid": "⚠️"}


def markdown(found: Compared) -> str:
    """A table for each result against the first."""
    parts = []
    for pair in found.pairs:
        parts.append(f"### {_plain(pair.candidate)}\n\nagainst {_plain(pair.baseline)}\n")
        rows = ["| artifact | p50 before, ms | after | ratio (99 %) | verdict |", "|---|--:|--:|--:|---|"]
        for row in pair.rows:
            name, before, after, ratio, verdict = (_plain(cell) for cell in row.cells)
            mark = _MARKS[row.comparison.verdict]
            rows.append(f"| `{name}` | {before} | {after} | {ratio} | {mark} {verdict} |")
        parts.append("\n".join(rows) + "\n")
    if found.differences:
        parts.append(
            "Not measured alike:\n\n" + "\n".join(f"- {_plain(d)}" for d in found.differences) + "\n"
        )
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Text that Markdown reads as text."""
    for sign in "\\|<>`*[]":
        text = text.replace(sign, {"<": "&lt;", ">": "&gt;"}.get(sign, "\\" + sign))
    return text


def junit(found: Compared) -> str:
    """A test case for each contestant: failed where it is slower, skipped where nothing can be said."""
    suites = []
    for pair in found.pairs:
        cases = []
        for row in pair.rows:
            name, before, after, ratio, verdict = row.cells
            said = f"{before} ms before, {after} ms after, {ratio}: {verdict}"
            inner = ""
            if row.comparison.verdict == "slower":
                inner = f"<failure message={quoteattr(said)}/>"
            elif row.comparison.verdict == "invalid":
                inner = f"<skipped message={quoteattr(said)}/>"
            seconds = (row.after_ms or 0.0) / 1e3
            cases.append(
                f'    <testcase classname={quoteattr("latency")} name={quoteattr(name)} time="{seconds:.6f}">'
                f"{inner}<system-out>{escape(said)}</system-out></testcase>"
            )
        failures = sum(r.comparison.verdict == "slower" for r in pair.rows)
        skipped = sum(r.comparison.verdict == "invalid" for r in pair.rows)
        suites.append(
            f"  <testsuite name={quoteattr(pair.candidate + ' against ' + pair.baseline)} "
            f'tests="{len(pair.rows)}" failures="{failures}" skipped="{skipped}">\n'
            + "\n".join(cases)
            + "\n  </testsuite>"
        )
    return '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n' + "\n".join(suites) + "\n</testsuites>\n"

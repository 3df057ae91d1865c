"""Results at a Python prompt and in a notebook: a line, and a small table as HTML. It has no scripts,
takes nothing from a network, and has no colours of its own: it is as light or dark as the page around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import msgspec

from edgefreeze import benching
from edgefreeze.benching import Measurement
from edgefreeze.benchmark.gates import Judgement
from edgefreeze.benchmark.result import DuelResult
from edgefreeze.building import Built
from edgefreeze.deployment import Deployment
from edgefreeze.difference.verifying import Comparison
from edgefreeze.documents import History, Status, Switch
from edgefreeze.freezing import Frozen
from edgefreeze.inspection.report import Inspection
from edgefreeze.report import duel, text
from edgefreeze.report.inspection import shape_text
from edgefreeze.shown import LOOKS, Look
from edgefreeze.text import clean, short, size
from edgefreeze.types import Parity, Tensor

_CELL = "text-align:left;padding:.15em .8em .15em 0"


def _safe(value: str) -> str:
    """Text of models and devices, as HTML that says just that."""
    return escape(clean(value, 500))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f'<{tag} style="{_CELL}">{_safe(c)}</{tag}>' for c in cells) + "</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f"<table><thead>{row('th', head)}</thead><tbody>{body}</tbody></table>"


def _notes(lines: Sequence[str]) -> str:
    return "".join(f'<div style="opacity:.75">{_safe(line)}</div>' for line in lines)


def _page(line: str, *parts: str) -> str:
    return f"<div><div><b>{_safe(line)}</b></div>{''.join(parts)}</div>"


def _error(parity: Parity | None) -> str:
    if parity is None:
        return "nothing was compared"
    return f"largest error {parity.max_rel:.1e} of the output's range"


def _ends(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    rows = [
        [role, t.name, t.tensor, f"{t.dtype} {shape_text(t.shape)}"]
        for role, tensors in (("input", inputs), ("output", outputs))
        for t in tensors
    ]
    return _table(["", "name", "tensor", "type"], rows)


# --- freeze


def _frozen_line(found: Frozen) -> str:
    return f"{found.path}: {found.status}, {_error(found.parity)}"


def _frozen(found: Frozen) -> str:
    notes = [f"golden inputs: {found.golden}"]
    notes += [f"run once after loading: {name}" for name in found.init_ops]
    notes += [f"state {s.variable}: feed {s.input} with the last call's {s.output}" for s in found.states]
    return _page(_frozen_line(found), _ends(found.inputs, found.outputs), _notes(notes))


# --- build


def _built_line(found: Built) -> str:
    manifest = found.release.manifest
    names = ", ".join(a.key for a in found.release.artifacts)
    return f"{manifest['app']} {short(found.release.id)} for {manifest['target']}: {names}"


def _built(found: Built) -> str:
    notes = [f"in {found.release.folder}", f"golden inputs: {found.conversion.golden.text}"]
    notes += [
        f"{a.key}: {a.reason}" for a in found.conversion.artifacts if a.status != "verified" and a.reason
    ]
    return _page(_built_line(found), _table(*text.build_rows(found)), _notes(notes))


# --- deploy


def _deployed_line(found: Deployment) -> str:
    name = f"{found.app} {short(found.release)}"
    if found.dry_run:
        return f"dry run: {name} would go to {found.device}, {size(found.bytes_needed)} to send"
    was = f"was {short(found.previous)}" if found.previous else "the first release there"
    return f"{found.device} runs {name} ({was})"


def _deployed(found: Deployment) -> str:
    notes = [f"golden inputs: {found.golden}"]
    if not found.dry_run:
        notes.insert(0, f"sent {size(found.bytes_sent)}, {size(found.bytes_saved)} was there already")
    if found.choice:
        notes.append(f"{found.choice.artifact} runs there: {found.choice.reason}")
    measured = _duel(found.bench) if found.bench else ""
    table = _table(*text.deploy_rows(found))
    return _page(_deployed_line(found), table, measured, _gates(found.gates), _notes(notes))


# --- bench


def _duel_line(found: DuelResult) -> str:
    figures = [f"{c.format} {duel.ms(c.p50_ms)} ms" for c in found.contestants if not c.failed]
    return f"{duel.title(found)}: {', '.join(figures) or 'nothing was measured'}"


def _duel(found: DuelResult) -> str:
    notes = [f"{f.contestant + ': ' if f.contestant else ''}{f.message} ({f.advice})" for f in found.findings]
    if found.emulated:
        notes.insert(0, duel.EMULATED)
    if not found.complete:
        notes.append("cut short: the connection, the host or the device was lost")
    return _page(duel.title(found), _table(*duel.duel_rows(found)), _notes(notes))


def _gates(judged: Sequence[Judgement]) -> str:
    return _notes([f"{'✓' if g.passed else '✗'} {g.gate}: {g.reason}" for g in judged])


def _measured_line(found: Measurement) -> str:
    return f"{found.result.app} {short(found.result.release)}: {_duel_line(found.result)}"


def _measured(found: Measurement) -> str:
    return _duel(found.result) + _gates(found.gates)


# --- verify, inspect


def _compared_line(found: Comparison) -> str:
    wrong = [f"{o.name}: {o.reason}" for o in found.outputs if not o.equal]
    if found.equal:
        worst = max((o.max_rel for o in found.outputs), default=0.0)
        return f"{found.a} computes what {found.b} computes: largest error {worst:.1e} of an output's range"
    return f"{found.a} does not compute what {found.b} computes: {'; '.join(wrong)}"


def _compared(found: Comparison) -> str:
    rows = [
        [o.name, "equal" if o.equal else "differs", f"{o.max_rel:.1e}", f"{o.tolerance:.0e}",
         f"{o.cosine:.6f}", "" if o.top1 is None else f"{o.top1:.1%}"]
        for o in found.outputs
    ]  # fmt: skip
    head = ["output", "", "error", "allowed", "cosine", "top-1"]
    where = f", {found.a} on {found.device}" if found.device else ""
    notes = [f"compared on {found.inputs}{where}", *found.warnings]
    return _page(_compared_line(found), _table(head, rows), _notes(notes))


def _inspected_line(found: Inspection) -> str:
    parameters = "" if found.parameters is None else f", {found.parameters:,} parameters"
    return f"{found.path}: {found.description}, {size(found.bytes)}{parameters}"


def _inspected(found: Inspection) -> str:
    rows = [
        [entry.target, entry.advice.format or "nothing works", ", ".join(
            f"{f.format} {'?' if f.works == 'unknown' else f.works}" for f in entry.formats)]
        for entry in found.targets
    ]  # fmt: skip
    ends = _ends(found.inputs, found.outputs) if found.inputs or found.outputs else ""
    return _page(_inspected_line(found), ends, _table(["target", "take", "formats"], rows) if rows else "")


# --- a device


def _status_line(found: Status) -> str:
    if not found.apps:
        return f"{found.device} has no app yet"
    return f"{found.device} runs " + ", ".join(f"{a.app} {short(a.release)}" for a in found.apps)


def _status(found: Status) -> str:
    rows = [
        [str(a.app), short(r.release), {a.previous: "previous", a.release: "active"}.get(r.release, ""),
         r.created or "", r.target or "", " ".join(r.formats)]
        for a in found.apps for r in a.releases
    ]  # fmt: skip
    head = ["app", "release", "", "built", "target", "formats"]
    return _page(_status_line(found), _table(head, rows) if rows else "")


def _history_line(found: History) -> str:
    last = found.entries[-1] if found.entries else None
    said = f", last {last.event} at {last.time}" if last else ""
    return f"{found.device}, {found.app}: {len(found.entries)} entries{said}"


def _history(found: History) -> str:
    rows = [
        [e.time or "", e.event or "", short(e.release), short(e.previous), e.who or "", e.detail or ""]
        for e in found.entries
    ]
    return _page(_history_line(found), _table(["time", "event", "release", "before", "who", "detail"], rows))


def _switch_line(found: Switch) -> str:
    was = "" if found.previous == found.release else f" (was {short(found.previous)})"
    return f"{found.device} runs {found.app} {short(found.release)}{was}"


def _plain(found: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(found)
    return fields


def _enter(
    kind: type[Any],
    line: Callable[[Any], str],
    html: Callable[[Any], str],
    fields: Callable[[Any], dict[str, Any]] = _plain,
) -> None:
    LOOKS[kind] = Look(line=line, html=html, fields=fields)


_enter(Frozen, _frozen_line, _frozen)
_enter(Built, _built_line, _built, text.build_fields)
_enter(Deployment, _deployed_line, _deployed, text.deploy_fields)
_enter(Measurement, _measured_line, _measured, benching.fields)
_enter(DuelResult, _duel_line, _duel)
_enter(Comparison, _compared_line, _compared)
_enter(Inspection, _inspected_line, _inspected)
_enter(Status, _status_line, _status)
_enter(History, _history_line, _history)
_enter(Switch, _switch_line, lambda found: _page(_switch_line(found)))

"""What `edgefreeze inspect` found, for a person. Lines of rich's markup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgefreeze.inspection.candidates import Candidates
from edgefreeze.inspection.report import Inspection, TargetFit
from edgefreeze.text import clean, size
from edgefreeze.types import Shape, Tensor

_MOST = 14
_MARKS = {"yes": "[green]yes[/]", "no": "[red]no[/] ", "unknown": "[yellow]?[/]  "}


def lines(found: Inspection) -> Iterator[str]:
    """The whole of it."""
    yield f"[bold]{_safe(found.path)}[/]  {found.description}, {size(found.bytes)}"
    if found.written_by:
        yield "  written by  " + ", ".join(f"{_safe(k)} {_safe(v)}" for k, v in found.written_by.items())
    if found.tags:
        yield "  tags        " + "; ".join(_safe(",".join(tags)) or "(none)" for tags in found.tags)
    yield from _ends(found)
    yield from _weights(found)
    for label, names in (
        ("tables", found.tables),
        ("assets", found.assets),
        ("control flow", [f"{op} ×{n}" for op, n in found.control_flow.items()]),
        ("state", [f"{op} changes what the next call sees" for op in found.state]),
        ("random", found.random),
        ("code", [f"{name} holds code that would run: --trust" for name in found.code]),
    ):
        if names:
            yield f"  {label:<11} " + _safe(", ".join(names[:_MOST]))
    yield from _operations(found)
    if found.candidates is not None:
        yield from _candidates(found.candidates)
    for target in found.targets:
        yield from _target(target)


def _safe(text: str) -> str:
    """A model's text without escapes, and without rich taking brackets in it for its own."""
    from rich.markup import escape

    return escape(clean(text, 300))


def shape_text(shape: Shape | None) -> str:
    """ "?×224×224×3"; "any shape"; "scalar"."""
    if shape is None:
        return "any shape"
    return "×".join("?" if s is None else str(s) for s in shape) or "scalar"


def _ends(found: Inspection) -> Iterator[str]:
    if found.signatures:
        for signature in found.signatures:
            mark = (
                "  ← described here"
                if len(found.signatures) > 1 and signature.name == found.signature
                else ""
            )
            yield f"  signature   [bold]{_safe(signature.name)}[/]{mark}"
            yield from _tensors("in", signature.inputs)
            yield from _tensors("out", signature.outputs)
        return
    if found.inputs or found.outputs:
        guess = " (the likeliest; see candidates)" if found.candidates is not None else ""
        yield f"  ends{guess}"
        yield from _tensors("in", found.inputs)
        yield from _tensors("out", found.outputs)


def _tensors(role: str, tensors: tuple[Tensor, ...]) -> Iterator[str]:
    for tensor in tensors:
        at = f"  [dim]{_safe(tensor.tensor)}[/]" if tensor.tensor not in ("", tensor.name) else ""
        kind = f"{tensor.dtype} {shape_text(tensor.shape)}" if tensor.dtype else ""
        yield f"    {role:<4} {_safe(tensor.name)}  {kind}{at}"


def _weights(found: Inspection) -> Iterator[str]:
    if found.parameters is None:
        return
    parts = [f"{found.parameters:,} parameters"]
    if found.weight_bytes:
        parts.append(size(found.weight_bytes))
    if found.variables:
        parts.append(f"in {found.variables} variables")
    if found.quantised:
        parts.append(f"{found.quantised} tensors quantised")
    yield "  weights     " + ", ".join(parts)


def _operations(found: Inspection) -> Iterator[str]:
    if found.layers:
        yield (
            f"  layers      {len(found.layers)}: "
            + _safe(", ".join(f"{layer.name} ({layer.kind})" for layer in found.layers[:_MOST]))
            + (" …" if len(found.layers) > _MOST else "")
        )
    if found.cost is None or not found.operations:
        return
    uncounted = f" (+ {found.cost.uncounted} operations of unknown shape)" if found.cost.uncounted else ""
    yield (
        f"  one call    {_si(found.cost.flops)}FLOP, {size(found.cost.bytes)} read and written{uncounted}, "
        f"batch 1"
    )
    yield f"  operations  {sum(found.operations.values())} of {len(found.operations)} kinds"
    for row in found.cost.by_operation[:_MOST]:
        unknown = "  [dim]shape unknown[/]" if row.uncounted else ""
        yield (
            f"    {row.count:>5} × {_safe(row.op):<26} {_si(row.flops):>9}FLOP {size(row.bytes):>10}{unknown}"
        )
    if len(found.cost.by_operation) > _MOST:
        rest = found.cost.by_operation[_MOST:]
        yield f"    {sum(r.count for r in rest):>5}   of {len(rest)} more kinds"


def _si(count: float) -> str:
    for unit in ("", "k", "M", "G"):
        if count < 1000:
            return f"{count:.0f} {unit}" if not unit else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} T"


def _candidates(found: Candidates) -> Iterator[str]:
    for role, entries in (("--inputs", found.inputs), ("--outputs", found.outputs)):
        yield f"  candidates for {role}" + ("" if entries else ": none")
        for entry in entries:
            yield f"    {_safe(entry.node)}  {entry.op}  [dim]{_safe('; '.join(entry.reasons))}[/]"
    if found.left_out:
        shown = ", ".join(f"{_safe(e.node)} ({e.reason})" for e in found.left_out[:6])
        yield f"  not outputs  [dim]{shown}{' …' if len(found.left_out) > 6 else ''}[/]"


def _target(entry: TargetFit) -> Iterator[str]:
    best: Any = entry.advice.format
    yield f"  target [bold]{entry.target}[/]: " + (
        f"take [bold]{best}[/]" if best else "[red]nothing works[/]"
    )
    for fit in entry.formats:
        others = f" (and {', '.join(fit.operations[1:4])})" if len(fit.operations) > 1 else ""
        yield f"    {_MARKS[fit.works]} {fit.format:<12} [dim]{_safe(fit.reason + others)}[/]"
    for reason in entry.advice.reasons:
        if not reason.startswith("not "):
            yield f"      because {_safe(reason)}"

"""Results as tables for a terminal, and as the fields of the --json documents."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from edgefreeze.building import Built
from edgefreeze.deployment import Deployment
from edgefreeze.exporting import Exported
from edgefreeze.release import signing
from edgefreeze.report import boot, tables
from edgefreeze.report.duel import print_duel, print_gates
from edgefreeze.report.markup import marked
from edgefreeze.report.tables import add_row, new_table
from edgefreeze.text import duration, short, size
from edgefreeze.types import Parity, Tensor

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SETTLED = ("COMMITTED", None)


def deploy_fields(outcome: Deployment) -> dict[str, Any]:
    """The fields of deploy's --json document."""
    fields: dict[str, Any] = {
        name: msgspec.to_builtins(getattr(outcome, name))
        for name in (
            "release", "app", "target", "device", "emulated", "previous", "active", "changed", "rolled_back",
            "dry_run", "bytes_total", "bytes_needed", "bytes_sent", "bytes_saved", "seconds", "runtimes",
            "golden",
            "artifacts", "selftest", "accuracy", "facts", "choice", "unverified", "cached", "signer", "gates",
        )
    }  # fmt: skip
    fields["bench"] = msgspec.to_builtins(outcome.bench)
    return fields


def build_fields(built: Built) -> dict[str, Any]:
    """The fields of build's --json document. `path` is None of what is not in the release."""
    released = {a.key for a in built.release.artifacts}
    artifacts = [
        {**msgspec.to_builtins(a), **({} if a.key in released else {"path": None})}
        for a in built.conversion.artifacts
    ]
    return {
        "release": built.release.id,
        "path": str(built.release.folder),
        "signer": signing.fingerprint(built.release),
        "cached": built.cached,
        "artifacts": artifacts,
        "golden": built.conversion.golden.text,
        "accuracy": msgspec.to_builtins(built.accuracy),
        "peak_bytes": built.conversion.peak_bytes,
        "seconds": built.seconds,
    }


def print_build(console: Console, built: Built) -> None:
    """What a build made, for a person."""
    again = " (nothing changed since an earlier build)" if built.cached else ""
    folder, release = built.release.folder, short(built.release.id)
    console.print(marked("[bold green]{}[/] is release {}{}.", folder, release, again))
    if built.release.signature is not None:
        console.print(f"Signed by {signing.fingerprint(built.release)}.")
    console.print(marked("Golden inputs: {}.", built.conversion.golden.text))
    headers, rows = build_rows(built)
    table = new_table(*headers)
    for row in rows:
        add_row(table, *row)
    tables.show(console, table)
    for artifact in built.conversion.artifacts:
        if artifact.status != "verified":
            console.print(marked("[dim]{}: {}[/]", artifact.key, artifact.reason))


def build_rows(built: Built) -> tables.Rows:
    """What was made of the model, an artifact a row."""
    accuracy = {a.format: a for a in built.accuracy}
    headers = ["artifact", "status", "size", "error", "allowed", "SQNR dB", "top-1"]
    headers += ["accuracy", "original's"] if accuracy else []
    rows = []
    for artifact in built.conversion.artifacts:
        mine = accuracy.get(artifact.key)
        scores = ([f"{mine.accuracy:.2%}", f"{mine.original:.2%}"] if mine else ["", ""]) if accuracy else []
        weight = size(artifact.bytes) if artifact.bytes else ""
        rows.append([artifact.key, artifact.status, weight, *_errors(artifact.parity), *scores])
    return headers, rows


def _errors(parity: Parity | None) -> list[str]:
    """Largest error, what is allowed, SQNR and top-1 agreement of the worst output each."""
    if parity is None:
        return ["", "", "", ""]
    noise = [o.sqnr_db for o in parity.outputs if o.sqnr_db is not None]
    agreement = [o.top1 for o in parity.outputs if o.top1 is not None]
    return [
        f"{parity.max_rel:.1e}",
        f"{max(o.tolerance for o in parity.outputs):.0e}",
        f"{min(noise):.0f}" if noise else "exact",
        f"{min(agreement):.0%}" if agreement else "–",
    ]


def print_export(console: Console, made: Exported) -> None:
    """An artifact on disk, for a person."""
    if made.parity:
        error, allowed, noise, agreement = _errors(made.parity)
        told = (
            "[bold green]{}[/] is verified: largest error {} of the output's range ({} allowed), SQNR {} dB, "
            "top-1 {}."
        )
        console.print(marked(told, made.path, error, allowed, noise, agreement))
    else:
        why = made.reason or "nothing was compared"
        console.print(marked("[bold yellow]{}[/] is unverified: {}.", made.path, why))
    for kind, tensors in (("feed", made.inputs), ("fetch", made.outputs)):
        for tensor in tensors:
            console.print(f"  {kind:<5} {tensor.tensor}  {tensor.dtype} {shape(tensor)}", markup=False)
    for note in made.notes:
        console.print(marked("[dim]  {}[/]", note))
    console.print(marked("[dim]golden inputs: {}[/]", made.golden))


def _formats(release: dict[str, Any]) -> Text:
    """A release's artifacts; the one that runs there because a duel chose it stands out."""
    chosen = release["preferred"]
    parts = [Text(f"{f} (runs)", style="bold") if f == chosen else Text(f) for f in release["formats"]]
    return Text(" ").join(parts)


def shape(tensor: Tensor) -> str:
    """ "?×8×8×1"; "?" where the rank is not known."""
    if tensor.shape is None:
        return "?"
    return "×".join("?" if d is None else str(d) for d in tensor.shape)


def print_deploy(console: Console, outcome: Deployment, *, next_steps: bool = True) -> None:
    """What a deployment did, for a person: the verdict first, then how it was proved, then what next."""
    name = f"{outcome.app} {short(outcome.release)}"
    console.print()
    if outcome.dry_run:
        console.print(marked("Dry run: [bold]{}[/] would go to {}; nothing was sent.", name, outcome.device))
        runs = short(outcome.active) if outcome.active else "nothing of ours"
        needed, saved = size(outcome.bytes_needed), size(outcome.bytes_saved)
        told = "{} runs {}. To send: {}; there already: {}."
        console.print(marked(told, outcome.device, runs, needed, saved))
    else:
        was = f"was {short(outcome.previous)}" if outcome.previous else "the first release there"
        if not outcome.changed:
            was = "it did before"
        console.print(marked("[bold green]{} runs {}[/] ({}).", outcome.device, name, was))
        console.print(
            f"Sent {size(outcome.bytes_sent)}, {size(outcome.bytes_saved)} was there already;"
            f" {duration(sum(outcome.seconds.values()))} in all."
        )
    if outcome.signer:
        console.print(f"Signed by {outcome.signer}.")
    console.print(marked("Golden inputs: {}.", outcome.golden))
    for runtime, what in outcome.runtimes.items():
        console.print(marked("[dim]{}: {}[/]", runtime, what))
    console.print()
    headers, rows = deploy_rows(outcome)
    table = new_table(*headers)
    for cells in rows:
        add_row(table, *cells)
    tables.show(console, table)
    if outcome.bench:
        console.print()
        print_duel(console, outcome.bench)
    print_gates(console, outcome.gates)
    if outcome.choice:
        choice = outcome.choice
        console.print(marked("[bold]{}[/] runs there: {}.", choice.artifact, choice.reason))
        for other in choice.runners_up:
            console.print(marked("[dim]  {}: {}[/]", other.artifact, other.reason))
    if next_steps and not outcome.dry_run:
        console.print()
        host = "" if outcome.device == "local" else f" --host {outcome.device}"
        app = f" --app {outcome.app}"
        console.print("[bold]Next[/]")
        for command in ("run", "status", *(["rollback"] if outcome.previous else [])):
            more = " --input inputs.npz --output answers.npz" if command == "run" else ""
            console.print(f"  edgefreeze {command}{host}{app}{more}", markup=False)


def deploy_rows(outcome: Deployment) -> tables.Rows:
    """Each form of the model: how far from the original, here and there, and how accurate."""
    accuracy = {a.format: a for a in outcome.accuracy}
    there = {t.key: t for t in outcome.selftest}
    headers = ["artifact", "size", "error here", f"error on {outcome.device}", "allowed"]
    if accuracy:
        headers += [f"accuracy on {outcome.device}", "original's"]
    rows = []
    for artifact in outcome.artifacts:
        if artifact.status != "verified":
            rows.append([artifact.key, "", artifact.status, *[""] * (len(headers) - 3)])
            continue
        test = there.get(artifact.key)
        row = [
            artifact.key,
            size(artifact.bytes or 0),
            f"{artifact.parity.max_rel:.1e}" if artifact.parity else "",
            f"{test.parity.max_rel:.1e}" if test and test.parity else "–",
            f"{artifact.tolerance:.0e}",
        ]
        if accuracy:
            mine = accuracy.get(artifact.key)
            row += [f"{mine.accuracy:.2%}", f"{mine.original:.2%}"] if mine else ["", ""]
        rows.append(row)
    return headers, rows


def print_status(console: Console, found: dict[str, Any]) -> None:
    """A device's apps and their releases."""
    if not found["apps"]:
        device = found["device"]
        console.print(marked("{}: no app yet. Next: edgefreeze deploy MODEL --host {}", device, device))
    for app in found["apps"]:
        told = "[bold]{}: {} runs {}[/]" + (" [yellow]({})[/]" if app["phase"] not in _SETTLED else "")
        console.print(marked(told, found["device"], app["app"], short(app["release"]), app["phase"]))
        table = new_table("release", "", "built", "target", "size", "formats")
        for release in app["releases"]:
            role = "active" if release["release"] == app["release"] else ""
            role = "previous" if release["release"] == app["previous"] and not role else role
            role = f"{role}, pinned".lstrip(", ") if release["pinned"] else role
            add_row(
                table, short(release["release"]), role, release["created"] or "", release["target"] or "",
                size(release["bytes"] or 0), _formats(release),
            )  # fmt: skip
        tables.show(console, table)
    if found["disk_free_bytes"] is not None:
        console.print(
            f"[dim]{size(found['store_bytes'] or 0)} of ours, {size(found['disk_free_bytes'])} free[/]"
        )
    if found["apps"] or found["boot"]["unit"]:
        boot.print_state(console, found["device"], found["boot"])


def print_history(console: Console, found: dict[str, Any]) -> None:
    """The log of an app."""
    console.print(marked("[bold]{}: {}[/]", found["device"], found["app"]))
    tables.show(console, event_table(found["entries"]))


def event_table(entries: list[dict[str, Any]]) -> Table:
    """What happened on a device, oldest first."""
    table = new_table("time", "event", "release", "before", "who", "detail")
    for entry in entries:
        add_row(
            table, _to_the_second(entry["time"] or ""), entry["event"] or "", short(entry["release"]),
            short(entry["previous"]), entry["who"] or "", entry["detail"] or "",
        )  # fmt: skip
    return table


def _to_the_second(instant: str) -> str:
    return re.sub(r"\.\d+Z$", "Z", instant)

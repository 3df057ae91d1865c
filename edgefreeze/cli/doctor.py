"""edgefreeze doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import Where, device_options, output_options

if TYPE_CHECKING:
    from edgefreeze.doctor.case import Finding


@click.command(
    "doctor",
    epilog="""\b
Examples:
  edgefreeze doctor --target pi4 --host cam1
  edgefreeze doctor --target x86                        this machine""",
)
@device_options
@output_options
def command(where: Where, as_json: bool, quiet: bool, debug: bool) -> None:
    """What is wrong with a device, before it costs a trip: a line for each check, with what to do.

    Nothing is changed there and nothing is installed. The exit status is 1 where something would stop a
    deployment, and 0 where there are warnings only.
    """
    import msgspec

    from edgefreeze import targets
    from edgefreeze.cli.progress import show
    from edgefreeze.doctor import examine
    from edgefreeze.errors import Failure

    known = tuple(targets.read(file, where.folders).target for file in targets.names(where.folders).values())
    with show(as_json=as_json, quiet=quiet or not as_json) as progress:
        found = examine.doctor(where.target, where.device, known, progress, options.ask)
    fields = {
        "device": where.device.name,
        "target": where.target.name,
        "checks": msgspec.to_builtins(found),
    }
    failed = [f for f in found if f.level == "failure"]
    if not as_json:
        _print(found, where.device.name)
    if failed:
        failure = Failure(
            "doctor-failed",
            f"{where.device.name}: {len(failed)} of {len(found)} checks failed: "
            + ", ".join(f.name for f in failed),
            found=failed[0].found,
            device_state="looked at only; unchanged",
            next=failed[0].fix,
        )
        failure.fields = fields
        raise failure
    if as_json:
        output.document("doctor", fields)


def _print(found: tuple[Finding, ...], device: str) -> None:
    """A line for each check; what to do stands below it."""
    from rich.markup import escape

    console = output.console()
    marks = {"fine": "[green]fine   [/]", "warning": "[yellow]warning[/]", "failure": "[red]failure[/]"}
    width = max(len(f.name) for f in found)
    for finding in found:
        console.print(f"{marks[finding.level]}  {finding.name:<{width}}  {escape(finding.found)}")
        if finding.fix:
            console.print(f"{' ' * (9 + width)}  [dim]do:[/] {escape(finding.fix)}")
    counts = {level: sum(f.level == level for f in found) for level in marks}
    said = f"{counts['fine']} fine, {counts['warning']} warnings, {counts['failure']} failures"
    console.print(f"[bold]{escape(device)}[/]: {said}")

"""edgefreeze doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import device_options, output_options
from edgefreeze.project import Where

if TYPE_CHECKING:
    from edgefreeze.doctor.case import Finding
    from edgefreeze.targets import Target


@click.command(
    "doctor",
    epilog="""\b
Examples:
  edgefreeze doctor --target pi4 --host cam1
  edgefreeze doctor --target x86                                this machine
  edgefreeze doctor --emulate pi4 --sysroot bookworm-arm64      no board at all""",
)
@device_options
@click.option(
    "--emulate", "emulated", metavar="TARGET", help="Run the target's packages on its CPU model under QEMU."
)
@click.option(
    "--sysroot",
    type=click.Path(path_type=Path, file_okay=False),
    help="For --emulate: a folder with the files of a system as the board's.",
)
@output_options
def command(
    where: Where,
    emulated: str | None,
    sysroot: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """What is wrong with a device, before it costs a trip: a line for each check, with what to do.

    Nothing is changed there and nothing is installed. The exit status is 1 where something would stop a
    deployment, and 0 where there are warnings only. With --emulate no device is needed: the packages that the
    target's boards would get run on their CPU model, so that illegal instructions are found on the desk.
    """
    from edgefreeze import project, targets
    from edgefreeze.cli.progress import show
    from edgefreeze.doctor import emulate, examine
    from edgefreeze.errors import Failure

    with show(as_json=as_json, quiet=quiet) as progress:
        if emulated is not None:
            if sysroot is None or not sysroot.is_dir():
                raise Failure(
                    "usage",
                    "--emulate needs the files of a system as the board's",
                    expected="--sysroot DIR",
                    next="mmdebstrap --architectures=arm64 --variant=apt --include=python3 bookworm DIR",
                )
            target = targets.load(emulated, where.folders)
            found = emulate.doctor(target, sysroot, progress, project.sources(where.config))
            _tell(found, f"emulated {target.name}", target, as_json)
            return
        known = tuple(
            targets.read(file, where.folders).target for file in targets.names(where.folders).values()
        )
        found = examine.doctor(where.target, where.device, known, progress, options.ask)
    _tell(found, where.device.name, where.target, as_json)


def _tell(found: tuple[Finding, ...], device: str, target: Target, as_json: bool) -> None:
    """Show the findings. Raises Failure doctor-failed where one is a failure."""
    import msgspec

    from edgefreeze.errors import Failure

    fields = {"device": device, "target": target.name, "checks": msgspec.to_builtins(found)}
    failed = [f for f in found if f.level == "failure"]
    if not as_json:
        _print(found, device)
    if failed:
        failure = Failure(
            "doctor-failed",
            f"{device}: {len(failed)} of {len(found)} checks failed: " + ", ".join(f.name for f in failed),
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
    said = ", ".join(
        f"{count} {level}{'' if count == 1 or level == 'fine' else 's'}" for level, count in counts.items()
    )
    console.print(f"[bold]{escape(device)}[/]: {said}")

"""edgefreeze prepare."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import output
from edgefreeze.cli.model_options import format_option
from edgefreeze.cli.options import ask, device_options, output_options, rate_option, wheels_option
from edgefreeze.project import Where, sources


@click.command(
    "prepare",
    epilog="""\b
Examples:
  edgefreeze prepare -t pi4 --host cam1              what the target's formats need
  edgefreeze prepare -t pi4 --host cam1 --no-tf      without TensorFlow
  edgefreeze prepare -t pi4 --host cam1 -n           what would be sent
  edgefreeze prepare -t pi4 --host cam2 --wheels packages/
                                                     from a folder, without a network""",
)
@device_options
@format_option
@click.option("--no-tf", is_flag=True, help="Leave out the formats that need TensorFlow on the board.")
@wheels_option
@click.option("--upgrade", is_flag=True, help="Look for newer packages than edgefreeze.lock names.")
@rate_option
@click.option("-n", "--dry-run", is_flag=True, help="Put them together here and plan; send nothing.")
@output_options
def command(
    where: Where,
    formats: tuple[str, ...],
    no_tf: bool,
    wheels: Path | None,
    upgrade: bool,
    dry_run: bool,
    rate: int | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Bring a board the runtimes that the target's formats need, and prove each by an inference there.

    A deployment then has only its model to send. Which packages they are is decided by the board's Python and
    C library, and written to edgefreeze.lock beside edgefreeze.toml: the same bytes go to the next board, and
    next year.
    """
    from edgefreeze import preparing
    from edgefreeze.cli.progress import show
    from edgefreeze.report import prepared

    wanted = preparing.formats_of(where.target, formats, no_tf=no_tf)
    packages = sources(where.config, wheels, upgrade=upgrade)
    with show(as_json=as_json, quiet=quiet) as progress:
        found = preparing.prepare(
            where.target, where.device, wanted, packages, progress, ask, dry_run=dry_run, rate=rate
        )
    if as_json:
        output.document("prepare", prepared.fields(found))
    else:
        prepared.show(output.console(), found)

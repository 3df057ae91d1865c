"""edgefreeze status."""

from __future__ import annotations

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, device_options, output_options
from edgefreeze.project import Where


@click.command("status", epilog="Example:  edgefreeze status --host cam1")
@device_options
@app_option
@output_options
def command(
    where: Where,
    app: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """What a device runs: its apps, the active and the previous release of each."""
    from edgefreeze import operate
    from edgefreeze.report import text

    found = operate.status(where.device, app, options.ask)
    if as_json:
        output.document("status", found)
    else:
        text.print_status(output.console(), found)

"""edgefreeze history."""

from __future__ import annotations

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, device_options, output_options
from edgefreeze.project import Where


@click.command("history", epilog="Example:  edgefreeze history --host cam1 --app digits")
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
    """What happened to an app on a device, oldest first: who switched to which release, and why."""
    from edgefreeze import operate
    from edgefreeze.report import text

    found = operate.history(where.device, app or where.config.app, options.ask)
    if as_json:
        output.document("history", found)
    else:
        text.print_history(output.console(), found)

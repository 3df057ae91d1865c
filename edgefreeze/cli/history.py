"""edgefreeze history."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, device_options, output_options


@click.command("history", epilog="Example:  edgefreeze history --host cam1 --app digits")
@device_options
@app_option
@output_options
def command(
    target: str | None,
    host: str | None,
    targets_folder: Path | None,
    app: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """What happened to an app on a device, oldest first: who switched to which release, and why."""
    from edgefreeze import inventory, operate
    from edgefreeze.report import text

    config = inventory.load()
    _, device = options.resolve(config, target, host, targets_folder)
    found = operate.history(device, app or config.app, options.ask)
    if as_json:
        output.document("history", found)
    else:
        text.print_history(output.console(), found)

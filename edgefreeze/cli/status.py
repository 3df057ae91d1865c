"""edgefreeze status."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, device_options, output_options


@click.command("status", epilog="Example:  edgefreeze status --host cam1")
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
    """What a device runs: its apps, the active and the previous release of each."""
    from edgefreeze import inventory, operate
    from edgefreeze.report import text

    config = inventory.load()
    _, device = options.resolve(config, target, host, targets_folder)
    found = operate.status(device, app, options.ask)
    if as_json:
        output.document("status", found)
    else:
        text.print_status(output.console(), found)

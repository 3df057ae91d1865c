"""edgefreeze pin."""

from __future__ import annotations

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import Where, app_option, device_options, output_options


@click.command("pin", epilog="Example:  edgefreeze pin 3f2a9c --host cam1")
@click.argument("release")
@device_options
@app_option
@output_options
def command(
    release: str,
    where: Where,
    app: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Keep a release on a device, however many come after it. RELEASE: its id, or the first digits."""
    from edgefreeze import operate
    from edgefreeze.text import short

    found = operate.pin(where.device, app or where.config.app, release, True, options.ask)
    if as_json:
        output.document("pin", found)
    else:
        output.console().print(f"{found['device']}: {short(found['release'])} of {found['app']} is kept")

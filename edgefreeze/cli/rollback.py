"""edgefreeze rollback."""

from __future__ import annotations

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, device_options, output_options
from edgefreeze.project import Where


@click.command(
    "rollback",
    epilog="""\b
Examples:
  edgefreeze rollback --host cam1                       to the release before
  edgefreeze rollback --host cam1 --to 3f2a9c           to a certain one""",
)
@device_options
@app_option
@click.option("--to", metavar="RELEASE", help="A release that is still on the device; its first digits do.")
@output_options
def command(
    where: Where,
    app: str | None,
    to: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Return a device to the release that was active before. Nothing is sent; it is instant."""
    from edgefreeze import operate
    from edgefreeze.text import short

    found = operate.rollback(where.device, app or where.config.app, to, options.ask)
    if as_json:
        output.document("rollback", found)
    else:
        same = found["release"] == found["previous"]
        output.console().print(
            f"{found['device']}: {found['app']} runs {short(found['release'])} "
            + ("as before" if same else f"again (was {short(found['previous'])})"),
            markup=False,
        )

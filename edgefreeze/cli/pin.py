"""edgefreeze pin; unpin is the same the other way round."""

from __future__ import annotations

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, device_options, output_options
from edgefreeze.project import Where


def pinning(name: str, *, keep: bool, done: str, text: str) -> click.Command:
    """The command of that name, which says of the release what was `done`."""

    @click.command(name, epilog=f"Example:  edgefreeze {name} 3f2a9c --host cam1", help=text)
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
        from edgefreeze import operate
        from edgefreeze.text import short

        found = operate.pin(where.device, app or where.config.app, release, keep, options.ask)
        if as_json:
            output.document(name, found)
        else:
            told = f"{found['device']}: {short(found['release'])} of {found['app']} {done}"
            output.console().print(told, markup=False)

    return command


command = pinning(
    "pin",
    keep=True,
    done="is kept",
    text="Keep a release on a device, however many come after it. RELEASE: its id, or the first digits.",
)

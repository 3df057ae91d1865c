"""edgefreeze device."""

from __future__ import annotations

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import device_options, output_options
from edgefreeze.project import Where


@click.group("device")
def command() -> None:
    """One device as a whole."""


@command.command(
    "recover-at-boot",
    epilog="""\b
Examples:
  edgefreeze device recover-at-boot --host cam1
  edgefreeze device recover-at-boot --host cam1 --remove""",
)
@device_options
@click.option("--remove", is_flag=True, help="Take the unit away again.")
@output_options
def recover_at_boot(where: Where, remove: bool, as_json: bool, quiet: bool, debug: bool) -> None:
    """Have the device go back by itself, after a reboot, from a release that was on trial when it was cut.

    This writes and enables a unit of the user's own systemd there; no root is needed. It starts at boot if
    the user lingers (loginctl enable-linger), and otherwise at the user's first login.
    """
    from edgefreeze import devices
    from edgefreeze.report import boot

    found = devices.recover_at_boot(where.device, not remove, options.ask)
    if as_json:
        output.document("device recover-at-boot", found)
    elif not quiet:
        boot.print_outcome(output.console(), found)


@command.command("purge", epilog="Example:  edgefreeze device purge --host cam1 --yes")
@device_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_options
def purge(where: Where, yes: bool, as_json: bool, quiet: bool, debug: bool) -> None:
    """Take everything of edgefreeze off a device: apps, releases, runtimes, trust, history, the helper.

    Afterwards not one file of it is left there. Files of others in the same folder stay.
    """
    from edgefreeze import devices
    from edgefreeze.errors import Failure
    from edgefreeze.text import size

    if not yes:
        there = devices.there(where.device, options.ask)
        apps = ", ".join(str(app) for app in there["apps"]) or "none"
        question = f"Remove everything of edgefreeze from {where.device.name} (apps: {apps})?"
        if not options.may_ask():
            raise Failure("usage", "nobody can be asked here", expected="--yes", next="the same with --yes")
        if not click.confirm(question, err=True):
            raise Failure("interrupted", f"nothing was removed from {where.device.name}")
    found = devices.purge(where.device, options.ask)
    if as_json:
        output.document("device purge", found)
    elif not quiet:
        click.echo(
            f"{found['device']}: {found['files']} files, {size(found['bytes'] or 0)},"
            f" removed from {found['root']}"
        )
        if found["foreign"]:
            click.echo(f"  not of edgefreeze, and still there: {', '.join(map(str, found['foreign']))}")

"""edgefreeze devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import output_options, targets_option

F = TypeVar("F", bound=Callable[..., Any])


def _offline(function: F) -> F:
    return click.option("--offline", is_flag=True, help="Do not contact the devices.")(function)


@click.group("devices", invoke_without_command=True)
@_offline
@output_options
@click.pass_context
def command(ctx: click.Context, offline: bool, as_json: bool, quiet: bool, debug: bool) -> None:
    """The devices of edgefreeze.toml. Without a command: edgefreeze devices list."""
    if ctx.invoked_subcommand is None:
        _list(offline=offline, as_json=as_json)


@command.command(
    "list",
    epilog="""\b
Examples:
  edgefreeze devices list
  edgefreeze devices list --offline                     ask nobody: what was seen last""",
)
@_offline
@output_options
def list_(offline: bool, as_json: bool, quiet: bool, debug: bool) -> None:
    """Every device: whether it answers, when it last did, and which release is active there."""
    _list(offline=offline, as_json=as_json)


def _list(*, offline: bool, as_json: bool) -> None:
    from edgefreeze import devices, inventory
    from edgefreeze.report import devices as report

    found = devices.listing(inventory.load(), contact=not offline)
    if as_json:
        output.document("devices", found)
    else:
        report.print_devices(output.console(), found)


@command.command("add", epilog="Example:  edgefreeze devices add cam1 pi@192.0.2.17 --target pi4")
@click.argument("name")
@click.argument("host")
@click.option("-t", "--target", metavar="TARGET", required=True, help="The kind of board that it is.")
@targets_option
@output_options
def add(
    name: str, host: str, target: str, targets_folder: Path | None, as_json: bool, quiet: bool, debug: bool
) -> None:
    """Write a device into edgefreeze.toml. HOST is an ssh alias, user@host or host:port; never a password."""
    from edgefreeze import devices, inventory, targets
    from edgefreeze.project import folders

    targets.load(target, folders(inventory.load(), targets_folder))
    found = devices.add(Path.cwd(), name, host, target)
    if as_json:
        output.document("devices add", found)
    elif not quiet:
        click.echo(f"{name} is a {target} at {host}; next: edgefreeze doctor --host {name}")


@command.command("remove", epilog="Example:  edgefreeze devices remove cam1")
@click.argument("name")
@output_options
def remove(name: str, as_json: bool, quiet: bool, debug: bool) -> None:
    """Take a device out of edgefreeze.toml. What is on the device stays: see edgefreeze device purge."""
    from edgefreeze import devices

    found = devices.remove(Path.cwd(), name)
    if as_json:
        output.document("devices remove", found)
    elif not quiet:
        click.echo(f"{name} is no device of {found['path']} any more")


@command.command(
    "discover",
    epilog="""\b
Examples:
  edgefreeze devices discover
  edgefreeze devices discover --network                 and who offers SSH on the local network""",
)
@click.option("--network", is_flag=True, help="Ask the local network, too, by multicast DNS.")
@output_options
def discover(network: bool, as_json: bool, quiet: bool, debug: bool) -> None:
    """The hosts that ~/.ssh/config has names for, and which are devices already. None is logged in to."""
    from edgefreeze import devices, inventory
    from edgefreeze.report import devices as report

    found = devices.discover(inventory.load(), network=network)
    if as_json:
        output.document("devices discover", found)
    else:
        report.print_hosts(output.console(), found)

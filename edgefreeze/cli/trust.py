"""edgefreeze trust."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import device_options, output_options
from edgefreeze.project import Where


@click.group("trust")
def command() -> None:
    """Whose releases a device takes. The policy is kept on the device."""


def _print(name: str, found: Mapping[str, Any], as_json: bool) -> None:
    from edgefreeze.report import trust

    if as_json:
        output.document(name, found)
    else:
        trust.print_trust(output.console(), found)


@command.command("list", epilog="Example:  edgefreeze trust list --host cam1")
@device_options
@output_options
def list_(where: Where, as_json: bool, quiet: bool, debug: bool) -> None:
    """The device's policy, its signers, and who changed either."""
    from edgefreeze import trust

    _print("trust list", trust.show(where.device, options.ask), as_json)


@command.command("add", epilog="Example:  edgefreeze trust add ~/.ssh/id_ed25519.pub --host cam1")
@click.argument("key", metavar="KEY.pub", type=click.Path(path_type=Path))
@device_options
@output_options
def add(key: Path, where: Where, as_json: bool, quiet: bool, debug: bool) -> None:
    """Take releases signed by this key. From the first key on, unsigned ones are refused."""
    from edgefreeze import trust

    _print("trust add", trust.add(where.device, key.expanduser(), options.ask), as_json)


@command.command("remove", epilog="Example:  edgefreeze trust remove SHA256:47DEQpj8 --host cam1")
@click.argument("fingerprint")
@device_options
@output_options
def remove(fingerprint: str, where: Where, as_json: bool, quiet: bool, debug: bool) -> None:
    """Take no more releases signed by this key. Without the last one, none at all are taken."""
    from edgefreeze import trust

    _print("trust remove", trust.remove(where.device, fingerprint, options.ask), as_json)


@command.command("require", epilog="Example:  edgefreeze trust require --host cam1")
@device_options
@output_options
def require(where: Where, as_json: bool, quiet: bool, debug: bool) -> None:
    """Take only releases that are signed by an enrolled key."""
    from edgefreeze import trust

    _print("trust require", trust.decide(where.device, "require", options.ask), as_json)


@command.command("allow-unsigned", epilog="Example:  edgefreeze trust allow-unsigned --host cam1")
@device_options
@output_options
def allow_unsigned(where: Where, as_json: bool, quiet: bool, debug: bool) -> None:
    """Take unsigned releases too, and those of unknown signers."""
    from edgefreeze import trust

    _print("trust allow-unsigned", trust.decide(where.device, "allow-unsigned", options.ask), as_json)

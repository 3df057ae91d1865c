"""edgefreeze targets."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import output_options, targets_option


@click.group("targets")
def command() -> None:
    """The kinds of boards that edgefreeze knows. Each is one TOML file."""


@command.command("list", epilog="Example:  edgefreeze targets list --json")
@targets_option
@output_options
def list_(targets_folder: Path | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """Every target with a line on what it is."""
    from edgefreeze import inventory, targets

    config = inventory.load()
    known = targets.names(options.folders(config, targets_folder))
    found = [(name, targets.read(file).summary, str(file)) for name, file in known.items()]
    if as_json:
        rows = [{"name": name, "summary": summary, "path": path} for name, summary, path in found]
        output.document("targets list", {"targets": rows})
        return
    width = max(len(name) for name, _, _ in found)
    for name, summary, _ in found:
        click.echo(f"{name:<{width}}  {summary}")


@command.command("show", epilog="Example:  edgefreeze targets show pi4")
@click.argument("name")
@targets_option
@output_options
def show(name: str, targets_folder: Path | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """One target, with every default filled in."""
    import msgspec

    from edgefreeze import inventory, targets

    config = inventory.load()
    target = targets.load(name, options.folders(config, targets_folder))
    fields = msgspec.to_builtins(target)
    if as_json:
        output.document("targets show", {"target": fields})
        return
    click.echo(f"# {fields.pop('path')}")
    _toml(fields, "")


def _toml(table: dict[str, object], prefix: str) -> None:
    """Print a table of plain values, tables and lists of tables as TOML."""
    import json

    later: list[tuple[str, object]] = []
    for key, value in table.items():
        if isinstance(value, dict) or (
            isinstance(value, (list, tuple)) and value and isinstance(value[0], dict)
        ):
            later.append((key, value))
        elif value is not None:
            click.echo(f"{key} = {json.dumps(value)}")
    for key, value in later:
        if isinstance(value, dict):
            if value:
                click.echo(f"\n[{prefix}{key}]")
                _toml(value, f"{prefix}{key}.")
        else:
            assert isinstance(value, (list, tuple))
            for entry in value:
                click.echo(f"\n[[{prefix}{key}]]")
                _toml(entry, f"{prefix}{key}.")

"""edgefreeze targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import output_options, targets_option

if TYPE_CHECKING:
    from edgefreeze.targets import Resolved


@click.group("targets")
def command() -> None:
    """The kinds of boards that edgefreeze knows. Each is one TOML file."""


@command.command("list", epilog="Example:  edgefreeze targets list --json")
@targets_option
@output_options
def list_(targets_folder: Path | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """Every target with a line on what it is."""
    from edgefreeze import inventory, project, targets

    folders = project.folders(inventory.load(), targets_folder)
    known = targets.names(folders)
    found = [(name, targets.read(file, folders).target.summary, str(file)) for name, file in known.items()]
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
    """One target, with every default filled in, and where each value comes from."""
    import msgspec

    from edgefreeze import inventory, project, targets

    resolved = targets.resolve(name, project.folders(inventory.load(), targets_folder))
    if as_json:
        fields = {"target": msgspec.to_builtins(resolved.target), "origins": resolved.origins}
        output.document("targets show", fields)
        return
    click.echo(f"# {resolved.target.path}")
    for line in _toml(resolved):
        click.echo(line)


@command.command(
    "check",
    epilog="""\b
Examples:
  edgefreeze targets check                              all that are known here
  edgefreeze targets check my-targets/door-camera.toml""",
)
@click.argument("files", metavar="[FILE]…", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@targets_option
@output_options
def check(
    files: tuple[Path, ...], targets_folder: Path | None, as_json: bool, quiet: bool, debug: bool
) -> None:
    """Whether targets are valid: the FILEs named, or all that are known. The first mistake is told with its
    line."""
    from edgefreeze import inventory, project, targets

    folders = project.folders(inventory.load(), targets_folder)
    chosen = files or tuple(targets.names(folders).values())
    for file in chosen:
        targets.read(file, folders)
        if not quiet and not as_json:
            click.echo(f"{file}: valid")
    if as_json:
        output.document("targets check", {"files": [str(file) for file in chosen]})


@command.command("new", epilog="Example:  edgefreeze targets new door-camera --from-device pi@cam1")
@click.argument("name")
@click.option(
    "--from-device",
    "host",
    metavar="HOST",
    required=True,
    help="The board to look at: a device of edgefreeze.toml, an ssh alias, user@host, or local.",
)
@targets_option
@click.option("--force", is_flag=True, help="Overwrite the file that is there.")
@output_options
def new(
    name: str,
    host: str,
    targets_folder: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Write a target for the board that a device is: what its probe finds, on top of the nearest target."""
    from edgefreeze import drafting, inventory, project
    from edgefreeze.errors import Failure

    config = inventory.load()
    inventory.check_name(name, "NAME")
    folders = project.folders(config, targets_folder)
    folder = targets_folder or (folders[0] if folders else Path())
    file = folder / f"{name}.toml"
    if file.exists() and not force:
        raise Failure("config-exists", f"{file} is there already", next="edit it, or --force")
    made = drafting.from_device(name, config, host, folders, options.ask)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(made.text, encoding="utf-8")
    if as_json:
        output.document("targets new", {"path": str(file.resolve()), "extends": made.extends})
    elif not quiet:
        click.echo(f"wrote {file}; next: edgefreeze targets check {file}")


@command.command("schema", epilog="Example:  edgefreeze targets schema")
@output_options
def schema(as_json: bool, quiet: bool, debug: bool) -> None:
    """The JSON Schema of a target's file, for editors that complete and check TOML."""
    import json

    from edgefreeze import schemas

    if as_json:
        output.document("targets schema", {"json_schema": schemas.target()})
    else:
        click.echo(json.dumps(schemas.target(), indent=2))


def _toml(resolved: Resolved) -> list[str]:
    """A target as TOML, each value with where it comes from in a comment."""
    import msgspec

    fields = msgspec.to_builtins(resolved.target)
    name = fields.pop("name")
    fields.pop("path")
    lines = _table(fields, "", resolved.origins)
    width = min(70, max((len(text) for text, origin in lines if origin), default=0))
    own = {name: "", None: "# default"}

    def line(text: str, origin: str | None) -> str:
        if not text or text.startswith("["):
            return text
        return f"{text:<{width}}  {own.get(origin, f'# {origin}')}".rstrip()

    return [line(text, origin) for text, origin in lines]


def _table(table: dict[str, Any], path: str, origins: dict[str, str]) -> list[tuple[str, str | None]]:
    """(line, where its value comes from) of a table of plain values, tables and lists of tables."""
    import json

    lines: list[tuple[str, str | None]] = []
    later: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict) or (
            isinstance(value, (list, tuple)) and value and isinstance(value[0], dict)
        ):
            later.append((key, value))
        elif value is not None:
            lines.append((f"{key} = {json.dumps(value, ensure_ascii=False)}", origins.get(f"{path}{key}")))
    for key, value in later:
        if isinstance(value, dict):
            if value:
                lines += [("", None), (f"[{path}{key}]", None), *_table(value, f"{path}{key}.", origins)]
        else:
            # A list of tables comes from one file as a whole.
            origin = origins.get(f"{path}{key}", "")
            for entry in value:
                inner = dict.fromkeys(entry, origin)
                lines += [("", None), (f"[[{path}{key}]]", None), *_table(entry, "", inner)]
    return lines

"""edgefreeze release."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefreeze.cli import output
from edgefreeze.cli.model_options import conversion_options, format_option, wish_options
from edgefreeze.cli.options import (
    app_option,
    ask,
    output_options,
    sign_option,
    target_options,
    wheels_option,
)
from edgefreeze.project import app_name, from_config, sources

if TYPE_CHECKING:
    from edgefreeze.building import Wish
    from edgefreeze.conversion import Options
    from edgefreeze.inventory import Config
    from edgefreeze.packing import Brought
    from edgefreeze.progress import Progress
    from edgefreeze.release.manifest import Release
    from edgefreeze.targets import Target


@click.group("release")
def command() -> None:
    """A release as one file, for a device that no cable reaches.

    On the device: python3 -I edgefreeze-device.pyz install FILE
    """


@command.command(
    "pack",
    epilog="""\b
Examples:
  edgefreeze release pack build/doorbell-pi4 doorbell.pack        a release that was built
  edgefreeze release pack saved_model/ doorbell.pack -t pi4       build it first
  edgefreeze release pack build/doorbell-pi4 doorbell.pack --host cam1 --sign ~/.ssh/id_ed25519.pub
                                                                  with the runtimes for a board like cam1""",
)
@click.argument("source", metavar="MODEL|RELEASE", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@target_options
@click.option("--host", metavar="HOST", help="A device of the same kind, for which runtimes go along.")
@app_option
@format_option
@conversion_options
@wish_options
@wheels_option
@sign_option
@output_options
def pack(
    source: Path,
    file: Path,
    config: Config,
    target: Target,
    host: str | None,
    app: str | None,
    options: Options,
    wish: Wish,
    wheels: Path | None,
    sign: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Write a release as one file. It is proved here already, and is proved again where it is installed.

    MODEL is built first, with the same options as `build`; RELEASE is a folder that `build` made.
    """
    from edgefreeze import packing
    from edgefreeze.cli.progress import show
    from edgefreeze.release import signing
    from edgefreeze.release.manifest import load

    key = sign or config.signing_key
    if key is not None:
        signing.require_key(key)
    with show(as_json=as_json, quiet=quiet) as progress, tempfile.TemporaryDirectory() as scratch:
        if (source / "manifest.json").is_file():
            release = load(source)
        else:
            release = _built(source, config, target, app, options, wish, Path(scratch), progress)
        brought = _brought(config, target, host, wheels, release, progress) if host else None
        fields = packing.pack(release, file, key=key, brought=brought, progress=progress)
    _print("release pack", fields, as_json)


def _built(
    model: Path,
    config: Config,
    target: Target,
    app: str | None,
    options: Options,
    wish: Wish,
    folder: Path,
    progress: Progress,
) -> Release:
    from edgefreeze.building import build, wanted_formats

    model, options = from_config(config, model, options, "release pack")
    wanted = wanted_formats(target, wish, options, progress)
    name = app_name(app, config, model)
    return build(
        model, target, app=name, out=folder, progress=progress, wanted=wanted, options=options, wish=wish
    ).release


def _brought(
    config: Config, target: Target, host: str, wheels: Path | None, release: Release, progress: Progress
) -> Brought:
    from edgefreeze import inventory, packing, project

    device = inventory.choose(config, target.name, target.transport, host)
    device = project.with_python(device, target)
    return packing.runtimes_for(device, target, release, progress, ask, sources(config, wheels))


@command.command("unpack", epilog="Example:  edgefreeze release unpack doorbell.pack -o doorbell")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="The folder to be made."
)
@output_options
def unpack(file: Path, out: Path, as_json: bool, quiet: bool, debug: bool) -> None:
    """Check a packed release and write it as a folder. Runtimes that went along are left in the file."""
    from edgefreeze import packing
    from edgefreeze.text import short

    found = packing.unpack(file, out)
    if as_json:
        output.document("release unpack", found)
    else:
        click.echo(f"{found['path']} is release {short(found['release'])}, {_signed(found)}.")


@command.command("show", epilog="Example:  edgefreeze release show doorbell.pack")
@click.argument("file", type=click.Path(path_type=Path))
@output_options
def show_(file: Path, as_json: bool, quiet: bool, debug: bool) -> None:
    """Check a packed release, all of it, and say what is in it."""
    from edgefreeze import packing

    _print("release show", packing.show(file), as_json)


@command.command("helper", epilog="Example:  edgefreeze release helper -o edgefreeze-device.pyz")
@click.option(
    "-o",
    "--output",
    "out",
    default="edgefreeze-device.pyz",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to be written.",
)
@output_options
def helper(out: Path, as_json: bool, quiet: bool, debug: bool) -> None:
    """Write the program that installs packed releases on a device. It needs Python 3.8 or later there."""
    from edgefreeze import packing

    found = packing.write_helper(out)
    if as_json:
        output.document("release helper", found)
    else:
        click.echo(f"{found['path']}: SHA-256 {found['sha256']}")
        click.echo(f"On the device:  python3 -I {out.name} install FILE")


def _signed(found: Mapping[str, Any]) -> str:
    return f"signed by {found['signer']}" if found["signer"] else "unsigned"


def _print(name: str, found: Mapping[str, Any], as_json: bool) -> None:
    from edgefreeze.text import short, size

    if as_json:
        output.document(name, found)
        return
    click.echo(
        f"{found['path']}: {found['app']} {short(found['release'])} for {found['target']}, {_signed(found)}"
    )
    click.echo(f"  formats   {' '.join(found['formats'])}")
    with_ = f"{', '.join(found['runtimes'])} for {found['machine']}, Python {found['python']}"
    click.echo(f"  runtimes  {with_ if found['runtimes'] else 'none: the device must have them'}")
    click.echo(f"  built     {found['created']}, {size(found['bytes'])}")

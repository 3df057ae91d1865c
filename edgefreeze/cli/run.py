"""edgefreeze run."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, device_options, output_options
from edgefreeze.project import Where


@click.command("run", epilog="Example:  edgefreeze run --host cam1 --input digits.npz --output answers.npz")
@device_options
@app_option
@click.option(
    "-i", "--input", "source", required=True, type=click.Path(path_type=Path), help="An .npz of inputs."
)
@click.option(
    "-o", "--output", "result", required=True, type=click.Path(path_type=Path), help="The .npz to write."
)
@click.option("--format", "format_name", metavar="FORMAT", help="Default: the release's first.")
@output_options
def command(
    where: Where,
    app: str | None,
    source: Path,
    result: Path,
    format_name: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Infer on the device with the active release: inputs in, outputs out, both .npz.

    The keys are the signature's input and output names.
    """
    from edgefreeze import operate

    found = operate.infer_file(
        where.device, app or where.config.app, source, result, format_name, options.ask
    )
    if as_json:
        output.document("run", found)
    else:
        shapes = ", ".join(f"{name} {tuple(shape)}" for name, shape in found["outputs"].items())
        told = f"{result}: {shapes}  ({found['format']}, on {found['device']})"
        output.console().print(told, markup=False)

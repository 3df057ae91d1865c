"""edgefreeze build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import output
from edgefreeze.cli.model_options import conversion_options, format_option, wish_options
from edgefreeze.cli.options import app_option, output_options, sign_option, target_options

if TYPE_CHECKING:
    from edgefreeze.building import Wish
    from edgefreeze.conversion import Options
    from edgefreeze.inventory import Config
    from edgefreeze.targets import Target


@click.command(
    "build",
    epilog="""\b
Examples:
  edgefreeze build saved_model/ -t pi4
  edgefreeze build model.keras -t pi4 --format tflite --format tflite:int8 --calibration typical.npz
  edgefreeze build model.keras -t x86 --format onnx:fp16 -o release/
  edgefreeze build -t pi4 --format auto --eval test.npz --max-accuracy-drop 0.5""",
)
@click.argument("model", required=False, type=click.Path(path_type=Path))
@target_options
@app_option
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    help="The folder that becomes the release. Default: build/APP-TARGET.",
)
@format_option
@conversion_options
@wish_options
@sign_option
@output_options
def command(
    model: Path | None,
    config: Config,
    target: Target,
    app: str | None,
    out: Path | None,
    options: Options,
    wish: Wish,
    sign: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Make a release of MODEL for a kind of board, proved here, without a device.

    MODEL is a SavedModel folder, a Keras file, a checkpoint or a frozen graph; default: the one of
    edgefreeze.toml. With nothing changed a second build takes what the first one made.
    """
    from edgefreeze import jobs
    from edgefreeze.cli.progress import show
    from edgefreeze.report import text

    with show(as_json=as_json, quiet=quiet) as progress:
        built = jobs.build(
            model, config, target, app=app, out=out, options=options, wish=wish, sign=sign, progress=progress
        )
    if as_json:
        output.document("build", text.build_fields(built))
    else:
        text.print_build(output.console(), built)

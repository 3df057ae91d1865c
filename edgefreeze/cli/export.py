"""edgefreeze export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import output
from edgefreeze.cli.model_options import complete_format, conversion_options
from edgefreeze.cli.options import output_options

if TYPE_CHECKING:
    from edgefreeze.conversion import Options


@click.command(
    "export",
    epilog="""\b
Examples:
  edgefreeze export model.keras --format tflite -o model.tflite
  edgefreeze export model.keras --format tflite:int8 --calibration typical.npz -o model.int8.tflite
  edgefreeze export saved_model/ --format onnx:fp16 --opset 17 -o model.onnx
  edgefreeze export old.pb --outputs softmax --format saved_model:frozen -o new_saved_model/""",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "wanted",
    required=True,
    metavar="FORMAT[:PRECISION]",
    help="What to make: frozen_pb, saved_model:frozen, tflite, tflite:int8, onnx:fp16, …",
    shell_complete=complete_format,
)
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write, or for a SavedModel the folder.",
)
@conversion_options
@click.option("--opset", type=int, help="ONNX's operator set, 7 to 18. Default: 18.")
@click.option("--allow-unverified", is_flag=True, help="Write it though it could not be proved.")
@click.option("--no-cache", is_flag=True, help="Convert anew though nothing changed.")
@output_options
def command(
    model: Path,
    wanted: str,
    out: Path,
    options: Options,
    opset: int | None,
    allow_unverified: bool,
    no_cache: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Convert MODEL to one format, prove in a fresh process that it computes the same, and write it."""
    import msgspec

    from edgefreeze.cli.progress import show
    from edgefreeze.exporting import export
    from edgefreeze.report import text
    from edgefreeze.targets import Format

    entry = msgspec.structs.replace(Format.of(wanted), opset=opset)
    with show(as_json=as_json, quiet=quiet) as progress:
        made = export(
            model, out, entry, options, progress, allow_unverified=allow_unverified, cache=not no_cache
        )
    if as_json:
        output.document("export", msgspec.to_builtins(made))
    else:
        text.print_export(output.console(), made)

"""edgefreeze deploy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import output
from edgefreeze.cli.bench_options import effort_options, gate_options
from edgefreeze.cli.model_options import conversion_options, format_option, wish_options
from edgefreeze.cli.options import (
    app_option,
    ask,
    device_options,
    output_options,
    rate_option,
    sign_option,
    wheels_option,
)

if TYPE_CHECKING:
    from edgefreeze.benchmark.gates import Gate
    from edgefreeze.benchmark.plan import Effort
    from edgefreeze.building import Wish
    from edgefreeze.conversion import Options
    from edgefreeze.project import Where


@click.command(
    "deploy",
    epilog="""\b
Examples:
  edgefreeze deploy saved_model/                         to this machine
  edgefreeze deploy model.keras -t pi4 --host pi@cam1    to a board over SSH
  edgefreeze deploy -t pi4                               all else from edgefreeze.toml
  edgefreeze deploy -t pi4 --dry-run                     build and plan, send nothing
  edgefreeze deploy -t pi4 --no-tf                       spare the board TensorFlow
  edgefreeze deploy -t pi4 --format auto --calibration typical.npz --eval test.npz --max-accuracy-drop 0.5
                                                         the fastest there that is accurate enough
  edgefreeze deploy -t pi4 --require 'p95<40ms' --max-regress 5%
                                                         or the board goes on with what it runs""",
)
@click.argument("model", required=False, type=click.Path(path_type=Path))
@device_options
@app_option
@format_option
@conversion_options
@wish_options
@click.option("--no-tf", is_flag=True, help="Leave out the formats that need TensorFlow on the board.")
@click.option("--no-bench", is_flag=True, help="Do not measure.")
@effort_options
@gate_options
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the measurement's report: one page.",
)
@rate_option
@wheels_option
@sign_option
@click.option("-n", "--dry-run", is_flag=True, help="Build, prove and plan; send and switch nothing.")
@output_options
def command(
    model: Path | None,
    where: Where,
    app: str | None,
    options: Options,
    wish: Wish,
    no_bench: bool,
    effort: Effort,
    gates: tuple[Gate, ...],
    allow_emulated: bool,
    html: Path | None,
    dry_run: bool,
    rate: int | None,
    wheels: Path | None,
    sign: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Freeze MODEL for a board, prove it, ship it, prove and measure it there, and make it active.

    MODEL is a SavedModel folder, a Keras file or a frozen graph; default: the one of edgefreeze.toml.
    Whatever fails, the device goes on running what it ran.
    """
    from edgefreeze import jobs
    from edgefreeze.cli.progress import show
    from edgefreeze.report import text

    with show(as_json=as_json, quiet=quiet) as progress:
        outcome = jobs.deploy(
            model,
            where,
            app=app,
            options=options,
            wish=wish,
            bench=not no_bench,
            dry_run=dry_run,
            rate=rate,
            wheels=wheels,
            sign=sign,
            effort=effort,
            gates=gates,
            allow_emulated=allow_emulated,
            html=html,
            progress=progress,
            ask=ask,
        )
    if as_json:
        output.document("deploy", text.deploy_fields(outcome))
    else:
        text.print_deploy(output.console(), outcome)

"""edgefreeze bench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import output
from edgefreeze.cli.bench_options import effort_options, gate_options
from edgefreeze.cli.model_options import format_option, sweep_options, wish_options
from edgefreeze.cli.options import app_option, ask, device_options, output_options, sign_option

if TYPE_CHECKING:
    from edgefreeze.benchmark.gates import Gate
    from edgefreeze.benchmark.plan import Effort
    from edgefreeze.building import Wish
    from edgefreeze.conversion import Options
    from edgefreeze.project import Where


@click.command(
    "bench",
    epilog="""\b
Examples:
  edgefreeze bench --host cam1                           what is active there
  edgefreeze bench saved_model/ -t pi4 --host cam1       a model: sent, measured, and gone again
  edgefreeze bench release/ --host cam1 --format tflite --min-samples 1000 --html report.html
  edgefreeze bench --host cam1 --threads 1,2,4 --fixed-rate 30
  edgefreeze bench saved_model/ -t pi4 --host cam1 --batch 1,8 --html report.html
  edgefreeze bench --host cam1 --require 'p95<40ms' --require 'rss<300MB'
                                                         exit status 6 where that is not shown""",
)
@click.argument("source", metavar="[MODEL|RELEASE]", required=False, type=click.Path(path_type=Path))
@device_options
@app_option
@format_option
@effort_options
@gate_options
@click.option(
    "--profile",
    is_flag=True,
    help="How long each operation takes: TensorFlow's frozen graphs, ONNX Runtime, LiteRT from 2.2 on.",
)
@click.option(
    "--set-governor", "governor", metavar="NAME", help="Set the clock's governor meanwhile, as root there."
)
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report: one page, no network."
)
@sweep_options
@wish_options
@click.option("--no-tf", is_flag=True, help="Leave out the formats that need TensorFlow on the board.")
@sign_option
@output_options
def command(
    source: Path | None,
    where: Where,
    app: str | None,
    options: Options,
    batches: tuple[int, ...],
    wish: Wish,
    effort: Effort,
    gates: tuple[Gate, ...],
    allow_emulated: bool,
    profile: bool,
    governor: str | None,
    html: Path | None,
    sign: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Measure on a device, beside each other, every format of a model or release.

    Without MODEL or RELEASE it is what is active there. Nothing becomes active: what is sent for this is gone
    again afterwards. The result is kept (edgefreeze results list). The exit status is 6 where --require or
    --max-regress is not met.
    """
    from edgefreeze import benching, jobs
    from edgefreeze.cli.progress import show
    from edgefreeze.report import duel

    outcomes = []
    with show(as_json=as_json, quiet=quiet) as progress:
        for batch in batches or (None,):
            page = html
            if html is not None and len(batches) > 1:
                page = html.with_stem(f"{html.stem}-batch{batch}")
            outcome = jobs.bench(
                source,
                where,
                app=app,
                options=replace(options, batch=batch),
                wish=wish,
                effort=effort,
                gates=gates,
                allow_emulated=allow_emulated,
                profile=profile,
                governor=governor,
                sign=sign,
                html=page,
                progress=progress,
                ask=ask,
            )
            outcomes.append(outcome)
            if not as_json:
                duel.print_bench(output.console(), outcome)
    fields = benching.fields(outcomes[0])
    if len(outcomes) > 1:
        fields["batches"] = [benching.fields(outcome) for outcome in outcomes]
    for outcome in outcomes:
        failure = benching.failure(outcome, where.device.name)
        if failure is not None:
            failure.fields = fields
            raise failure
    if as_json:
        output.document("bench", fields)

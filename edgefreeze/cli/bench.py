"""edgefreeze bench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import output
from edgefreeze.cli.bench_options import effort_options, gate_options, write_html
from edgefreeze.cli.model_options import conversion_options, format_option, from_config, wish_options
from edgefreeze.cli.options import (
    Where,
    app_name,
    app_option,
    ask,
    device_options,
    output_options,
    sign_option,
    sources,
)

if TYPE_CHECKING:
    from edgefreeze.benchmark.gates import Gate
    from edgefreeze.benchmark.plan import Effort
    from edgefreeze.building import Wish
    from edgefreeze.conversion import Options


@click.command(
    "bench",
    epilog="""\b
Examples:
  edgefreeze bench --host cam1                           what is active there
  edgefreeze bench saved_model/ -t pi4 --host cam1       a model: sent, measured, and gone again
  edgefreeze bench release/ --host cam1 --format tflite --min-samples 1000 --html report.html
  edgefreeze bench --host cam1 --threads 1,2,4 --fixed-rate 30
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
@conversion_options
@wish_options
@click.option("--no-tf", is_flag=True, help="Leave out the formats that need TensorFlow on the board.")
@sign_option
@output_options
def command(
    source: Path | None,
    where: Where,
    app: str | None,
    options: Options,
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
    from edgefreeze import benching
    from edgefreeze.cli.progress import show
    from edgefreeze.report import duel

    if source is not None:
        _, options = from_config(where.config, source, options, "bench")
    request = benching.Request(
        source=source,
        app=app_name(app, where.config, source) if source is not None else app or where.config.app,
        target=where.target,
        device=where.device,
        options=options,
        wish=wish,
        effort=replace(effort, batch=options.batch),
        gates=gates,
        allow_emulated=allow_emulated,
        profile=profile,
        governor=governor,
        sign=sign or where.config.signing_key,
        sources=sources(where.config),
    )
    with show(as_json=as_json, quiet=quiet) as progress:
        outcome = benching.bench(request, progress, ask)
    if html is not None:
        write_html(html, outcome.result, outcome.gates)
    fields = benching.fields(outcome)
    failure = benching.failure(outcome, where.device.name)
    if not as_json:
        duel.print_bench(output.console(), outcome)
    if failure is not None:
        failure.fields = fields
        raise failure
    if as_json:
        output.document("bench", fields)

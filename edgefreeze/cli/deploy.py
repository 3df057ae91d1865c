"""edgefreeze deploy."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import Where, app_option, device_options, output_options


@click.command(
    "deploy",
    epilog="""\b
Examples:
  edgefreeze deploy saved_model/                         to this machine
  edgefreeze deploy model.keras -t pi4 --host pi@cam1    to a board over SSH
  edgefreeze deploy -t pi4                               all else from edgefreeze.toml
  edgefreeze deploy -t pi4 --dry-run                     build and plan, send nothing
  edgefreeze deploy -t pi4 --no-tf                       spare the board TensorFlow""",
)
@click.argument("model", required=False, type=click.Path(path_type=Path))
@device_options
@app_option
@click.option(
    "--format", "formats", multiple=True, metavar="FORMAT", help="Only this format; may be repeated."
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="An .npz of inputs to prove with. Default: drawn inputs.",
)
@click.option(
    "--eval",
    "evaluation",
    type=click.Path(path_type=Path),
    help="An .npz of inputs, and true classes under 'label': measure accuracy on the device.",
)
@click.option("--signature", metavar="NAME", help="The SavedModel's signature. Default: serving_default.")
@click.option("--no-tf", is_flag=True, help="Leave out the formats that need TensorFlow on the board.")
@click.option("--no-bench", is_flag=True, help="Do not measure.")
@click.option("-n", "--dry-run", is_flag=True, help="Build, prove and plan; send and switch nothing.")
@output_options
def command(
    model: Path | None,
    where: Where,
    app: str | None,
    formats: tuple[str, ...],
    samples: Path | None,
    evaluation: Path | None,
    signature: str | None,
    no_tf: bool,
    no_bench: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Freeze MODEL for a board, prove it, ship it, prove and measure it there, and make it active.

    MODEL is a SavedModel folder, a Keras file or a frozen graph; default: the one of edgefreeze.toml.
    Whatever fails, the device goes on running what it ran.
    """
    from edgefreeze.cli.progress import show
    from edgefreeze.deploy import Request, deploy
    from edgefreeze.errors import Failure
    from edgefreeze.report import text

    config = where.config
    if model is None:
        if config.model is None:
            raise Failure(
                "model-missing",
                "no model was named",
                expected="edgefreeze deploy MODEL, or model = … in edgefreeze.toml",
                next="edgefreeze init",
            )
        model = config.path(config.model)
    if samples is None and config.samples:
        samples = config.path(config.samples)
    request = Request(
        model=model,
        app=options.app_name(app, config, model),
        target=where.target,
        device=where.device,
        formats=formats,
        samples=samples,
        signature=signature or config.signature,
        evaluation=evaluation,
        bench=not no_bench,
        no_tf=no_tf,
        dry_run=dry_run,
    )
    with show(as_json=as_json, quiet=quiet) as progress:
        outcome = deploy(request, progress, options.ask)
    if as_json:
        output.document("deploy", text.deploy_fields(outcome))
    else:
        text.print_deploy(output.console(), outcome)

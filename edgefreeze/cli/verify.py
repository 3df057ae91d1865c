"""edgefreeze verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import app_option, on_options, output_options, side_options

if TYPE_CHECKING:
    from edgefreeze.difference.verifying import Comparison
    from edgefreeze.project import Where


@click.command(
    "verify",
    epilog="""\b
Examples:
  edgefreeze verify model.tflite --against saved_model/
  edgefreeze verify model.onnx --against model.pb --samples inputs.npz
  edgefreeze verify release/ --format tflite --against model.keras --tolerance 1e-3
  edgefreeze verify model.tflite --on cam1 --against saved_model/
  edgefreeze verify --on cam1 --app demo --against saved_model/""",
)
@click.argument("a", metavar="[A]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--against",
    "b",
    metavar="B",
    required=True,
    type=click.Path(path_type=Path),
    help="The reference: a model, an artifact or a release folder, as A is.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="Inputs to compare on: .npz, .npy, a folder of files, JSON lines. Default: drawn.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, max=1),
    help="Largest error that passes, relative to the range of B's output. Default: by the formats.",
)
@on_options
@app_option
@side_options
@output_options
def command(
    a: Path | None,
    b: Path,
    on: Where | None,
    app: str | None,
    samples: Path | None,
    tolerance: float | None,
    signature: str | None,
    format_name: str | None,
    outputs: tuple[str, ...],
    inputs: tuple[str, ...],
    trust: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Compare what A computes with what B computes, each in its own runtime, in a fresh process.

    Outputs are matched by name, else by shape with a warning. The exit status is 0 where they are equal
    within the tolerance, 6 where they are not.

    With --on A runs on a device and B here. A is sent for it and is gone again afterwards; without A it is
    the active release of the app there.
    """
    import msgspec

    from edgefreeze import jobs
    from edgefreeze.cli.progress import show
    from edgefreeze.difference import sides, verifying

    choice = sides.Choice(
        signature=signature, format=format_name, outputs=outputs, inputs=inputs, trust=trust
    )
    with show(as_json=as_json, quiet=quiet) as progress:
        found = jobs.verify(
            a, b, choice, on=on, app=app, samples=samples, tolerance=tolerance, progress=progress,
            ask=options.ask,
        )  # fmt: skip
    if not as_json and not quiet:
        _tell(found)
    if not found.equal:
        raise verifying.failure(found, a)
    if as_json:
        output.document("verify", msgspec.to_builtins(found))


def _tell(found: Comparison) -> None:
    """The comparison for a person."""
    from rich.markup import escape

    from edgefreeze.text import clean

    console = output.console()
    console.print(
        f"[bold]{escape(clean(found.a))}[/] beside [bold]{escape(clean(found.b))}[/], {found.inputs}",
        style=None,
    )
    for entry in found.outputs:
        mark = "[green]equal[/]  " if entry.equal else "[red]differs[/]"
        name = entry.name if entry.other in ("", entry.name) else f"{entry.name} ({entry.other})"
        top1 = "" if entry.top1 is None else f"  top-1 {entry.top1:.1%}"
        sqnr = "" if entry.sqnr_db is None else f"  SQNR {entry.sqnr_db:.1f} dB"
        console.print(
            f"  {mark} {escape(clean(name))}  error {entry.max_rel:.3g} of the range (at most "
            f"{entry.tolerance:g})  cosine {entry.cosine:.6f}{top1}{sqnr}"
        )
        if entry.worst is not None:
            at = ", ".join(map(str, entry.worst.index))
            console.print(
                f"          [dim]worst at [{at}] of case {entry.worst.case}: {entry.worst.found} where "
                f"{entry.worst.expected} is expected[/]".replace("[" + at, r"\[" + at)
            )
    for warning in found.warnings:
        console.print(f"  [yellow]note[/] {escape(clean(warning))}")

"""edgefreeze bisect."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import on_options, output_options, side_options
from edgefreeze.errors import Failure

if TYPE_CHECKING:
    from edgefreeze.difference.bisecting import Bisection
    from edgefreeze.project import Where


@click.command(
    "bisect",
    epilog="""\b
Examples:
  edgefreeze bisect model.tflite saved_model/
  edgefreeze bisect old.pb new.pb --outputs softmax --samples inputs.npz
  edgefreeze bisect release/ model.keras --format onnx -o parted/
  edgefreeze bisect model.tflite --on cam1""",
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", metavar="[B]", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bisect"),
    show_default=True,
    help="Folder for the node's values and the smallest graph that shows it.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="Inputs to compare on; the first call is used. Default: drawn.",
)
@click.option(
    "--noise",
    type=click.FloatRange(min=0, max=1),
    help="Differences up to this are rounding: root mean square over the tensor's deviation. "
    "Default: 2e-5, or 0.1 beside a quantised model.",
)
@on_options
@side_options
@output_options
def command(
    a: Path,
    b: Path | None,
    on: Where | None,
    out: Path,
    samples: Path | None,
    noise: float | None,
    signature: str | None,
    format_name: str | None,
    outputs: tuple[str, ...],
    inputs: tuple[str, ...],
    trust: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Find the first node at which A and B part, and say why.

    All inner tensors of both are computed in one go and compared in the order of A's graph. The node, its
    inputs, both outputs and a graph of just that part are written to a folder.

    With --on A runs on a device and B here; without B that is A itself, in both places.
    """
    import msgspec

    from edgefreeze import jobs
    from edgefreeze.cli.progress import show
    from edgefreeze.difference import bisecting, sides

    choice = sides.Choice(
        signature=signature, format=format_name, outputs=outputs, inputs=inputs, trust=trust
    )
    if b is None and on is None:
        raise Failure("usage", "bisect A against what?", expected="B, or A on a device as well: --on HOST")
    left, right = sides.side(a, choice), sides.side(b or a, choice)
    with show(as_json=as_json, quiet=quiet) as progress, contextlib.ExitStack() as stack:
        place = stack.enter_context(jobs.on_device(on, progress, options.ask)) if on is not None else None
        found = bisecting.bisect(left, right, samples, out, noise, progress, place)
    if as_json:
        output.document("bisect", msgspec.to_builtins(found))
    else:
        _tell(found)


def _tell(found: Bisection) -> None:
    """The result for a person."""
    from rich.markup import escape

    from edgefreeze.text import clean

    console = output.console()
    parting = found.parting
    if parting is None:
        console.print(
            f"[bold green]{escape(clean(found.a))} and {escape(clean(found.b))} do not part[/] "
            f"on these inputs: {found.compared} tensors compared"
        )
        console.print("  [dim]other inputs may show more: --samples takes those that matter to you[/]")
    else:
        if found.equal:
            console.print("On these inputs their outputs agree; within they do not.")
        console.print(f"They part at [bold]{escape(clean(parting.node))}[/] ({parting.operation}):")
        how = {"seen": "", "tried": " (tried: with that one change both agree)", "likely": " (likely)"}
        console.print(f"  {escape(clean(parting.cause.sentence))}{how[parting.cause.how]}.")
        size = "another shape" if parting.max_rel is None else f"{parting.max_rel:.3g} of the range"
        console.print(f"  first output that differs: {escape(clean(parting.output))}, by {size}")
        for fed in parting.inputs:
            state = "not compared" if fed.noise is None else f"differs by {fed.noise:.1g}"
            console.print(f"  [dim]fed with {escape(clean(fed.a))}, which {state}[/]")
        if parting.later:
            console.print(f"  [dim]{parting.later} tensors behind it differ too[/]")
    for path in found.files:
        console.print(f"  written: {escape(path)}")
    for warning in found.warnings:
        console.print(f"  [yellow]note[/] {escape(clean(warning))}")

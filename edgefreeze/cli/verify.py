"""edgefreeze verify."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefreeze.cli import options, output
from edgefreeze.cli.options import Where, app_option, on_options, output_options, side_options
from edgefreeze.errors import Failure

if TYPE_CHECKING:
    from edgefreeze.difference.places import There
    from edgefreeze.difference.sides import Artifact, Choice, Model
    from edgefreeze.difference.verifying import Comparison
    from edgefreeze.progress import Progress


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

    from edgefreeze.cli.progress import show
    from edgefreeze.difference import sides, verifying

    if a is None and on is None:
        raise Failure("usage", "verify what?", expected="A, or the app on a device: --on HOST")
    if a is not None and app is not None:
        raise Failure("usage", "--app is what runs on a device already, and A is something else")

    choice = sides.Choice(
        signature=signature, format=format_name, outputs=outputs, inputs=inputs, trust=trust
    )
    right = sides.side(b, replace(choice, format=None) if on else choice)
    with show(as_json=as_json, quiet=quiet) as progress, _left(a, choice, on, app, progress) as left:
        found = verifying.verify(left, right, samples, tolerance, progress)
    fields: dict[str, Any] = msgspec.to_builtins(found)
    if not as_json and not quiet:
        _tell(found)
    if not found.equal:
        failure = verifying.failure(found, a)
        failure.fields = fields
        raise failure
    if as_json:
        output.document("verify", fields)


@contextlib.contextmanager
def _left(
    a: Path | None, choice: Choice, on: Where | None, app: str | None, progress: Progress
) -> Iterator[Model | Artifact]:
    """A: a file here, a file on a device, or what runs there."""
    from edgefreeze import operate
    from edgefreeze.difference import sides

    if on is None:
        assert a is not None
        yield sides.side(a, choice)
        return
    with on_device(on, progress) as place:
        if a is not None:
            yield sides.on_device(a, choice, place)
            return
        name = operate.only_app(place.helper, app or on.config.app)
        with sides.of_app(place.helper, name, None, choice.format, on.target.bench.threads) as running:
            yield running


@contextlib.contextmanager
def on_device(on: Where, progress: Progress) -> Iterator[There]:
    """The device, connected and looked at."""
    from edgefreeze.difference import places
    from edgefreeze.transport.client import connect

    progress.step("connect", f"connecting to {on.device.name}")
    with connect(on.device, options.ask) as helper:
        yield places.there(helper, on.target, progress, options.sources(on.config))


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

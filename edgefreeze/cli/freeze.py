"""edgefreeze freeze."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import output_options


@click.command(
    "freeze",
    epilog="""\b
Examples:
  edgefreeze freeze saved_model/ -o model.pb
  edgefreeze freeze model.keras -o model.pb --batch 1 --optimize safe""",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="The .pb to write."
)
@click.option("--signature", metavar="NAME", help="The SavedModel's signature. Default: serving_default.")
@click.option(
    "--samples", type=click.Path(path_type=Path), help="An .npz of inputs to prove with. Default: drawn."
)
@click.option("--batch", type=click.IntRange(min=1), help="Fix the batch dimension.")
@click.option(
    "--optimize",
    type=click.Choice(["none", "safe"]),
    default="none",
    show_default=True,
    help="safe: prune the graph and fold constants, and compare again.",
)
@output_options
def command(
    model: Path,
    out: Path,
    signature: str | None,
    samples: Path | None,
    batch: int | None,
    optimize: str,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Freeze MODEL into one GraphDef and prove in a fresh process that it computes the same.

    Its inputs and outputs carry the signature's names.
    """
    import msgspec

    from edgefreeze.cli.progress import show
    from edgefreeze.freeze import freeze

    with show(as_json=as_json, quiet=quiet) as progress:
        frozen = freeze(
            model, out, progress, signature=signature, samples=samples, batch=batch, optimize=optimize
        )
    if as_json:
        output.document("freeze", msgspec.to_builtins(frozen))
        return
    console = output.console()
    worst = f"{frozen.parity.max_rel:.1e} of the output's range" if frozen.parity else "not compared"
    console.print(f"[bold green]{frozen.path}[/] is frozen and equal to the model (largest error {worst}).")
    for kind, tensors in (("feed", frozen.inputs), ("fetch", frozen.outputs)):
        for tensor in tensors:
            shape = (
                "?" if tensor.shape is None else "×".join("?" if d is None else str(d) for d in tensor.shape)
            )
            console.print(f"  {kind:<5} {tensor.tensor}  {tensor.dtype} {shape}")
    console.print(f"[dim]proved on {frozen.golden}[/]")

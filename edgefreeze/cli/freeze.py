"""edgefreeze freeze."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import names_callback, output_options

if TYPE_CHECKING:
    from edgefreeze.freezing import Frozen


@click.command(
    "freeze",
    epilog="""\b
Examples:
  edgefreeze freeze saved_model/ -o model.pb
  edgefreeze freeze model.keras -o model.pb --batch 1 --optimize safe
  edgefreeze freeze model.ckpt -o model.pb --outputs softmax
  edgefreeze freeze old.pb -o new.pb --inputs image --outputs logits:0
  edgefreeze freeze kws.pb -o model.pb --samples wav_files/""",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="The .pb to write."
)
@click.option("--signature", metavar="NAME", help="The SavedModel's signature. Default: serving_default.")
@click.option(
    "--tags",
    metavar="TAG,…",
    multiple=True,
    callback=names_callback,
    help="The SavedModel's tags. Default: serve.",
)
@click.option(
    "--inputs",
    metavar="NAME,…",
    multiple=True,
    callback=names_callback,
    help="Nodes to feed: node or node:i.",
)
@click.option(
    "--outputs",
    metavar="NAME,…",
    multiple=True,
    callback=names_callback,
    help="Nodes to fetch: node or node:i.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="Inputs to prove with: .npz, .npy, a folder of files, JSON lines. Default: drawn.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Fix the batch dimension.")
@click.option(
    "--optimize",
    type=click.Choice(["none", "safe", "max"]),
    default="none",
    show_default=True,
    help="Fold constants and tidy; max: fold batch norms and strip debug nodes as well.",
)
@click.option("--no-verify", is_flag=True, help="Write it unproved; its status is then 'unverified'.")
@click.option(
    "--custom-objects",
    metavar="MODULE:NAME,…",
    multiple=True,
    callback=names_callback,
    help="Classes of your own that a Keras model uses.",
)
@click.option("--trust", is_flag=True, help="Let code run that the model brings (Lambda layers, pickles).")
@click.option("--hoist-state", is_flag=True, help="Make variables that the model changes inputs and outputs.")
@output_options
def command(
    model: Path, out: Path, no_verify: bool, as_json: bool, quiet: bool, debug: bool, **given: Any
) -> None:
    """Freeze MODEL into one GraphDef and prove in a fresh process that it computes the same.

    Its inputs and outputs carry the signature's names.
    """
    import msgspec

    from edgefreeze.cli.progress import show
    from edgefreeze.errors import Failure
    from edgefreeze.freezing import Options, freeze, status_of

    options = Options(verify=not no_verify, **given)
    try:
        with show(as_json=as_json, quiet=quiet) as progress:
            frozen = freeze(model, out, options, progress)
    except Failure as failure:
        status = status_of(failure)
        failure.fields = {"status": status} if status else {}
        raise
    if as_json:
        output.document("freeze", msgspec.to_builtins(frozen))
    else:
        _tell(frozen)


def _tell(frozen: Frozen) -> None:
    """The result for a person."""
    console = output.console()
    if frozen.parity:
        worst = f"{frozen.parity.max_rel:.1e} of the output's range"
        console.print(
            f"[bold green]{frozen.path}[/] is frozen and equal to the model (largest error {worst})."
        )
    else:
        console.print(f"[bold yellow]{frozen.path}[/] is unverified: it loads, and nothing was compared.")
    for kind, tensors in (("feed", frozen.inputs), ("fetch", frozen.outputs)):
        for tensor in tensors:
            shape = (
                "?" if tensor.shape is None else "×".join("?" if d is None else str(d) for d in tensor.shape)
            )
            console.print(f"  {kind:<5} {tensor.tensor}  {tensor.dtype} {shape}")
    for name in frozen.init_ops:
        console.print(f"  run once after loading  {name}")
    for state in frozen.states:
        console.print(f"  state {state.variable}: feed {state.input} with the last call's {state.output}")
    for effect in frozen.passes:
        kept = "kept" if effect.kept else f"not kept: {effect.reason}"
        console.print(
            f"[dim]  {effect.name}: {effect.nodes[0]} → {effect.nodes[1]} nodes, {effect.bytes[0]} → "
            f"{effect.bytes[1]} bytes, {effect.ms[0]:.3g} → {effect.ms[1]:.3g} ms ({kept})[/]"
        )
    console.print(f"[dim]proved on {frozen.golden}[/]" if frozen.parity else f"[dim]{frozen.golden}[/]")

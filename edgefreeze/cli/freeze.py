"""edgefreeze freeze."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import output
from edgefreeze.cli.model_options import source_options
from edgefreeze.cli.options import output_options

if TYPE_CHECKING:
    from edgefreeze.conversion import Options
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
@source_options
@click.option("--no-verify", is_flag=True, help="Write it unproved; its status is then 'unverified'.")
@output_options
def command(
    model: Path,
    out: Path,
    options: Options,
    no_verify: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Freeze MODEL into one GraphDef and prove in a fresh process that it computes the same.

    Its inputs and outputs carry the signature's names.
    """
    import msgspec

    from edgefreeze.cli.progress import show
    from edgefreeze.errors import Failure
    from edgefreeze.freezing import freeze, status_of

    options = replace(options, verify=not no_verify)
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
    from edgefreeze.report.markup import marked

    console = output.console()
    if frozen.parity:
        worst = f"{frozen.parity.max_rel:.1e} of the output's range"
        told = "[bold green]{}[/] is frozen and equal to the model (largest error {})."
        console.print(marked(told, frozen.path, worst))
    else:
        told = "[bold yellow]{}[/] is unverified: it loads, and nothing was compared."
        console.print(marked(told, frozen.path))
    for kind, tensors in (("feed", frozen.inputs), ("fetch", frozen.outputs)):
        for tensor in tensors:
            shape = (
                "?" if tensor.shape is None else "×".join("?" if d is None else str(d) for d in tensor.shape)
            )
            console.print(f"  {kind:<5} {tensor.tensor}  {tensor.dtype} {shape}", markup=False)
    for name in frozen.init_ops:
        console.print(f"  run once after loading  {name}", markup=False)
    for state in frozen.states:
        told = f"  state {state.variable}: feed {state.input} with the last call's {state.output}"
        console.print(told, markup=False)
    for effect in frozen.passes:
        kept = "kept" if effect.kept else f"not kept: {effect.reason}"
        told = "[dim]  {}: {} → {} nodes, {} → {} bytes, {:.3g} → {:.3g} ms ({})[/]"
        console.print(marked(told, effect.name, *effect.nodes, *effect.bytes, *effect.ms, kept))
    console.print(marked("[dim]proved on {}[/]" if frozen.parity else "[dim]{}[/]", frozen.golden))

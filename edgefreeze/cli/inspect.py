"""edgefreeze inspect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import names_callback, output_options, targets_option

if TYPE_CHECKING:
    from edgefreeze.inspection.graph import Graph
    from edgefreeze.inspection.report import Inspection


@click.command(
    "inspect",
    epilog="""\b
Examples:
  edgefreeze inspect saved_model/
  edgefreeze inspect old.pb
  edgefreeze inspect model.tflite --dot model.dot
  edgefreeze inspect model.keras --target pi4 --json""",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-t",
    "--target",
    "wanted",
    metavar="TARGET,…",
    multiple=True,
    callback=names_callback,
    help="Judge it for these targets. Default: all.",
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
    "--outputs",
    metavar="NAME,…",
    multiple=True,
    callback=names_callback,
    help="Outputs of a graph that names none. Default: the likeliest.",
)
@click.option("--netron", is_flag=True, help="Open it in Netron, where that is installed.")
@click.option(
    "--tensorboard",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write its graph for TensorBoard.",
)
@click.option(
    "--dot",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write its layers as a graph for Graphviz.",
)
@targets_option
@output_options
def command(
    model: Path,
    wanted: tuple[str, ...],
    signature: str | None,
    tags: tuple[str, ...],
    outputs: tuple[str, ...],
    netron: bool,
    tensorboard: Path | None,
    dot: Path | None,
    targets_folder: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Show what is in MODEL, read from its file alone: nothing in it runs, and TensorFlow is not loaded.

    Inputs and outputs, weights, operations, cost, state; for each target and format whether it would work
    and which operation stands in the way; which format serves the target best, and why.
    """
    import msgspec

    from edgefreeze import inventory, targets
    from edgefreeze.inspection import report
    from edgefreeze.project import folders

    places = folders(inventory.load(), targets_folder)
    chosen = [targets.load(name, places) for name in wanted or targets.names(places)]
    found, graph = report.inspect(model, chosen, signature=signature, tags=tags or None, outputs=outputs)
    written = {}
    if dot is not None:
        written["dot"] = str(_write_dot(dot, found, graph))
    if tensorboard is not None:
        written["tensorboard"] = str(_write_events(tensorboard, model, graph))
    if as_json:
        output.document("inspect", {**msgspec.to_builtins(found), "written": written})
    elif not quiet:
        from edgefreeze.report import inspection as text

        for line in text.lines(found):
            output.console().print(line)
        for path in written.values():
            output.console().print(f"written: {path}")
    if netron:
        _open_netron(model)


def _write_dot(path: Path, found: Inspection, graph: Graph | None) -> Path:
    from edgefreeze.inspection import report

    def write() -> Path:
        path.write_text(report.to_dot(found, graph), "utf-8")
        return path

    return _writing(path, write)


def _write_events(folder: Path, model: Path, graph: Graph | None) -> Path:
    from edgefreeze.errors import Failure
    from edgefreeze.inspection import tensorboard

    if graph is None:
        raise Failure(
            "usage",
            f"{model} has layers and no graph of operations to show in TensorBoard.",
            expected="a SavedModel, a frozen graph, a checkpoint, a .tflite or an .onnx file",
            found=str(model),
            next="edgefreeze freeze MODEL -o model.pb, then inspect that",
        )
    return _writing(folder, lambda: tensorboard.write(graph, folder))


def _writing(path: Path, write: Callable[[], Path]) -> Path:
    from edgefreeze.errors import Failure

    try:
        return write()
    except OSError as error:
        raise Failure(
            "config-value", f"{path} cannot be written: {error.strerror}", found=str(path)
        ) from None


def _open_netron(model: Path) -> None:
    """Netron serves the model to a browser until it is interrupted."""
    import shutil
    import subprocess

    from edgefreeze.errors import Failure

    program = shutil.which("netron")
    if program is None:
        raise Failure(
            "netron-missing",
            "Netron is not installed, or not on the PATH.",
            expected="a program named netron",
            found="none",
            next="pip install netron, or drop the file on its page in a browser",
        )
    shown = model / "saved_model.pb" if (model / "saved_model.pb").is_file() else model
    subprocess.run([program, "--browse", str(shown)], check=False)

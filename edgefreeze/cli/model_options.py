"""Options about a model and its conversion that several commands share, and the values they become."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefreeze import formats
from edgefreeze.cli.options import counts, names_callback
from edgefreeze.errors import Failure

if TYPE_CHECKING:
    from edgefreeze.building import Wish
    from edgefreeze.conversion import Options

Command = Callable[..., Any]


def _tolerances(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for given in value:
        name, equals, number = given.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = -1.0
        if not equals or not name or not 0 <= found[name] <= 1:
            raise click.BadParameter(f"{given!r} is not OUTPUT=ERROR with an error from 0 to 1", ctx, param)
    return found


_BATCH = click.option("--batch", type=click.IntRange(min=1), help="Fix the batch dimension.")
_BATCHES = click.option(
    "--batch",
    "batches",
    metavar="N,…",
    callback=counts(65_536),
    help="Fix the batch dimension; with several a duel for each.",
)
_SOURCE = (
    click.option("--signature", metavar="NAME", help="The SavedModel's signature. Default: serving_default."),
    click.option(
        "--tags",
        metavar="TAG,…",
        multiple=True,
        callback=names_callback,
        help="The SavedModel's tags. Default: serve.",
    ),
    click.option(
        "--inputs",
        metavar="NAME,…",
        multiple=True,
        callback=names_callback,
        help="Nodes to feed: node or node:i.",
    ),
    click.option(
        "--outputs",
        metavar="NAME,…",
        multiple=True,
        callback=names_callback,
        help="Nodes to fetch: node or node:i.",
    ),
    click.option(
        "--samples",
        type=click.Path(path_type=Path),
        help="Inputs to prove with: .npz, .npy, a folder of files, JSON lines. Default: drawn.",
    ),
    _BATCH,
    click.option(
        "--optimize",
        type=click.Choice(["none", "safe", "max"]),
        help="Fold constants and tidy; max: fold batch norms and strip debug nodes as well. Default: that of "
        "the target, where the command has one; else none.",
    ),
    click.option(
        "--custom-objects",
        metavar="MODULE:NAME,…",
        multiple=True,
        callback=names_callback,
        help="Classes of your own that a Keras model uses.",
    ),
    click.option(
        "--trust", is_flag=True, help="Let code run that the model brings (Lambda layers, pickles)."
    ),
    click.option(
        "--hoist-state", is_flag=True, help="Make variables that the model changes inputs and outputs."
    ),
)
_CONVERSION = (
    click.option(
        "--calibration",
        type=click.Path(path_type=Path),
        help="Typical inputs, for int8: .npz, .npy, a folder of images. 100 to 500 are usual.",
    ),
    click.option(
        "--tolerance",
        "tolerances",
        metavar="OUTPUT=ERROR",
        multiple=True,
        callback=_tolerances,
        help="Largest error of an output, relative to its range. Default: the target's for the precision.",
    ),
    click.option(
        "--normalise",
        type=click.Choice(["0..1", "-1..1", "0..255", "imagenet"]),
        help="How the model wants pixels, where images are read. Default: 0..1, and 0..255 for integers.",
    ),
    click.option(
        "--labels",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Names of the classes, one a line; they go along with the artifacts.",
    ),
    click.option(
        "--select-ops",
        is_flag=True,
        help="Let TFLite use TensorFlow's own operations, which few runtimes can run.",
    ),
)
_WISH = (
    click.option(
        "--eval",
        "evaluation",
        type=click.Path(path_type=Path),
        help="An .npz of inputs, and true classes under 'label'; or images, a folder for each class.",
    ),
    click.option(
        "--max-accuracy-drop",
        type=click.FloatRange(min=0, max=100),
        metavar="POINTS",
        help="Points of accuracy that an artifact may lose on the --eval data.",
    ),
    click.option("--opset", type=int, help="ONNX's operator set, 7 to 18. Default: the target's, or 18."),
    click.option(
        "--allow-unverified", is_flag=True, help="Take what could not be proved, too; the history says so."
    ),
    click.option("--no-cache", is_flag=True, help="Convert anew though nothing changed."),
)


def format_option(function: Command) -> Command:
    """--format, several times."""
    return click.option(
        "--format",
        "formats",
        metavar="FORMAT[:PRECISION]",
        multiple=True,
        help="Only this format, such as tflite:int8; may be repeated. auto: all that could be fastest. "
        "Default: the target's.",
        shell_complete=complete_format,
    )(function)


def complete_format(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: the formats and precisions."""
    every = [formats.key(name, precision) for name, known in formats.FORMATS.items() for precision in known]
    return [key for key in ("auto", *every) if key.startswith(incomplete)]


def source_options(function: Command) -> Command:
    """Which part of which model, and what to prove it on; the command gets conversion.Options."""
    return _decorated(function, _SOURCE)


def conversion_options(function: Command) -> Command:
    """source_options, and how to convert."""
    return _decorated(function, (*_SOURCE, *_CONVERSION))


def sweep_options(function: Command) -> Command:
    """conversion_options with any number of batches, which the command gets as `batches`."""
    every = (*_SOURCE, *_CONVERSION)
    return _decorated(function, tuple(_BATCHES if option is _BATCH else option for option in every))


def wish_options(function: Command) -> Command:
    """What is to be built, beside its formats; the command gets `wish`, a building.Wish without formats."""

    @functools.wraps(function)
    def call(
        *args: Any,
        evaluation: Path | None,
        max_accuracy_drop: float | None,
        opset: int | None,
        allow_unverified: bool,
        no_cache: bool,
        formats: tuple[str, ...],
        no_tf: bool = False,
        **kwargs: Any,
    ) -> Any:
        from edgefreeze.building import Wish

        wish: Wish = Wish(
            formats=formats,
            no_tf=no_tf,
            opset=opset,
            evaluation=evaluation,
            max_accuracy_drop=max_accuracy_drop,
            allow_unverified=allow_unverified,
            cache=not no_cache,
        )
        return function(*args, wish=wish, **kwargs)

    return _with(_WISH, call)


def _decorated(function: Command, wanted: tuple[Callable[[Command], Command], ...]) -> Command:
    @functools.wraps(function)
    def call(
        *args: Any,
        signature: str | None,
        tags: tuple[str, ...],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        samples: Path | None,
        optimize: str | None,
        custom_objects: tuple[str, ...],
        trust: bool,
        hoist_state: bool,
        batch: int | None = None,
        calibration: Path | None = None,
        tolerances: dict[str, float] | None = None,
        normalise: str | None = None,
        labels: Path | None = None,
        select_ops: bool = False,
        **kwargs: Any,
    ) -> Any:
        from edgefreeze.conversion import Options

        options: Options = Options(
            signature=signature,
            tags=tags,
            inputs=inputs,
            outputs=outputs,
            samples=samples,
            batch=batch,
            optimize=optimize,
            custom_objects=custom_objects,
            trust=trust,
            hoist_state=hoist_state,
            calibration=calibration,
            tolerances=tolerances or {},
            normalise=normalise,
            labels=_lines(labels),
            select_ops=select_ops,
        )
        return function(*args, options=options, **kwargs)

    return _with(wanted, call)


def _with(wanted: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    """The command with options, the first of which comes first in its help."""
    for option in reversed(wanted):
        command = option(command)
    return command


def _lines(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(
            "config-value", f"--labels {path}: {error}", expected="UTF-8 text, a name a line"
        ) from None

"""What the functions of the Python API take, and the values that it becomes: as cli/ does it for options."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypedDict

from edgefreeze import inventory, project
from edgefreeze.benchmark import gates
from edgefreeze.benchmark.gates import Gate
from edgefreeze.benchmark.plan import Effort
from edgefreeze.building import Wish
from edgefreeze.conversion import Options
from edgefreeze.errors import Failure, nearest
from edgefreeze.inventory import Config, Device
from edgefreeze.progress import Event, Progress, Silent, Told
from edgefreeze.project import Where
from edgefreeze.targets import Target

Place = str | os.PathLike[str]
Names = str | Sequence[str]
"""One name, or several."""
Data = Mapping[str, Any] | Place
"""Inputs: arrays by the signature's input names, whose first axis counts the samples; or a file or folder."""
Listener = Callable[[Event], object]
Ask = Callable[[str], str | None]
"""Given a prompt, gives the password or passphrase, or None."""


class SourceOptions(TypedDict, total=False):
    """How a model is loaded and frozen."""

    tags: Names
    """Of a SavedModel; default "serve"."""
    batch: int
    """Fixes a batch dimension that is free."""
    optimize: Literal["none", "safe", "max"]
    """Default: the target's, else "none"."""
    custom_objects: Names
    """ "module:name" of classes of a Keras model's own."""
    trust: bool
    """Lets code run that the model brings."""
    hoist_state: bool
    """Variables that the model changes become inputs and outputs."""
    tolerances: Mapping[str, float]
    """Largest error by output, relative to the output's range: 0 to 1."""


class ModelOptions(SourceOptions, total=False):
    """What a model is, and how it is converted."""

    signature: str
    inputs: Names
    """Of a graph that names none: "node" or "node:i"."""
    outputs: Names
    samples: Data
    """What to prove on; default: drawn."""
    calibration: Data
    """Typical inputs, for integer precisions: 100 to 500 samples are usual."""
    normalise: Literal["0..1", "-1..1", "0..255", "imagenet"]
    """How the model wants pixels, where images are read."""
    labels: Sequence[str]
    """Names of the classes; they go along with the artifacts."""
    select_ops: bool
    """Lets TFLite use TensorFlow's own operations."""


class BuildOptions(ModelOptions, total=False):
    """What is to be built of a model."""

    no_tf: bool
    """Leaves out the formats that need TensorFlow on the board."""
    opset: int
    """ONNX's, 7 to 18."""
    evaluation: Data
    """Inputs, and true classes as "label"; or a folder of images for each class."""
    max_accuracy_drop: float
    """Points of accuracy (0.5: from 99.0 % to 98.5 %) that an artifact may lose on the evaluation data."""
    allow_unverified: bool
    """Takes what could not be proved, too."""
    cache: bool
    """False: converts anew though nothing changed."""


class BenchOptions(BuildOptions, total=False):
    """How it is measured; see benchmark/plan.py."""

    threads: int | Sequence[int]
    """A duel for each number, 1 to 256."""
    cpus: int | Sequence[int]
    """Processors, by number, that the contestants are held to."""
    rate_hz: float
    """So many calls a second instead of one after the other."""
    min_samples: int
    min_seconds: float
    max_seconds: float
    cold_starts: int


@dataclass(frozen=True, slots=True)
class Given:
    """Options as the rooms below take them."""

    options: Options
    wish: Wish
    effort: Effort


_DATA = ("samples", "calibration", "evaluation")
_MANY = {"tags", "inputs", "outputs", "custom_objects", "labels", "formats", "threads", "cpus"}


@contextlib.contextmanager
def given(function: str, allowed: type[Any], asked: Mapping[str, Any]) -> Iterator[Given]:
    """The options of a call, checked. Arrays lie in files meanwhile. None is as good as not given.

    Raises TypeError for a name that the function does not take; Failure usage for a value out of its range,
    samples-bad for arrays that cannot be inputs.
    """
    for name in asked:
        if name not in allowed.__annotations__ and name != "formats":
            near = nearest(name, list(allowed.__annotations__))
            hint = f"; did you mean {near!r}?" if near else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as folder:
        values = {name: _value(name, v, Path(folder)) for name, v in asked.items() if v is not None}
        options, wish = _made(Options, values), _made(Wish, values)
        values.pop("batch", None)  # whether the duel heeds it is the job's matter
        yield Given(options, wish, _made(Effort, values))


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    mine = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in mine})


def _value(name: str, value: Any, folder: Path) -> Any:
    if name in _DATA:
        return stored(value, folder / f"{name}.npz") if isinstance(value, Mapping) else path(value)
    if name in _MANY:
        return several(value)
    return dict(value) if name == "tolerances" else value


def several(value: Any) -> tuple[Any, ...]:
    """One value or a sequence of values, as a tuple."""
    return (value,) if isinstance(value, (str, int)) else tuple(value)


def path(value: Place) -> Path:
    """A path, "~" being the user's folder."""
    return Path(value).expanduser()


def path_or_none(value: Place | None) -> Path | None:
    """As path()."""
    return None if value is None else path(value)


def model_path(function: str, model: Any) -> Path | None:
    """The path of a model, None where none is named. Raises TypeError for an object of this process, which
    is saved first: the release is made of what is on disk, and says so."""
    if model is None or isinstance(model, (str, os.PathLike)):
        return path_or_none(model)
    raise TypeError(
        f"{function}() takes a model's path, not a {type(model).__name__}. Save it first: "
        "model.export('saved_model') for a Keras model, tf.saved_model.save(module, 'saved_model') for a "
        "tf.Module; or edgefreeze.freeze(model, 'model.pb'), which takes objects"
    )


def stored(arrays: Mapping[str, Any], file: Path) -> Path:
    """Arrays by name, as an .npz. Raises Failure samples-bad."""

    from edgefreeze.device import tensors

    try:
        file.write_bytes(tensors.encode({name: _array(value) for name, value in arrays.items()}))
    except tensors.TensorError as error:
        raise Failure(
            "samples-bad",
            "The samples cannot be used.",
            expected="arrays of numbers or strings by input name",
            found=str(error),
        ) from error
    return file


def _array(value: Any) -> Any:
    """As an array; Python's own numbers become float32, as in TensorFlow, and not NumPy's float64."""
    import numpy as np

    array = np.asarray(value)
    plain = not isinstance(value, (np.ndarray, np.generic)) and not hasattr(value, "__array__")
    return array.astype(np.float32) if plain and array.dtype == np.float64 else array


def configuration(folder: Place | None) -> Config:
    """edgefreeze.toml of a folder; an empty one for None. Raises Failure config-*."""
    if folder is None:
        return Config(folder=str(Path.cwd()))
    place = path(folder)
    if not place.is_dir():
        raise Failure("config-value", f"config: {place} is no folder", found=str(place))
    return inventory.load(place)


def where(
    target: str | Target | None, device: str | Device | None, targets: Place | None, config: Place | None
) -> Where:
    """The device and its target. Raises Failure as project.where."""
    return project.where(configuration(config), target, device, path_or_none(targets))


def wanted_gates(require: Names, max_regress: float | None) -> tuple[Gate, ...]:
    """What must be shown. Raises Failure gate-syntax, usage."""
    found = [gates.parse(text) for text in several(require)]
    if max_regress is not None:
        found.append(gates.regression(max_regress))
    return tuple(found)


def told(progress: Listener | None) -> Progress:
    """The callback as the jobs take it."""
    return Silent() if progress is None else Told(progress)


def nobody(prompt: str) -> str | None:
    """Nobody is there to be asked."""
    return None


@contextlib.contextmanager
def data(name: str, given: Data | None) -> Iterator[Path | None]:
    """Inputs as a path; arrays lie in a file meanwhile. Raises Failure samples-bad."""
    if not isinstance(given, Mapping):
        yield path_or_none(given)
        return
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as folder:
        yield stored(given, Path(folder) / f"{name}.npz")

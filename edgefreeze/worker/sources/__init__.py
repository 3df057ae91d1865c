"""Kinds of models that can be loaded: one file per kind, the filename is the key.

A file offers
    KIND              what to call it to a user
    sniff(path)       whether the path holds this kind; looks at the content and imports nothing heavy
    load(path, opts)  a Source; runs in the worker, raises Failure
and, where it needs that,
    environment(path) what the worker's environment must have before TensorFlow is imported

This module itself imports no TensorFlow, so that a host can ask what a path holds.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from edgefreeze.errors import Failure, nearest
from edgefreeze.types import Shape, Tensor
from edgefreeze.worker import wire
from edgefreeze.worker.reasons import reason

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may say about a model: which signature, which tags, a fixed batch size; the outputs and
    inputs of a graph (see cutting.ends), or which of a signature's outputs; classes of one's own, as
    "module:name"; whether code that the model brings may run."""

    signature: str | None = None
    tags: tuple[str, ...] | None = None
    batch: int | None = None
    outputs: tuple[str, ...] | None = None
    inputs: tuple[str, ...] | None = None
    custom_objects: tuple[str, ...] = ()
    trust: bool = False

    @classmethod
    def of(cls, request: dict[str, Any]) -> Options:
        """From a request of the worker."""

        def several(key: str) -> tuple[str, ...] | None:
            given = request.get(key)
            return tuple(given) if given else None

        return cls(
            signature=request.get("signature"),
            tags=several("tags"),
            batch=(request.get("freeze") or {}).get("batch"),
            outputs=several("outputs"),
            inputs=several("inputs"),
            custom_objects=several("custom_objects") or (),
            trust=bool(request.get("trust")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A loaded model: a concrete function that takes tensors in the order of `inputs` and returns a dict
    with the keys of `outputs`, which are sorted, as its graph's outputs are."""

    function: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    signature: str | None
    save: Callable[[Path], None]
    """Writes the model as a SavedModel folder that has `signature` with the same keys."""
    save_method: str
    labels: dict[str, str] = field(default_factory=dict)
    """Captured resources by their names in the function's graph: "the variable 'w'", "the table 'words'"."""
    keep: Any = None
    """What must stay alive: a loaded SavedModel frees its variables with itself."""
    runner: Callable[[Arrays], Arrays] | None = None
    """Computes the original's outputs where that is not the function: a session on the model's own graph."""
    files: tuple[Path, ...] | None = None
    """What the model is on disk, where that is not all that the path names: a checkpoint's files."""

    def run(self, inputs: Arrays) -> Arrays:
        """The model's own outputs for one set of inputs, both by key. Raises what TensorFlow raises."""
        if self.runner is not None:
            return {name: _array(value) for name, value in self.runner(inputs).items()}
        import tensorflow as tf  # a comparison of artifacts comes here on the host, which needs none

        tensors = [tf.constant(inputs[t.name], dtype=t.dtype) for t in self.inputs]
        results = self.function(*tensors)
        return {t.name: _array(results[t.name].numpy()) for t in self.outputs}


def _array(value: Any) -> np.ndarray:
    """An array, also of a string scalar, which TensorFlow gives as bytes and NumPy would strip of NULs."""
    import numpy as np

    return np.array(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)


class SourceModule(Protocol):
    """What a file in this folder offers."""

    KIND: str

    def sniff(self, path: Path) -> bool: ...  # noqa: D102

    def load(self, path: Path, options: Options) -> Source: ...  # noqa: D102


def names() -> list[str]:
    """The kinds, by filename, without importing them."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")


def module(name: str) -> SourceModule:
    """The file for a kind."""
    return cast(SourceModule, importlib.import_module(f"{__name__}.{name}"))


def find(path: Path) -> str:
    """The kind of model at a path. Raises Failure: model-missing, model-empty, model-unknown."""
    if not path.exists():
        for name in names():  # a checkpoint is named by what its files begin with
            if module(name).sniff(path):
                return name
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, siblings)
        raise Failure(
            "model-missing",
            f"There is no model at {path}.",
            expected="a SavedModel folder, a Keras file, a checkpoint or a frozen graph",
            found=f"no such file or folder{f'; there is {path.parent / near}' if near else ''}",
        )
    try:
        return _find(path)
    except OSError as error:
        raise Failure(
            "model-missing",
            f"The model {path} cannot be read.",
            expected="files that may be read",
            found=f"{error.strerror or type(error).__name__}: {error.filename or path}",
        ) from error


def _find(path: Path) -> str:
    content = sorted(p.name for p in path.iterdir()) if path.is_dir() else None
    files = path.rglob("*") if path.is_dir() else [path]
    if not any(file.is_file() and file.stat().st_size for file in files):
        raise Failure(
            "model-empty",
            f"The model {path} is empty.",
            expected="a SavedModel folder, a Keras file, a checkpoint or a frozen graph",
            found="a file of 0 bytes" if content is None else "a folder without files that hold anything",
            next="Save or copy the model again.",
        )
    for name in names():
        if module(name).sniff(path):
            return name
    kinds = "; ".join(module(name).KIND for name in names())
    if content is not None and {"manifest.json", "envelope.json"} <= set(content):
        raise Failure(
            "model-unknown",
            f"{path} is a release that was built, and what is asked for is the model that it was built of.",
            expected=kinds,
            found="a release",
            next=f"edgefreeze release pack {shlex.quote(str(path))} FILE, which a device installs",
        )
    raise Failure(
        "model-unknown",
        f"{path} is no kind of model that edgefreeze knows.",
        expected=kinds,
        found=_describe(path, content),
    )


def _describe(path: Path, content: list[str] | None) -> str:
    if content is None:
        if wire.message(path) == "SavedModel":
            return f"the inner file of a SavedModel; give its folder, {path.parent}"
        with path.open("rb") as file:
            return f"a file of {path.stat().st_size} bytes that begins with {file.read(8)!r}"
    shown = ", ".join(content[:8]) + (f" and {len(content) - 8} more" if len(content) > 8 else "")
    inner = [name for name in content if (path / name / "saved_model.pb").is_file()]
    hint = f"; {path / inner[0]} is a SavedModel" if inner else ""
    return f"a folder with {shown}{hint}"


def load(path: Path, options: Options) -> tuple[str, Source]:
    """(kind, the model at a path). Raises Failure, also for what a loader dies of unforeseen: a damaged file
    can make it die of anything."""
    kind = find(path)
    try:
        return kind, module(kind).load(path, options)
    except Failure:
        raise
    except Exception as error:
        raise Failure(
            "model-broken",
            f"The model {path} cannot be loaded: it is damaged, or not what it seems to be.",
            expected=module(kind).KIND,
            found=reason(error),
            next="Save or copy the model again.",
        ) from error


def environment(path: Path) -> dict[str, str]:
    """What the worker's environment must have for the model at a path, before TensorFlow is imported."""
    try:
        return dict(getattr(module(find(path)), "environment", lambda _: {})(path))
    except Failure:
        return {}  # the worker says what is wrong with it


def narrowed(results: dict[str, Any], keys: Sequence[str] | None) -> dict[str, Any]:
    """Those of a model's results that were asked for by key. Raises Failure usage."""
    for key in keys or ():
        if key not in results:
            near = nearest(key, list(results))
            raise Failure(
                "usage",
                f"--outputs names {key!r}, which is no output of the model"
                + (f"; did you mean {near!r}?" if near else "."),
                expected=", ".join(sorted(results)),
                found=key,
            )
    return {key: results[key] for key in keys} if keys else results


def trace(call: Callable[[dict[str, Any]], dict[str, Any]], inputs: Sequence[Tensor]) -> Any:
    """A concrete function of `call` (dict of tensors to dict of tensors) that takes the inputs in order.

    Its graph's inputs are those of `inputs`, then what it captured; its outputs come by sorted key.
    """
    import tensorflow as tf

    keys = [t.name for t in inputs]
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in inputs]

    def serve(*tensors: Any) -> dict[str, Any]:
        return call(dict(zip(keys, tensors, strict=True)))

    return tf.function(serve, input_signature=specs, autograph=False).get_concrete_function()


def tensors_of(function: Any, keys: Sequence[str]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(inputs, outputs) of a function from `trace`, `tensor` being the name in the function's graph."""
    inputs = tuple(_tensor(k, t) for k, t in zip(keys, function.inputs, strict=False))
    outputs = tuple(
        _tensor(k, t) for k, t in zip(sorted(function.structured_outputs), function.outputs, strict=True)
    )
    return inputs, outputs


def _tensor(key: str, tensor: Any) -> Tensor:
    return Tensor(name=key, tensor=tensor.name, dtype=tensor.dtype.name, shape=shape_of(tensor.shape))


def shape_of(shape: Any) -> Shape | None:
    """A tf.TensorShape as a tuple, None where the rank is unknown."""
    return None if shape.rank is None else tuple(shape.as_list())


def with_batch(shape: Shape | None, batch: int | None) -> Shape | None:
    """The shape with a free first dimension set to the batch size, if one is given."""
    return (batch, *shape[1:]) if batch is not None and shape and shape[0] is None else shape

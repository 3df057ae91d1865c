"""Reads a Keras file's own description: its layers, from the configuration, and its weights' sizes. No layer
is built, so that nothing in the file runs.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.types import Shape, Tensor
from edgefreeze.worker import hdf5

_WEIGHTS = "model.weights.h5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: its class, its name, the layers that it takes its inputs from."""

    name: str
    kind: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the file says. `parameters` and `weight_bytes` are None where the weights cannot be listed."""

    model: str
    keras_version: str
    backend: str
    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    parameters: int | None
    weight_bytes: int | None
    code: tuple[str, ...]
    """Layers that hold code (Lambda)."""


def read(path: Path) -> Described:
    """Read the file. Raises Failure model-broken."""
    try:
        config, version, backend = _zip(path) if not hdf5.is_hdf5(path) else _hdf5(path)
        if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
            raise ValueError("it holds weights and no model")
        inner = config["config"]
        layers = tuple(_layers(inner))
        return Described(
            model=str(config.get("class_name", "")),
            keras_version=version,
            backend=backend,
            layers=layers,
            inputs=tuple(_inputs(inner)),
            outputs=_outputs(inner, layers),
            code=tuple(layer.name for layer in layers if layer.kind == "Lambda"),
            **_weights(path),
        )
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError, EOFError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise Failure(
            "model-broken",
            f"The Keras file {path} is damaged, or has no model in it.",
            expected="a configuration of layers",
            found=clean(str(error), 300) or type(error).__name__,
            next="Save or copy the model again.",
        ) from error


def _zip(path: Path) -> tuple[Any, str, str]:
    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("metadata.json"))
        return (
            json.loads(archive.read("config.json")),
            str(metadata.get("keras_version", "")),
            "",
        )  # it names no backend


def _hdf5(path: Path) -> tuple[Any, str, str]:
    text = hdf5.attribute(path, "model_config")
    if text is None:
        raise ValueError("it has weights and no model_config")
    config = json.loads(text)
    inner = config.get("config") if isinstance(config, dict) else None
    own = inner.get("keras_version", "") if isinstance(inner, dict) else ""
    version = hdf5.attribute(path, "keras_version") or str(own)
    return config, version, hdf5.attribute(path, "backend") or ""


def _entries(config: Any) -> list[dict[str, Any]]:
    found = config.get("layers") if isinstance(config, dict) else config  # a list is Keras 2.0's Sequential
    return [entry for entry in found or () if isinstance(entry, dict)]


def _layers(config: Any) -> Iterator[Layer]:
    """The layers of a Sequential, one after the other, or of a functional model, as they are joined."""
    before: str | None = None
    for entry in _entries(config):
        inner = entry.get("config") or {}
        name = str(entry.get("name") or inner.get("name") or entry.get("class_name"))
        nodes = entry.get("inbound_nodes")
        inputs = tuple(dict.fromkeys(_named(nodes))) if nodes is not None else (before,) if before else ()
        yield Layer(name=name, kind=str(entry.get("class_name", "")), inputs=inputs)
        before = name


def _named(nodes: Any) -> Iterator[str]:
    """The layers that a node's arguments come from: Keras 3 says keras_history, Keras 2 a list of lists."""
    if isinstance(nodes, dict):
        history = (
            nodes.get("config", {}).get("keras_history") if isinstance(nodes.get("config"), dict) else None
        )
        if isinstance(history, list) and history:
            yield str(history[0])
        else:
            for value in nodes.values():
                yield from _named(value)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
        else:
            for value in nodes:
                yield from _named(value)


def _inputs(config: Any) -> Iterator[Tensor]:
    entries = _entries(config)
    found = False
    for entry in entries:
        inner = entry.get("config") or {}
        given = inner.get("batch_shape") or inner.get("batch_input_shape")
        if given is not None and (entry.get("class_name") == "InputLayer" or not found):
            found = True
            name = str(inner.get("name"))
            yield Tensor(name=name, tensor=name, dtype=_dtype(inner), shape=_shape(given))


def _dtype(inner: dict[str, Any]) -> str:
    given = inner.get("dtype")
    return given if isinstance(given, str) else "float32"


def _shape(given: Any) -> Shape | None:
    return (
        tuple(given)
        if isinstance(given, list) and all(s is None or isinstance(s, int) for s in given)
        else None
    )


def _outputs(config: Any, layers: tuple[Layer, ...]) -> tuple[str, ...]:
    given = config.get("output_layers") if isinstance(config, dict) else None
    named = tuple(dict.fromkeys(_named(given))) if given else ()
    return named or tuple(layer.name for layer in layers[-1:])


def _weights(path: Path) -> dict[str, Any]:
    """Elements and bytes of the weights that the model, not its optimizer, has."""
    try:
        import h5py
    except ImportError:
        return {"parameters": None, "weight_bytes": None}
    count = size = 0

    def add(name: str, item: Any) -> None:
        nonlocal count, size
        if isinstance(item, h5py.Dataset) and not name.startswith(("optimizer", "/optimizer")):
            elements = math.prod(item.shape or ())
            count += elements
            size += elements * item.dtype.itemsize

    file: Any = path
    if not hdf5.is_hdf5(path):
        with zipfile.ZipFile(path) as archive:
            file = io.BytesIO(archive.read(_WEIGHTS))
    with h5py.File(file, "r") as opened:
        opened.get("model_weights", opened).visititems(add)
    return {"parameters": count, "weight_bytes": size}

"""TensorRT, as a recipe: the ONNX model, and how the device's own trtexec builds an engine of it. Engines are
not portable between devices, so that none is made here: the ONNX model is proved here, the engine there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.types import Tensor
from edgefreeze.worker.formats import Made, Unfit, Written, onnx

RUNTIME = "tensorrt"
SCHEMA = 1
_FLAGS: dict[str, tuple[str, ...]] = {"fp32": (), "fp16": ("--fp16",), "int8": ("--int8", "--fp16")}
"""By precision. int8 takes its ranges from the model's QDQ pairs, and fp16 for what has none."""


def path(precision: str) -> str:
    """The folder that is written."""
    return "tensorrt" if precision == "fp32" else f"tensorrt.{precision}"


def require(precision: str, options: Mapping[str, Any]) -> None:
    """As ONNX. Raises Failure opset-unknown."""
    onnx.require(_source(precision), options)


def write(made: Made, precision: str, out: Path, options: Mapping[str, Any]) -> Written:
    """Write a folder with model.onnx and recipe.json: {"schema", "precision", "arguments" of trtexec, run in
    the folder}. A free batch is 1, in the engine's inputs too. Raises Unfit as ONNX does, and for other free
    dimensions."""
    shapes = ",".join(f"{t.tensor.removesuffix(':0')}:{_shape(t)}" for t in made.plain.inputs)
    folder, source = out / path(precision), _source(precision)
    written = onnx.write(made, source, made.scratch, options)
    folder.mkdir()
    (made.scratch / onnx.path(source)).replace(folder / "model.onnx")
    free = any(t.shape is None or None in t.shape for t in made.plain.inputs)
    recipe = {
        "schema": SCHEMA,
        "precision": precision,
        "arguments": [
            "--onnx=model.onnx",
            "--saveEngine=model.engine",
            *_FLAGS[precision],
            *([f"--shapes={shapes}"] if free else []),
        ],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    return replace(
        written,
        inputs=tuple(replace(t, shape=_sizes(t)) for t in written.inputs),
        method=f"{written.method}; a recipe for trtexec",
    )


def _source(precision: str) -> str:
    return "int8" if precision == "int8" else "fp32"


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in _sizes(tensor))


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    shape = tensor.shape
    if shape is None or None in shape[1:]:
        raise Unfit(f"TensorRT needs the sizes of {tensor.name!r}, and only its batch may be free.")
    return tuple(1 if size is None else size for size in shape)

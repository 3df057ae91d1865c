"""The forms in which a model can be shipped, as facts: formats, their precisions, how near they come, what
they need. How each is made stands in worker/formats/, what runs it in runtimes.toml.

Written "format" or "format:precision": `tflite`, `tflite:int8`, `onnx:fp16`, `saved_model:frozen`. The first
precision of a format is the one that its bare name means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgefreeze.errors import Failure, nearest

Name = Literal["frozen_pb", "saved_model", "tflite", "onnx", "tensorrt"]
"""The keys of FORMATS, as a type: what a target may list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A precision of a format. `tolerance`: the largest error, relative to the range of the original's
    output, that passes unless the target or the user says otherwise. `calibrated`: ranges of activations
    are measured on data of the user's. `contends`: it may be the fastest, for `--format auto`. `recipe`: the
    device builds what runs, so that the proof is the device's."""

    summary: str
    tolerance: float
    calibrated: bool = False
    contends: bool = True
    recipe: bool = False


FORMATS: Mapping[str, Mapping[str, Precision]] = {
    "frozen_pb": {"fp32": Precision(summary="the frozen graph as a GraphDef file", tolerance=1e-5)},
    "saved_model": {
        "fp32": Precision(summary="the original as a SavedModel", tolerance=1e-5),
        "frozen": Precision(
            summary="the frozen graph, saved again as a SavedModel", tolerance=1e-5, contends=False
        ),
    },
    "tflite": {
        "fp32": Precision(summary="TensorFlow Lite", tolerance=1e-4),
        "fp16": Precision(summary="weights in float16", tolerance=5e-3),
        "dynamic": Precision(summary="weights in int8, activations in float", tolerance=3e-2),
        "int8": Precision(
            summary="weights and activations in int8, inputs and outputs in float",
            tolerance=6e-2,
            calibrated=True,
        ),
        "int8-io": Precision(
            summary="all in int8, inputs and outputs too", tolerance=6e-2, calibrated=True, contends=False
        ),
        "16x8": Precision(
            summary="activations in int16, weights in int8", tolerance=3e-2, calibrated=True, contends=False
        ),
    },
    "onnx": {
        "fp32": Precision(summary="ONNX", tolerance=1e-4),
        "fp16": Precision(summary="weights and arithmetic in float16", tolerance=5e-3),
        "int8": Precision(
            summary="weights and activations in int8 (QDQ), inputs and outputs in float",
            tolerance=6e-2,
            calibrated=True,
        ),
    },
    "tensorrt": {
        "fp32": Precision(
            summary="a recipe of which the device builds a TensorRT engine",
            tolerance=1e-3,
            recipe=True,
            contends=False,
        ),
        "fp16": Precision(
            summary="the same, arithmetic in float16", tolerance=1e-2, recipe=True, contends=False
        ),
        "int8": Precision(
            summary="the same, in int8 where it helps",
            tolerance=6e-2,
            calibrated=True,
            recipe=True,
            contends=False,
        ),
    },
}
"""Tolerances start from errors measured on four CNNs with live batch norms: float32 2e-6, float16 3e-4,
dynamic range 1.1e-2, int8 2e-2."""


def key(name: str, precision: str) -> str:
    """How an artifact is named: "tflite", "tflite:int8"."""
    return name if precision == default(name) else f"{name}:{precision}"


def default(name: str) -> str:
    """The precision that a format's bare name means."""
    return next(iter(FORMATS[name]))


def parse(text: str) -> tuple[str, str]:
    """(format, precision) of "format" or "format:precision". Raises Failure format-unknown."""
    name, _, precision = text.partition(":")
    if name not in FORMATS:
        near = nearest(name, list(FORMATS))
        raise Failure(
            "format-unknown",
            f"There is no format '{name}'{f'; did you mean {near!r}?' if near else '.'}",
            expected=", ".join(FORMATS),
            found=text,
        )
    precision = precision or default(name)
    require_precision(name, precision)
    return name, precision


def require_precision(name: str, precision: str) -> Precision:
    """The facts of a format's precision. Raises Failure format-unknown."""
    known = FORMATS[name]
    if precision not in known:
        near = nearest(precision, list(known))
        raise Failure(
            "format-unknown",
            f"The format {name} has no '{precision}'{f'; did you mean {near!r}?' if near else '.'}",
            expected=", ".join(known),
            found=precision,
        )
    return known[precision]

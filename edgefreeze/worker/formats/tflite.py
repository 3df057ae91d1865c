"""TensorFlow Lite, from the frozen graph: model.tflite, model.int8.tflite, ….

Never from the Keras model or the SavedModel: those routes convert without complaint and compute NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.formats import FORMATS
from edgefreeze.worker import sidecar, tensor_lists
from edgefreeze.worker.formats import Made, Unfit, Written
from edgefreeze.worker.signatures import DEFAULT

RUNTIME = "tflite"


def path(precision: str) -> str:
    """The file that is written."""
    return "model.tflite" if precision == "fp32" else f"model.{precision}.tflite"


def write(made: Made, precision: str, out: Path, options: Mapping[str, Any]) -> Written:
    """Write a file whose signature has the names of the model's.

    options: "select_ops", to let operations of TensorFlow's in that TensorFlow Lite has none for. Raises
    Unfit, naming the operations, nodes and layers that stand in the way.
    """
    import tensorflow as tf

    from edgefreeze.worker.litert import converting, flatbuffer, isolated, refusals

    select_ops = bool(options.get("select_ops"))
    frozen, batch = made.plain, tensor_lists.fixed_batch(made.plain.inputs)
    calibrated = FORMATS["tflite"][precision].calibrated
    if calibrated and made.calibration is None:
        raise Unfit(f"tflite:{precision} needs --calibration: the ranges of its integers are not guessed.")
    if frozen.init_ops:
        raise Unfit(refusals.tables(frozen))
    if batch is not None:
        frozen = tensor_lists.fix(frozen, batch)
    try:
        if calibrated and made.calibration is not None:
            content = isolated.convert(frozen, precision, made.calibration, select_ops, made.scratch)
        else:
            content = converting.convert(frozen, precision, None, select_ops)
    except Exception as error:  # see converting.convert
        raise Unfit(refusals.reason(str(error), frozen, batch, precision)) from error
    floats = flatbuffer.computed_in_floats(content) if calibrated else {}
    if floats:
        raise Unfit(refusals.floats(floats, precision))
    if precision == "dynamic" and not flatbuffer.has_integer_weights(content):
        raise Unfit(refusals.nothing(precision))
    try:
        content = flatbuffer.describe(
            content,
            made.source.signature or DEFAULT,
            [t.name for t in frozen.inputs],
            [t.name for t in frozen.outputs],
            {sidecar.KEY: sidecar.encode(made, precision)},
        )
    except ValueError as error:
        raise Unfit(str(error)) from error
    (out / path(precision)).write_bytes(content)
    inputs, outputs = flatbuffer.names(content)
    notes = made.calibration.notes if made.calibration and calibrated else ()
    return Written(
        inputs=tuple(replace(t, tensor=n) for t, n in zip(frozen.inputs, inputs, strict=True)),
        outputs=tuple(replace(t, tensor=n) for t, n in zip(frozen.outputs, outputs, strict=True)),
        method=f"TFLiteConverter on the frozen graph, {precision}, TensorFlow {tf.__version__}",
        notes=notes,
    )

"""TensorFlow Lite, from the frozen graph: model.tflite, model.int8.tflite, ….

Never from the Keras model or the SavedModel: those routes convert without complaint and compute NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.worker import sidecar, tensor_lists
from edgefreeze.worker.formats import Made, Unfit, Written

RUNTIME = "tflite"
PRECISIONS = ("fp32", "fp16", "dynamic", "int8", "int8-io", "16x8")
"""dynamic: weights of 8 bits, activations quantised while it runs. int8: integers throughout, floats at the
inputs and outputs. int8-io: integers there too. 16x8: activations of 16 bits, weights of 8."""
NEEDS_CALIBRATION = frozenset({"int8", "int8-io", "16x8"})
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "dynamic": 3e-2, "int8": 6e-2, "int8-io": 6e-2, "16x8": 3e-2}
_SIGNATURE = "serving_default"


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
    if precision in NEEDS_CALIBRATION and made.calibration is None:
        raise Unfit(f"tflite in {precision} needs --calibration: the ranges of its integers are not guessed.")
    if frozen.init_ops:
        raise Unfit(refusals.tables(frozen))
    if batch is not None:
        frozen = tensor_lists.fix(frozen, batch)
    try:
        if precision in NEEDS_CALIBRATION and made.calibration is not None:
            content = isolated.convert(frozen, precision, made.calibration, select_ops, made.scratch)
        else:
            content = converting.convert(frozen, precision, None, select_ops)
    except Exception as error:  # see converting.convert
        raise Unfit(refusals.reason(str(error), frozen, batch, precision)) from error
    floats = flatbuffer.computed_in_floats(content) if precision in NEEDS_CALIBRATION else {}
    if floats:
        raise Unfit(refusals.floats(floats, precision))
    if precision == "dynamic" and not flatbuffer.has_integer_weights(content):
        raise Unfit(refusals.nothing(precision))
    try:
        content = flatbuffer.describe(
            content,
            made.source.signature or _SIGNATURE,
            [t.name for t in frozen.inputs],
            [t.name for t in frozen.outputs],
            {sidecar.KEY: sidecar.encode(made, precision)},
        )
    except ValueError as error:
        raise Unfit(str(error)) from error
    (out / path(precision)).write_bytes(content)
    inputs, outputs = flatbuffer.names(content)
    notes = made.calibration.notes if made.calibration and precision in NEEDS_CALIBRATION else ()
    return Written(
        inputs=tuple(replace(t, tensor=n) for t, n in zip(frozen.inputs, inputs, strict=True)),
        outputs=tuple(replace(t, tensor=n) for t, n in zip(frozen.outputs, outputs, strict=True)),
        method=f"TFLiteConverter on the frozen graph, {precision}, TensorFlow {tf.__version__}",
        notes=notes,
    )

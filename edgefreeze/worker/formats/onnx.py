"""ONNX, from the frozen graph: model.onnx, model.fp16.onnx, model.int8.onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.formats import FORMATS
from edgefreeze.worker import sidecar
from edgefreeze.worker.formats import Made, Unfit, Written
from edgefreeze.worker.reasons import reason

RUNTIME = "onnxruntime"
OPSETS = {"fp32": (7, 18), "fp16": (7, 18), "int8": (13, 18)}
"""The oldest and the newest that is written: 18 is tf2onnx's highest, and before 13 there are no weights with
a scale for each channel."""


def path(precision: str) -> str:
    """The file that is written."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


def require(precision: str, options: Mapping[str, Any]) -> None:
    """Raise Failure opset-unknown for an opset that cannot be written."""
    oldest, newest = OPSETS[precision]
    opset = options.get("opset")
    if opset is not None and not oldest <= int(opset) <= newest:
        raise Failure(
            "opset-unknown",
            f"ONNX in {precision} is written with opset {oldest} to {newest}, and {opset} was asked for.",
            expected=f"{oldest} to {newest}",
            found=str(opset),
            next=f"--opset {newest}",
        )


def write(made: Made, precision: str, out: Path, options: Mapping[str, Any]) -> Written:
    """Write a file whose inputs and outputs have the node names of the frozen graph.

    options: "opset", see OPSETS. Raises Unfit, naming the operations that ONNX does not have.
    """
    import onnx
    import tf2onnx

    from edgefreeze.worker.onnx_models import exporting, half, integers

    calibrated = FORMATS["onnx"][precision].calibrated
    if calibrated and made.calibration is None:
        raise Unfit(f"onnx:{precision} needs --calibration: the ranges of its integers are not guessed.")
    opset = int(options.get("opset") or OPSETS[precision][1])
    exported = made.scratch / f"opset{opset}.onnx"
    if not exported.exists():
        exported.write_bytes(exporting.export(made.plain, opset).SerializeToString(deterministic=True))
    names = exporting.names(made.plain)
    method, notes = f"tf2onnx {tf2onnx.__version__} on the frozen graph, opset {opset}", tuple[str, ...]()
    try:
        if precision == "fp16":
            model = half.convert(onnx.load(exported))
            method += ", float16"
        elif precision == "int8":
            assert made.calibration is not None
            quantised = made.scratch / "int8.onnx"
            keys = {t.name: names[t.tensor] for t in made.plain.inputs}
            integers.convert(exported, quantised, made.calibration, keys)
            model = onnx.load(quantised)
            quantised.unlink()
            if not integers.any_in(model):
                raise Unfit(
                    "In int8 it would be the fp32 file: ONNX has no operation for what the model does in "
                    "integers, or all of it is inside loops."
                )
            method, notes = f"{method}, QDQ of int8", made.calibration.notes
        else:
            model = onnx.load(exported)
    except Unfit:
        raise
    except Exception as error:  # the converters raise whatever they stumble over
        raise Unfit(f"ONNX Runtime's converter to {precision} failed: {reason(error)}") from error
    model.metadata_props.add(key=sidecar.KEY, value=sidecar.encode(made, precision).decode())
    (out / path(precision)).write_bytes(model.SerializeToString(deterministic=True))
    return Written(
        inputs=tuple(replace(t, tensor=names[t.tensor]) for t in made.plain.inputs),
        outputs=tuple(replace(t, tensor=names[t.tensor]) for t in made.plain.outputs),
        method=method,
        notes=notes,
    )

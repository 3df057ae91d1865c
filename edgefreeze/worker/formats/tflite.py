"""TensorFlow Lite, from the frozen graph: model.tflite.

Never from the Keras model or the SavedModel: those routes convert without complaint and compute NaN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.text import clean
from edgefreeze.worker import tensor_lists
from edgefreeze.worker.formats import Made, Unfit, Written
from edgefreeze.worker.freeze import Frozen

RUNTIME = "tflite"
PATH = "model.tflite"
PRECISIONS = ("fp32",)
TOLERANCE = {"fp32": 1e-4}

_MISSING_OPS = re.compile(r"(?:TF Select ops|Select TF ops|Custom ops|Flex ops): ([\w., ]+)")
_NAMED_OP = re.compile(r"'tf\.(\w+)' op")


def write(made: Made, out: Path, options: Mapping[str, Any]) -> Written:
    """Write model.tflite with built-in operations only. Raises Unfit, naming those that have none."""
    import tensorflow as tf

    if made.plain.init_ops:
        raise Unfit(
            "The model looks things up in a table, which TensorFlow Lite's built-in operations cannot."
        )
    frozen, batch = made.plain, tensor_lists.fixed_batch(made.plain.inputs)
    if batch is not None:
        frozen = tensor_lists.fix(frozen, batch)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function_of(frozen)])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    except Exception as error:  # ConverterError, but also ValueError and RuntimeError from its many layers
        raise Unfit(_reason(str(error), batch)) from error
    (out / PATH).write_bytes(content)
    inputs, outputs = _names(content)
    if len(inputs) != len(frozen.inputs) or len(outputs) != len(frozen.outputs):
        raise Unfit(
            f"The converter made {len(inputs)} inputs and {len(outputs)} outputs of "
            f"{len(frozen.inputs)} and {len(frozen.outputs)}."
        )
    return Written(
        inputs=tuple(replace(t, tensor=n) for t, n in zip(frozen.inputs, inputs, strict=True)),
        outputs=tuple(replace(t, tensor=n) for t, n in zip(frozen.outputs, outputs, strict=True)),
        method=f"TFLiteConverter on the frozen graph, TensorFlow {tf.__version__}",
    )


def function_of(frozen: Frozen) -> Any:
    """The frozen graph as a concrete function, its inputs and outputs in the signature's order."""
    import tensorflow as tf

    def graph() -> None:
        tf.import_graph_def(frozen.graph, name="")

    wrapped = tf.compat.v1.wrap_function(graph, [])
    return wrapped.prune([t.tensor for t in frozen.inputs], [t.tensor for t in frozen.outputs])


def _names(content: bytes) -> tuple[list[str], list[str]]:
    """The names of a model's inputs and outputs, in its own order, which is the converted function's."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    return (
        [d["name"] for d in interpreter.get_input_details()],
        [d["name"] for d in interpreter.get_output_details()],
    )


def _reason(text: str, batch: int | None) -> str:
    listed = _MISSING_OPS.search(text)
    ops = (
        sorted({op.strip(" .") for op in listed.group(1).split(",") if op.strip(" .")})
        if listed
        else sorted(set(_NAMED_OP.findall(text)))
    )
    if "element_shape to be static" in text and batch is None:
        return (
            f"TensorFlow Lite needs a fixed batch size for this model's loop ({', '.join(ops)}): "
            "freeze it with --batch 1."
        )
    if ops:
        return f"TensorFlow Lite has no built-in operation for {', '.join(ops)}."
    return (
        f"The TensorFlow Lite converter failed: {clean(text.splitlines()[0] if text else 'no message', 300)}"
    )

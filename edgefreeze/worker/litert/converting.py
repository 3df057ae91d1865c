"""TensorFlow's own converter on a frozen graph, in each precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgefreeze.worker.calibration import Calibration
from edgefreeze.worker.freeze import Frozen

INTEGER = frozenset({"int8", "int8-io", "16x8"})
"""Precisions whose activations are integers, so that their ranges must be known."""


def function_of(frozen: Frozen) -> Any:
    """The frozen graph as a concrete function, its inputs and outputs in the signature's order."""
    import tensorflow as tf

    def graph() -> None:
        tf.import_graph_def(frozen.graph, name="")

    wrapped = tf.compat.v1.wrap_function(graph, [])
    return wrapped.prune([t.tensor for t in frozen.inputs], [t.tensor for t in frozen.outputs])


def convert(frozen: Frozen, precision: str, calibration: Calibration | None, select_ops: bool) -> bytes:
    """The file's bytes. `calibration` is needed for INTEGER precisions. Raises what the converter raises:
    ConverterError, but also ValueError and RuntimeError from its many layers."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function_of(frozen)])
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in INTEGER:
        assert calibration is not None
        converter.representative_dataset = _rows(frozen, calibration)
    if precision == "int8-io":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.target_spec.supported_ops = _operations(precision, select_ops)
    content: bytes = converter.convert()
    return content


def _operations(precision: str, select_ops: bool) -> list[Any]:
    from tensorflow.lite.python.convert import OpsSet

    builtins = {
        "int8": OpsSet.TFLITE_BUILTINS_INT8,
        "int8-io": OpsSet.TFLITE_BUILTINS_INT8,
        "16x8": OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }.get(precision, OpsSet.TFLITE_BUILTINS)
    return [builtins, *([OpsSet.SELECT_TF_OPS] if select_ops else [])]


def _rows(frozen: Frozen, calibration: Calibration) -> Callable[[], Iterator[list[Any]]]:
    """The calibration data in the order and the dtypes of the converted function's inputs."""

    def rows() -> Iterator[list[Any]]:
        for call in calibration.calls:
            yield [call[t.name] for t in frozen.inputs]

    return rows

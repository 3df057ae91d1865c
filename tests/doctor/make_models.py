"""Makes the files of edgefreeze/doctor/models in the folder that is given: python make_models.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgefreeze.doctor import models


class Dense(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(models.WEIGHTS)
        self.bias = tf.Variable(models.BIAS)

    @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.identity(tf.nn.relu(tf.matmul(x, self.weights) + self.bias), name="y")


def main(folder: Path) -> None:
    module = Dense()
    frozen = convert_variables_to_constants_v2(module.__call__.get_concrete_function())
    (output,) = frozen.outputs
    graph = frozen.graph.as_graph_def()
    for node in graph.node:  # TensorFlow calls the output Identity, whatever the function says
        if node.name == output.op.name:
            node.name = "out"
    kept = tf.compat.v1.graph_util.extract_sub_graph(graph, ["out"])
    for node in kept.node:
        node.name = {"y": "inner", "out": "y"}.get(node.name, node.name)
        node.input[:] = ["inner" if name == "y" else name for name in node.input]
    kept.versions.CopyFrom(graph.versions)
    (folder / "dense.pb").write_bytes(kept.SerializeToString(deterministic=True))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], module)
    (folder / "dense.tflite").write_bytes(converter.convert())
    tf2onnx.convert.from_graph_def(
        kept, input_names=["x:0"], output_names=["y:0"], opset=13, output_path=str(folder / "dense.onnx")
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

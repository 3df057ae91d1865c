"""Models for what reads frozen graphs besides TensorFlow's Python: `python make_consumed.py FOLDER`, with the
models' own outputs beside them, NAME.npz with "in|KEY" and "out|KEY"."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


class Tables(tf.Module):
    """Two inputs, two outputs, a variable and a table of numbers."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(np.random.default_rng(1).standard_normal((3, 2)), dtype=tf.float32, name="w")
        keys = tf.constant([10, 20, 30], tf.int64)
        filled = tf.lookup.KeyValueTensorInitializer(keys, tf.constant([0, 1, 2], tf.int64))
        self.table = tf.lookup.StaticHashTable(filled, -1)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3], name="x"), tf.TensorSpec([None], tf.int64, name="key")]
    )
    def serve(self, x, key):
        return {"y": tf.nn.softmax(x @ self.w), "number": self.table.lookup(key)}


class Plain(tf.Module):
    """A small convolutional network without a framework around it."""

    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(4).standard_normal
        shapes = {"kernel": (3, 3, 3, 6), "bias": (6,), "w": (384, 5), "b": (5,)}
        self.values = {k: tf.Variable(draw(s) * 0.2, dtype=tf.float32, name=k) for k, s in shapes.items()}

    @tf.function(input_signature=[tf.TensorSpec([1, 16, 16, 3], name="image")])
    def serve(self, image):
        of = self.values
        hidden = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(image, of["kernel"], 2, "SAME"), of["bias"]))
        logits = tf.nn.bias_add(tf.matmul(tf.reshape(hidden, [1, 384]), of["w"]), of["b"])
        return {"output_0": tf.nn.softmax(logits)}


def network():
    """What an image classifier has, of layers that OpenCV knows."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 3), batch_size=1, name="image"),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )


def keep(path, inputs, outputs):
    arrays = {f"in|{k}": np.asarray(v) for k, v in inputs.items()}
    np.savez(path, **arrays, **{f"out|{k}": np.asarray(v) for k, v in outputs.items()})


def make(folder):
    generator = np.random.default_rng(3)
    tables = Tables()
    tf.saved_model.save(tables, str(folder / "tables"), signatures=tables.serve)
    given = {"x": generator.standard_normal((4, 3)).astype("f"), "key": np.array([20, 5, 30, 10])}
    keep(folder / "tables.npz", given, tables.serve(**{k: tf.constant(v) for k, v in given.items()}))
    model = network()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(generator.normal(0, 0.3, 6))
            layer.moving_variance.assign(generator.uniform(0.3, 2, 6))
    model.save(folder / "network.keras")
    picture = generator.uniform(-1, 1, (1, 16, 16, 3)).astype("f")
    keep(folder / "network.npz", {"image": picture}, {"output_0": model(picture)})
    plain = Plain()
    tf.saved_model.save(plain, str(folder / "plain"), signatures=plain.serve)
    keep(folder / "plain.npz", {"image": picture}, plain.serve(tf.constant(picture)))


if __name__ == "__main__":
    make(Path(sys.argv[1]))

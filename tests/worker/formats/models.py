"""Models whose every cell of format and precision is tried: `python models.py FOLDER NAME…` writes each with
calibration data beside it. Weights are random, batch norms live: their statistics are those of real
activations, so that activations stay in range and logits move."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

ROWS = 128


def rng():
    return np.random.default_rng(11)


def live(model, images, shift=1.0):
    """Batch norms as after training: weights that are not 0 and 1, statistics near those of activations.

    shift: where they centre activations. With random weights a net amplifies every rounding error, the more
    the more activations sit at the bend of their non-linearity; training takes care of that, here the shift
    does. EfficientNet, with its 80 layers and gates, needs more of it to survive 8 bits.
    """
    generator = np.random.default_rng(7)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
        if layer.gamma is not None:
            layer.gamma.assign(generator.uniform(0.7, 1.3, layer.gamma.shape[0]))
        ends_a_block = layer.name.endswith("project_bn")
        if ends_a_block:
            layer.gamma.assign(0.4 * layer.gamma)
        centre = 0.0 if ends_a_block else shift
        layer.beta.assign(generator.normal(centre, 0.3, layer.beta.shape[0]))
    model(images, training=True)
    for layer in norms:
        layer.momentum = 0.99
        spread = generator.uniform(0.8, 1.25, layer.moving_variance.shape[0])
        layer.moving_variance.assign(layer.moving_variance * spread)


def photographs(count, size, bottom=-1.0, top=1.0):
    """Smooth images that differ in colour and contrast: coarse patterns enlarged, and some noise."""
    generator = rng()
    images = 0.05 * generator.standard_normal((count, size, size, 3))
    for cells in (2, 6):
        coarse = generator.uniform(-0.7, 0.7, (count, cells, cells, 3))
        images += tf.image.resize(coarse, (size, size), "bicubic").numpy()
    images += generator.uniform(-0.5, 0.5, (count, 1, 1, 3))
    return (bottom + (top - bottom) * (np.clip(images, -1, 1) + 1) / 2).astype("float32")


def small_cnn():
    layers = keras.layers
    image = keras.Input((24, 24, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(image)))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, 2, padding="same")(x)))
    y = layers.BatchNormalization()(layers.Conv2D(16, 1)(x))
    x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([x, y])))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 3, activation="relu")(x))
    model = keras.Model(image, layers.Dense(10, name="logits")(x))
    data = photographs(ROWS, 24)
    live(model, data)
    return model, {"image": data}


def _application(build, size, *scale, shift=1.0):
    image = keras.Input((size, size, 3), name="image")
    model = build(input_tensor=image, weights=None, classes=10, classifier_activation=None)
    data = photographs(ROWS, size, *scale)
    live(model, data, shift)
    return model, {"image": data}


def mobilenet_v2():
    from functools import partial

    return _application(partial(keras.applications.MobileNetV2, alpha=0.35), 96)


def resnet50():
    return _application(keras.applications.ResNet50, 64)


def efficientnet_b0():
    return _application(keras.applications.EfficientNetB0, 64, 0.0, 255.0, shift=2.5)


def _recurrent(layer):
    series = keras.Input((12, 6), name="series")
    x = layer(32)(series)
    return keras.Model(series, keras.layers.Dense(5)(x)), {
        "series": np.cumsum(0.4 * rng().standard_normal((ROWS, 12, 6)), axis=1).astype("float32")
    }


def lstm():
    return _recurrent(keras.layers.LSTM)


def gru():
    return _recurrent(keras.layers.GRU)


def transformer():
    layers = keras.layers
    ids = keras.Input((16,), name="ids", dtype="int32")
    x = layers.Embedding(64, 32)(ids) * 20.0
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(y, y)])
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.Dense(32)(layers.Dense(64, activation="gelu")(y))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(ids, layers.Dense(8)(x)), {"ids": rng().integers(0, 64, (ROWS, 16)).astype("int32")}


def two_inputs():
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="image")
    facts = keras.Input((6,), name="facts")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 3, activation="relu")(image))
    y = layers.Dense(32, activation="relu")(facts)
    x = layers.Dense(48, activation="relu")(layers.Concatenate()([x, y]))
    data = {"image": photographs(ROWS, 16), "facts": rng().standard_normal((ROWS, 6)).astype("float32")}
    return keras.Model([image, facts], layers.Dense(4)(x)), data


class Function(tf.Module):
    """A module with one function; no two of its weights are alike, which a converter would merge."""

    def __init__(self):
        super().__init__()
        self.generator = rng()

    def weights(self, *shape):
        return tf.Variable((self.generator.standard_normal(shape) / np.sqrt(shape[0])).astype("float32"))


class ControlFlow(Function):
    def __init__(self):
        super().__init__()
        self.w = self.weights(8, 8)

    @tf.function(input_signature=[tf.TensorSpec([1, 8], name="x")])
    def call(self, x):
        x = tf.while_loop(lambda i, a: i < 4, lambda i, a: (i + 1, tf.tanh(a @ self.w)), [0, x])[1]
        return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x - 1.0)}


class DynamicShapes(Function):
    def __init__(self):
        super().__init__()
        self.w = self.weights(3, 3, 3, 8)
        self.v = self.weights(8, 4)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="image")])
    def call(self, image):
        x = tf.nn.relu(tf.nn.conv2d(image, self.w, 1, "SAME"))
        return {"map": x, "scores": tf.reduce_mean(x, [1, 2]) @ self.v}


class PassThrough(Function):
    def __init__(self):
        super().__init__()
        self.w = self.weights(4, 4)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x"), tf.TensorSpec([None, 4], name="y")])
    def call(self, x, y):
        return {"sum": x @ self.w + y, "x": x, "again": y}


class Strings(Function):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def call(self, text):
        return {"length": tf.strings.length(text), "upper": tf.strings.upper(text)}


class SeveralOutputs(Function):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = self.weights(6, 40), self.weights(40, 3), self.weights(40, 3)

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="x")])
    def call(self, x):
        hidden = tf.nn.relu(x @ self.a)
        second = hidden @ self.c
        best = tf.argmax(second, axis=-1)
        return {"first": hidden @ self.b, "second": second, "best": best, "hidden": hidden}


class Determinant(Function):
    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4], name="x")])
    def call(self, x):
        with tf.name_scope("head/volume"):
            return {"y": tf.linalg.det(x) + tf.reduce_sum(x, [1, 2])}


FUNCTIONS = {
    "control_flow": (ControlFlow, {"x": (8,)}),
    "determinant": (Determinant, {"x": (4, 4)}),
    "dynamic_shapes": (DynamicShapes, {"image": (20, 28, 3)}),
    "pass_through": (PassThrough, {"x": (4,), "y": (4,)}),
    "several_outputs": (SeveralOutputs, {"x": (6,)}),
    "strings": (Strings, None),
}
KERAS = {
    f.__name__: f
    for f in (
        small_cnn,
        mobilenet_v2,
        resnet50,
        efficientnet_b0,
        lstm,
        gru,
        transformer,
        two_inputs,
    )
}


def make(folder, name):
    """Write one model and, but for strings, NAME.npz."""
    keras.utils.set_random_seed(5)
    if name in KERAS:
        model, data = KERAS[name]()
        model.save(folder / f"{name}.keras")
    else:
        kind, shapes = FUNCTIONS[name]
        module = kind()
        tf.saved_model.save(module, str(folder / name), signatures=module.call)
        if shapes is None:
            return
        generator = rng()  # one for all: inputs that are alike could be exchanged unnoticed
        data = {k: generator.standard_normal((ROWS, *s)).astype("float32") for k, s in shapes.items()}
    np.savez(folder / f"{name}.npz", **data)


if __name__ == "__main__":
    for each in sys.argv[2:]:
        make(Path(sys.argv[1]), each)

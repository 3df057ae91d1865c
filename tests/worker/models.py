"""Small models, made on the spot: `python models.py FOLDER` writes them all. Runs in a process of its own,
so that the tests' process never imports TensorFlow."""

import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def normal(shape, seed, scale=1.0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape) * scale, tf.float32)


class Zoo(tf.Module):
    """Two inputs and a spare one; outputs under hard names: an input's, a nested one, one that is no node
    name, a pass-through."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(normal([3, 4], 1), name="w")

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], name="x"),
            tf.TensorSpec([None, 4], name="y"),
            tf.TensorSpec([None, 1], name="spare"),
        ]
    )
    def call(self, x, y, spare):
        product = x @ self.w
        loop = tf.while_loop(
            lambda i, a: i < 3,
            lambda i, a: (i + 1, tf.tanh(a @ tf.transpose(self.w) @ self.w)),
            [0, product],
        )[1]
        return {"x": product + y, "head/logits": tf.nn.relu(y) + loop, "a key": product - y, "pass": y}


class Mixed(tf.Module):
    """Integers, booleans and strings, in and out."""

    def __init__(self):
        super().__init__()
        self.table = tf.Variable(normal([10, 5], 2), name="embedding")

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 4], tf.int32, name="ids"),
            tf.TensorSpec([None, 4], tf.bool, name="mask"),
            tf.TensorSpec([None], tf.string, name="text"),
        ]
    )
    def call(self, ids, mask, text):
        rows = tf.gather(self.table, ids)
        kept = tf.where(mask[..., None], rows, tf.zeros_like(rows))
        return {
            "sums": tf.reduce_sum(kept, axis=1),
            "best": tf.argmax(tf.reduce_sum(rows, axis=1), axis=-1),
            "any": tf.reduce_any(mask, axis=1),
            "joined": tf.strings.join([text, "!"]),
        }


class Stateful(tf.Module):
    """What must not be frozen, each as a signature."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0, name="calls")
        keys, values = tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64)
        self.words = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

    @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    def count(self, x):
        self.calls.assign_add(1.0)
        return {"y": x + self.calls}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def look_up(self, word):
        return {"id": self.words.lookup(word)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def noisy(self, x):
        return {"y": x + tf.random.normal(tf.shape(x))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="example")])
    def parse(self, example):
        return {"y": tf.io.parse_example(example, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="secret")])
    def opaque(self, secret):
        right = tf.strings.regex_full_match(secret, "<[0-9]{3}:.*>")
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(right), ["not a secret"])]):
            return {"y": tf.cast(tf.strings.length(secret), tf.float32) * 0.5}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="image")])
    def sized(self, image):
        filters = normal([9, 9, 3, 2], 5)
        return {"y": tf.reduce_mean(tf.nn.conv2d(image, filters, 1, "VALID"), [1, 2])}


def randomise_statistics(model):
    """Batch norm as after training: weights that are not 0 and 1, statistics near those of real activations,
    without which a deep model's outputs would no longer depend on its input."""
    generator = np.random.default_rng(7)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
        layer.gamma.assign(generator.uniform(0.5, 1.5, layer.gamma.shape[0]))
        layer.beta.assign(generator.normal(0, 0.3, layer.beta.shape[0]))
    model(generator.standard_normal((8, *model.input_shape[1:])).astype("f"), training=True)
    for layer in norms:
        layer.momentum = 0.99
        layer.moving_variance.assign(
            layer.moving_variance * generator.uniform(0.7, 1.4, layer.gamma.shape[0])
        )


def cnn():
    keras.utils.set_random_seed(3)
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, {"logits": keras.layers.Dense(5)(x), "features": x})
    randomise_statistics(model)
    return model


def lstm():
    keras.utils.set_random_seed(4)
    series = keras.Input((6, 3), name="series")
    return keras.Model(series, keras.layers.Dense(2)(keras.layers.LSTM(4)(series)))


def mobilenet():
    keras.utils.set_random_seed(5)
    model = keras.applications.MobileNetV2(
        (96, 96, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None
    )
    randomise_statistics(model)
    return model


def make(folder):
    """Write every model into the folder."""
    zoo, mixed, stateful = Zoo(), Mixed(), Stateful()
    tf.saved_model.save(zoo, str(folder / "zoo"), signatures=zoo.call)
    tf.saved_model.save(mixed, str(folder / "mixed"), signatures={"only_one": mixed.call})
    tf.saved_model.save(zoo, str(folder / "no_signature"), signatures={})
    names = ("count", "look_up", "noisy", "parse", "opaque", "sized")
    tf.saved_model.save(
        stateful, str(folder / "stateful"), signatures={n: getattr(stateful, n) for n in names}
    )
    cnn().save(folder / "cnn.keras")
    lstm().save(folder / "lstm.keras")
    recurrent = lstm()
    recurrent.export(folder / "lstm_saved", verbose=False)
    mobilenet().save(folder / "mobilenet.keras")
    x = keras.Input((2,))
    keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(folder / "lambda.keras")


def damage(folder):
    """Broken copies of what make() wrote."""
    whole = (folder / "cnn.keras").read_bytes()
    (folder / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no model")
    zoo = folder / "zoo"
    for name, pb, variables in (("cut_pb", 0.5, 1.0), ("cut_variables", 1.0, 0.5)):
        copy = folder / name
        (copy / "variables").mkdir(parents=True)
        graph = (zoo / "saved_model.pb").read_bytes()
        (copy / "saved_model.pb").write_bytes(graph[: int(len(graph) * pb)])
        for file in (zoo / "variables").iterdir():
            data = file.read_bytes()
            share = variables if ".data" in file.name else 1.0
            (copy / "variables" / file.name).write_bytes(data[: int(len(data) * share)])
    (folder / "garbled").mkdir()
    (folder / "garbled" / "saved_model.pb").write_bytes(bytes(range(256)) * 8)
    (folder / "no_variables").mkdir()
    (folder / "no_variables" / "saved_model.pb").write_bytes((zoo / "saved_model.pb").read_bytes())
    (folder / "empty").mkdir()
    (folder / "empty.keras").write_bytes(b"")
    (folder / "outer").mkdir()
    (folder / "outer" / "notes.txt").write_text("nothing")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make(target)
    damage(target)

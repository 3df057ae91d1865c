"""Models of TensorFlow 2 and Keras 3, made on the spot: `python make_v2.py FOLDER`."""

import pickle
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

CUSTOM = """
import keras


@keras.saving.register_keras_serializable("mine")
class Doubling(keras.layers.Layer):
    def call(self, x):
        return x * 2


class Unregistered(keras.layers.Layer):
    def call(self, x):
        return x * 3
"""


def normal(shape, seed):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


class Several(tf.Module):
    """Several signatures, a table from a file, a file that is read, a fixed batch."""

    def __init__(self, words, note):
        super().__init__()
        self.w = tf.Variable(normal([3, 2], 1), name="w")
        self.note = tf.saved_model.Asset(str(note))
        self.words = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(words),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x"), tf.TensorSpec([], name="scale")])
    def several(self, x, scale):
        return {"product": x @ self.w * scale, "sum": tf.reduce_sum(x, 1), "x": x}

    @tf.function(input_signature=[tf.TensorSpec([4, 3], name="x")])
    def fixed(self, x):
        return {"y": x @ self.w}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def noted(self, x):
        return {"y": tf.strings.join([x, tf.io.read_file(self.note.asset_path)])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def look_up(self, word):
        return {"id": self.words.lookup(word)}


def functional():
    """Two inputs and nested outputs; dropout, noise and batch norm, which differ in training."""
    keras.utils.set_random_seed(1)
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x = keras.layers.Concatenate()([a, b])
    x = keras.layers.BatchNormalization()(keras.layers.Dense(5, activation="relu")(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GaussianNoise(1.0)(x))
    return keras.Model({"a": a, "b": b}, {"logits": keras.layers.Dense(2)(x), "parts": [x, a]})


def sequential():
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input((6, 3), name="series"), keras.layers.LSTM(4), keras.layers.Dense(2)])


def with_unknown_op(source, target):
    """A copy whose second signature needs an operation that is not there."""
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, target)
    file = target / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "Neg":
                node.op = "AcmeWhiten"
    model.meta_graphs[0].meta_info_def.ClearField("stripped_op_list")
    file.write_bytes(model.SerializeToString())


class Pair(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(normal([3], 3), name="w")

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def plain(self, x):
        return {"y": x * self.w}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def odd(self, x):
        return {"y": tf.negative(x)}


def make(folder):
    (folder / "words.txt").write_text("ape\nbee\n")
    (folder / "note.txt").write_text(" noted")
    module = Several(folder / "words.txt", folder / "note.txt")
    names = ("several", "fixed", "noted", "look_up")
    tf.saved_model.save(module, str(folder / "several"), signatures={n: getattr(module, n) for n in names})
    (folder / "words.txt").unlink()
    (folder / "note.txt").unlink()
    pair = Pair()
    tf.saved_model.save(pair, str(folder / "pair"), signatures={"plain": pair.plain, "odd": pair.odd})
    with_unknown_op(folder / "pair", folder / "unknown_op")
    tf.train.Checkpoint(model=pair).write(str(folder / "weights"))

    functional().save(folder / "functional.keras")
    functional().save(folder / "functional.h5")
    shutil.copyfile(folder / "functional.h5", folder / "no_suffix")
    sequential().save(folder / "sequential.h5")
    sequential().save(folder / "sequential.keras")
    sequential().save_weights(folder / "sequential.weights.h5")
    (folder / "pickled.bin").write_bytes(pickle.dumps(sequential()))

    (folder / "own_layers.py").write_text(CUSTOM)
    sys.path.insert(0, str(folder))
    import own_layers

    x = keras.Input((3,), name="x")
    keras.Model(x, own_layers.Doubling()(x)).save(folder / "registered.keras")
    keras.Model(x, own_layers.Unregistered()(x)).save(folder / "unregistered.keras")
    keras.Model(x, own_layers.Unregistered()(x)).save(folder / "unregistered.h5")
    keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(folder / "lambda.keras")
    keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(folder / "lambda.h5")


if __name__ == "__main__":
    make(Path(sys.argv[1]))

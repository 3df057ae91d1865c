"""Models that are hard to freeze, made on the spot: `python models.py FOLDER`, in a process of its own."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

TEXT = tf.TensorSpec([None], tf.string, name="text")
X = tf.TensorSpec([None, 3], name="x")
lookup = tf.lookup


class Tables(tf.Module):
    """Look-ups of every kind, each as a signature."""

    def __init__(self, folder):
        super().__init__()
        (folder / "words.txt").write_text("the\nquick\nbrown\nfox\n")
        line, number = lookup.TextFileIndex.WHOLE_LINE, lookup.TextFileIndex.LINE_NUMBER
        words = lookup.TextFileInitializer(str(folder / "words.txt"), tf.string, line, tf.int64, number)
        self.words = lookup.StaticHashTable(words, -1)
        self.open = lookup.StaticVocabularyTable(words, 3)
        names = lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), ["no", "yes", "maybe"])
        self.names = lookup.StaticHashTable(names, "?")
        self.vectors = lookup.experimental.MutableHashTable(tf.string, tf.float32, [0.0, 0.0])
        self.vectors.insert(["the", "fox"], [[1.0, 2.0], [3.0, 4.0]])
        self.dense = lookup.experimental.DenseHashTable(
            tf.int64, tf.int64, default_value=-1, empty_key=-1, deleted_key=-2
        )
        self.dense.insert(tf.range(4, dtype=tf.int64), tf.range(4, dtype=tf.int64) * 10)
        self.growing = lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

    @tf.function(input_signature=[TEXT])
    def file(self, text):
        return {"id": self.words.lookup(text), "size": self.words.size()}

    @tf.function(input_signature=[TEXT])
    def several(self, text):
        number = self.words.lookup(text)
        return {
            "open": self.open.lookup(text),
            "name": self.names.lookup(number),
            "vector": self.vectors.lookup(text),
            "dense": self.dense.lookup(tf.maximum(number, 0)),
        }

    @tf.function(input_signature=[TEXT])
    def loop(self, text):
        return {
            "total": tf.while_loop(
                lambda i, _: i < 3,
                lambda i, a: (i + 1, a + self.words.lookup(text)),
                [0, self.words.lookup(text)],
            )[1]
        }

    @tf.function(input_signature=[TEXT])
    def grow(self, text):
        self.growing.insert(text, tf.cast(tf.strings.length(text), tf.int64))
        return {"id": self.growing.lookup(text)}


class States(tf.Module):
    """Variables that are assigned to while inferring, each as a signature."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0, name="calls")
        self.scratch_value = tf.Variable(tf.zeros([3]), name="scratch")
        self.window = tf.Variable(tf.zeros([4, 3]), name="window")
        self.w = tf.Variable(
            tf.constant(np.random.default_rng(1).standard_normal([3, 3]), tf.float32), name="w"
        )

    @tf.function(input_signature=[X])
    def counted(self, x):
        self.calls.assign_add(1.0)
        return {"y": x @ self.w}

    @tf.function(input_signature=[X])
    def scratch(self, x):
        self.scratch_value.assign(tf.reduce_sum(x, 0))
        return {"y": x @ self.w + self.scratch_value}

    @tf.function(input_signature=[X])
    def sliding(self, x):
        self.calls.assign_add(1.0)
        self.window.assign(tf.concat([self.window[1:], x[:1]], 0))
        self.window[0, 1].assign(5.0)
        self.window.scatter_add(tf.IndexedSlices(tf.ones([1, 3]), [1]))
        return {"y": tf.reduce_mean(self.window, 0) + self.calls, "rows": tf.gather(self.window, [0, 3])}

    @tf.function(input_signature=[X])
    def in_a_loop(self, x):
        for _ in tf.range(3):
            self.calls.assign_add(1.0)
        return {"y": x + self.calls}


class Decoders(tf.Module):
    """Inputs that are bytes of something, each as a signature."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.constant(np.random.default_rng(2).standard_normal([784, 2]), tf.float32))

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="wav")])
    def wav(self, wav):
        sound, rate = tf.audio.decode_wav(wav, desired_channels=1, desired_samples=800)
        return {"loud": tf.reduce_mean(tf.abs(sound)), "rate": rate}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def images(self, images):
        def one(image):
            return tf.image.resize(tf.io.decode_jpeg(image, channels=3), [8, 8]) / 255.0

        return {"small": tf.map_fn(one, images, fn_output_signature=tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="example")])
    def example(self, example):
        spec = {
            "a": tf.io.FixedLenFeature([2], tf.float32),
            "n": tf.io.FixedLenFeature([], tf.int64),
            "tags": tf.io.VarLenFeature(tf.string),
            "jpeg": tf.io.FixedLenFeature([], tf.string),
        }
        parsed = tf.io.parse_example(example, spec)
        picture = tf.map_fn(
            lambda b: tf.image.resize(tf.io.decode_image(b, channels=3, expand_animations=False), [2, 2]),
            parsed["jpeg"],
            fn_output_signature=tf.float32,
        )
        count = tf.cast(tf.strings.length(tf.sparse.to_dense(parsed["tags"])), tf.float32)
        return {"y": parsed["a"] * tf.cast(parsed["n"], tf.float32)[:, None], "p": picture, "t": count}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="raw")])
    def raw(self, raw):
        pixels = tf.reshape(tf.io.decode_raw(raw, tf.uint8), [-1, 784])
        return {"y": tf.cast(pixels, tf.float32) @ self.w}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="encoded")])
    def wrapped(self, encoded):
        image = tf.io.decode_png(tf.io.decode_base64(encoded), channels=1)
        return {"y": tf.reduce_mean(tf.cast(image, tf.float32), [0, 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="line")])
    def csv(self, line):
        number, word, whole = tf.io.decode_csv(line, [[0.0], [""], [0]])
        return {"y": number + tf.cast(whole, tf.float32), "n": tf.strings.length(word)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="gif")])
    def gif(self, gif):
        frames = tf.cast(tf.io.decode_gif(gif), tf.float32)
        return {"y": tf.reduce_mean(tf.image.resize(frames, [4, 4]), [0, 3])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="sequence")])
    def sequence(self, sequence):
        context, steps, lengths = tf.io.parse_sequence_example(
            sequence,
            {"scale": tf.io.FixedLenFeature([], tf.float32), "tags": tf.io.VarLenFeature(tf.string)},
            {
                "point": tf.io.FixedLenSequenceFeature([2], tf.float32),
                "ids": tf.io.RaggedFeature(tf.int64),
                "word": tf.io.VarLenFeature(tf.string),
            },
        )
        letters = tf.cast(tf.strings.length(tf.sparse.to_dense(context["tags"])), tf.float32)
        return {
            "y": tf.reduce_sum(steps["point"], 1) * context["scale"][:, None],
            "ids": tf.reduce_sum(steps["ids"], [1, 2]),
            "words": tf.reduce_sum(letters, 1)
            + tf.cast(
                tf.sparse.reduce_sum(
                    tf.SparseTensor(
                        steps["word"].indices,
                        tf.strings.length(steps["word"].values),
                        steps["word"].dense_shape,
                    ),
                    [1, 2],
                ),
                tf.float32,
            ),
            "steps": lengths["point"],
        }

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="series")])
    def series(self, series):
        context, steps = tf.io.parse_single_sequence_example(
            series,
            {"bias": tf.io.FixedLenFeature([2], tf.float32)},
            {"jpeg": tf.io.FixedLenSequenceFeature([], tf.string), "at": tf.io.VarLenFeature(tf.int64)},
        )
        small = tf.map_fn(
            lambda b: tf.image.resize(tf.io.decode_jpeg(b, channels=3), [2, 2]),
            steps["jpeg"],
            fn_output_signature=tf.float32,
        )
        return {"y": tf.reduce_mean(small, [0, 3]) + context["bias"], "at": tf.sparse.to_dense(steps["at"])}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="tensor")])
    def tensor(self, tensor):
        return {"y": tf.reshape(tf.io.parse_tensor(tensor, tf.float32), [1, 16]) * 2.0}


def norms():
    """Batch norm after a convolution, a depthwise one, a dense layer; with and without bias and scale."""
    keras.utils.set_random_seed(3)
    image = keras.Input((10, 10, 3), name="image")
    x = image
    for layer in (
        keras.layers.Conv2D(6, 3, use_bias=False),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        keras.layers.Conv2D(4, 1),
    ):
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(scale=layer.name != "conv2d_1")(layer(x)))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    model = keras.Model(image, keras.layers.Dense(3, use_bias=False)(x))
    generator = np.random.default_rng(4)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(generator.normal(0, 0.3, layer.moving_mean.shape))
            layer.moving_variance.assign(generator.uniform(0.3, 2, layer.moving_variance.shape))
            layer.beta.assign(generator.normal(0, 0.3, layer.beta.shape))
    return model


def texts():
    """Words to numbers to an embedding, as Keras's own layers do it."""
    keras.utils.set_random_seed(5)
    words = keras.Input((), dtype="string", name="words")
    ids = keras.layers.StringLookup(vocabulary=["red", "green", "blue"])(words)
    return keras.Model(words, keras.layers.Dense(2)(keras.layers.Embedding(5, 4)(ids)))


def huge(folder, source):
    """A SavedModel whose description says that its weights take 2.4 GB; the weights are not there."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    for node in model.meta_graphs[0].object_graph_def.nodes:
        if node.variable.name == "w":
            node.variable.shape.dim[0].size = 200_000_000
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    to = Path(sys.argv[1])
    tables, states, decoders = Tables(to), States(), Decoders()
    chosen = {
        "tables": (tables, ("file", "several", "loop", "grow")),
        "states": (states, ("counted", "scratch", "sliding", "in_a_loop")),
        "decoders": (
            decoders,
            ("wav", "images", "example", "raw", "wrapped", "csv", "gif", "sequence", "series", "tensor"),
        ),
    }
    for name, (module, keys) in chosen.items():
        tf.saved_model.save(module, str(to / name), signatures={key: getattr(module, key) for key in keys})
    (to / "words.txt").unlink()
    norms().save(to / "norms.keras")
    texts().save(to / "texts.keras")
    huge(to / "huge", to / "states")

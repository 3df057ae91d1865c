"""Models of Keras 2, made on the spot: `python make_keras2.py FOLDER`. Runs with TF_USE_LEGACY_KERAS=1."""

import sys
from pathlib import Path

import h5py
import tensorflow as tf
import tf_keras


def images():
    tf_keras.utils.set_random_seed(1)
    image = tf_keras.Input((8, 8, 3), name="image")
    x = tf_keras.layers.DepthwiseConv2D(3, padding="same")(image)
    x = tf_keras.layers.BatchNormalization()(tf_keras.layers.Dropout(0.5)(x))
    pooled = tf_keras.layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(
        image, [tf_keras.layers.Dense(2, name="a")(pooled), tf_keras.layers.Dense(3, name="b")(pooled)]
    )


def series():
    tf_keras.utils.set_random_seed(2)
    inputs = tf_keras.Input((5, 3), name="series")
    return tf_keras.Model(inputs, tf_keras.layers.Dense(2, name="dense")(tf_keras.layers.LSTM(4)(inputs)))


def dated(path, version):
    """As an earlier Keras 2 wrote it: with the keys in the configuration that Keras 3 refuses."""
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = version
        text = file.attrs["model_config"]
        assert '"groups": 1' in text or '"time_major": false' in text
        file.attrs["model_config"] = text


def make(folder):
    images().save(folder / "images.h5")
    dated(folder / "images.h5", "2.4.0")
    series().save(folder / "series.h5")
    dated(folder / "series.h5", "2.3.1")
    images().save(folder / "images.keras")
    images().save(folder / "saved", save_format="tf")
    series().save(folder / "no_traces", save_format="tf", save_traces=False)
    series().save_weights(folder / "weights.h5")
    x = tf_keras.Input((3,), name="x")
    tf_keras.Model(x, tf_keras.layers.Lambda(lambda t: t * 2)(x)).save(folder / "lambda.h5")
    assert tf.__version__


if __name__ == "__main__":
    make(Path(sys.argv[1]))

"""Models for the tests of verify and bisect, written as SavedModels; and one of them with integers.

Run with TensorFlow: make_models.py FOLDER. Their batch norms have statistics as after a training, so that
leaving one out shows.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow import keras

FOLDER = Path(sys.argv[1])
keras.utils.set_random_seed(7)
RANDOM = np.random.default_rng(7)


def trained(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    RANDOM.uniform(0.6, 1.4, gamma.shape),
                    RANDOM.normal(0, 0.3, beta.shape),
                    RANDOM.normal(0, 0.2, mean.shape),
                    RANDOM.uniform(0.4, 1.6, variance.shape),
                ]
            )
    return model


def mobilenet():
    # Large enough that one padding of it may become VALID.
    model = trained(
        keras.applications.MobileNetV2(
            (48, 48, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None
        )
    )
    model.name = "mobilenet"
    return model


def lstm():
    inputs = keras.Input((6, 5), batch_size=1, name="steps")
    x = keras.layers.LSTM(8, name="lstm")(inputs)
    x = keras.layers.Dense(7, activation="relu", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x), name="recurrent")


def branches(training=False, name="branches"):
    left = keras.Input((12, 12, 3), name="left")
    right = keras.Input((12, 12, 3), name="right")
    a = keras.layers.Conv2D(4, 3, padding="same", name="conv_left")(left)
    a = keras.layers.BatchNormalization(name="norm_left")(a)
    a = keras.layers.ReLU(name="relu_left")(a)
    b = keras.layers.Conv2D(4, 3, padding="same", name="conv_right")(right)
    b = keras.layers.BatchNormalization(name="norm_right")(b, training=training)
    b = keras.layers.ReLU(name="relu_right")(b)
    x = keras.layers.Subtract(name="difference")([a, b])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return trained(keras.Model([left, right], keras.layers.Dense(5, name="scores")(x), name=name))


def in_training(model, name):
    """The model with one of its batch norms normalising by the batch's own statistics."""

    def call(layer, *args, **kwargs):
        return layer(*args, **kwargs, training=True) if layer.name == name else layer(*args, **kwargs)

    clone = keras.models.clone_model(model, call_function=call)
    clone.set_weights(model.get_weights())
    clone.name = f"{model.name}_training"
    return clone


MODELS = [mobilenet(), lstm(), branches(), branches(training=True, name="branches_training")]
MODELS.append(in_training(MODELS[0], "block_2_expand_BN"))
MODELS[3].set_weights(MODELS[2].get_weights())
for model in MODELS:
    model.export(str(FOLDER / model.name), verbose=False)
    if model.name == "mobilenet":
        converter = tf.lite.TFLiteConverter.from_saved_model(str(FOLDER / model.name))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [RANDOM.standard_normal((1, 48, 48, 3)).astype(np.float32)] for _ in range(8)
        )
        (FOLDER / "mobilenet_int8.tflite").write_bytes(converter.convert())

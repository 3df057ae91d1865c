"""Models to deploy: `python make_models.py FOLDER NAME…`. Runs in a process of its own, so that the tests'
process never imports TensorFlow.

small_a, small_b      SavedModels of one small CNN with different weights, input "image", output "logits"
mobilenet_a, _b       MobileNetV2 as .keras: logits, batch norms with statistics that do something
mobilenet_small       the same at width 0.35 and 96 × 96, for an emulated board
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def randomise(model, seed):
    """Weights and batch-norm statistics that make a difference where they are dropped or swapped."""
    draw = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    draw.uniform(0.7, 1.3, gamma.shape),
                    draw.normal(0, 0.2, beta.shape),
                    draw.normal(0, 0.2, mean.shape),
                    draw.uniform(0.5, 1.5, variance.shape),
                ]
            )
    return model


def small(seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(8, 3, use_bias=False)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Flatten()(x)
    return randomise(keras.Model(image, keras.layers.Dense(10)(x)), seed)


def save(net, path):
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name="image")])
    def serve(image):
        return {"logits": net(image, training=False)}

    tf.saved_model.save(net, str(path), signatures={"serving_default": serve})


def mobilenet(seed, **size):
    keras.utils.set_random_seed(seed)
    return randomise(keras.applications.MobileNetV2(weights=None, classifier_activation=None, **size), seed)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for number, letter in enumerate("ab"):
        if f"small_{letter}" in sys.argv:
            save(small(number + 1), folder / f"small_{letter}")
        if f"mobilenet_{letter}" in sys.argv:
            mobilenet(number + 1).save(folder / f"mobilenet_{letter}.keras")
    if "mobilenet_small" in sys.argv:
        mobilenet(3, alpha=0.35, input_shape=(96, 96, 3)).save(folder / "mobilenet_small.keras")

"""Trains a small CNN on the handwritten digits that scikit-learn carries, in a process of its own.

python -m edgefreeze.demo.train FOLDER   writes into FOLDER: digits_savedmodel; digits_test.npz, inputs
under the signature's name and true classes under "label"; digits.npz, sixteen of those inputs alone;
digits_typical.npz, inputs of the training set, to calibrate on; and accuracy.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SEED = 7
TYPICAL = 300


def digits() -> tuple[Any, Any, Any, Any]:
    """Optical recognition of handwritten digits (UCI, E. Alpaydin and C. Kaynak): 1797 images of 8 × 8
    pixels, scaled to 0..1. Returns x_train, y_train, x_test, y_test; x is (n, 8, 8, 1) float32, a quarter
    is held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.images / 16.0).astype("float32")[..., None]
    x_train, x_test, y_train, y_test = train_test_split(
        images, data.target, test_size=0.25, random_state=SEED, stratify=data.target
    )
    return x_train, y_train, x_test, y_test


def model() -> Any:
    """A small CNN with batch norms and logits: input "image" (n, 8, 8, 1), output "logits" (n, 10)."""
    import keras

    image = keras.Input((8, 8, 1), name="image")
    x = image
    for filters in (24, 48):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(image, keras.layers.Dense(10, name="logits")(x))


def train(folder: Path) -> float:
    """Train, save into the folder, and return the accuracy on the held-out quarter (0 to 1)."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    x_train, y_train, x_test, y_test = digits()
    net = model()
    net.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    net.fit(x_train, y_train, batch_size=64, epochs=20, verbose=0)
    accuracy = float(net.evaluate(x_test, y_test, verbose=0)[1])

    # One named input, one named output: what `run`, the samples and the frozen graph's nodes are called.
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name="image")])  # type: ignore[untyped-decorator]
    def serve(image: Any) -> dict[str, Any]:
        return {"logits": net(image, training=False)}

    tf.saved_model.save(net, str(folder / "digits_savedmodel"), signatures={"serving_default": serve})
    np.savez(folder / "digits_test.npz", image=x_test, label=y_test.astype("int64"))
    np.savez(folder / "digits.npz", image=x_test[:16])
    np.savez(folder / "digits_typical.npz", image=x_train[:TYPICAL])
    (folder / "accuracy.json").write_text(json.dumps({"accuracy": accuracy}))
    return accuracy


if __name__ == "__main__":
    train(Path(sys.argv[1]))

"""A file of Keras 3: a .keras file (a zip with config.json and model.weights.h5), or an .h5 file."""

from __future__ import annotations

from pathlib import Path

from edgefreeze.worker import keras_models
from edgefreeze.worker.sources import Options, Source

KIND = "a Keras 3 model (a .keras or .h5 file)"


def sniff(path: Path) -> bool:
    """Whether the file is one of Keras that Keras 2 did not write."""
    version = keras_models.version(path)
    return version is not None and not keras_models.of_keras_2(path, version)


def load(path: Path, options: Options) -> Source:
    """Load the file and trace it for inference. Raises Failure as keras_models.read and source_of."""
    import keras

    return keras_models.source_of(keras_models.read(path, keras, options), options, str(path))

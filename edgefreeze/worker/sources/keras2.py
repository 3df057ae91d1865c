"""A file of Keras 2, an .h5 or a .keras file: read by tf-keras, since Keras 3 refuses much of what is in them
(groups in DepthwiseConv2D, dtype in initializers, time_major).

The worker's process is started for it: which Keras TensorFlow uses is settled when it is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.worker import keras_models
from edgefreeze.worker.sources import Options, Source

KIND = "a Keras 2 model (an .h5 file)"
ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1"}


def sniff(path: Path) -> bool:
    """Whether the file is one that Keras 2 wrote, or an .h5 file of a model that does not say who did."""
    version = keras_models.version(path)
    return version is not None and keras_models.of_keras_2(path, version)


def load(path: Path, options: Options) -> Source:
    """Load the file and trace it for inference. Raises Failure as keras_models.read and source_of;
    worker-no-tensorflow where tf-keras is not installed."""
    return keras_models.source_of(keras_models.read(path, package(), options), options, str(path))


def environment(path: Path) -> dict[str, str]:
    """Which Keras TensorFlow is to use."""
    return ENVIRONMENT


def load_saved_model(path: Path, options: Options) -> Source:
    """A SavedModel of Keras 2 that was saved without its functions, built again from its configuration.

    Raises Failure as `load`.
    """
    return keras_models.source_of(keras_models.read_saved_model(path, package(), options), options, str(path))


def package() -> Any:
    """tf-keras. Raises Failure worker-no-tensorflow."""
    try:
        import tf_keras
    except ImportError as error:
        raise Failure(
            "worker-no-tensorflow",
            "A model of Keras 2 needs the package tf-keras, which is not installed beside edgefreeze.",
            expected="the packages of the extra 'convert'",
            found=clean(str(error), 300),
            next="pip install 'edgefreeze[convert]'",
        ) from error
    return tf_keras

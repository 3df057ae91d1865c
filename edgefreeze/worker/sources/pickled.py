"""A pickled Keras model. Reading a pickle runs whatever code its maker put into it: only with --trust."""

from __future__ import annotations

import pickle
from pathlib import Path

from edgefreeze.errors import Failure
from edgefreeze.worker import custom_objects, keras_models
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.sources import Options, Source, keras2

KIND = "a pickled Keras model (with --trust only)"
_OLDEST, _NEWEST = 2, pickle.HIGHEST_PROTOCOL
_TF_KERAS = b"tf_keras"


def sniff(path: Path) -> bool:
    """Whether the file is a pickle of protocol 2 or later."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(2)
        file.seek(-1, 2)
        return head[:1] == b"\x80" and _OLDEST <= head[-1] <= _NEWEST and file.read() == b"."


def environment(path: Path) -> dict[str, str]:
    """Which Keras TensorFlow is to use: what is in the file says so."""
    return keras2.ENVIRONMENT if _TF_KERAS in path.read_bytes() else {}


def load(path: Path, options: Options) -> Source:
    """Load the model, if its maker is trusted. Raises Failure: model-untrusted, model-broken,
    model-unsupported."""
    if not options.trust:
        raise Failure(
            "model-untrusted",
            f"{path} is a pickle: code that its maker put into it would run when it is loaded.",
            expected="a model without code of its own",
            found="a pickle",
            next="--trust, if you know who made it; or, where it was made: model.save('model.keras')",
        )
    custom_objects.resolve(options.custom_objects)
    try:
        model = pickle.loads(path.read_bytes())  # noqa: S301 - the user said that its maker is trusted
    except Exception as error:  # whatever the code in it raises
        raise Failure(
            "model-broken",
            f"The pickle {path} cannot be loaded.",
            expected="a whole pickle whose classes can be imported here",
            found=reason(error),
            next="Save the model again where it was made: model.save('model.keras')",
        ) from error
    if not hasattr(model, "variables") or not callable(model):
        raise Failure(
            "model-unsupported",
            f"The pickle {path} holds no Keras model.",
            expected="a Keras model",
            found=f"{type(model).__module__}.{type(model).__name__}",
        )
    return keras_models.source_of(model, options, str(path))

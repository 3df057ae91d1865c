"""edgefreeze: freeze a trained TensorFlow model for a board, prove it, ship it, measure it there.

    frozen = edgefreeze.freeze(model, "model.pb")          a Keras model, tf.Module, function, Session, path
    infer = edgefreeze.load_frozen("model.pb")
    outputs = infer(image=array)

Importing this imports nothing heavy; the names below bring what they need when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Failure", "freeze", "load_frozen"]

if TYPE_CHECKING:
    from edgefreeze.errors import Failure
    from edgefreeze.load import load_frozen
    from edgefreeze.python import freeze

_WHERE = {
    "Failure": "edgefreeze.errors",
    "freeze": "edgefreeze.python",
    "load_frozen": "edgefreeze.load",
}


def __getattr__(name: str) -> Any:
    """The public names, imported on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module 'edgefreeze' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

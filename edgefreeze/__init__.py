"""edgefreeze: freeze a trained TensorFlow model for a board, prove it, ship it, measure it there.

    frozen = edgefreeze.freeze(model, "model.pb")          a Keras model, tf.Module, function, Session, path
    infer = edgefreeze.load_frozen("model.pb")
    outputs = infer(image=array)

    built = edgefreeze.build("saved_model", target="pi4")
    edgefreeze.verify("model.tflite", against="saved_model").equal
    deployed = edgefreeze.deploy("saved_model", target="pi4", device="pi@cam1", require="p95<40ms")
    edgefreeze.status(device="pi@cam1").release

Importing this imports nothing heavy; the names below bring what they need when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Built",
    "Comparison",
    "Deployment",
    "Device",
    "DuelResult",
    "Event",
    "Failure",
    "Frozen",
    "FrozenModel",
    "History",
    "Inspection",
    "Measurement",
    "Status",
    "Switch",
    "Target",
    "bench",
    "build",
    "deploy",
    "freeze",
    "history",
    "inspect",
    "load_frozen",
    "print_progress",
    "rollback",
    "run",
    "status",
    "verify",
]

if TYPE_CHECKING:
    from edgefreeze.benching import Measurement
    from edgefreeze.benchmark.result import DuelResult
    from edgefreeze.building import Built
    from edgefreeze.deployment import Deployment
    from edgefreeze.difference.verifying import Comparison
    from edgefreeze.documents import History, Status, Switch
    from edgefreeze.errors import Failure
    from edgefreeze.freezing import Frozen
    from edgefreeze.inspection.report import Inspection
    from edgefreeze.inventory import Device
    from edgefreeze.load import FrozenModel, load_frozen
    from edgefreeze.progress import Event
    from edgefreeze.python.boards import bench, deploy, history, rollback, run, status
    from edgefreeze.python.listening import print_progress
    from edgefreeze.python.models import freeze
    from edgefreeze.python.releases import build, inspect, verify
    from edgefreeze.targets import Target

_WHERE = {
    "benching": ("Measurement",),
    "benchmark.result": ("DuelResult",),
    "building": ("Built",),
    "deployment": ("Deployment",),
    "difference.verifying": ("Comparison",),
    "documents": ("History", "Status", "Switch"),
    "errors": ("Failure",),
    "freezing": ("Frozen",),
    "inspection.report": ("Inspection",),
    "inventory": ("Device",),
    "load": ("FrozenModel", "load_frozen"),
    "progress": ("Event",),
    "python.boards": ("bench", "deploy", "history", "rollback", "run", "status"),
    "python.listening": ("print_progress",),
    "python.models": ("freeze",),
    "python.releases": ("build", "inspect", "verify"),
    "targets": ("Target",),
}


def __getattr__(name: str) -> Any:
    """The public names, imported on first use."""
    module = next((module for module, names in _WHERE.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module 'edgefreeze' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f"edgefreeze.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

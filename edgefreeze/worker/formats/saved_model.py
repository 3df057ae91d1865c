"""The original as a SavedModel folder, so that it is measured in the same harness as what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.worker.formats import Made, Written

RUNTIME = "tf_saved_model"
PATH = "saved_model"
PRECISIONS = ("fp32",)
TOLERANCE = {"fp32": 1e-5}


def write(made: Made, out: Path, options: Mapping[str, Any]) -> Written:
    """Write saved_model/. Its `tensor` names are the keys of the signature."""
    source = made.source
    source.save(out / PATH)
    return Written(
        inputs=tuple(replace(t, tensor=t.name) for t in source.inputs),
        outputs=tuple(replace(t, tensor=t.name) for t in source.outputs),
        method=source.save_method,
        signature=source.signature,
    )

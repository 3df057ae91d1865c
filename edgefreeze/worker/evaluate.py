"""The operation `evaluate`: the original's outputs for all rows of a data set."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgefreeze.device import tensors
from edgefreeze.errors import Failure
from edgefreeze.worker import samples, sources
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.sources import Options

ROWS = 64


def evaluate(request: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run the model on the rows of `data`, ROWS at a time where its batch is free, and write its outputs
    ("out|NAME"), the labels where the data have them ("label"), and of images that had to be read the inputs
    ("in|NAME").

    Raises Failure: what loading raises, samples-bad.
    """
    path, data = Path(request["model"]), Path(request["data"])
    emit({"event": "stage", "name": "load"})
    _, source = sources.load(path, Options.of(request))
    arrays, labels = samples.labelled(data, source.inputs, request.get("normalise"))
    calls = samples.batches(arrays, source.inputs, ROWS)
    emit({"event": "stage", "name": "evaluate"})
    started = time.monotonic()
    results = []
    for done, call in enumerate(calls, 1):
        try:
            results.append(source.run(call))
        except Exception as error:
            raise Failure(
                "samples-bad",
                "The model fails on the data.",
                expected="inputs that the model accepts",
                found=f"call {done} of {len(calls)}: {reason(error)}",
            ) from error
        emit({"event": "progress", "done": done, "total": len(calls)})
    outputs = {t.name: join([r[t.name] for r in results]) for t in source.outputs}
    answers = {f"out|{name}": array for name, array in outputs.items()}
    if labels is not None:
        answers["label"] = labels
    if data.is_dir():
        answers |= {f"in|{name}": array for name, array in arrays.items()}
    Path(request["out"]).write_bytes(tensors.encode(answers))
    return {
        "calls": len(calls),
        "outputs": list(outputs),
        "seconds": round(time.monotonic() - started, 3),
    }


def join(parts: list[np.ndarray]) -> np.ndarray:
    """The outputs of all calls, row after row; of calls that give a scalar, one element each."""
    return np.concatenate([np.atleast_1d(part) for part in parts])

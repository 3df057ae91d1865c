"""Inputs of the user's on which the ranges of a model's integers are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefreeze.calibration import LEAST, USUAL
from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import samples

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

MOST = 512
"""More make a calibration slower and hardly better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Calls of the model with one row each, at most MOST, spread evenly over the `given` ones."""

    calls: list[Arrays]
    given: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the data, in sentences."""
        if self.given >= USUAL[0]:
            return ()
        return (f"Calibrated on {self.given} samples; {USUAL[0]} to {USUAL[1]} are usual.",)


def read(path: Path, inputs: Sequence[Tensor], normalise: str | None = None) -> Calibration:
    """The calibration data at a path, in any form that samples have (see samples.calls).

    Raises Failure calibration-bad: another shape or dtype than the input's, fewer than LEAST samples, values
    that are no finite numbers, or an input whose values are all the same.
    """
    try:
        given = samples.calls(path, inputs, rows=1, normalise=normalise)
    except Failure as failure:
        raise Failure(
            "calibration-bad",
            f"The calibration data cannot be used. {failure.message}",
            expected=failure.expected,
            found=failure.found,
            next=failure.next,
        ) from failure
    return of(given, inputs)


def of(given: list[Arrays], inputs: Sequence[Tensor]) -> Calibration:
    """Calibration data that is read, checked as `read` says."""
    if len(given) < LEAST:
        raise _bad(
            f"{len(given)} calibration sample says nothing of a range.",
            f"at least {LEAST} samples; {USUAL[0]} to {USUAL[1]} are usual",
            str(len(given)),
        )
    for tensor in inputs:
        _check(tensor.name, [call[tensor.name] for call in given])
    last = len(given) - 1
    chosen = sorted({round(step * last / (MOST - 1)) for step in range(MOST)})
    return Calibration(calls=[given[i] for i in chosen], given=len(given))


def _check(name: str, arrays: list[np.ndarray]) -> None:
    if arrays[0].dtype.kind != "f":
        return
    for row, array in enumerate(arrays):
        finite = np.isfinite(array)
        if not finite.all():
            kind = "NaN" if np.isnan(array).any() else "infinity"
            raise _bad(
                f"The calibration data of {name!r} has values that are no numbers.",
                "finite numbers",
                f"{kind} in sample {row}: {int((~finite).sum())} of {array.size} values",
            )
    top, bottom = max(float(a.max()) for a in arrays), min(float(a.min()) for a in arrays)
    if top == bottom:
        raise _bad(
            f"The calibration data of {name!r} has no range: every value is {top:g}.",
            "inputs like those that the model will see",
            f"the constant {top:g} in {len(arrays)} samples",
        )


def require_covers(calibration: Calibration, given: Sequence[Arrays]) -> None:
    """Raise Failure calibration-bad where samples reach far beyond what was calibrated on: pixels of 0..255
    against 0..1, say. Their integers would be cut off at the calibrated range."""
    for name, first in calibration.calls[0].items():
        if first.dtype.kind != "f":
            continue
        known = [call[name] for call in calibration.calls]
        top, bottom = max(float(a.max()) for a in known), min(float(a.min()) for a in known)
        reach = max(float(np.abs(call[name]).max(initial=0.0)) for call in given)
        if reach > 4 * max(abs(top), abs(bottom)):
            raise _bad(
                f"The samples of {name!r} reach far beyond the calibration data: one of the two is not "
                "prepared as the model takes it.",
                f"values of {bottom:.4g} to {top:.4g}, as in the calibration data",
                f"samples that reach {reach:.4g}",
            )


def _bad(message: str, expected: str, found: str) -> Failure:
    return Failure(
        "calibration-bad",
        message,
        expected=expected,
        found=found,
        next="--calibration FILE.npz with inputs like those that the model will see",
    )

"""Artifacts that a model can become: one file per format, the filename is the key.

A file offers
    RUNTIME                      the file in device/runtimes that runs it
    path(precision)              the file or folder that it writes, relative to the output folder
    write(made, precision, out, options)
                                 writes into the folder `out`: Written, or raises Unfit with the reason
and, where it has options to check,
    require(precision, options)  raises Failure for options that can only fail; needs no TensorFlow

What it can be made in, how near that comes and what it needs are facts of edgefreeze/formats.py. Everything
is derived from the one frozen graph; only saved_model in fp32 is the original itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from edgefreeze import formats as facts
from edgefreeze.types import Tensor

if TYPE_CHECKING:
    from edgefreeze.worker.calibration import Calibration
    from edgefreeze.worker.freeze import Frozen
    from edgefreeze.worker.sources import Source


class Unfit(Exception):
    """The model cannot become this format; the text says why, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What formats are derived from."""

    source: Source
    frozen: Frozen
    """The graph that ships: optimised, and lowered if that was asked for."""
    plain: Frozen
    """The same graph with While and If as functions and without optimisation, which converters need."""
    scratch: Path
    """A folder for what several precisions of a format share; it goes when all are written."""
    calibration: Calibration | None = None
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the output's last axis."""
    normalise: str | None = None
    """How an application prepares the inputs, in the user's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What an artifact's own runtime calls inputs and outputs, and how it was made."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    method: str
    signature: str | None = None
    init_ops: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a user should know of it, in sentences."""


class FormatModule(Protocol):
    """What a file in this folder offers."""

    RUNTIME: str

    def path(self, precision: str) -> str: ...  # noqa: D102

    def write(self, made: Made, precision: str, out: Path, options: Mapping[str, Any]) -> Written: ...  # noqa: D102


def names() -> list[str]:
    """The formats, by filename, without importing them."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")


def module(name: str, precision: str | None = None) -> FormatModule:
    """The file for a format, which imports nothing heavy. Raises Failure format-unknown, for the precision
    too."""
    facts.parse(name if precision is None else f"{name}:{precision}")
    return cast(FormatModule, importlib.import_module(f"{__name__}.{name}"))


def require_options(name: str, precision: str, options: Mapping[str, Any]) -> None:
    """Raise Failure for options that can only fail: format-unknown, opset-unknown."""
    check = getattr(module(name, precision), "require", None)
    if check is not None:
        check(precision, options)

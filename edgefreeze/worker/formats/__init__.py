"""Artifacts that a model can become: one file per format, the filename is the key.

A file offers
    RUNTIME                      the file in device/runtimes that runs it
    PATH                         the file or folder that it writes, relative to the output folder
    PRECISIONS                   what it can be made in
    TOLERANCE                    by precision: the largest error relative to an output's range that passes
    write(made, out, options)    writes into the folder `out`: Written, or raises Unfit with the reason

Everything is derived from the one frozen graph; only saved_model is the original itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from edgefreeze.errors import Failure, nearest
from edgefreeze.types import Tensor
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What an artifact's own runtime calls inputs and outputs, and how it was made."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    method: str
    signature: str | None = None
    init_ops: tuple[str, ...] = ()


class FormatModule(Protocol):
    """What a file in this folder offers."""

    RUNTIME: str
    PATH: str
    PRECISIONS: tuple[str, ...]
    TOLERANCE: Mapping[str, float]

    def write(self, made: Made, out: Path, options: Mapping[str, Any]) -> Written: ...  # noqa: D102


def names() -> list[str]:
    """The formats, by filename, without importing them."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")


def module(name: str, precision: str = "fp32") -> FormatModule:
    """The file for a format. Raises Failure format-unknown, for the precision too."""
    if name not in names():
        near = nearest(name, names())
        raise Failure(
            "format-unknown",
            f"There is no format {name!r}{f'; did you mean {near!r}?' if near else '.'}",
            expected=", ".join(names()),
            found=name,
        )
    found = cast(FormatModule, importlib.import_module(f"{__name__}.{name}"))
    if precision not in found.PRECISIONS:
        raise Failure(
            "format-unknown",
            f"The format {name} cannot be made in {precision!r}.",
            expected=", ".join(found.PRECISIONS),
            found=precision,
        )
    return found

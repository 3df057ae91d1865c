"""Golden inputs, on which a release is proved here and on the board, and the original's outputs for them.

Either the user's samples, or drawn: of several distributions the one whose outputs move most. A draw that
leaves the outputs still proves nothing, since a broken model would pass on it too. What a decoder reads is
made to be valid (see decoders), and words are those that the model's tables know.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.device import parity
from edgefreeze.errors import Failure
from edgefreeze.types import GoldenData, Shape, Tensor
from edgefreeze.worker import decoders
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.sources import Source

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

CASES = 4
MOST_SAMPLES = 16
SEED = 20_161_109
SAME = 1e-6
"""Two calls of the original on one input may differ by this, relative to the output's range:
threads add up in any order. A model with state or random numbers differs by far more."""

_SIZES = (16, 32, 64, 128, 224, 8, 4, 2, 1)
"""Tried in turn for a dimension that is free and not the batch. Large ones first: at size 1 a convolution
or an attention runs and uses hardly any of its weights."""
_UNKNOWN_RANK: tuple[tuple[int, ...], ...] = ((1,), (1, 16), (1, 32, 32, 3), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Cases of inputs, the original's outputs for them, and where the inputs come from."""

    inputs: list[Arrays]
    outputs: list[Arrays]
    data: GoldenData


class Undrawable(Failure):
    """No inputs could be made on which the model runs: it needs samples of the user's."""


def make(
    source: Source, samples: list[Arrays] | None, known: Mapping[str, np.ndarray] | None = None
) -> Golden:
    """Golden data from the samples, calls of the model (at most MOST_SAMPLES, spread evenly), or drawn.

    known: by dtype, the keys of the tables that the model looks things up in.
    Raises Failure samples-bad, model-stateful, Undrawable.
    """
    if samples is not None:
        last, steps = len(samples) - 1, MOST_SAMPLES - 1
        inputs = [samples[i] for i in sorted({round(step * last / steps) for step in range(MOST_SAMPLES)})]
        method = f"{len(inputs)} of {len(samples)} samples"
        try:
            outputs = [source.run(case) for case in inputs]
        except Exception as error:
            raise Failure(
                "samples-bad",
                "The model fails on the samples.",
                expected="inputs that the model accepts",
                found=reason(error),
            ) from error
        kind = "samples"
    else:
        inputs, outputs, method = _draw(source, known or {})
        kind = "drawn"
    _refuse_state(source, inputs[0], outputs[0])
    return Golden(
        inputs=inputs, outputs=outputs, data=GoldenData(source=kind, method=method, cases=len(inputs))
    )


def _draw(source: Source, known: Mapping[str, np.ndarray]) -> tuple[list[Arrays], list[Arrays], str]:
    """(inputs, outputs, method) of the draw that moves the outputs most, of those that run."""
    best: tuple[float, list[Arrays], list[Arrays], str] | None = None
    trouble = ""
    made = {name: _contents(variants) for name, variants in decoders.recognise(source).items()}
    for shapes in _shapes(source.inputs):
        for method, draw in _draws(source.inputs, made, known):
            generator = np.random.Generator(np.random.PCG64(SEED))
            inputs = [
                {
                    t.name: draw[t.name](generator, s, t.dtype)
                    for t, s in zip(source.inputs, shapes, strict=True)
                }
                for _ in range(CASES)
            ]
            try:
                outputs = [source.run(case) for case in inputs]
            except Exception as error:  # whatever TensorFlow says: this draw does not suit the model
                trouble = reason(error)
                continue
            score = movement(outputs)
            if score is not None and (best is None or score > best[0]):
                best = score, inputs, outputs, method
            if made and best is not None:
                break  # sizes are alternatives: the first that the model takes will do
        if best is not None:
            free = any(None in (t.shape or (None,))[1:] for t in source.inputs)
            sizes = f", shapes {[list(s) for s in shapes]}" if free else ""
            return best[1], best[2], f"{best[3]}{sizes}; outputs move {best[0]:.2g} of their size"
    raise Undrawable(
        "samples-bad",
        "The model runs on none of the inputs that edgefreeze can draw, so it needs samples of yours.",
        expected="an .npz with the inputs " + ", ".join(t.name for t in source.inputs),
        found=trouble or "outputs that are no finite numbers",
        next="--samples FILE.npz, a folder of files, or JSON lines",
    )


def movement(outputs: list[Arrays]) -> float | None:
    """How much outputs move from case to case, relative to their size, less what sits at an extreme (a
    saturated output shows no error). The least of all float outputs, 0 where there is none; None where one
    is not finite."""
    least: float | None = None
    for key in outputs[0]:
        values = [case[key] for case in outputs]
        if values[0].dtype.kind != "f" or len({v.shape for v in values}) > 1 or values[0].size == 0:
            continue
        stack = np.stack([v.astype(np.float64) for v in values])
        if not np.isfinite(stack).all():
            return None
        largest = float(np.abs(stack).max())
        moved = float(np.abs(stack - stack.mean(axis=0)).mean()) / largest if largest > 0 else 0.0
        span = float(stack.max() - stack.min())
        edge = 1e-6 * span
        pinned = (
            float(((stack > stack.max() - edge) | (stack < stack.min() + edge)).mean()) if span > 0 else 0.0
        )
        score = moved * (1 - pinned)
        least = score if least is None else min(least, score)
    return least if least is not None else 0.0


def _shapes(inputs: Sequence[Tensor]) -> Iterator[list[tuple[int, ...]]]:
    """Shapes to try for all inputs at once: a free batch is 1, other free dimensions of one size."""

    def fixed(shape: Shape, size: int) -> tuple[int, ...]:
        return tuple((1 if i == 0 else size) if s is None else s for i, s in enumerate(shape))

    seen: set[tuple[tuple[int, ...], ...]] = set()
    for unknown, size in itertools.product(_UNKNOWN_RANK, _SIZES):
        shapes = [unknown if t.shape is None else fixed(t.shape, size) for t in inputs]
        if tuple(shapes) not in seen:
            seen.add(tuple(shapes))
            yield shapes


def _kind(dtype: str) -> str:
    if dtype in ("string", "bool"):
        return dtype
    return "integer" if np.dtype(dtype).kind in "iu" else "float"


def _draws(
    inputs: Sequence[Tensor], made: Mapping[str, dict[str, Any]], known: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, how to draw each input) for every combination that these inputs can tell apart.

    Inputs of one kind are drawn alike, but for those of `made`, which have draws of their own.
    """
    kinds = {_kind(t.dtype) for t in inputs if t.name not in made}
    tables = {kind: table for kind, table in _TABLES.items() if kind in kinds}
    for kind in kinds & {"string", "integer"}:
        keys = {d: k for d, k in known.items() if _kind(d) == kind and len(k)}
        if keys:
            tables[kind] = {"keys of the model's tables": _some(keys, tables[kind]), **tables[kind]}
    tables |= made
    for combination in itertools.product(*(table.items() for table in tables.values())):
        draws = dict(zip(tables, (d for _, d in combination), strict=True))
        yield (
            ", ".join(name for name, _ in combination) or "no inputs",
            {t.name: draws[t.name if t.name in made else _kind(t.dtype)] for t in inputs},
        )


def _some(keys: Mapping[str, np.ndarray], table: Mapping[str, Any]) -> Any:
    """Keys of the input's dtype, mixed with what else there is; just the latter where it has no keys."""
    otherwise = next(iter(table.values()))

    def draw(g: Any, s: tuple[int, ...], dtype: str) -> Any:
        values = otherwise(g, s, dtype)
        if dtype in keys:
            known = g.choice(keys[dtype], s)
            values = np.where(g.random(s) < 0.75, known, values).astype(values.dtype)
        return values

    return draw


def _contents(variants: Sequence[tuple[str, decoders.Make]]) -> dict[str, Any]:
    """Draws of an input's strings, each made by itself."""

    def draw(make: decoders.Make) -> Any:
        def one(g: Any, s: tuple[int, ...], _: str) -> Any:
            array = np.empty(int(np.prod(s, dtype=int)), dtype=object)
            array[:] = [make(g) for _ in range(array.size)]
            return array.reshape(s)

        return one

    return {name: draw(make) for name, make in variants}


def _integers(below: int) -> Any:
    def draw(g: Any, s: tuple[int, ...], dtype: str) -> Any:
        return np.asarray(g.integers(0, min(below, int(np.iinfo(dtype).max) + 1), s), dtype)

    return draw


def _text(g: Any, s: tuple[int, ...], _: str) -> Any:
    words = [bytes(g.integers(97, 123, 8).astype(np.uint8)) for _ in range(int(np.prod(s, dtype=int)))]
    return np.array(words, dtype=object).reshape(s)


_TABLES: dict[str, dict[str, Any]] = {
    "float": {
        "standard normal": lambda g, s, d: np.asarray(g.standard_normal(s), d),
        "normal of deviation 10": lambda g, s, d: np.asarray(10 * g.standard_normal(s), d),
        "uniform 0..1": lambda g, s, d: np.asarray(g.random(s), d),
        "uniform -1..1": lambda g, s, d: np.asarray(g.uniform(-1, 1, s), d),
        "uniform 0..255": lambda g, s, d: np.asarray(g.uniform(0, 255, s), d),
    },
    "integer": {f"integers 0..{n - 1}": _integers(n) for n in (10, 2, 256)},
    "bool": {"booleans": lambda g, s, d: np.asarray(g.integers(0, 2, s), bool)},
    "string": {"random words": _text},
}


def _refuse_state(source: Source, inputs: Arrays, outputs: Arrays) -> None:
    """Raise Failure model-stateful unless a second call gives the same."""
    result = parity.compare([outputs], [source.run(inputs)], SAME)
    for output in result["outputs"]:
        if not output["ok"]:
            raise Failure(
                "model-stateful",
                f"Two calls of the model with the same input differ in the output {output['name']!r}: it "
                "keeps state or draws random numbers.",
                expected="the same outputs for the same inputs",
                found=str(output["reason"]),
                next="Export an inference function: training=False, no random operations.",
            )

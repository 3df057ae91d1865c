"""`edgefreeze verify`: whether A computes what B computes, output by output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgefreeze.device import parity
from edgefreeze.difference import measures
from edgefreeze.difference.measures import Worst
from edgefreeze.difference.sides import Answer, Arrays, Artifact, Given, Model
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.shown import Shown
from edgefreeze.types import Tensor
from edgefreeze.worker import matching

TOLERANCES = {"tflite": 1e-4, "onnx": 1e-4}
"""By kind of either side; else STRICT. Those that targets have, for float artifacts."""
STRICT = 1e-5
QUANTISED = 5e-2
"""For an artifact whose ends are integers with a scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparison:
    """One output of A beside B's: the fields of types.OutputParity, and more. Relative errors are of the
    range of B's output."""

    name: str
    other: str
    """What A calls it."""
    equal: bool
    max_abs: float
    max_rel: float
    cosine: float
    top1: float | None
    sqnr_db: float | None
    tolerance: float
    worst: Worst | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Shown):
    """A beside B. `inputs`: what they were compared on. `device`: where A ran, None for this machine."""

    equal: bool
    a: str
    b: str
    device: str | None
    outputs: tuple[OutputComparison, ...]
    inputs: str
    cases: int
    warnings: tuple[str, ...]


def verify(
    a: Model | Artifact,
    b: Model | Artifact,
    samples_at: Path | None,
    tolerance: float | None,
    progress: Progress,
) -> Comparison:
    """Compare A with the reference B. Raises Failure: what either raises, samples-bad, not-comparable."""
    if samples_at is None and _first(a, b):
        mine = a.answer(None, None, progress)
        theirs = b.answer(Given(inputs=mine.inputs, cases=mine.cases), None, progress)
        method = mine.method
    else:
        theirs = b.answer(None, samples_at, progress)
        mine = a.answer(Given(inputs=theirs.inputs, cases=theirs.cases), None, progress)
        method = theirs.method
    quantised = any("with a scale" in warning for warning in (*mine.warnings, *theirs.warnings))
    allowed = tolerance if tolerance is not None else _default(a.kind, b.kind, quantised)
    outputs, warnings = compare(mine, theirs, allowed)
    return Comparison(
        equal=all(output.equal for output in outputs),
        a=a.name,
        b=b.name,
        device=a.place.name if isinstance(a, Artifact) else None,
        outputs=outputs,
        inputs=method,
        cases=len(theirs.cases),
        warnings=tuple(dict.fromkeys([*mine.warnings, *theirs.warnings, *warnings])),
    )


def compare(mine: Answer, theirs: Answer, tolerance: float) -> tuple[tuple[OutputComparison, ...], list[str]]:
    """(every output of the reference `theirs` that has a partner, warnings). Pure."""
    matched, warnings = matching.pairs(
        _as_found(theirs.outputs, theirs.cases[0][1]),
        _as_found(mine.outputs, mine.cases[0][1]),
        "output",
        all_of_mine=False,
    )
    reference = [{p.mine: outputs[p.mine] for p in matched} for _, outputs in theirs.cases]
    candidate = [_like(matching.arranged(outputs, matched), r) for (_, outputs), r in
                 zip(mine.cases, reference, strict=True)]  # fmt: skip
    judged = {o["name"]: o for o in parity.compare(reference, candidate, tolerance)["outputs"]}
    return tuple(_output(p, judged[p.mine], reference, candidate) for p in matched), warnings


def failure(found: Comparison, a: Path | None) -> Failure:
    """What a comparison that is not equal ends in, with all of it. a: A's path, None of what
    runs on a device."""
    on = f" --on {found.device}" if found.device else ""
    wrong = [o for o in found.outputs if not o.equal]
    failure = Failure(
        "differs",
        f"{found.a} does not compute what {found.b} computes: "
        + "; ".join(f"output {o.name!r}: {o.reason}" for o in wrong),
        expected=f"every output within {wrong[0].tolerance:g} of its range",
        found="; ".join(f"{o.name}: {_size(o)}" for o in wrong),
        next=f"edgefreeze bisect {a or 'its release folder'} {found.b}{on}",
    )
    failure.fields = msgspec.to_builtins(found)
    return failure


def _size(output: OutputComparison) -> str:
    sqnr = "" if output.sqnr_db is None else f", SQNR {output.sqnr_db:.1f} dB"
    return f"{output.max_rel:.2g} of the range, cosine {output.cosine:.6f}{sqnr}"


def _output(pair: Any, judged: dict[str, Any], reference: list[Arrays], candidate: list[Arrays]) -> Any:
    expected, found = [r[pair.mine] for r in reference], [c[pair.mine] for c in candidate]
    return OutputComparison(
        name=pair.mine,
        other=pair.theirs,
        equal=judged["ok"],
        max_abs=judged["max_abs"],
        max_rel=judged["max_rel"],
        cosine=judged["cosine"],
        top1=judged["top1"],
        sqnr_db=measures.sqnr_db(expected, found),
        tolerance=judged["tolerance"],
        worst=measures.worst(expected, found),
        reason=judged["reason"],
    )


def _as_found(ends: Sequence[Tensor], outputs: Arrays) -> list[Tensor]:
    """Outputs with the shapes that they turned out to have: a converter may not have noted them."""
    return [replace(t, shape=tuple(outputs[t.name].shape)) if t.name in outputs else t for t in ends]


def _like(candidate: Arrays, reference: Arrays) -> Arrays:
    """The candidate's floats where the reference has floats: a class number may be an int32 or an int64, and
    is compared exactly."""
    return {
        name: array.astype(reference[name].dtype)
        if array.dtype.kind in "iu" and reference[name].dtype.kind in "iu"
        else array
        for name, array in candidate.items()
    }


def _open(ends: Sequence[Tensor]) -> int:
    """How many dimensions are free, the batch aside; a rank that is not known counts much."""
    return sum(4 if t.shape is None else sum(size is None for size in t.shape[1:]) for t in ends)


def _first(a: Model | Artifact, b: Model | Artifact) -> bool:
    """Whether A's inputs are taken and not B's: those of a release, or of the side that is pickier about
    sizes, since what suits a fixed shape suits a free one."""
    mine, theirs = (isinstance(s, Artifact) and s.golden is not None for s in (a, b))
    return _open(b.static) > _open(a.static) if mine == theirs else mine


def _default(a: str, b: str, quantised: bool) -> float:
    if quantised:
        return QUANTISED
    return max(TOLERANCES.get(a, STRICT), TOLERANCES.get(b, STRICT))


def check_tolerance(value: float | None) -> float | None:
    """Raise Failure usage unless it is a share."""
    if value is not None and not (np.isfinite(value) and 0 <= value <= 1):
        raise Failure("usage", f"--tolerance {value} is no share of the range", expected="0 to 1")
    return value

"""The operation `answer`: a model's outputs for golden inputs that are drawn, for a user's samples, or for
cases that another model was given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgefreeze.device.tensors import decode_golden, encode_golden
from edgefreeze.errors import Failure
from edgefreeze.types import GoldenData
from edgefreeze.worker import golden, matching, samples, sources
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.sources import Options, Source


def answer(request: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Load `model` and write its cases to `out` as golden data.

    given: {"cases": path of golden data, "inputs": the ends that its arrays are of}, or None; samples: path
    or None. Returns the ends, {"inputs", "outputs"}, what the cases are, and warnings. Raises Failure: what
    loading raises, samples-bad, not-comparable, model-stateful.
    """
    emit({"event": "stage", "name": "load"})
    _, source = sources.load(Path(request["model"]), Options.of(request))
    emit({"event": "stage", "name": "evaluate"})
    warnings: list[str] = []
    if request.get("given"):
        cases, warnings = _given(source, request["given"])
        data = GoldenData(source="drawn", method="the other's inputs", cases=len(cases))
    else:
        calls = samples.calls(Path(request["samples"]), source.inputs, 1) if request.get("samples") else None
        made = golden.make(source, calls)
        cases, data = list(zip(made.inputs, made.outputs, strict=True)), made.data
    Path(request["out"]).write_bytes(encode_golden(cases))
    return {
        "inputs": msgspec.to_builtins(source.inputs),
        "outputs": msgspec.to_builtins(source.outputs),
        "golden": msgspec.to_builtins(data),
        "warnings": warnings,
    }


def _given(source: Source, given: dict[str, Any]) -> tuple[list[Any], list[str]]:
    matched, warnings = matching.pairs(
        source.inputs, matching.ends(given["inputs"]), "input", all_of_mine=True
    )
    cases = []
    for number, (inputs, _) in enumerate(decode_golden(Path(given["cases"]).read_bytes()), 1):
        mine = typed(matching.arranged(inputs, matched), source.inputs)
        try:
            cases.append((mine, matching.in_batches(source.run, mine, source.inputs)))
        except Exception as error:
            raise Failure(
                "not-comparable",
                "The model fails on the other's inputs.",
                expected="two models that take the same inputs",
                found=f"case {number}: {reason(error)}",
                next="--samples FILE with inputs that both take",
            ) from error
    return cases, warnings


def typed(arrays: Any, ends: Any) -> Any:
    """Arrays in the dtypes of the ends; strings as they are."""
    return {t.name: arrays[t.name] if t.dtype == "string" else arrays[t.name].astype(t.dtype) for t in ends}

"""Which form of the model serves a target best, and why: from what is in the model, before anything is
measured. Pure. `edgefreeze deploy` measures, and its figures decide where they differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgefreeze.inspection.fit import Fit

_HEAVY_FLOPS = 5e6
_FROZEN_GAIN = (
    "against the SavedModel it is one file without variables to restore and with constants to fold, so that "
    "it starts sooner"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """For one target: the format to take first, None where none works, and why, in sentences."""

    target: str
    format: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the advice hangs on. `flops` of one inference, None where too little is known."""

    kind: str
    signatures: int
    input_dtypes: tuple[str, ...]
    tables: int
    control_flow: tuple[str, ...]
    parameters: int | None
    flops: int | None
    free_batch: bool


def advise(target: str, formats: Sequence[str], fits: Mapping[str, Fit], facts: Facts) -> Advice:
    """The first of the target's formats, which stand in its order of preference, that the model suits."""
    works = [name for name in formats if fits[name].works == "yes"]
    unknown = [name for name in formats if fits[name].works == "unknown"]
    if not works and unknown:
        return Advice(
            target=target,
            format=unknown[0],
            reasons=(
                f"{_title(unknown[0])} is the target's first choice; whether the model suits it shows "
                "when it is traced",
            ),
        )
    if not works:
        return Advice(target=target, format=None, reasons=tuple(_refusals(formats, fits)))
    reasons: list[str] = []
    best = works[0]
    if best in ("tflite", "onnx"):
        reasons += _light(best, facts, works)
    elif best == "frozen_pb":
        reasons.append("all its operations run in TensorFlow; " + _FROZEN_GAIN)
        lighter = [name for name in ("tflite", "onnx") if name in works]
        if lighter:
            reasons.append(
                f"{_title(lighter[0])} would need no TensorFlow there (1.5 GB unpacked): try it where space "
                "or start-up counts"
            )
    elif best == "tensorrt":
        reasons.append("the device builds an engine of the model's ONNX for its own GPU")
    else:
        reasons.append("what works is the SavedModel alone")
    if facts.signatures > 1 and best != "saved_model":
        reasons.append(f"of its {facts.signatures} signatures this has one; the SavedModel keeps all of them")
    reasons += _refusals([name for name in formats if name not in works], fits)
    return Advice(target=target, format=best, reasons=tuple(reasons))


def _light(best: str, facts: Facts, works: Iterable[str]) -> list[str]:
    """Why a format without TensorFlow."""
    runtime = "LiteRT, some MB" if best == "tflite" else "ONNX Runtime, some tens of MB"
    found = [
        f"every operation has a form in {_title(best)}, which needs {runtime}, and no TensorFlow (1.5 GB)"
    ]
    if facts.flops is not None and facts.flops < _HEAVY_FLOPS:
        found.append(
            f"at {facts.flops / 1e6:.2g} MFLOPs what TensorFlow spends on each call would outweigh the model"
        )
    if facts.control_flow and best == "tflite" and facts.free_batch:
        found.append(
            f"its {facts.control_flow[0]} wants a fixed batch in TensorFlow Lite: freeze it with --batch 1"
        )
    if "frozen_pb" in works:
        found.append(
            "the frozen graph is made in any case, as the reference that everything is compared with"
        )
    return found


def _refusals(formats: Iterable[str], fits: Mapping[str, Fit]) -> list[str]:
    return [f"not {_title(name)}: {fits[name].reason}" for name in formats if fits[name].works == "no"]


def _title(name: str) -> str:
    return {
        "tflite": "TFLite",
        "onnx": "ONNX",
        "frozen_pb": "the frozen graph",
        "saved_model": "the SavedModel",
        "tensorrt": "TensorRT",
    }[name]

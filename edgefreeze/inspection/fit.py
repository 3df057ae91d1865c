"""Whether a model would work in each format of a target, and which operation stands in the way. Pure.

Told from lists of what the converters have (operations.py), not by converting: "yes" says that nothing is
known to stand in the way, and the build proves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgefreeze.inspection import operations
from edgefreeze.inspection.graph import HOLDING

STATE = re.compile(
    r"Assign\w*|Scatter(Add|Sub|Update|Nd\w*)|ResourceScatter\w*|ResourceApply\w*|Apply\w+|Queue\w*|\w*Queue\w*|"
    r"CountUpTo|LookupTable(Insert|Remove)(V2)?"
)
"""Operations that change what the next call sees, but for those that make a new tensor."""
_PURE_SCATTER = ("ScatterNd", "ScatterNdNonAliasingAdd")
RANDOM = re.compile(
    r"Random\w*|StatelessRandom\w*|Multinomial|StatefulRandom\w*|TruncatedNormal|ParameterizedTruncatedNormal"
)
_TF_FORMATS = ("frozen_pb", "saved_model")
_LITE_ONLY = "only the model that it was made of can become another format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Of one format: works is "yes", "no" or "unknown"; `operations` stand in the way, the first of them
    first in the graph."""

    format: str
    works: str
    operations: tuple[str, ...]
    reason: str


def changes_state(op: str) -> bool:
    """Whether what an operation does is seen by the next call."""
    return STATE.fullmatch(op) is not None and op not in _PURE_SCATTER


def fit(kind: str, ops: Iterable[str], format_name: str, *, size: int | None = None) -> Fit:
    """Judge a model of a kind (sources.names(), "tflite" or "onnx") with these operations, in graph order.

    size: bytes of its constants and variables, None where unknown.
    """
    used = list(dict.fromkeys(op for op in ops if op not in HOLDING))
    if kind in ("tflite", "onnx"):
        return _of_artifact(kind, used, format_name)
    if not used:
        return Fit(
            format=format_name,
            works="unknown",
            operations=(),
            reason="its operations are known only when it is traced: edgefreeze freeze MODEL -o model.pb",
        )
    changing = tuple(op for op in used if changes_state(op))
    if changing:
        return Fit(
            format=format_name,
            works="no",
            operations=changing,
            reason=f"{changing[0]} changes a variable whenever the model is called; --hoist-state may help",
        )
    if size is not None and size >= 2**31 and format_name not in ("tflite", "saved_model"):
        return Fit(
            format=format_name,
            works="no",
            operations=(),
            reason="the weights are 2 GiB or more, which no protobuf file holds",
        )
    if format_name in _TF_FORMATS:
        return Fit(format=format_name, works="yes", operations=(), reason="TensorFlow itself runs it")
    known = operations.table().tflite_from if format_name == "tflite" else operations.table().onnx_from
    lacking = tuple(op for op in used if op not in known)
    if lacking:
        what = (
            "is no builtin of TensorFlow Lite" if format_name == "tflite" else "has no form in ONNX (tf2onnx)"
        )
        return Fit(format=format_name, works="no", operations=lacking, reason=f"{lacking[0]} {what}")
    return Fit(format=format_name, works="yes", operations=(), reason="every operation has a form in it")


def fit_of_layers(kinds: Iterable[str], format_name: str) -> Fit:
    """Judge a Keras file by the classes of its layers, as `fit` does by operations."""
    used = list(dict.fromkeys(kinds))
    if format_name in _TF_FORMATS:
        works, reason = "yes", "TensorFlow itself runs it"
        return Fit(format=format_name, works=works, operations=(), reason=reason)
    text = tuple(k for k in used if k in ("TextVectorization", "StringLookup", "Hashing"))
    if text:
        reason = f"{text[0]} takes text apart with operations that the format has not"
        return Fit(format=format_name, works="no", operations=text, reason=reason)
    other = tuple(k for k in used if k not in operations.table().plain_layers)
    if other:
        reason = f"what {other[0]} is made of shows when it is traced: edgefreeze freeze MODEL -o model.pb"
        return Fit(format=format_name, works="unknown", operations=other, reason=reason)
    reason = "every layer is made of operations that have a form in it"
    return Fit(format=format_name, works="yes", operations=(), reason=reason)


def _of_artifact(kind: str, used: list[str], format_name: str) -> Fit:
    if kind != format_name:
        return Fit(format=format_name, works="no", operations=(), reason=_LITE_ONLY)
    own = tuple(op for op in used if op.startswith("custom ") or (kind == "onnx" and "." in op))
    if own:
        flex = own[0].removeprefix("custom ").startswith("Flex")
        why = (
            "needs the Flex delegate, which no LiteRT package has" if flex else "is none of the format's own"
        )
        return Fit(format=format_name, works="no", operations=own, reason=f"{own[0]} {why}")
    return Fit(format=format_name, works="yes", operations=(), reason="every operation is the format's own")

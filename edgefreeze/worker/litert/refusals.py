"""Why TensorFlow Lite cannot be: what the converter says, in terms of the user's model, with the ways out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgefreeze.text import clean
from edgefreeze.worker import layers
from edgefreeze.worker.freeze import Frozen
from edgefreeze.worker.graphs import bodies
from edgefreeze.worker.litert import flatbuffer, isolated

_LISTED = re.compile(r"^(?:TF Select|Select TF|Flex) ops: ([\w., ]+)", re.MULTILINE)
_CUSTOM = re.compile(r"^Custom ops: ([\w., ]+)", re.MULTILINE)
_NAMED = re.compile(r"'tf\.(\w+)' op")
_NO_16X8 = re.compile(r"Quantization to 16x8-bit not yet supported for op: '(\w+)'")
_NO_RANGE = re.compile(r"should be recorded during calibration: Failed for tensor (\S+)")
_LOOPS = ("While", "StatelessWhile", "If", "StatelessIf")
_ROUTES = (
    "Ways out: another format (onnx, saved_model:frozen, frozen_pb); {select}--inputs and --outputs, to "
    "leave what is before or after outside."
)
_LOWER = "Ways out: dynamic or fp16; --inputs and --outputs, to leave what is before or after outside."
_SELECT = "--select-ops, which needs a runtime with TensorFlow's own kernels; "


def tables(frozen: Frozen) -> str:
    """The refusal of a model with lookup tables."""
    found = [
        layers.describe(op, layers.nodes_of(frozen.graph, op))
        for op in sorted({n.op for n in frozen.graph.node if n.op.startswith("LookupTableFind")})
    ]
    return (
        "The model looks things up in a table, which TensorFlow Lite's built-in operations cannot: "
        f"{'; '.join(found) or 'LookupTable'}. {_ROUTES.format(select='')}"
    )


def floats(found: Mapping[str, Sequence[str]], precision: str) -> str:
    """The refusal of a file that still computes with floats: operations, and what they give."""
    kinds = sorted(set(found) - set(flatbuffer.AT_THE_ENDS)) or sorted(found)
    # A tensor that was made of several nodes has all of their names.
    first = {kind: sorted({name.partition(";")[0] for name in found[kind]}) for kind in kinds}
    where = "; ".join(layers.describe(kind, first[kind]) for kind in kinds)
    return f"TensorFlow Lite has no {precision} kernel for {where}. {_LOWER}"


def nothing(precision: str) -> str:
    """The refusal of a file that is the same as the one in fp32."""
    return (
        f"In {precision} it would be the fp32 file: the converter leaves weights of less than 1024 values as "
        "they are, and the model has no others that it quantises."
    )


def reason(text: str, frozen: Frozen, batch: int | None, precision: str) -> str:
    """The converter's message in words: the operations, nodes and layers without a built-in operation."""
    select, custom = _ops(_LISTED, text), _ops(_CUSTOM, text)
    named = sorted({*select, *custom} or set(_NAMED.findall(text)))
    if "element_shape to be static" in text and batch is None:
        return (
            f"TensorFlow Lite needs a fixed batch size for this model's loop ({', '.join(named)}): "
            "freeze it with --batch 1."
        )
    if named:
        where = "; ".join(layers.describe(op, layers.nodes_of(frozen.graph, op)) for op in named)
        routes = _ROUTES.format(select="" if custom else _SELECT)
        return f"TensorFlow Lite has no built-in operation for {where}. {routes}"
    without = sorted(set(_NO_16X8.findall(text)))
    if without:
        return f"TensorFlow Lite has no {precision} kernel for {', '.join(without)}. {_LOWER}"
    unmeasured = _NO_RANGE.search(text)
    if unmeasured:
        return (
            f"TensorFlow Lite has no {precision} for {clean(unmeasured.group(1), 160)!r}, whose range it "
            f"cannot measure: it holds integers, or is inside a loop. {_LOWER}"
        )
    loops = sorted({n.name for _, n in bodies(frozen.graph) if n.op in _LOOPS})
    if isolated.DIED in text and loops:
        return (
            "TensorFlow's converter dies of measuring ranges inside a loop or a branch: "
            f"{layers.describe('While or If', loops)}. {_LOWER}"
        )
    return (
        f"The TensorFlow Lite converter failed: {clean(text.splitlines()[0] if text else 'no message', 300)}"
    )


def _ops(pattern: re.Pattern[str], text: str) -> set[str]:
    found = pattern.search(text)
    return {op.strip(" .") for op in found.group(1).split(",") if op.strip(" .")} if found else set()

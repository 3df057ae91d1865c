"""Operations that this TensorFlow lacks, or has no code for on a CPU, named with what would help."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.worker.graphs import bodies

_ORIGINS = (
    (
        r"TRTEngineOp|GetCalibrationDataOp|InitializeTRTResource",
        "made by TensorRT: freeze the model from before it",
    ),
    (r"Addons>.*", "from tensorflow-addons: replace it by TensorFlow's own operations before saving"),
    (r"IO>.*|IO.*", "from tensorflow-io: cut the graph behind it with --inputs"),
    (
        r"(Sentencepiece|Wordpiece|Sentence|Unicode|WhitespaceTok|Regex(Split|Tok)|CaseFold|NormalizeUTF8|RaggedTensorTo"
        r"|TFText>|Rouge|Ngrams?StringsJoin|FastWordpiece|FastBert|BytePair|PhraseToken).*",
        "from tensorflow-text: cut the graph behind it with --inputs, and tokenise before it",
    ),
    (r"SimpleML.*|DecisionForest.*", "from tensorflow-decision-forests, which has its own runtime"),
    (r"TFLite_.*", "from a TensorFlow Lite graph: freeze the model from before its conversion"),
    (r"Neuron.*", "made by AWS Neuron: freeze the model from before it"),
    (r"Horovod.*|.*Nccl.*", "for training on several machines: freeze the inference graph"),
    (r"Custom.*", "written by the model's authors"),
)
_HELP = "Cut the graph behind it with --inputs, or save the model without it where it was made."
_SHOWN = 5


def refuse_missing(graph: Any, path: Path) -> None:
    """Raise Failure model-unsupported, naming the operations that TensorFlow does not have."""
    missing = unknown(graph)
    if missing:
        origin = next((text for op in missing if (text := _origin(op))), None)
        raise Failure(
            "model-unsupported",
            f"The model {path} needs operations that TensorFlow does not have: {_listed(missing)}.",
            expected="operations of TensorFlow itself",
            found=_listed([f"{op} ({text})" if (text := _origin(op)) else op for op in missing]),
            next=f"{origin[0].upper()}{origin[1:]}." if origin and ":" in origin else _HELP,
        )


def refuse_without_kernel(graph: Any, path: Path) -> None:
    """Raise Failure model-unsupported, naming the operations that no CPU can run."""
    lacking = without_kernel(graph)
    if lacking:
        raise Failure(
            "model-unsupported",
            f"The model {path} needs operations that TensorFlow cannot run on a CPU: {_listed(lacking)}.",
            expected="operations with a kernel for the CPU",
            found=_listed(lacking),
            next="Save the model where it was made, with layers that run on a CPU, or cut it with --inputs.",
        )


def unknown(graph: Any) -> list[str]:
    """The operations that are registered nowhere and are no function of the graph."""
    from tensorflow.python.framework import op_def_registry

    library = {f.signature.name for f in graph.library.function}
    return sorted(op for op in _used(graph) - library if op_def_registry.get(op) is None)


def without_kernel(graph: Any) -> list[str]:
    """The operations that are known and have no kernel for the CPU, loops and calls aside."""
    from tensorflow.python.framework import kernels

    library = {f.signature.name for f in graph.library.function}
    return sorted(
        op
        for op in _used(graph) - library
        if not any(
            k.device_type in ("CPU", "DEFAULT") for k in kernels.get_registered_kernels_for_op(op).kernel
        )
    )


def _used(graph: Any) -> set[str]:
    return {node.op for _, node in bodies(graph)}


def _origin(op: str) -> str | None:
    return next((text for pattern, text in _ORIGINS if re.fullmatch(pattern, op)), None)


def _listed(items: Iterable[str]) -> str:
    names = list(items)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

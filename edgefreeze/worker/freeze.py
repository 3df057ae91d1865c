"""From a loaded model to a GraphDef without variables, with the signature's names.

TensorFlow's own recipe (convert_variables_to_constants_v2) is the reference. Control flow stays as While
and If with their functions unless asked otherwise: the ONNX and TFLite converters need it so, and sessions
lower it themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import gate, names
from edgefreeze.worker.graphs import canonical, producer, rename, unused
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A graph that passed the gate, and where its inputs and outputs are."""

    graph: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    method: str


def freeze(source: Source, *, lower_control_flow: bool = False, aggressive_inlining: bool = False) -> Frozen:
    """Freeze a model's function. Raises Failure freeze-refused, naming what stands in the way.

    The result depends on the model and the arguments alone: same bytes in any process.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    gate.refuse_writes(source.function.graph.as_graph_def(), source.labels)
    try:
        function = convert_variables_to_constants_v2(
            source.function, lower_control_flow=lower_control_flow, aggressive_inlining=aggressive_inlining
        )
    except Exception as error:  # TensorFlow raises ValueError, InvalidArgumentError, AssertionError here
        raise Failure(
            "freeze-refused",
            "TensorFlow cannot turn the model's variables into constants.",
            expected="a function whose variables can be read once and kept",
            found=reason(error, 600),
        ) from error

    graph = function.graph.as_graph_def()
    labels = _name_captures(graph, source)
    where = {t.name: t.tensor for t in source.inputs}
    results = [t.name for t in function.outputs]
    inputs, outputs = names.apply(
        graph,
        [_at(t, where[t.name]) for t in source.inputs],
        [_at(t, tensor) for t, tensor in zip(source.outputs, results, strict=True)],
    )
    graph = canonical(graph, [producer(t.tensor) for t in inputs], [producer(t.tensor) for t in outputs])
    gate.check(graph, inputs, outputs, labels)
    method = "convert_variables_to_constants_v2"
    switches = {"lower_control_flow": lower_control_flow, "aggressive_inlining": aggressive_inlining}
    return Frozen(
        graph=graph,
        inputs=inputs,
        outputs=outputs,
        method=f"{method}({', '.join(f'{k}={v}' for k, v in switches.items())})",
    )


def _at(tensor: Tensor, place: str) -> Tensor:
    return Tensor(name=tensor.name, tensor=place, dtype=tensor.dtype, shape=tensor.shape)


def _name_captures(graph: Any, source: Source) -> dict[str, str]:
    """Give what was captured the name of its variable, in place, instead of the number that tracing drew.

    Returns what each stood for, by its new node name.
    """
    present = {node.name for node in graph.node}
    taken = {*present, *(t.name for t in (*source.inputs, *source.outputs))}
    renames: dict[str, str] = {}
    for index, (_, internal) in enumerate(source.function.graph.captures):
        old = internal.op.name
        if old in present:
            label = source.labels.get(old, "")
            plain = label.partition("'")[2].rstrip("'").replace(" ", "_") or f"capture_{index}"
            renames[old] = unused(names.sanitised(plain), taken.__contains__)
            taken.add(renames[old])
    rename(graph, renames)
    return {renames[old]: label for old, label in source.labels.items() if old in renames}

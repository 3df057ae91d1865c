"""A model's graph whatever format it came in: nodes in topological order, and what is known of each tensor.

Readers (graph_def.py, tflite.py, onnx_file.py) make it; everything that judges a model reads it. No values
but small integers are held: shapes hang on those.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgefreeze.inspection.schema import item_bytes
from edgefreeze.types import Shape


@dataclass(slots=True)
class Value:
    """A tensor. `integers` are its elements where it is a small constant of integers; `stored` says that its
    elements stand in the model's file (a constant) or beside it (a variable)."""

    dtype: str = ""
    shape: Shape | None = None
    stored: bool = False
    integers: tuple[int, ...] | None = None

    @property
    def elements(self) -> int | None:
        """How many, a free batch counted once; None where another dimension or the rank is open."""
        return elements(self.shape)

    @property
    def bytes(self) -> int | None:
        """elements times the size of one; None where that is open."""
        count = self.elements
        return None if count is None else count * item_bytes(self.dtype)


def elements(shape: Shape | None) -> int | None:
    """The product of a shape's dimensions, a free first one counted as 1; None where another is open."""
    if shape is None:
        return None
    sizes = [1 if i == 0 and size is None else size for i, size in enumerate(shape)]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


@dataclass(slots=True)
class Node:
    """One operation. Inputs and outputs are names of tensors ("" is an optional input that is left out)."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    body: str | None = None
    """The control-flow operation in whose branch or loop it stands."""


@dataclass(slots=True)
class Graph:
    """Nodes in topological order, as far as the outputs need them."""

    nodes: list[Node]
    values: dict[str, Value]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def value(self, tensor: str) -> Value:
        """What is known of a tensor."""
        return self.values.get(tensor, Value())

    def operations(self) -> dict[str, int]:
        """How often each operation occurs, the most frequent first; what only holds or names is left out."""
        counts = Counter(node.op for node in self.nodes if node.op not in HOLDING)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def producers(self) -> dict[str, Node]:
        """Which node makes a tensor."""
        return {tensor: node for node in self.nodes for tensor in node.outputs}


def dynamic(graph: Graph) -> list[str]:
    """The tensors that depend on the inputs, in topological order, the inputs first."""
    seen = dict.fromkeys(graph.inputs)
    for node in graph.nodes:
        if node.body is None and any(tensor in seen for tensor in node.inputs):
            seen.update(dict.fromkeys(tensor for tensor in node.outputs if tensor))
    return list(seen)


HOLDING = frozenset(
    {"Const", "Placeholder", "VarHandleOp", "VariableV2", "Variable", "ReadVariableOp", "NoOp", "Constant"}
)
"""Operations that compute nothing."""


def sort(nodes: Iterable[Node], roots: Iterable[str]) -> list[Node]:
    """Those nodes that the roots (names of nodes) need, each after what it needs.

    The edge that closes a loop of TensorFlow 1 (from NextIteration) is the only one that may point back.
    """
    by_name = {node.name: node for node in nodes}
    maker = {tensor: node.name for node in by_name.values() for tensor in node.outputs}
    order: list[Node] = []
    state: dict[str, int] = {}
    for root in roots:
        stack = [root] if root in by_name else []
        while stack:
            name = stack[-1]
            if state.get(name) is None:
                state[name] = 0
                node = by_name[name]
                needs = [maker[t] for t in node.inputs if t in maker] + [
                    c for c in node.controls if c in by_name
                ]
                stack.extend(need for need in reversed(needs) if need not in state)
            else:
                stack.pop()
                if state[name] == 0:
                    state[name] = 1
                    order.append(by_name[name])
    return order

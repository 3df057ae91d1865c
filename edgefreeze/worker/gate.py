"""What may be called frozen: structural checks of a GraphDef, its function library included.

Pure but for TensorFlow's list of operations. The numbers are compared elsewhere, in a fresh process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import tables
from edgefreeze.worker.graphs import bodies, functions_of, producer

_VARIABLE_OPS = re.compile(
    r"_?(VarHandleOp|_VarHandlesOp|Variable(V2)?|AutoReloadVariable|TemporaryVariable|ReadVariableOp|"
    r"_ReadVariablesOp|VarIsInitializedOp|IsVariableInitialized|DestroyResourceOp|"
    r"VariableShape|Resource(Gather|GatherNd|Scatter\w*|StridedSliceAssign|Apply\w*|SparseApply\w*|CountUpTo))"
)
_WRITING_OPS = re.compile(
    r"Assign\w*|Resource(Scatter\w*|StridedSliceAssign|Apply\w*|SparseApply\w*|CountUpTo)|"
    r"Scatter(Add|Div|Max|Min|Mul|Sub|Update|NdAdd|NdSub|NdUpdate)|CountUpTo|"
    r"LookupTable(Insert|Remove)(V2)?"
)
_OWN_VARIABLES = re.compile(r"VarHandleOp|Variable(V2)?")
_SELECTING_OPS = ("If", "StatelessIf", "Case", "StatelessCase")
"""What takes a selector before the arguments of its branches."""
_PASSING_OPS = ("Identity", "Switch", "Enter")
"""What hands a resource on, into a branch or a loop of TensorFlow 1 too."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Write:
    """One place that changes a variable."""

    op: str
    node: str
    what: str


def is_write(node: Any) -> bool:
    """Whether a node changes a variable or a table."""
    return bool(_WRITING_OPS.fullmatch(node.op))


def writes(graph: Any, labels: dict[str, str]) -> list[Write]:
    """Where a function's graph changes its variables, function bodies included.

    labels: what the resources are that the graph's placeholders stand for, by the placeholders' names.
    """
    library = {f.signature.name: f for f in graph.library.function}
    found: dict[Write, None] = {}
    visited: set[tuple[str, tuple[str | None, ...]]] = set()

    def walk(nodes: Any, bound: dict[str, str]) -> None:
        by_name = {node.name: node for node in nodes}

        def label(tensor: str) -> str | None:
            name = producer(tensor)
            while name not in bound and name in by_name and by_name[name].op in _PASSING_OPS:
                name = producer(by_name[name].input[0])
            if name not in bound and name in by_name and _OWN_VARIABLES.fullmatch(by_name[name].op):
                return f"the variable {name!r}"
            return bound.get(name)

        for node in nodes:
            if is_write(node):
                found[Write(node.op, node.name, label(node.input[0]) or "a variable without a name")] = None
            # If and Case have the selector first; calls and While hand all inputs on.
            arguments = node.input[1:] if node.op in _SELECTING_OPS else node.input
            given = [label(i) for i in arguments if not i.startswith("^")]
            names = [f.name for f in functions_of(node)] + [node.op]
            for name in names:
                if name not in library or (name, tuple(given)) in visited:
                    continue
                visited.add((name, tuple(given)))
                parameters = [a.name for a in library[name].signature.input_arg]
                walk(
                    library[name].node_def,
                    {p: text for p, text in zip(parameters, given, strict=False) if text is not None},
                )

    walk(graph.node, dict(labels))
    return list(found)


def refuse_writes(graph: Any, labels: dict[str, str]) -> None:
    """Raise Failure freeze-refused if calling the model changes it."""
    found = writes(graph, labels)
    if found:
        raise changes(found, None)


def changes(found: Sequence[Write], trouble: str | None) -> Failure:
    """The refusal of a model that changes itself. trouble: why its state cannot be hoisted, if that was
    tried."""
    what = _listed(sorted({w.what for w in found}))
    return Failure(
        "freeze-refused",
        f"The model changes {what} whenever it is called, so two calls differ and it cannot be frozen"
        + (f"; {trouble}." if trouble else "."),
        expected="an inference function that only reads its variables",
        found=_listed([f"{w.op} at {w.node}" for w in found]),
        next="Export a signature without the assignment (training=False, no counters)"
        + ("." if trouble else ", or make the state inputs and outputs of the graph: --hoist-state"),
    )


def check(
    graph: Any,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    labels: dict[str, str] | None = None,
    init_ops: Sequence[str] = (),
) -> None:
    """Raise Failure freeze-refused unless the graph stands on its own.

    labels: what left-over placeholders stood for, by node name ("the table 'words'"), for the message.
    init_ops: the operations that will be run once before the first inference.
    """
    from tensorflow.python.framework import op_def_registry

    nodes = {node.name: node for node in graph.node}
    _refuse_lost_resources(graph, labels or {})
    _refuse(
        [
            f"{n.op} at {_place(f, n)}"
            for f, n in bodies(graph)
            if _VARIABLE_OPS.fullmatch(n.op) or n.op.startswith("Assign")
        ],
        "The frozen graph still has variables.",
        expected="constants in their place",
    )
    library = {f.signature.name for f in graph.library.function}
    _refuse(
        sorted(
            {n.op for _, n in bodies(graph) if n.op not in library and op_def_registry.get(n.op) is None}
            | {f.name for _, n in bodies(graph) for f in functions_of(n) if f.name not in library}
        ),
        "The frozen graph has operations that TensorFlow does not know.",
        expected="operations of TensorFlow itself, and functions that are in the graph",
    )
    _refuse(
        sorted({f"{i} of {n.name}" for n in graph.node for i in n.input if producer(i) not in nodes}),
        "The frozen graph has nodes whose inputs are not there.",
        expected="a node for each input",
    )
    _refuse(
        [
            f"{t.name} ({t.tensor})"
            for t in inputs
            if not nodes.get(producer(t.tensor), _NOTHING).op.startswith("Placeholder")
        ],
        "The frozen graph lacks inputs of the signature.",
        expected="a placeholder for each input",
    )
    _refuse(
        [f"{t.name} ({t.tensor})" for t in outputs if producer(t.tensor) not in nodes],
        "The frozen graph lacks outputs of the signature.",
        expected="a node for each output",
    )
    _refuse(
        [name for name in init_ops if name not in nodes],
        "The frozen graph lacks operations that initialise it.",
        expected="a node for each operation to run once",
    )
    _refuse(
        tables.unfilled(graph, init_ops),
        "The frozen graph has tables that nothing in it fills.",
        expected="for each table an operation that fills it, run once after loading",
    )
    fed = {producer(t.tensor) for t in inputs}
    _refuse(
        [n.name for n in graph.node if n.op == "Placeholder" and n.name not in fed],
        "The frozen graph has placeholders that are no input of the signature.",
        expected="nothing to feed but the signature's inputs",
    )


class _Nothing:
    op = ""


_NOTHING = _Nothing()


def _refuse_lost_resources(graph: Any, labels: dict[str, str]) -> None:
    """A placeholder for a resource can never be fed: what it stood for stayed behind in the model."""
    from tensorflow.core.framework import types_pb2

    handles = (types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT)
    lost = [n for n in graph.node if n.op == "Placeholder" and n.attr["dtype"].type in handles]
    if not lost:
        return
    names = {node.name for node in lost}
    what = _listed(sorted(labels.get(name, f"the resource {name!r}") for name in names))
    users = list(_users(graph, names))
    raise Failure(
        "freeze-refused",
        f"The model uses {what}, which a frozen graph cannot take along: nothing in the graph creates it.",
        expected="a graph that creates all that it uses",
        found=_listed([f"{node.op} at {place}" for place, node in users]) or _listed(sorted(names)),
        next="Export a signature that starts behind the look-up, or whose look-up is a tf.gather.",
    )


def _users(graph: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
    """(place, node) of what works on the resources: through Identity nodes, not into functions."""
    reached = set(names)
    passing: Callable[[Any], bool] = lambda node: any(producer(i) in reached for i in node.input)  # noqa: E731
    grown = True
    while grown:
        more = {n.name for n in graph.node if n.op == "Identity" and passing(n)} - reached
        reached |= more
        grown = bool(more)
    for node in graph.node:
        if node.op != "Identity" and passing(node):
            yield node.name, node


def _place(function: str | None, node: Any) -> str:
    return node.name if function is None else f"{node.name} in function {function}"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def _refuse(offenders: Sequence[str], message: str, *, expected: str) -> None:
    if offenders:
        raise Failure("freeze-refused", message, expected=expected, found=_listed(offenders))

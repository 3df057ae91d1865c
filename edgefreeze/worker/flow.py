"""Where a value of a graph goes: through what passes it on, and into the functions that are called with it.
Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefreeze.worker.graphs import functions_of, producer

_SELECTING_OPS = ("If", "StatelessIf", "Case", "StatelessCase")
"""Their first input chooses a branch; what follows are the branch's arguments."""


@dataclass(frozen=True, slots=True)
class Use:
    """A node that takes something followed: `given` has for each data input what it carries, or None."""

    function: str | None
    node: Any
    given: tuple[str | None, ...]
    siblings: Mapping[str, Any]
    """The nodes of the same graph or function body, by name."""


def follow(
    graph: Any, start: Mapping[str, str], passes: Callable[[Any], bool] = lambda node: node.op == "Identity"
) -> Iterator[Use]:
    """Every node, function bodies included, that works on what the nodes named in `start` make.

    start: node of the main graph → what it carries, in whatever words. passes: whether a node's outputs
    carry what its inputs do.
    """
    library = {f.signature.name: f for f in graph.library.function}
    visited: set[tuple[str, tuple[str | None, ...]]] = set()
    todo: deque[tuple[str | None, Sequence[Any], dict[str, str]]] = deque([(None, graph.node, dict(start))])
    while todo:
        place, nodes, bound = todo.popleft()
        carried = _carried(nodes, bound, passes)
        siblings = {node.name: node for node in nodes}
        for node in nodes:
            given = tuple(carried.get(producer(i)) for i in node.input if not i.startswith("^"))
            if not any(given):
                continue
            yield Use(place, node, given, siblings)
            arguments = given[1:] if node.op in _SELECTING_OPS else given
            for name in [f.name for f in functions_of(node)] + [node.op]:
                if name in library and (name, arguments) not in visited:
                    visited.add((name, arguments))
                    parameters = [a.name for a in library[name].signature.input_arg]
                    pairs = zip(parameters, arguments, strict=False)
                    todo.append((name, library[name].node_def, {p: v for p, v in pairs if v is not None}))


def _carried(nodes: Sequence[Any], bound: dict[str, str], passes: Callable[[Any], bool]) -> dict[str, str]:
    consumers: dict[str, list[Any]] = {}
    for node in nodes:
        for ref in node.input:
            if not ref.startswith("^"):
                consumers.setdefault(producer(ref), []).append(node)
    carried = dict(bound)
    todo = deque(bound)
    while todo:
        name = todo.popleft()
        for node in consumers.get(name, ()):
            if node.name not in carried and passes(node):
                carried[node.name] = carried[name]
                todo.append(node.name)
    return carried

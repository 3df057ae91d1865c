"""GraphDefs as plain data: who refers to whom, what is reachable, one canonical spelling. No TensorFlow.

An input of a node is "name" or "name:k" for a tensor, "^name" for a control dependency. The functions
here take the protobuf message and know nothing of sessions or tracing.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

VALID_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""What TensorFlow accepts as the name of a node."""

_TRACED = re.compile(
    r"^(?:__(?:inference|forward|backward)_)?(.*?)(?:_h[0-9a-f]{8})?(?:_\d+)?(?:_frozen_\d+)?$"
)
_DEBUG_ATTRS = ("_output_shapes", "_class", "_has_manual_control_dependencies")


def producer(tensor: str) -> str:
    """The name of the node that makes a tensor, or that a control dependency points to."""
    return tensor.removeprefix("^").split(":", 1)[0]


def bodies(graph: Any) -> Iterator[tuple[str | None, Any]]:
    """Every node of the graph as (None, node) and of its function library as (function's name, node)."""
    for node in graph.node:
        yield None, node
    for function in graph.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def functions_of(node: Any) -> Iterator[Any]:
    """The function references (NameAttrList) in a node's attributes, to be read or renamed in place."""
    for key in sorted(node.attr):
        value = node.attr[key]
        if value.HasField("func"):
            yield value.func
        yield from value.list.func


def reachable(graph: Any, roots: Iterable[str]) -> set[str]:
    """The names of the nodes that the nodes named in `roots` depend on, themselves included."""
    inputs = {node.name: [producer(i) for i in node.input] for node in graph.node}
    seen: set[str] = set()
    todo = [name for name in roots if name in inputs]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(inputs.get(name, ()))
    return seen


def used_functions(nodes: Iterable[Any], library: Any) -> list[str]:
    """The names of the library's functions that the nodes reach, in the order of first reference."""
    functions = {f.signature.name: f for f in library.function}
    order: dict[str, None] = {}
    todo = [list(nodes)]
    while todo:
        for node in todo.pop(0):
            named = [f.name for f in functions_of(node)] + [node.op]
            for name in named:
                if name in functions and name not in order:
                    order[name] = None
                    todo.append(list(functions[name].node_def))
    return list(order)


def rename(graph: Any, names: dict[str, str]) -> None:
    """Rename nodes of the main graph in place, with every reference to them. Library bodies have names
    of their own and are not touched."""

    def renamed(ref: str) -> str:
        name = producer(ref)
        return ref.replace(name, names[name], 1) if name in names else ref

    for node in graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [renamed(i) for i in node.input]


def unused(name: str, taken: Callable[[str], bool]) -> str:
    """`name`, or the first of name_1, name_2, … that is not taken."""
    candidate, count = name, 0
    while taken(candidate):
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def canonical(graph: Any, keep: Iterable[str], outputs: Iterable[str]) -> Any:
    """A copy that depends on the model alone: what the outputs need and the nodes of `keep`, sorted, with
    the functions they use under names without trace counters, and without debug information.

    keep: names of nodes that stay even if no output needs them (unused inputs).
    """
    alive = reachable(graph, outputs) | set(keep)
    small = type(graph)()
    small.versions.CopyFrom(graph.versions)
    small.node.extend(node for node in ordered([n for n in graph.node if n.name in alive]))
    names = _FunctionNames(graph)
    used = [names.definition(name) for name in used_functions(small.node, graph.library)]
    small.library.function.extend({f.signature.name: f for f in used}.values())
    for node in small.node:
        names.tidy(node)
    return small


class _FunctionNames:
    """Names for library functions: what they were traced from, and a digest of what they compute.

    TensorFlow's counters depend on what the process did before; a bare name would clash in a process that
    loads two graphs, since it keeps one table of functions for all.
    """

    def __init__(self, graph: Any) -> None:
        self._library = {f.signature.name: f for f in graph.library.function}
        self._definitions: dict[str, Any] = {}

    def definition(self, name: str) -> Any:
        """The function under its new name, with the functions that it calls under theirs."""
        if name not in self._definitions:
            function = self._definitions[name] = type(self._library[name])()
            function.CopyFrom(self._library[name])
            match = _TRACED.match(name)
            plain = (match.group(1) if match else name) or "function"
            function.signature.name = plain
            for node in function.node_def:
                self.tidy(node)
            digest = hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()
            function.signature.name = f"{plain}_h{digest[:8]}"
        return self._definitions[name]

    def tidy(self, node: Any) -> None:
        """Use the new names in a node, and drop what is about its past only. In place."""
        for reference in functions_of(node):
            if reference.name in self._library:
                reference.name = self.definition(reference.name).signature.name
        if node.op in self._library:
            node.op = self.definition(node.op).signature.name
        node.ClearField("experimental_debug_info")
        for attr in _DEBUG_ATTRS:
            node.attr.pop(attr, None)


def ordered(nodes: Iterable[Any]) -> list[Any]:
    """The nodes so that each follows its inputs, otherwise by name. A loop's NextIteration → Merge edges,
    the only cycles that a valid graph has, do not count."""
    nodes = list(nodes)
    by_name = {node.name: node for node in nodes}
    waiting: dict[str, int] = {}
    consumers: dict[str, list[str]] = {}
    for node in nodes:
        needs = {producer(i) for i in node.input} & by_name.keys()
        needs = {n for n in needs if by_name[n].op not in ("NextIteration", "RefNextIteration")}
        waiting[node.name] = len(needs)
        for need in needs:
            consumers.setdefault(need, []).append(node.name)
    ready = [name for name, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[Any] = []
    while ready:
        name = heapq.heappop(ready)
        ordered.append(by_name[name])
        for consumer in consumers.get(name, ()):
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                heapq.heappush(ready, consumer)
    return ordered

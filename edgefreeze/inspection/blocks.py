"""A model as blocks that a person can read: layers, not nodes. Pure; writes Graphviz's language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgefreeze.inspection.graph import HOLDING, Graph, Node, Value
from edgefreeze.inspection.keras_file import Layer
from edgefreeze.types import Shape

MOST = 80
_QUIET = frozenset(
    {"Identity", "Shape", "StridedSlice", "Pack", "Prod", "NoOp", "ExpandDims", "Cast", "Assert", "Range"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A layer: its name, what it does (its operations), the shape that it gives, its parameters."""

    name: str
    does: str
    shape: Shape | None
    parameters: int


def of_graph(graph: Graph) -> tuple[list[Block], list[tuple[str, str]]]:
    """(blocks, pairs of blocks that a tensor joins). Nodes with a common scope make one block; where there
    are more than MOST, scopes are cut shorter, and nodes that only rearrange join what they follow."""
    depth = max((node.name.count("/") for node in graph.nodes), default=0)
    while True:
        owner = _owners(graph, depth)
        if len(set(owner.values())) <= MOST or depth == 0:
            break
        depth -= 1
    members: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.name in owner:
            members.setdefault(owner[node.name], []).append(node)
    maker = graph.producers()
    edges: dict[tuple[str, str], None] = {}
    parameters: Counter[str] = Counter()
    for node in graph.nodes:
        if node.name not in owner:
            continue
        for tensor in node.inputs:
            behind = _behind(tensor, maker, owner)
            if behind is not None and behind != owner[node.name]:
                edges[(behind, owner[node.name])] = None
            elif behind is None:
                parameters[owner[node.name]] += _stored(tensor, maker, graph.values)
    blocks = [
        Block(
            name=name,
            does=_does(nodes),
            shape=graph.value(nodes[-1].outputs[0]).shape if nodes[-1].outputs else None,
            parameters=parameters[name],
        )
        for name, nodes in members.items()
    ]
    return blocks, list(edges)


def of_layers(layers: Iterable[Layer]) -> tuple[list[Block], list[tuple[str, str]]]:
    """The blocks of a Keras configuration."""
    found = list(layers)
    names = {layer.name for layer in found}
    blocks = [Block(name=layer.name, does=layer.kind, shape=None, parameters=0) for layer in found]
    return blocks, [(i, layer.name) for layer in found for i in layer.inputs if i in names]


def dot(title: str, blocks: Iterable[Block], edges: Iterable[tuple[str, str]]) -> str:
    """The graph for `dot -Tsvg`."""
    numbers: dict[str, int] = {}
    lines = [
        f"digraph {_quoted(title)} {{",
        '  node [shape=box style="rounded,filled" fillcolor="#eef3f8" color="#5b7083"]',
        '  node [fontname="Helvetica" fontsize=10]',
        '  edge [color="#5b7083" arrowsize=0.7]',
    ]
    for block in blocks:
        numbers[block.name] = len(numbers)
        rows = [block.name, block.does]
        if block.shape is not None:
            rows.append("×".join("?" if size is None else str(size) for size in block.shape) or "scalar")
        if block.parameters:
            rows.append(f"{block.parameters:,} parameters")
        lines.append(f"  n{numbers[block.name]} [label={_quoted(chr(10).join(r for r in rows if r))}]")
    lines += [f"  n{numbers[a]} -> n{numbers[b]}" for a, b in edges if a in numbers and b in numbers]
    return "\n".join([*lines, "}", ""])


def _owners(graph: Graph, depth: int) -> dict[str, str]:
    """The block of each node that computes: its scope, at most `depth` parts of it; a node without a scope
    is a block of its own, or one with its producer where it only rearranges."""
    maker = graph.producers()
    owner: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in HOLDING and not node.op.startswith("Placeholder"):
            continue
        first = node.name.split(";")[0]
        scope = "/".join(first.split("/")[:-1][: max(depth, 1)]) if "/" in first else ""
        if node.op in _QUIET:
            behind = next((b for t in node.inputs if (b := _behind(t, maker, owner))), None)
            if behind is not None:
                owner[node.name] = behind
                continue
        owner[node.name] = scope or first
    return owner


def _behind(tensor: str, maker: Mapping[str, Node], owner: Mapping[str, str]) -> str | None:
    node = maker.get(tensor)
    return owner.get(node.name) if node is not None else None


def _stored(tensor: str, maker: Mapping[str, Node], values: Mapping[str, Value]) -> int:
    """Elements of the constant or variable behind a tensor."""
    for _ in range(8):
        value = values.get(tensor)
        if value is not None and value.stored and value.integers is None:
            return value.elements or 0
        node = maker.get(tensor)
        if node is None or not node.inputs:
            return 0
        tensor = node.inputs[0]
    return 0


def _does(nodes: list[Node]) -> str:
    names = [node.op for node in nodes if node.op not in _QUIET] or [node.op for node in nodes]
    counts = Counter(names)
    shown = [f"{op} ×{count}" if count > 1 else op for op, count in list(counts.items())[:4]]
    return ", ".join(shown) + (" …" if len(counts) > 4 else "")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

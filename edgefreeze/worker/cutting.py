"""Ends of a graph: which tensors a user means, cutting at inputs, keeping what outputs need, and which
outputs a graph may have that names none. Pure, on GraphDefs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure, nearest
from edgefreeze.worker.graphs import producer, reachable, unused, used_functions

_SPEC = re.compile(r"(?:(?P<key>[^=]+)=)?(?P<node>[^=:^]+?)(?::(?P<index>\d+))?")
PLACEHOLDERS = ("Placeholder", "PlaceholderV2")
_INNER = re.compile(
    r"Const|Placeholder\w*|Shape(N)?|Rank|Size|(Ref)?(Switch|Enter|NextIteration)|LoopCond|ReadVariableOp|"
    r"Variable\w*|VarHandleOp"
)
"""What is no output, and no reason for what it takes to be none."""
_ASIDE = re.compile(
    r"NoOp|Assert|Print\w*|Assign\w*|Save\w*|Restore\w*|MergeV2Checkpoints|\w*Summary\w*|"
    r"(Resource|Sparse)*Apply\w*|Scatter\w*|\w*Queue\w*|VarIsInitializedOp|"
    r"IsVariableInitialized|\w*Reader\w*|InitializeTable\w*|LookupTable(Export|Import|Insert)\w*|"
    r"ShardedFilename|ControlTrigger|\w*Gradient|BroadcastGradientArgs|\w*CrossEntropy\w*|L2Loss|CTCLoss\w*"
)
"""What belongs to training and saving: what feeds nothing else may be an output."""
_READING_OFF = re.compile(r"ArgMax|TopK(V2)?|InTopK(V2)?|Equal")
"""What is done to an output rather than with it."""
_SCOPES = re.compile(
    r"(^|/)(gradients?|save|optimizer|train|train_op|init|metrics|summar(y|ies)|report_uninitialized_\w*)(_\d+)?/|"
    r"(^|/|_)(loss|cost|accuracy|adam|momentum|rmsprop|global_step|learning_rate)(_|/|\d|$)|cross_?entropy|"
    r"/(switch_[tf]|pred_id)$",
    re.IGNORECASE,
)
_LIKELY = re.compile(r"output|softmax|prob|pred|logits|sigmoid|score|class|result|embedding", re.IGNORECASE)
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class End:
    """An input or output: what it is called, and its tensor in the graph ("node:0")."""

    key: str
    tensor: str


def ends(specs: Sequence[str], graph: Any, flag: str) -> list[End]:
    """What --inputs or --outputs name: `node`, `node:i` or `key=node:i`. The key is else the node's name.

    Raises Failure usage, naming the nearest node.
    """
    nodes = {node.name for node in graph.node}
    found: list[End] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec.strip())
        if match is None:
            raise Failure(
                "usage",
                f"{flag} has {spec!r}, which names no tensor.",
                expected="node, node:i or key=node:i, separated by commas",
                found=spec,
            )
        node, index = match["node"], int(match["index"] or 0)
        if node not in nodes:
            near = nearest(node, sorted(nodes))
            raise Failure(
                "usage",
                f"{flag} names {node!r}, which is no node of the graph"
                + (f"; did you mean {near!r}?" if near else "."),
                expected="the name of one of its nodes",
                found=node,
                next=f"{flag} {near}" if near else None,
            )
        key = match["key"] or (node if index == 0 else f"{node}:{index}")
        if key in (end.key for end in found):
            raise Failure(
                "usage", f"{flag} names {key!r} twice.", expected="each name once", found=", ".join(specs)
            )
        found.append(End(key, f"{node}:{index}"))
    return found


def placeholders(graph: Any, outputs: Sequence[End]) -> list[End]:
    """The placeholders that the outputs depend on, as inputs of their names."""
    needed = reachable(graph, [producer(end.tensor) for end in outputs])
    return [
        End(node.name, f"{node.name}:0")
        for node in graph.node
        if node.name in needed and node.op in PLACEHOLDERS
    ]


def whole(tensor: str) -> str:
    """ "node:0" for "node" too, as a feed may be written."""
    return tensor if ":" in tensor else f"{tensor}:0"


def cut(
    graph: Any, tensors: Mapping[str, tuple[int, Any]], name: str = "edgefreeze_input"
) -> tuple[Any, dict[str, str]]:
    """(a copy in which placeholders take the place of the tensors, placeholder by tensor).

    tensors: (dtype, shape) as a graph has them, by "node:i". What only they needed stays, for `keep` to drop.
    """
    new = type(graph)()
    new.CopyFrom(graph)
    taken = {node.name for node in graph.node}
    places: dict[str, str] = {}
    for tensor in tensors:
        places[tensor] = unused(f"{name}_{len(places)}", taken.__contains__)
        taken.add(places[tensor])
    fed = {n.name for n in graph.node if n.op in PLACEHOLDERS}

    def rewired(ref: str) -> str:
        node = producer(ref)
        if ref.startswith("^"):
            # As a session does: what waits for a placeholder that is fed waits for what is fed.
            place = places.get(f"{node}:0") if node in fed else None
            return f"^{place}" if place else ref
        return places.get(whole(ref), ref)

    for node in new.node:
        node.input[:] = [rewired(i) for i in node.input]
    for tensor, (dtype, shape) in tensors.items():
        node = new.node.add(name=places[tensor], op="Placeholder")
        node.attr["dtype"].type = dtype
        node.attr["shape"].shape.CopyFrom(shape)
    return new, places


def keep(graph: Any, roots: Iterable[str]) -> Any:
    """A copy with what the nodes named in `roots` need, functions included, placed nowhere."""
    alive = reachable(graph, roots)
    new = type(graph)()
    new.versions.CopyFrom(graph.versions)
    new.node.extend(node for node in graph.node if node.name in alive)
    for node in new.node:
        # Where nodes were placed is of another machine, and may name nodes that go.
        node.attr.pop("_class", None)
        node.device = ""
    wanted = set(used_functions(new.node, graph.library))
    new.library.function.extend(f for f in graph.library.function if f.signature.name in wanted)
    # Gradient functions are not needed to infer; registered ones would name functions that went.
    return new


def candidates(graph: Any) -> list[str]:
    """The nodes that are likely outputs, the likeliest first: they depend on an input, and nothing but
    losses, metrics, summaries, savers, gradients and what reads a label off consumes them."""
    off = {node.name for node in graph.node if _READING_OFF.fullmatch(node.op)}
    return sorted(_ends(graph, off), key=lambda name: (not _LIKELY.search(name), name))


def only_output(graph: Any, path: Path) -> End:
    """The one node that depends on an input and that nothing consumes (see `candidates`).

    Raises Failure model-no-signature where there are more or none, listing what may be meant.
    """
    found = _ends(graph, set())
    if len(found) != 1:
        raise unnamed(path, candidates(graph))
    return End(found[0], f"{found[0]}:0")


def _ends(graph: Any, harmless: set[str]) -> list[str]:
    """What depends on an input and has no consumers but those aside and the harmless."""
    consumers: dict[str, list[str]] = {}
    for node in graph.node:
        for ref in node.input:
            consumers.setdefault(producer(ref), []).append(node.name)
    aside = {n.name for n in graph.node if _ASIDE.fullmatch(n.op) or _SCOPES.search(n.name)}
    fed = _downstream(graph, consumers)
    return [
        n.name
        for n in graph.node
        if n.name in fed
        and n.name not in aside
        and not _INNER.fullmatch(n.op)
        and aside | harmless >= set(consumers.get(n.name, ()))
    ]


def unnamed(path: Path, found: list[str]) -> Failure:
    """Nothing says what the outputs are; `found` are the candidates, the likeliest first."""
    return Failure(
        "model-no-signature",
        f"Nothing says what the outputs of {path} are.",
        expected="--outputs with the names of nodes, such as "
        + (listed(found) or "those whose values you want"),
        found=f"{len(found)} nodes that may be outputs" if found else "no node that depends on a placeholder",
        next=f"--outputs {found[0]}" if found else "--inputs NODE --outputs NODE",
    )


def listed(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _downstream(graph: Any, consumers: Mapping[str, list[str]]) -> set[str]:
    todo = [n.name for n in graph.node if n.op.startswith("Placeholder")]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(consumers.get(name, ()))
    return seen

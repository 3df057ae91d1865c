"""Which part of the user's model an operation of the frozen graph belongs to.

Keras, and whoever uses name scopes, leaves its layers' names in the names of nodes; freezing keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from edgefreeze.text import clean
from edgefreeze.worker.graphs import bodies

_WRAPPING = re.compile(
    r"(Stateful)?PartitionedCall(_\d+)?|while(_\d+)?|cond(_\d+)?|body|(functional|sequential|model)(_\d+)?"
)
_SHOWN = 3


def of(node: str) -> str | None:
    """The scope of a node, less what calls and containers add: "encoder/attention", None where there is
    none."""
    parts = [part for part in node.split("/")[:-1] if not _WRAPPING.fullmatch(part)]
    return "/".join(parts) or None


def nodes_of(graph: Any, op: str) -> list[str]:
    """The names of a GraphDef's nodes of one type, those of its functions included."""
    return sorted({node.name for _, node in bodies(graph) if node.op == op})


def describe(op: str, nodes: Iterable[str]) -> str:
    """An operation with the nodes and layers where it stands, for a message."""
    named = [clean(_one(node), 160) for node in nodes]
    if not named:
        return op
    shown = ", ".join(named[:_SHOWN])
    rest = len(named) - _SHOWN
    return f"{op} ({shown}{f' and {rest} more' if rest > 0 else ''})"


def _one(node: str) -> str:
    layer = of(node)
    return f"node {node!r}, layer {layer!r}" if layer else f"node {node!r}"

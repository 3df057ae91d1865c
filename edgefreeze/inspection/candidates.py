"""Inputs and outputs that a graph without a signature may have, ranked, each with its reasons; and what looks
like an output and is none. Pure, on GraphDefs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edgefreeze.inspection.schema import TENSORFLOW_DTYPES
from edgefreeze.worker import cutting
from edgefreeze.worker.graphs import producer, reachable

_LAYERS = re.compile(r"Conv\w*|DepthwiseConv\w*|MatMul|BatchMatMul\w*|Gather\w*|Einsum|\w*LSTM\w*|While")
_THROUGH = re.compile(r"Identity|Reshape|Cast|Squeeze|ExpandDims|Pad\w*|Transpose|Sub|Mul|RealDiv|Add\w*")
_FEEDS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
_SWITCH = re.compile(r"keep_?prob|dropout|is_?train|training|phase|learning_?rate|batch_?size", re.IGNORECASE)
_LABEL = re.compile(r"label|target|ground_?truth|y_true|weights?$", re.IGNORECASE)
_NONE_OF_IT = (
    ("a gradient", re.compile(r"(^|/)gradients?(_\d+)?/|Grad(ient)?\w*$|^Resource\w*Apply|^Apply")),
    ("a saver's", re.compile(r"(^|/)save(_\d+)?/|^Saver|^Restore|^MergeV2|^Save")),
    ("a summary", re.compile(r"Summary|(^|/)summar(y|ies)", re.IGNORECASE)),
    ("a queue's or reader's", re.compile(r"Queue|Reader|Iterator|Dataset")),
    (
        "a loss",
        re.compile(r"(^|/|_)(loss|cost)(_|/|\d|$)|cross_?entropy|CrossEntropy|^L2Loss", re.IGNORECASE),
    ),
    ("a metric", re.compile(r"(^|/|_)(accuracy|metrics?|precision|recall|auc)(_|/|\d|$)", re.IGNORECASE)),
    ("an initialiser", re.compile(r"(^|/)(init\w*|Initializer)(/|$)|^Assign\w*$|InitializeTable")),
    (
        "the optimizer's",
        re.compile(r"(^|/|_)(adam|momentum|rmsprop|adagrad|global_step|train_op)(_|/|$)", re.IGNORECASE),
    ),
)
"""What a node is that is no output, the surest first."""
_LIKELY = re.compile(r"output|softmax|prob|pred|logits|sigmoid|score|class|result|embedding", re.IGNORECASE)
_FINAL = ("Softmax", "Sigmoid", "LogSoftmax", "Tanh", "ArgMax", "BiasAdd", "MatMul", "Identity")
_MOST = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A tensor that may be meant: `node` is what --inputs or --outputs takes."""

    node: str
    op: str
    dtype: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A node that nothing consumes and that is no output: why."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The likeliest first; at most _MOST of each."""

    inputs: tuple[Candidate, ...]
    outputs: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]


def candidates(graph_def: Any) -> Candidates:
    """What the graph's ends may be."""
    nodes = {node.name: node for node in graph_def.node}
    consumers: dict[str, list[str]] = {}
    for node in graph_def.node:
        for ref in node.input:
            consumers.setdefault(producer(ref), []).append(node.name)
    named = cutting.candidates(graph_def)
    outputs = [
        (_score(nodes[name], reasons), Candidate(node=name, op=nodes[name].op, dtype="", reasons=reasons))
        for name in named
        for reasons in [_output_reasons(nodes[name], consumers.get(name, []), nodes)]
    ]
    outputs.sort(key=lambda item: (-item[0], item[1].node))
    chosen = [item[1].node for item in outputs]
    needed = reachable(graph_def, chosen) if chosen else set(nodes)
    return Candidates(
        inputs=tuple(_inputs(graph_def, needed, nodes, consumers))[:_MOST],
        outputs=tuple(item[1] for item in outputs)[:_MOST],
        left_out=tuple(_left_out(graph_def, consumers, set(named)))[:_MOST],
    )


def aside(node: Any) -> str | None:
    """Why a node is no output: "a loss", "a gradient", …; None where nothing speaks against it."""
    for reason, pattern in _NONE_OF_IT:
        if pattern.search(node.name) or pattern.search(node.op):
            return reason
    return None


def _output_reasons(node: Any, readers: list[str], nodes: dict[str, Any]) -> tuple[str, ...]:
    found = []
    if not readers:
        found.append("nothing consumes it")
    else:
        others = sorted({_short(nodes[reader]) for reader in readers})
        found.append(f"only {', '.join(others[:3])} reads it")
    if node.op in ("Softmax", "Sigmoid", "LogSoftmax"):
        found.append(f"a {node.op}, as a classifier ends")
    match = _LIKELY.search(node.name)
    if match:
        found.append(f"its name says '{match.group(0)}'")
    if node.op in ("ArgMax", "TopKV2", "Equal", "InTopKV2"):
        found.append("it reads a label off; the scores are before it")
    return tuple(found)


def _short(node: Any) -> str:
    reason = aside(node)
    return f"{node.op} ({reason})" if reason else str(node.op)


def _score(node: Any, reasons: tuple[str, ...]) -> float:
    score = 2.0 if _LIKELY.search(node.name) else 0.0
    score += 2.0 if node.op in ("Softmax", "Sigmoid", "LogSoftmax") else 0.5 if node.op in _FINAL else 0.0
    score += 1.0 if "nothing consumes it" in reasons else 0.0
    return score - (2.0 if node.op in ("ArgMax", "TopKV2", "Equal", "InTopKV2") else 0.0)


def _inputs(
    graph_def: Any, needed: set[str], nodes: dict[str, Any], consumers: dict[str, list[str]]
) -> list[Candidate]:
    found: list[tuple[int, Candidate]] = []
    for node in graph_def.node:
        if node.op not in _FEEDS or node.name not in needed:
            continue
        layer = _layer_behind(node.name, nodes, consumers)
        shape = node.attr["shape"].shape if "shape" in node.attr else None
        scalar = shape is not None and not shape.unknown_rank and len(shape.dim) == 0 and layer is None
        if _SWITCH.search(node.name):
            rank, reason = 2, "its name is a training switch's: fix it rather than feed it"
        elif _LABEL.search(node.name):
            rank, reason = 3, "its name is a label's, which inference has not"
        elif layer is not None:
            rank, reason = 0, f"a placeholder fed to {layer.op} {layer.name!r}, the first layer"
        else:
            rank, reason = 1 if not scalar else 2, "a placeholder that the outputs depend on"
        dtype = TENSORFLOW_DTYPES.get(node.attr["dtype"].type, "")
        found.append((rank, Candidate(node=node.name, op=node.op, dtype=dtype, reasons=(reason,))))
    found += _queue_ends(graph_def, needed)
    found += _behind_preprocessing(graph_def, needed)
    return [candidate for _, candidate in sorted(found, key=lambda item: item[0])]


def _layer_behind(name: str, nodes: dict[str, Any], consumers: dict[str, list[str]]) -> Any | None:
    """The first layer that a placeholder reaches through nothing but arithmetic and reshaping."""
    todo, seen = [name], set[str]()
    while todo:
        here = todo.pop(0)
        for reader in consumers.get(here, ()):
            if reader in seen:
                continue
            seen.add(reader)
            if _LAYERS.fullmatch(nodes[reader].op):
                return nodes[reader]
            if _THROUGH.fullmatch(nodes[reader].op):
                todo.append(reader)
    return None


def _queue_ends(graph_def: Any, needed: set[str]) -> list[tuple[int, Candidate]]:
    """What a queue or an iterator gives: where an inference graph is cut from a training graph."""
    return [
        (
            1,
            Candidate(
                node=node.name,
                op=node.op,
                dtype="",
                reasons=("the end of an input pipeline: cut the graph here with --inputs",),
            ),
        )
        for node in graph_def.node
        if node.name in needed and re.search(r"QueueDequeue|IteratorGetNext", node.op)
    ]


def _behind_preprocessing(graph_def: Any, needed: set[str]) -> list[tuple[int, Candidate]]:
    """What decoding and feature extraction give: an input for formats that have no such operations."""
    pattern = re.compile(
        r"Mfcc|AudioSpectrogram|Decode(Jpeg|Png|Wav|Image|Raw)|ParseExample\w*|ParseSingleExample"
    )
    last = [n for n in graph_def.node if n.name in needed and pattern.fullmatch(n.op)]
    taken = {producer(i) for n in last for i in n.input}
    return [
        (
            1,
            Candidate(
                node=node.name,
                op=node.op,
                dtype="",
                reasons=(
                    f"what {node.op} gives: cut here with --inputs where the board prepares the data itself",
                ),
            ),
        )
        for node in last
        if node.name not in taken
    ]


def _left_out(graph_def: Any, consumers: dict[str, list[str]], chosen: set[str]) -> list[LeftOut]:
    found = []
    for node in graph_def.node:
        if node.name in chosen or consumers.get(node.name) or node.op in ("Const", "NoOp", *_FEEDS):
            continue
        reason = aside(node)
        if reason is not None:
            found.append(LeftOut(node=node.name, op=node.op, reason=reason))
    return found

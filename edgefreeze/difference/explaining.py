"""Why two graphs part where they part: what stands in the files (causes.py), what can be tried (variants.py),
what the numbers look like."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgefreeze import logs
from edgefreeze.device.tensors import decode, encode
from edgefreeze.difference import causes, cut, pairing, scales, variants
from edgefreeze.difference.causes import Cause
from edgefreeze.difference.pairing import UNLIKE, Match
from edgefreeze.difference.traced import Traced
from edgefreeze.inspection.graph import Node, dynamic
from edgefreeze.progress import Progress
from edgefreeze.worker import client

EXPLAINED = 0.1
"""A change explains a difference that it makes this much smaller."""
_MOST_VARIANTS = 64

Region = tuple[list[Node], list[str]]


def cause(
    a: Traced,
    b: Traced,
    match: Match,
    matches: Sequence[Match],
    mine: Region,
    theirs: Region,
    progress: Progress,
) -> Cause:
    """Why the first tensors that differ do: from the surest to the vaguest, what stands in the files, what
    can be tried, what it looks like.

    mine, theirs: of either side the nodes between the last tensors that agree and these, and those tensors.
    """
    maker, other = a.graph.producers(), b.graph.producers()
    left, right = maker.get(match.a), other.get(match.b)
    back = {m.b: m.a for m in matches}
    found = _quantised(a, b, match, mine[0], theirs[0]) if causes.mixed(a, b) else None
    if found is None and a.kind == b.kind and left is not None and right is not None:
        found = causes.structural(a, b, left, right, back) or causes.in_bodies(a, b, left, right)
    found = found or causes.training_mode(a, mine[0], b, theirs[0])
    if found is not None:
        return found
    for this, that, region, end, against in (
        (a, b, mine, match.a, _turned(match, a, b)),
        (b, a, theirs, match.b, _turned_back(match, a, b)),
    ):
        if this.kind == "frozen_pb":
            tried = _tried(this, that, region, end, against, progress)
            if tried is not None:
                return tried
    return _guess(a, b, match, mine[0], theirs[0])


def _quantised(a: Traced, b: Traced, match: Match, mine: list[Node], theirs: list[Node]) -> Cause | None:
    """What is wrong with the scales, where one side has some."""
    side, nodes = (a, mine) if a.scales else (b, theirs)
    found = scales.at_odds(side, nodes)
    x, y = a.values[match.a], _turned(match, a, b)
    if found is not None or x.shape != y.shape:
        return found
    share = scales.saturated(*((y, x) if a.scales else (x, y)))
    if share <= 0.001:
        return None
    node = a.graph.producers().get(match.a)
    sentence = (
        f"the quantisation range of {(match.a if a.scales else match.b)!r} is too narrow: {share:.1%} of its "
        "values are cut off; calibrate on samples like those in use"
    )
    name = node.name if node is not None else match.a
    return Cause(kind="quantisation range", node=name, sentence=sentence, how="likely")


def other_kernel(a: Traced, b: Traced, match: Match) -> Cause:
    """Of one artifact in two places: nothing in it differs."""
    node = a.graph.producers().get(match.a)
    name, op = (node.name, node.op) if node is not None else (match.a, "the operation")
    sentence = (
        f"the file is the same, and {op} gives other numbers in {a.name} than here: the runtime's kernel "
        "there is another, by its version, its delegate or the processor: try another version of the runtime"
    )
    return Cause(kind="another kernel", node=name, sentence=sentence, how="likely")


def _turned(match: Match, a: Traced, b: Traced) -> Any:
    """b's value in a's layout."""
    value = b.values[match.b]
    if match.axes is not None:
        return np.transpose(value, match.axes)
    shape = a.values[match.a].shape
    return value.reshape(shape) if value.size == a.values[match.a].size else value


def _turned_back(match: Match, a: Traced, b: Traced) -> Any:
    """a's value in b's layout."""
    value = a.values[match.a]
    if match.axes is not None:
        return np.transpose(value, np.argsort(match.axes))
    shape = b.values[match.b].shape
    return value.reshape(shape) if value.size == b.values[match.b].size else value


def _tried(
    this: Traced, that: Traced, region: Region, end: str, against: Any, progress: Progress
) -> Cause | None:
    """The change to `this` that makes it give what `that` gives, if there is one."""
    nodes, begins = region
    if any(t not in this.values for t in begins):
        return None
    piece = cut.of_graph_def(this, nodes, begins, end)
    candidates = list(variants.variants(piece, this.values))[:_MOST_VARIANTS]
    if not candidates:
        return None
    progress.step("try", f"trying {len(candidates)} explanations")
    with tempfile.TemporaryDirectory(prefix="edgefreeze-bisect-") as scratch:
        folder = Path(scratch)
        for number, message in enumerate([piece.message, *(v.message for v in candidates)]):
            (folder / f"{number}.pb").write_bytes(message.SerializeToString())
        (folder / "inputs.npz").write_bytes(
            encode({name: this.values[tensor] for name, tensor in piece.feeds.items()})
        )
        request = {
            "op": "attempts",
            "graphs": scratch,
            "count": len(candidates) + 1,
            "inputs": str(folder / "inputs.npz"),
            "output": end,
            "out": str(folder / "results.npz"),
        }
        client.run(request, log=logs.new("bisect"))
        results = decode((folder / "results.npz").read_bytes())
    best: tuple[float, variants.Variant] | None = None
    unchanged = _off(results.get("0"), against)
    for number, variant in enumerate(candidates, 1):
        off = _off(results.get(str(number)), against)
        if best is None or off < best[0]:
            best = off, variant
    if best is None or not best[0] <= EXPLAINED * min(unchanged, 1.0):
        return None
    sentence = best[1].sentence.format(this=this.name, other=that.name)
    return Cause(kind=best[1].kind, node=best[1].node, sentence=sentence, how="tried")


def _off(found: Any, expected: Any) -> float:
    """How far off a result is. Before the change that was tried the shapes may have differed, so that the
    layout in which they belong together is known only now."""
    if found is None:
        return UNLIKE
    turned = [array for _, array in pairing.layouts(found.shape, expected)]
    return min((pairing.distance(found, array)[1] for array in turned), default=UNLIKE)


def _guess(a: Traced, b: Traced, match: Match, mine: list[Node], theirs: list[Node]) -> Cause:
    """From the weights and the values alone."""
    node = a.graph.producers().get(match.a)
    name = node.name if node is not None else match.a
    x, y = a.values[match.a], _turned(match, a, b)
    for left, right in _weights(a, mine, b, theirs):
        what = causes.weights(a.values[left], b.values[right])
        if what is not None and not causes.rounded(a, b, a.values[left], b.values[right]):
            user = _user(a, mine, left) or node
            sentence = (
                f"the weights {left.removesuffix(':0')!r} of {a.name}: {what[1]} ({right!r} of {b.name})"
            )
            return Cause(kind=what[0], node=user.name if user else name, sentence=sentence, how="seen")
    what = causes.numeric(x, y)
    if what is not None:
        sentence = f"{what[1].replace('A ', a.name + ' ', 1)}: {_USUALLY.get(what[0], what[0])}"
        return Cause(kind=what[0], node=name, sentence=sentence, how="likely")
    sentence = f"{name!r} computes something else in {b.name}; none of the usual causes explains it alone"
    return Cause(kind="unexplained", node=name, sentence=sentence, how="likely")


def _user(a: Traced, nodes: Sequence[Node], constant: str) -> Node | None:
    """The node that joins a constant, or what is computed of it, with what hangs on the inputs."""
    moving, carried = set(dynamic(a.graph)), {constant}
    for node in nodes:
        if any(tensor in carried for tensor in node.inputs):
            if any(tensor in moving for tensor in node.outputs):
                return node
            carried.update(node.outputs)
    return None


_USUALLY = {
    "padding": "usually SAME where the other pads VALID, or padding at the other end",
    "unfused batch norm": "usually a batch norm that one of them folded with other statistics, or lacks",
    "scale": "usually a scale or a preprocessing that one of them lacks",
    "layout": "usually NHWC taken for NCHW, or a transposed kernel",
    "shape": "another padding, stride or reshape",
}


def _weights(a: Traced, mine: Sequence[Node], b: Traced, theirs: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Constants of both regions that have the same number of elements, where only one on each side has."""

    def held(side: Traced, nodes: Sequence[Node]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        names = {node.name for node in nodes}
        for node in [*nodes, *(node for node in side.graph.nodes if node.body in names)]:
            for tensor in node.inputs:
                value = side.graph.value(tensor)
                if value.stored and value.integers is None and tensor in side.values:
                    found.setdefault(side.values[tensor].size, []).append(tensor)
        return found

    left, right = held(a, mine), held(b, theirs)
    for size in sorted(left, reverse=True):
        if len(set(left[size])) == 1 and len(set(right.get(size, ()))) == 1 and size > 1:
            yield left[size][0], right[size][0]

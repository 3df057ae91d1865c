"""`edgefreeze bisect`: the first node at which two models part, why, and the smallest graph that shows it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefreeze.conversion import log_file
from edgefreeze.device.tensors import decode, encode
from edgefreeze.difference import causes, cut, pairing, traced, variants
from edgefreeze.difference.causes import Cause
from edgefreeze.difference.pairing import UNLIKE, Match
from edgefreeze.difference.sides import Artifact, Model
from edgefreeze.difference.traced import Traced
from edgefreeze.errors import Failure
from edgefreeze.inspection.graph import Node
from edgefreeze.progress import Progress
from edgefreeze.worker import client, matching

NOISE, NOISE_QUANTISED = 2e-5, 0.1
"""What rounding makes of a tensor, at most: root mean square of the difference over the deviation."""
JUMP = 4.0
"""A node parts where its noise is more than this many times that of what it is fed."""
_EXPLAINED = 0.1
_MOST_VARIANTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """A tensor that the node takes, on both sides: how far they are apart."""

    a: str
    b: str | None
    noise: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """The first node where they part. `node` is where the cause is, `output` and `other` the first tensors
    that differ; `between` the nodes of A from the last tensors that agree."""

    node: str
    operation: str
    output: str
    other: str
    max_rel: float | None
    noise: float | None
    inputs: tuple[Fed, ...]
    between: tuple[str, ...]
    cause: Cause
    later: int
    """How many of the tensors behind it differ too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """equal: no output differs by more than noise; inner tensors may all the same, on these inputs."""

    equal: bool
    a: str
    b: str
    compared: int
    tensors: tuple[int, int]
    parting: Parting | None
    files: tuple[str, ...]
    warnings: tuple[str, ...]


def bisect(
    a: Model | Artifact,
    b: Model | Artifact,
    samples_at: Path | None,
    out: Path,
    tolerance: float | None,
    progress: Progress,
) -> Bisection:
    """Find the first node at which A parts from B, and write it into the folder `out`.

    Raises Failure: what freezing and running raise, samples-bad, not-comparable.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgefreeze-bisect-")))
        # The pickier about sizes makes the inputs.
        first, second = (b, a) if _open(b) < _open(a) else (a, b)
        made, inputs = traced.artifact_with_inputs(first, samples_at, folder / "1", progress)
        other, _ = traced.artifact_with_inputs(second, None, folder / "2", progress, draw=False)
        matched, warnings = matching.pairs(other.static, made.static, "input", all_of_mine=True)
        theirs = matching.arranged(inputs, matched)
        runs = ((made, inputs), (other, theirs))
        left, right = (
            stack.enter_context(_traced(s.name, runs[s is second], folder / f"trace{i}", progress))
            for i, s in enumerate((a, b))
        )
        ends = _ends(runs[a is second][0], runs[b is second][0], left, right, warnings)
        return _compared(left, right, ends, out, tolerance, warnings, progress)


def _traced(
    name: str, run: tuple[Artifact, dict[str, Any]], folder: Path, progress: Progress
) -> contextlib.AbstractContextManager[Traced]:
    return traced.traced(name, run[0], run[1], folder, progress)


def _open(side: Model | Artifact) -> int:
    return sum(4 if t.shape is None else sum(size is None for size in t.shape[1:]) for t in side.static)


def _ends(
    a: Artifact, b: Artifact, left: Traced, right: Traced, warnings: list[str]
) -> list[tuple[str, str]]:
    """The outputs of both that belong together, by their tensors."""

    def tensor(traced_: Traced, name: str) -> str:
        return name if name in traced_.values else f"{name}:0"

    found, more = matching.pairs(b.outputs, a.outputs, "output", all_of_mine=False)
    warnings += more
    of_a, of_b = {t.name: t.tensor for t in a.outputs}, {t.name: t.tensor for t in b.outputs}
    return [(tensor(left, of_a[p.theirs]), tensor(right, of_b[p.mine])) for p in found]


def _compared(
    a: Traced,
    b: Traced,
    ends: list[tuple[str, str]],
    out: Path,
    tolerance: float | None,
    warnings: list[str],
    progress: Progress,
) -> Bisection:
    progress.step("compare", f"comparing {len(a.values)} and {len(b.values)} tensors")
    matches = pairing.pair(a, b, ends)
    noise = tolerance if tolerance is not None else NOISE_QUANTISED if _mixed(a, b) else NOISE
    outputs = [m for m in matches if m.by == "end" or m.a in {left for left, _ in ends}]
    differing = [m for m in matches if m.noise > noise]
    found = None
    files: tuple[str, ...] = ()
    equal = not any(m.noise > noise for m in outputs)
    match = first_parting(a, matches, noise, {left for left, _ in ends})
    if match is not None:
        found, files = _explained(a, b, match, matches, len(differing), out, progress)
    return Bisection(
        equal=equal,
        a=a.name,
        b=b.name,
        compared=len(matches),
        tensors=(len(a.values), len(b.values)),
        parting=found,
        files=files,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _mixed(a: Traced, b: Traced) -> bool:
    """Whether one is quantised and the other not: then every tensor is off by its rounding."""
    return bool(a.scales) != bool(b.scales)


def first_parting(a: Traced, matches: Sequence[Match], noise: float, ends: set[str]) -> Match | None:
    """The first match, in the order of a's graph, that is off by more than noise, and by far more than what
    it is fed; None where there is none. What is off while all that hangs on it agrees is not, but for an
    output: its name means something else there. Pure."""
    off = [m for m in matches if m.noise > noise]
    by_tensor = {m.a: m for m in matches}
    behind = _behind(a, by_tensor)
    credible: Match | None = None
    for match in off:
        followers = [by_tensor[t] for t in behind.get(match.a, ()) if t != match.a]
        if match.a not in ends and all(f.noise <= noise for f in followers):
            continue
        credible = credible or match
        _, begins = cut.region(a, match.a, by_tensor)
        fed = max((by_tensor[t].noise for t in begins if t in by_tensor), default=0.0)
        if match.noise > JUMP * fed:
            return match
    return credible


def _behind(a: Traced, matched: Mapping[str, Match]) -> dict[str, set[str]]:
    """The matched tensors that come next behind each matched tensor."""
    carried: dict[str, set[str]] = {}
    found: dict[str, set[str]] = {}
    for node in a.graph.nodes:
        sources: set[str] = set()
        for tensor in node.inputs:
            sources |= {tensor} if tensor in matched else carried.get(tensor, set())
        for tensor in node.outputs:
            if tensor in matched:
                for source in sources:
                    found.setdefault(source, set()).add(tensor)
            elif sources:
                carried[tensor] = sources
    return found


def _explained(
    a: Traced,
    b: Traced,
    match: Match,
    matches: Sequence[Match],
    differing: int,
    out: Path,
    progress: Progress,
) -> tuple[Parting, tuple[str, ...]]:
    partner = {m.a: m.b for m in matches}
    nodes, begins = cut.region(a, match.a, [m.a for m in matches])
    other_nodes, other_begins = cut.region(b, match.b, [m.b for m in matches])
    moving = set(pairing.dynamic(a.graph))
    between = [n for n in nodes if any(t in moving for t in n.outputs)]
    cause = _cause(a, b, match, matches, (nodes, begins), (other_nodes, other_begins), progress)
    by_name = {n.name: n for n in [*a.graph.nodes, *b.graph.nodes]}
    known = {m.a: m for m in matches}
    fed = tuple(Fed(a=t, b=partner.get(t), noise=known[t].noise if t in known else None) for t in begins)
    parting = Parting(
        node=cause.node,
        operation=by_name[cause.node].op if cause.node in by_name else "",
        output=match.a,
        other=match.b,
        max_rel=match.error if match.error < UNLIKE else None,
        noise=match.noise if match.noise < UNLIKE else None,
        inputs=fed,
        between=tuple(n.name for n in between),
        cause=cause,
        later=max(0, differing - 1),
    )
    files = _write(out, (a, nodes, begins, match.a), (b, other_nodes, other_begins, match.b))
    return parting, files


Region = tuple[list[Node], list[str]]


def _cause(
    a: Traced,
    b: Traced,
    match: Match,
    matches: Sequence[Match],
    mine: Region,
    theirs: Region,
    progress: Progress,
) -> Cause:
    """From the surest to the vaguest: what stands in the files, what can be tried, what it looks like."""
    maker, other = a.graph.producers(), b.graph.producers()
    left, right = maker.get(match.a), other.get(match.b)
    back = {m.b: m.a for m in matches}
    found: Cause | None = None
    if a.kind == b.kind and left is not None and right is not None:
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
        client.run(request, log=log_file("bisect"))
        results = decode((folder / "results.npz").read_bytes())
    best: tuple[float, variants.Variant] | None = None
    unchanged = _off(results.get("0"), against)
    for number, variant in enumerate(candidates, 1):
        off = _off(results.get(str(number)), against)
        if best is None or off < best[0]:
            best = off, variant
    if best is None or not best[0] <= _EXPLAINED * min(unchanged, 1.0):
        return None
    sentence = best[1].sentence.format(this=this.name, other=that.name)
    return Cause(kind=best[1].kind, node=best[1].node, sentence=sentence, how="tried")


def _off(found: Any, expected: Any) -> float:
    if found is None or found.shape != expected.shape:
        return UNLIKE
    return pairing.distance(found, expected)[1]


def _guess(a: Traced, b: Traced, match: Match, mine: list[Node], theirs: list[Node]) -> Cause:
    """From the weights and the values alone."""
    node = a.graph.producers().get(match.a)
    name = node.name if node is not None else match.a
    for left, right in _weights(a, mine, b, theirs):
        what = causes.weights(a.values[left], b.values[right])
        if what is not None:
            user = _user(a, mine, left) or node
            sentence = (
                f"the weights {left.removesuffix(':0')!r} of {a.name}: {what[1]} ({right!r} of {b.name})"
            )
            return Cause(kind=what[0], node=user.name if user else name, sentence=sentence, how="seen")
    x, y = a.values[match.a], _turned(match, a, b)
    if _mixed(a, b) and x.shape == y.shape:
        share = causes.saturated(*((y, x) if a.scales else (x, y)))
        if share > 0.001:
            sentence = (
                f"the quantisation range of {match.b!r} is too narrow: {share:.1%} of its values are cut "
                "off; calibrate on samples like those in use"
            )
            return Cause(kind="quantisation range", node=name, sentence=sentence, how="likely")
    what = causes.numeric(x, y)
    if what is not None:
        sentence = f"{what[1].replace('A ', a.name + ' ', 1)}: {_USUALLY.get(what[0], what[0])}"
        return Cause(kind=what[0], node=name, sentence=sentence, how="likely")
    sentence = f"{name!r} computes something else in {b.name}; none of the usual causes explains it alone"
    return Cause(kind="unexplained", node=name, sentence=sentence, how="likely")


def _user(a: Traced, nodes: Sequence[Node], constant: str) -> Node | None:
    """The node that joins a constant, or what is computed of it, with what hangs on the inputs."""
    moving, carried = set(pairing.dynamic(a.graph)), {constant}
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
        for node in nodes:
            for tensor in node.inputs:
                value = side.graph.value(tensor)
                if value.stored and value.integers is None and tensor in side.values:
                    found.setdefault(side.values[tensor].size, []).append(tensor)
        return found

    left, right = held(a, mine), held(b, theirs)
    for size in sorted(left, reverse=True):
        if len(set(left[size])) == 1 and len(set(right.get(size, ()))) == 1 and size > 1:
            yield left[size][0], right[size][0]


def _write(out: Path, *regions: tuple[Traced, list[Node], list[str], str]) -> tuple[str, ...]:
    """values.npz, and the nodes of both as a graph. Raises Failure config-value."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {}
        written = [out / "values.npz"]
        for side, (traced_, nodes, begins, end) in zip("ab", regions, strict=True):
            arrays |= {f"{side}|in|{t}": traced_.values[t] for t in begins if t in traced_.values}
            arrays[f"{side}|out|{end}"] = traced_.values[end]
            written.append(_write_graph(out / side, traced_, nodes, begins, end))
        written[0].write_bytes(encode(arrays))
    except OSError as error:
        raise Failure("config-value", f"{out} cannot be written: {error.strerror}", found=str(out)) from None
    return tuple(map(str, written))


def _write_graph(stem: Path, side: Traced, nodes: list[Node], begins: list[str], end: str) -> Path:
    if side.kind == "tflite":
        path = stem.with_suffix(".json")
        path.write_text(cut.described(side, nodes), "utf-8")
        return path
    make = cut.of_onnx if side.kind == "onnx" else cut.of_graph_def
    path = stem.with_suffix(".onnx" if side.kind == "onnx" else ".pb")
    path.write_bytes(make(side, nodes, begins, end).message.SerializeToString())
    return path

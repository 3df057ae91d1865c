"""`edgefreeze bisect`: the first node at which two models part, why, and the smallest graph that shows it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.device.tensors import encode
from edgefreeze.difference import causes, cut, explaining, pairing, traced
from edgefreeze.difference.causes import Cause
from edgefreeze.difference.pairing import UNLIKE, Match
from edgefreeze.difference.places import Place
from edgefreeze.difference.sides import Artifact, Model
from edgefreeze.difference.traced import Traced
from edgefreeze.errors import Failure
from edgefreeze.inspection.graph import Node, dynamic
from edgefreeze.progress import Progress
from edgefreeze.worker import matching

NOISE, NOISE_QUANTISED = 2e-5, 0.1
"""What rounding makes of a tensor, at most: root mean square of the difference over the deviation."""
JUMP = 4.0
"""A node parts where its noise is more than this many times that of what it is fed."""


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
    place: Place | None = None,
) -> Bisection:
    """Find the first node at which A parts from B, and write it into the folder `out`.

    place: where A runs; None: here, as B does in any case. Raises Failure: what freezing and running raise,
    samples-bad, not-comparable.
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
        if place is not None:
            artifact, fed = runs[a is second]
            left = traced.there(left, artifact, fed, place, folder, progress)
        same = place is not None and a.path == b.path
        return _compared(left, right, ends, out, tolerance, warnings, progress, same=same)


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
    *,
    same: bool,
) -> Bisection:
    progress.step("compare", f"comparing {len(a.values)} and {len(b.values)} tensors")
    matches = pairing.pair(a, b, ends)
    noise = tolerance if tolerance is not None else NOISE_QUANTISED if causes.mixed(a, b) else NOISE
    outputs = [m for m in matches if m.by == "end" or m.a in {left for left, _ in ends}]
    differing = [m for m in matches if m.noise > noise]
    found = None
    files: tuple[str, ...] = ()
    equal = not any(m.noise > noise for m in outputs)
    match = first_parting(a, matches, noise, {left for left, _ in ends})
    if match is not None:
        found, files = _explained(a, b, match, matches, len(differing), out, progress, same=same)
    else:
        warnings += unreached(a, b)
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


def unreached(a: Traced, b: Traced) -> list[str]:
    """What to say of weights that differ where no tensor behind them does, such as those in front of a ReLU
    that these inputs leave at zero. Between formats weights go by other names and shapes: nothing is said."""
    if a.kind != b.kind:
        return []
    names = [n for n in a.values if a.graph.value(n).stored and n in b.values]
    differ = [n for n in names if not _same(a.values[n], b.values[n])]
    if not differ:
        return []
    listed = ", ".join(repr(n.removesuffix(":0")) for n in differ[:3]) + (", …" if len(differ) > 3 else "")
    return [
        f"the weights {listed} differ all the same: on these inputs nothing behind them shows it; "
        "give inputs that reach them with --samples"
    ]


def _same(x: Any, y: Any) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype and bool(x.tobytes() == y.tobytes())


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
    *,
    same: bool,
) -> tuple[Parting, tuple[str, ...]]:
    partner = {m.a: m.b for m in matches}
    nodes, begins = cut.region(a, match.a, [m.a for m in matches])
    other_nodes, other_begins = cut.region(b, match.b, [m.b for m in matches])
    moving = set(dynamic(a.graph))
    between = [n for n in nodes if any(t in moving for t in n.outputs)]
    cause = (
        explaining.other_kernel(a, b, match)
        if same
        else explaining.cause(a, b, match, matches, (nodes, begins), (other_nodes, other_begins), progress)
    )
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

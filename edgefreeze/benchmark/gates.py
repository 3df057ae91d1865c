"""Gates: a small language of requirements, and their judgement on the unfavourable bound. Pure.

    p95<40ms   p50(tflite)<=12.5ms   mean<20ms   start<2s
    rss<300MB   peak<400MB   size<20MB
    accuracy_drop<0.5%
    speedup(frozen_pb,saved_model)>=1.1

A gate passes only where the figure's confidence bound on the wrong side passes: a p95 of 39 ms that may as
well be 41 ms has not been shown to be below 40. Without a name in brackets it is about the artifact that
runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgefreeze.benchmark import statistics
from edgefreeze.benchmark.plan import ACTIVE
from edgefreeze.benchmark.result import Contestant, DuelResult, pair
from edgefreeze.errors import Failure, nearest
from edgefreeze.types import DeviceFacts

_TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_SIZES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
UNITS: dict[str, dict[str, float]] = {
    **dict.fromkeys(("p50", "p90", "p95", "p99", "mean", "start"), _TIMES),
    **dict.fromkeys(("rss", "peak", "size"), _SIZES),
    "accuracy_drop": {"%": 1.0},
    "speedup": {"": 1.0},
}
"""Metric to its units, as factors to milliseconds, bytes, points and none."""
_MEMORY = {"rss": "rss_bytes", "peak": "peak_bytes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A requirement. limit: milliseconds, bytes, points (percent) or a factor, by the metric."""

    text: str
    metric: str
    names: tuple[str, ...]
    below: bool
    """Whether the figure must be below the limit, or else above it."""
    strict: bool
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A gate judged. `figure` and `bound` in the metric's unit: ms, bytes, points, factor."""

    gate: str
    passed: bool
    figure: float | None
    bound: float | None
    reason: str


class Drop(Protocol):
    """An artifact's accuracy (accuracy.Accuracy)."""

    @property
    def format(self) -> str:
        """The artifact."""

    @property
    def rows(self) -> int:
        """Rows of the evaluation data."""

    @property
    def worse(self) -> int | None:
        """Rows that only the original has right."""

    @property
    def better(self) -> int | None:
        """Rows that only the artifact has right."""

    @property
    def lost(self) -> float:
        """Points lost."""


_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-z_µ][A-Za-z0-9_:@.-]*)|(?P<number>\d+(?:\.\d*)?)|(?P<sign><=|>=|<|>|[(),%]))"
)


def parse(text: str) -> Gate:
    """A gate from its text. Raises Failure gate-syntax, which points at the place."""
    tokens = _tokens(text)
    at = 0

    def take(kind: str, expected: str, among: Sequence[str] | None = None) -> str:
        nonlocal at
        found_kind, value, place = tokens[at]
        if found_kind != kind or (among is not None and value not in among):
            near = nearest(value, list(among)) if among and kind == "word" else None
            raise _bad(text, place, expected + (f"; did you mean '{near}'?" if near else ""), value)
        at += 1
        return value

    metric = take("word", "a metric: " + ", ".join(UNITS), list(UNITS))
    names: list[str] = []
    if tokens[at][1] == "(":
        at += 1
        names.append(take("word", "an artifact, such as tflite:int8"))
        while tokens[at][1] == ",":
            at += 1
            names.append(take("word", "an artifact, such as tflite:int8"))
        take("sign", "')'" if metric != "speedup" or len(names) > 1 else "',' and a second artifact", [")"])
    place = tokens[at][2]
    wanted = 2 if metric == "speedup" else 1
    if len(names) != wanted and (names or metric == "speedup"):
        what = "two artifacts: speedup(faster,slower)" if wanted == 2 else "one artifact, or none"
        raise _bad(text, place, what, f"{len(names)}")
    signs = [">=", ">"] if metric == "speedup" else ["<=", "<"]
    why = "judged from below" if metric == "speedup" else "judged from above"
    sign = take("sign", f"{' or '.join(signs)} ({metric} is {why})", signs)
    number = float(take("number", "a number"))
    units = UNITS[metric]
    kind, unit, place = tokens[at]
    if unit not in units or (kind == "end" and "" not in units):
        raise _bad(text, place, "a unit: " + ", ".join(units) if units != {"": 1.0} else "nothing more", unit)
    if kind != "end":
        at += 1
    take("end", "nothing more")
    return Gate(text=text.strip(), metric=metric, names=tuple(names), below=sign.startswith("<"),
                strict="=" not in sign, limit=number * units[unit])  # fmt: skip


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """(kind, value, place) each, and an end."""
    found = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            place = at + len(text[at:]) - len(text[at:].lstrip())
            raise _bad(text, place, "a metric, a comparison and a limit, such as p95<40ms", text[place])
        kind = match.lastgroup or ""
        found.append((kind, match[kind], match.start(kind)))
        at = match.end()
    return [*found, ("end", "", len(text.rstrip()))]


def _bad(text: str, place: int, expected: str, found: str) -> Failure:
    return Failure(
        "gate-syntax",
        f"'{text}' is no requirement, from character {place + 1} on",
        expected=expected,
        found=f"{text}\n{'.' * place}^ {'here' if found else 'the end'}",
        next="--require 'p95<40ms'",
    )


def regression(percent: float) -> Gate:
    """--max-regress: the artifact that runs against the one that is active on the device now."""
    return Gate(text=f"--max-regress {percent:g}%", metric="regress", names=(), below=True, strict=False,
                limit=1 + percent / 100)  # fmt: skip


def against_active(wanted: Sequence[Gate]) -> bool:
    """Whether what is active on the device has to be measured beside."""
    return any(gate.metric == "regress" for gate in wanted)


def of_accuracy(wanted: Sequence[Gate]) -> bool:
    """Whether evaluation data is needed."""
    return any(gate.metric == "accuracy_drop" for gate in wanted)


def require_real(wanted: Sequence[Gate], facts: DeviceFacts, where: str, *, allowed: bool) -> None:
    """Raise Failure gate-emulated where gates would be judged by an emulated device's figures."""
    if wanted and facts.emulated and not allowed:
        raise Failure(
            "gate-emulated",
            f"{where} is emulated, and its figures are no device's: nothing is decided by them",
            expected="a board",
            found="user-mode emulation",
            device_state="probed only; unchanged",
            next="the same on the board, or with --allow-emulated",
        )


def failure(judged: Sequence[Judgement], what: str, state: str | None = None) -> Failure | None:
    """gate-failed where one of the gates did not pass, else None."""
    bad = [j for j in judged if not j.passed]
    if not bad:
        return None
    return Failure(
        "gate-failed",
        f"{what} does not pass {', '.join(j.gate for j in bad)}",
        expected="\n".join(j.gate for j in bad),
        found="\n".join(j.reason for j in bad),
        device_state=state,
        retry_safe=True,
    )


def judge(
    gates: Sequence[Gate], runs: str, result: DuelResult | None, drops: Sequence[Drop] = ()
) -> tuple[Judgement, ...]:
    """Each gate judged. runs: the artifact that runs, which gates without a name are about."""
    return tuple(_judge(gate, runs, result, drops) for gate in gates)


def _judge(gate: Gate, runs: str, result: DuelResult | None, drops: Sequence[Drop]) -> Judgement:
    name = gate.names[0] if gate.names else runs
    if gate.metric == "accuracy_drop":
        drop = next((d for d in drops if d.format == name), None)
        if drop is None:
            return _open(gate, f"the accuracy of {name} is not known: add --eval FILE")
        return _decided(gate, name, drop.lost, _drop_bound(drop), f"of {drop.rows} rows")
    if result is None:
        return _open(gate, "nothing was measured")
    contestant = result.of(name)
    if contestant is None:
        there = ", ".join(c.format for c in result.contestants)
        return _open(gate, f"{name} is no contestant; there are {there}")
    if contestant.failed:
        return _open(gate, f"{name} failed: {contestant.failed}")
    if gate.metric == "size":
        return _decided(gate, name, contestant.bytes, contestant.bytes, "on disk")
    if gate.metric in _MEMORY:
        used = contestant.memory.get(_MEMORY[gate.metric])
        return _decided(gate, name, used, used, "the largest seen")
    # A sweep is one duel for each number of threads, and each has findings of its own.
    spoilt = next((f for f in result.findings if f.invalid and f.threads == contestant.threads), None)
    if spoilt is not None:
        return _open(gate, f"the measurement is invalid: {spoilt.message}")
    if gate.metric == "start":
        return _start(gate, name, contestant)
    if gate.metric in ("speedup", "regress"):
        return _against(gate, result, name)
    return _latency(gate, contestant)


def _start(gate: Gate, name: str, contestant: Contestant) -> Judgement:
    """With so few starts the largest is the bound of the median that there is, and its confidence is said."""
    middle = (contestant.cold_start or {}).get("total_ms")
    slowest = max((start.total_ms for start in contestant.starts), default=middle)
    count = len(contestant.starts)
    sure = f"{100 * statistics.largest_bounds_median(count):.3g} %"
    of = f"the median and the largest of {count} starts" if count > 1 else "one start"
    return _decided(gate, name, middle, slowest, of, sure)


def _against(gate: Gate, result: DuelResult, name: str) -> Judgement:
    if gate.metric == "speedup":
        other = gate.names[1]
    else:
        other = next((c.format for c in result.contestants if c.format.startswith(ACTIVE)), "")
        if not other:
            reason = "no other release is active there that it could fall behind"
            return Judgement(gate=gate.text, passed=True, figure=None, bound=None, reason=reason)
    found = pair(result, name, other)
    if found is None:
        there = ", ".join(c.format for c in result.contestants)
        return _open(gate, f"{other} is no contestant; there are {there}")
    if found.ratio is None or found.interval is None:
        return _open(gate, found.reason or "they could not be compared")
    high = found.interval[1]
    if gate.metric == "speedup":
        return _decided(gate, f"{name} against {other}", 1 / found.ratio, 1 / high, "")
    return _decided(gate, f"{name} against {other}", found.ratio, high, "")


def _latency(gate: Gate, contestant: Contestant) -> Judgement:
    samples = contestant.samples
    if gate.metric == "mean":
        means = np.array([np.mean(block) for block in contestant.samples_ns if block])
        if len(means) < statistics.LEAST_ROUNDS:
            return _open(gate, f"too few: {len(means)} blocks; {statistics.LEAST_ROUNDS} are needed")
        draw = np.random.default_rng(0).integers(0, len(means), size=(statistics.RESAMPLES, len(means)))
        tail = statistics.expanded_tail(1 - statistics.CONFIDENCE, len(means))
        bound: float | None = float(np.quantile(means[draw].mean(axis=1), 1 - tail)) / 1e6
        return _decided(gate, contestant.format, contestant.mean_ms, bound, "")
    percent = int(gate.metric[1:])
    figure = statistics.percentile_ms(samples, percent)
    bound = statistics.percentile_bound_ms(samples, percent)
    if figure is None or bound is None:
        enough = statistics.ENOUGH[percent]
        return _open(
            gate, f"too few: {len(samples)} samples; {gate.metric} needs {enough}: --min-samples {enough}"
        )
    return _decided(gate, contestant.format, figure, bound, f"of {len(samples)} samples")


def _open(gate: Gate, reason: str) -> Judgement:
    """What cannot be judged has not been shown, and does not pass."""
    return Judgement(gate=gate.text, passed=False, figure=None, bound=None, reason=reason)


def _decided(
    gate: Gate, what: str, figure: float | None, bound: float | None, of: str, sure: str = "99 %"
) -> Judgement:
    if figure is None or bound is None:
        return _open(gate, f"{what}: not measured")
    if gate.below:
        passed = bound < gate.limit if gate.strict else bound <= gate.limit
    else:
        passed = bound > gate.limit if gate.strict else bound >= gate.limit
    side = "at most" if gate.below else "at least"
    value, limit = _shown(gate.metric, figure), _shown(gate.metric, bound)
    near = "" if value == limit else f", {side} {limit} with {sure} confidence"
    reason = f"{what}: {value}{near}" + (f" ({of})" if of else "")
    return Judgement(gate=gate.text, passed=passed, figure=figure, bound=bound, reason=reason)


def _shown(metric: str, value: float) -> str:
    units = UNITS.get(metric)
    if units is _TIMES:
        return f"{value:.4g} ms"
    if units is _SIZES:
        return f"{value / 1e6:.4g} MB"
    if metric == "accuracy_drop":
        return f"{value:.2f} points"
    return f"{(value - 1) * 100:+.1f} %" if metric == "regress" else f"{value:.3f} times"


def _drop_bound(drop: Drop) -> float | None:
    """An upper bound of the points lost at 99 %: that of the share of rows lost less the lower one of the
    share won, each by Clopper and Pearson (1934) at 99.5 %."""
    if drop.worse is None or drop.better is None:
        return None
    tail = (1 - statistics.CONFIDENCE) / 2
    lost = _clopper_pearson(drop.worse, drop.rows, tail, upper=True)
    won = _clopper_pearson(drop.better, drop.rows, tail, upper=False)
    return 100 * (lost - won)


def _clopper_pearson(count: int, rows: int, tail: float, *, upper: bool) -> float:
    """The exact bound of a share, by bisection of the binomial distribution."""
    if (count == rows and upper) or (count == 0 and not upper):
        return float(upper)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, rows + 1)))])
    k = np.arange(count + 1) if upper else np.arange(count, rows + 1)
    choose = logs[rows] - logs[k] - logs[rows - k]
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        mass = float(np.exp(choose + k * np.log(p) + (rows - k) * np.log1p(-p)).sum())
        # The tail's mass falls with p above the share, and rises with it below.
        if (mass > tail) == upper:
            low = p
        else:
            high = p
    return high if upper else low

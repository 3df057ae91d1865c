"""A duel's result from the device's events, which are not to be trusted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgefreeze.benchmark.events import operations
from edgefreeze.benchmark.plan import duel, entrants_of
from edgefreeze.benchmark.result import About, Collector, DuelResult
from edgefreeze.errors import Failure
from edgefreeze.targets import Bench
from edgefreeze.types import DeviceFacts

FACTS = DeviceFacts(
    machine="aarch64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-aarch64", bits=64, emulated=True,
)  # fmt: skip


def collector() -> Collector:
    return Collector(plan=duel(entrants_of(("frozen_pb", "saved_model")), Bench(), seed=1))


def result(found: Collector) -> DuelResult:
    return found.result(About(release="r", device="d", facts=FACTS))


def test_what_ran_on_the_cpu_of_a_board_with_a_gpu_is_said() -> None:
    found = collector()
    for contestant, device in enumerate(("gpu", "cpu")):
        cold = {"kind": "cold", "contestant": contestant, "device": device}
        found.add({**cold, "spawn_ns": 1, "import_ns": 2, "load_ns": 3, "first_ns": 4})
    about = About(release="r", device="d", facts=FACTS, gpu=True)
    (finding,) = found.result(about).findings
    assert (finding.code, finding.invalid) == ("cpu-only", False)
    assert finding.message == "saved_model ran on the CPU, and the board's GPU was not used"
    assert [c.device for c in found.result(about).contestants] == ["gpu", "cpu"]
    assert found.result(replace(about, gpu=False)).findings == ()


def block(contestant: int, number: int, *samples: int) -> dict[str, Any]:
    return {
        "kind": "block",
        "contestant": contestant,
        "block": number,
        "samples_ns": list(samples),
        "peak_bytes": 7,
    }


def test_samples_are_kept_by_round_and_compared_with_the_saved_model() -> None:
    found = collector()
    found.add({"kind": "environment", "when": "before", "governor": "ondemand"})
    found.add(
        {
            "kind": "cold",
            "contestant": 0,
            "spawn_ns": 1,
            "import_ns": 2,
            "load_ns": 3,
            "first_ns": 4_000_000,
            "bytes": 3,
        }
    )
    for number in range(20):
        found.add(block(0, number, 100, 110))
        found.add(block(1, number, 200, 220))
    outcome = result(found)
    frozen, saved = outcome.contestants
    assert outcome.emulated
    assert frozen.samples_ns == ((100, 110),) * 20
    assert frozen.p50_ms == pytest.approx(105e-6)
    assert frozen.p90_ms is None
    assert frozen.cold_start is not None
    assert frozen.cold_start["first_ms"] == 4.0
    assert (frozen.bytes, saved.bytes) == (3, None)
    assert frozen.memory["peak_bytes"] == 7
    (comparison,) = outcome.comparisons
    assert (comparison.baseline, comparison.candidate, comparison.verdict) == (
        "saved_model",
        "frozen_pb",
        "faster",
    )
    assert comparison.ratio == pytest.approx(0.5)


def test_a_contestant_that_failed_has_no_latency() -> None:
    found = collector()
    for number in range(20):
        found.add(block(0, number, *[100] * 10))
        found.add(block(1, number, *[200] * 10))
    found.add({"kind": "failed", "contestant": 0, "reason": "wrong \x1b[31moutput"})
    outcome = result(found)
    assert outcome.contestants[0].p50_ms is None
    assert outcome.contestants[0].failed == "wrong output"
    assert outcome.comparisons[0].verdict == "invalid"
    assert outcome.comparisons[0].reason == "frozen_pb: wrong output"


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "block", "contestant": 2, "block": 0, "samples_ns": [1]},
        {"kind": "block", "contestant": -1, "block": 0, "samples_ns": [1]},
        {"kind": "block", "contestant": 0, "block": 0, "samples_ns": [0]},
        {"kind": "block", "contestant": 0, "block": 0, "samples_ns": ["1"]},
        {"kind": "block", "contestant": 0, "block": 0, "samples_ns": [10**14]},
        {"kind": "block", "contestant": 0, "block": 0, "samples_ns": [1], "at_ns": 10**400},
        {"kind": "nonsense"},
        {"kind": []},
        {},
    ],
)
def test_events_that_make_no_sense_are_refused(event: dict[str, Any]) -> None:
    with pytest.raises(Failure) as caught:
        collector().add(event)
    assert caught.value.code == "protocol"


def test_a_profile_is_cleaned_and_cut_to_size() -> None:
    told = [{"name": "conv\x1b]0;evil\x07\x1b[31m", "type": "Conv\x1b[2J", "ns": 5, "more": 1}]
    (found,) = operations(told)
    assert (found.name, found.type, found.ns) == ("conv", "Conv", 5.0)
    assert len(operations(told * 6000)) == 5000


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        [1],
        [{"name": "conv", "type": "Conv"}],
        [{"name": 1, "type": "Conv", "ns": 1}],
        *(
            [{"name": "conv", "type": "Conv", "ns": ns}]
            for ns in ("5", None, True, -1, 10**400, float("nan"))
        ),
    ],
)
def test_a_profile_that_is_none_is_refused(told: Any) -> None:
    with pytest.raises(Failure) as caught:
        operations(told)
    assert caught.value.code == "protocol"


PARITY: dict[str, Any] = {
    "ok": True, "max_abs": 1e-6, "max_rel": 1e-7,
    "outputs": [{"name": "logits\x1b[31m", "max_abs": 1e-6, "max_rel": 1e-7, "tolerance": 1e-4, "cosine": 1.0,
                 "top1": 1.0, "ok": True, "sqnr_db": None, "reason": None}],
}  # fmt: skip


def test_parity_is_kept_by_contestant() -> None:
    found = collector().result(About(release="r", device="d", facts=FACTS), parity={"1": PARITY})
    assert list(found.parity) == ["saved_model"]
    (output,) = found.parity["saved_model"].outputs
    assert (output.name, output.max_rel, output.sqnr_db) == ("logits", 1e-7, None)
    assert result(collector()).parity == {}


@pytest.mark.parametrize(
    "told",
    [
        [],
        "x",
        {"2": PARITY},
        {"-1": PARITY},
        {"x": PARITY},
        {"0": 1},
        {"0": {"ok": True}},
        {"0": {**PARITY, "max_rel": "x"}},
        {"0": {**PARITY, "outputs": [1]}},
    ],
)
def test_parity_that_makes_no_sense_is_refused(told: Any) -> None:
    with pytest.raises(Failure) as caught:
        collector().result(About(release="r", device="d", facts=FACTS), parity=told)
    assert caught.value.code == "protocol"

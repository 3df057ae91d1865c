"""The artifact that a device's duel chooses."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import msgspec

from edgefreeze.benchmark.choice import fastest
from edgefreeze.benchmark.result import Contestant, DuelResult


def contestant(name: str, ms: float, *, peak: int = 50_000_000, failed: str | None = None) -> Contestant:
    draw = random.Random(name)
    rounds = tuple(tuple(int(ms * 1e6 * draw.uniform(0.98, 1.02)) for _ in range(10)) for _ in range(20))
    return Contestant(
        format=name,
        samples_ns=() if failed else rounds,
        p50_ms=None if failed else ms,
        p90_ms=None,
        p99_ms=None,
        cold_start=None,
        memory={"rss_bytes": peak, "peak_bytes": peak},
        bytes=1000,
        failed=failed,
    )


def duel(*contestants: Contestant) -> DuelResult:
    facts: Any = None
    return DuelResult(
        schema=1, release="r", device="cam1", emulated=False, threads=1, seed=1, facts=facts, environment=(),
        contestants=contestants, comparisons=(),
    )  # fmt: skip


def test_the_fastest_is_chosen_and_the_others_are_told() -> None:
    found = fastest(duel(contestant("frozen_pb", 4), contestant("tflite", 2), contestant("tflite:int8", 1)))
    assert found is not None
    assert (found.artifact, found.reason) == ("tflite:int8", "the fastest of 3 on cam1")
    assert [r.artifact for r in found.runners_up] == ["tflite", "frozen_pb"]
    assert found.runners_up[0].reason == "takes 2.00 times as long"
    assert found.runners_up[1].p50_ms == 4
    msgspec.json.encode(found)


def test_of_those_that_are_level_the_preferred_one_is_chosen() -> None:
    found = fastest(duel(contestant("tflite", 1.0), contestant("onnx", 0.9999), contestant("frozen_pb", 3)))
    assert found is not None
    assert found.artifact == "tflite"
    assert "no difference shown from onnx" in found.reason
    assert found.runners_up[0].reason == "no difference shown"


def test_what_failed_or_takes_too_much_memory_is_not_chosen() -> None:
    found = fastest(
        duel(
            contestant("tflite", 1, peak=400_000_000),
            contestant("onnx", 0.5, failed="killed"),
            contestant("frozen_pb", 9),
        ),
        memory_bytes=300_000_000,
    )
    assert found is not None
    assert found.artifact == "frozen_pb"
    reasons = {r.artifact: r.reason for r in found.runners_up}
    assert reasons == {
        "tflite": "takes 400.0 MB of memory; 300.0 MB are allowed",
        "onnx": "failed: killed",
    }
    assert fastest(duel(contestant("onnx", 1, failed="x"))) is None


def test_the_preferred_one_is_the_first_of_those_that_are_level() -> None:
    found = fastest(duel(contestant("a", 1.0001), contestant("b", 1.0002), contestant("c", 1.0)))
    assert found is not None
    assert (found.artifact, found.reason) == (
        "a", "the fastest of 3 on cam1 (no difference shown from c, and preferred)",
    )  # fmt: skip
    assert [(r.artifact, r.reason) for r in found.runners_up] == [
        ("c", "no difference shown"), ("b", "no difference shown"),
    ]  # fmt: skip


def test_the_memory_that_is_just_allowed_is_allowed_and_unknown_memory_is_no_reason() -> None:
    one = contestant("tflite", 1, peak=300_000_000)
    allowed = fastest(duel(one), memory_bytes=300_000_000)
    assert allowed is not None
    assert (allowed.artifact, allowed.runners_up) == ("tflite", ())
    assert fastest(duel(one), memory_bytes=299_999_999) is None
    unknown = dataclasses.replace(one, memory={"rss_bytes": None, "peak_bytes": None})
    assert fastest(duel(unknown), memory_bytes=1) is not None


def test_what_has_too_few_samples_for_a_median_is_not_chosen() -> None:
    few = dataclasses.replace(contestant("onnx", 0.1), p50_ms=None)
    found = fastest(duel(few, contestant("tflite", 2)))
    assert found is not None
    assert found.artifact == "tflite"
    assert [(r.artifact, r.p50_ms, r.reason) for r in found.runners_up] == [("onnx", None, "too few samples")]
    assert found.reason == "the fastest of 1 on cam1"


def test_the_others_are_told_from_the_fastest_to_the_slowest() -> None:
    found = fastest(duel(contestant("d", 4), contestant("a", 1), contestant("c", 3), contestant("b", 2.5)))
    assert found is not None
    assert [(r.artifact, r.reason) for r in found.runners_up] == [
        ("b", "takes 2.50 times as long"), ("c", "takes 3.00 times as long"), ("d", "takes 4.00 times as long"),
    ]  # fmt: skip


def test_the_preferred_one_stays_where_nothing_could_be_compared() -> None:
    """With too few rounds no verdict is given: the preferred artifact has not been shown to be slower."""
    few = [
        dataclasses.replace(c, samples_ns=c.samples_ns[:3])
        for c in (contestant("tflite", 2), contestant("onnx", 1))
    ]
    found = fastest(duel(*few))
    assert found is not None
    assert found.artifact == "tflite"


def test_the_preferred_one_stays_where_it_was_shown_to_be_faster() -> None:
    """Its median over all samples is the larger one, and round by round it is faster."""
    slow, quick = contestant("tflite", 1.1), contestant("onnx", 1.0)
    rounds = tuple(tuple(int(ns * 0.8) for ns in block) for block in quick.samples_ns)
    found = fastest(duel(dataclasses.replace(slow, samples_ns=rounds), quick))
    assert found is not None
    assert found.artifact == "tflite"

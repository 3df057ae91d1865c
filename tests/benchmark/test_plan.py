"""The order of a duel."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.benchmark.plan import (
    COLD_STARTS,
    LONG_START_S,
    ROUNDS,
    Effort,
    Entrant,
    draw_order,
    duel,
    entrants_of,
    require_time,
)
from edgefreeze.device.duel import check_plan
from edgefreeze.errors import Failure
from edgefreeze.targets import Bench


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**31))
def test_every_round_has_each_contestant_once_and_the_next_mirrors_it(n: int, rounds: int, seed: int) -> None:
    order = draw_order(n, rounds, seed)
    blocks = [order[i * n : (i + 1) * n] for i in range(rounds)]
    assert all(sorted(block) == list(range(n)) for block in blocks)
    assert all(blocks[i + 1] == blocks[i][::-1] for i in range(0, rounds - 1, 2))


def test_a_seed_decides_and_seeds_differ() -> None:
    assert draw_order(4, 20, 1) == draw_order(4, 20, 1)
    assert len({draw_order(4, 20, seed) for seed in range(20)}) == 20


def test_a_duel_keeps_to_the_targets_limits() -> None:
    plan = duel(
        entrants_of(("frozen_pb", "saved_model")), Bench(samples=100, seconds=10.0, threads=2), seed=3
    )
    assert len(plan.order) == 2 * ROUNDS
    assert plan.block_samples * ROUNDS == 100
    assert plan.max_block_seconds * ROUNDS == 10.0
    assert plan.as_args()["threads"] == 2


def test_the_processors_are_the_targets_unless_others_are_named() -> None:
    entrants, target = entrants_of(("tflite",)), Bench(cpus=(2, 3))
    assert duel(entrants, Bench(), seed=1).as_args()["cpus"] == []
    assert duel(entrants, target, seed=1).as_args()["cpus"] == [2, 3]
    assert duel(entrants, target, seed=1, effort=Effort(cpus=(0,))).as_args()["cpus"] == [0]


def test_cold_starts_are_drawn_and_long_ones_are_not_repeated_unless_asked() -> None:
    entrants = entrants_of(("tflite", "onnx"))
    plan = duel(entrants, Bench(), seed=1)
    assert sorted(plan.starts) == [0] * COLD_STARTS + [1] * COLD_STARTS
    assert plan.long_start_s == LONG_START_S
    asked = duel(entrants, Bench(), seed=1, effort=Effort(cold_starts=7))
    assert len(asked.starts) == 14
    assert asked.long_start_s is None
    assert len({duel(entrants, Bench(), seed=seed).starts for seed in range(20)}) > 1


def test_whoever_asks_for_more_is_given_the_time() -> None:
    entrants = entrants_of(("tflite", "onnx"), ("b" * 64, "tflite"), variants=True)
    assert [e.name for e in entrants] == ["tflite", "tflite@no-xnnpack", "onnx", "active:tflite"]
    assert [e.as_args().get("release") for e in entrants] == [None, None, None, "b" * 64]
    plan = duel(
        entrants, Bench(), seed=1, effort=Effort(min_seconds=60.0, min_samples=1001, batch=4), threads=2
    )
    assert plan.max_block_seconds * ROUNDS == 60.0
    assert plan.block_seconds * ROUNDS == 60.0
    assert plan.block_samples * ROUNDS >= 1001
    assert (plan.threads, plan.batch) == (2, 4)
    slow = duel(entrants, Bench(seconds=10.0), seed=1, effort=Effort(rate_hz=1.0))
    assert slow.max_block_seconds * ROUNDS >= 200.0, "200 samples at 1 Hz"
    assert (
        duel(entrants, Bench(), seed=1, effort=Effort(rate_hz=1.0, max_seconds=5.0)).max_block_seconds == 0.25
    )


def test_what_the_device_is_told_is_the_plan_in_seconds() -> None:
    effort = Effort(
        cpus=(1,), batch=4, rate_hz=30.0, min_samples=100, min_seconds=4.0, max_seconds=8.0, cold_starts=2
    )
    entrants = (Entrant(artifact="tflite", xnnpack=False), Entrant(artifact="onnx", release="b" * 64))
    plan = duel(entrants, Bench(threads=3), seed=5, effort=effort)
    assert plan.contestants == ("tflite@no-xnnpack", "active:onnx")
    told = plan.as_args()
    assert told == {
        "contestants": [
            {"artifact": "tflite", "xnnpack": False},
            {"artifact": "onnx", "xnnpack": True, "release": "b" * 64},
        ],
        "threads": 3, "cpus": [1], "batch": 4, "rate_hz": 30.0,
        "starts": list(draw_order(2, 2, 6)), "long_start_s": None,
        "order": list(draw_order(2, ROUNDS, 5)),
        "block_samples": 5, "block_seconds": 0.2, "max_block_seconds": 0.4,
        "warmup": {"samples": 10, "seconds": 0.8}, "fresh": "auto", "timeout_s": 120.0,
    }  # fmt: skip


def test_blocks_are_rounded_up_and_never_empty() -> None:
    entrants = entrants_of(("tflite",))
    for samples, each in ((1, 1), (20, 1), (21, 2), (40, 2), (41, 3)):
        assert duel(entrants, Bench(samples=samples), seed=1).block_samples == each
    assert duel(entrants, Bench(samples=7), seed=1, rounds=3).block_samples == 3


def test_the_warm_up_is_a_tenth_of_the_time_and_two_seconds_at_most() -> None:
    entrants = entrants_of(("tflite",))
    assert duel(entrants, Bench(seconds=5.0), seed=1).warmup_seconds == 0.5
    assert duel(entrants, Bench(seconds=60.0), seed=1).warmup_seconds == 2.0


def test_the_time_that_is_waited_is_three_times_what_it_may_take_and_two_minutes_at_least() -> None:
    entrants = entrants_of(("tflite",))
    assert duel(entrants, Bench(seconds=5.0), seed=1).timeout_s == 120.0
    assert duel(entrants, Bench(seconds=60.0), seed=1).timeout_s == 180.0


def test_at_a_rate_there_is_time_for_all_calls_and_a_tenth_more() -> None:
    entrants = entrants_of(("tflite",))
    slow = duel(entrants, Bench(samples=100, seconds=10.0), seed=1, effort=Effort(rate_hz=2.0))
    assert slow.max_block_seconds * ROUNDS == pytest.approx(55.0)
    quick = duel(entrants, Bench(samples=100, seconds=10.0), seed=1, effort=Effort(rate_hz=100.0))
    assert quick.max_block_seconds * ROUNDS == pytest.approx(10.0)
    assert quick.rate_hz == 100.0


def test_the_threads_are_the_duels_else_the_first_that_was_asked_for_else_the_targets() -> None:
    entrants = entrants_of(("tflite",))
    assert duel(entrants, Bench(threads=3), seed=1).threads == 3
    assert duel(entrants, Bench(threads=3), seed=1, effort=Effort(threads=(2, 4))).threads == 2
    assert duel(entrants, Bench(threads=3), seed=1, effort=Effort(threads=(2, 4)), threads=4).threads == 4


def test_only_tflite_in_floats_has_a_variant() -> None:
    found = entrants_of(("tflite", "tflite:int8", "onnx"), variants=True)
    assert [e.name for e in found] == ["tflite", "tflite@no-xnnpack", "tflite:int8", "onnx"]
    assert [e.name for e in entrants_of(("tflite",))] == ["tflite"]


def test_the_starts_are_drawn_otherwise_than_the_race() -> None:
    plan = duel(entrants_of(("a", "b", "c", "d")), Bench(), seed=1)
    assert plan.starts != plan.order[: len(plan.starts)]


@pytest.mark.parametrize(
    ("name", "least", "most", "few", "many"),
    [
        ("threads", 1, 256, 0, 257),
        ("cpus", 0, 4095, -1, 4096),
        ("rate_hz", 0.001, 100_000, 0.0009, 100_001),
        ("min_samples", 1, 1_000_000, 0, 1_000_001),
        ("max_seconds", 0.02, 3600, 0.019, 3601),
        ("cold_starts", 1, 100, 0, 101),
    ],
)
def test_what_may_be_asked_for_has_bounds(name: str, least: Any, most: Any, few: Any, many: Any) -> None:
    several = name in ("threads", "cpus")
    for value in (least, most):
        assert Effort(**{name: (value,) if several else value})
    for value in (few, many):
        with pytest.raises(Failure) as caught:
            Effort(**{name: (least, value) if several else value})
        failure = caught.value
        assert (failure.code, failure.message) == ("usage", f"{name}: {value!r} cannot be")
        assert (failure.expected, failure.found) == (f"{least} to {most}", repr(value))


def test_a_shortest_time_is_no_longer_than_the_longest() -> None:
    assert Effort(min_seconds=3600)
    assert Effort(min_seconds=5, max_seconds=5)
    for wrong in ({"min_seconds": -1}, {"min_seconds": 3601}, {"min_seconds": 6, "max_seconds": 5}):
        with pytest.raises(Failure) as caught:
            Effort(**wrong)
        assert caught.value.code == "usage"


@pytest.mark.parametrize(
    ("target", "effort"),
    [
        (Bench(), Effort(max_seconds=0.02)),
        (Bench(seconds=0.02), Effort()),
        (Bench(seconds=3600), Effort(min_seconds=3600, max_seconds=3600)),
        (Bench(samples=1), Effort(rate_hz=0.001)),
        (Bench(samples=10**6), Effort(rate_hz=100)),
        (Bench(), Effort(rate_hz=0.001, max_seconds=5)),
        (Bench(), Effort(min_samples=10**6, rate_hz=100_000, cold_starts=100, threads=(256,), cpus=(4095,))),
    ],
)
def test_the_device_takes_every_plan_that_is_made(target: Bench, effort: Effort) -> None:
    plan = duel(entrants_of(("tflite", "onnx")), target, seed=1, effort=effort)
    check_plan(plan.as_args(), "plan")
    require_time(effort, target)


@pytest.mark.parametrize(
    ("target", "effort", "said", "expected"),
    [
        (Bench(seconds=0.01), Effort(), "0.01 s for each contestant", "0.02 s to 28800 s"),
        (
            Bench(samples=200),
            Effort(rate_hz=0.005),
            "200 samples at 0.005 Hz take 44000 s",
            "0.02 s to 28800 s",
        ),
        (Bench(), Effort(rate_hz=0.1, min_samples=10**4), "10000 samples at 0.1 Hz take 110000 s", "28800 s"),
    ],
)
def test_what_the_device_would_not_take_is_refused_before_anything_is_built(
    target: Bench, effort: Effort, said: str, expected: str
) -> None:
    for refused in (
        lambda: require_time(effort, target),
        lambda: duel(entrants_of(("tflite",)), target, seed=1, effort=effort),
    ):
        with pytest.raises(Failure) as caught:
            refused()
        assert caught.value.code == "usage"
        assert said in caught.value.message
        assert expected in (caught.value.expected or "")

"""The order of a duel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.bench.plan import ROUNDS, draw_order, duel
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
    plan = duel(("frozen_pb", "saved_model"), Bench(samples=100, seconds=10.0, threads=2), seed=3)
    assert len(plan.order) == 2 * ROUNDS
    assert plan.block_samples * ROUNDS == 100
    assert plan.max_block_seconds * ROUNDS == 10.0
    assert plan.as_args()["threads"] == 2

"""The plan of a fair duel: who runs when. Pure; a seed decides what is drawn."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from edgefreeze.targets import Bench

ROUNDS = 20
"""Blocks of each contestant. Every round has one block of each, so that heat, clock drift and other
load hit all alike; the statistics resample rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuelPlan:
    """What the device is told. Times in seconds."""

    contestants: tuple[str, ...]
    """Formats of the release."""
    threads: int
    order: tuple[int, ...]
    block_samples: int
    max_block_seconds: float
    warmup_samples: int
    warmup_seconds: float
    timeout_s: float
    seed: int

    def as_args(self) -> dict[str, Any]:
        """The `plan` of the device's bench operation."""
        return {
            "contestants": list(self.contestants),
            "threads": self.threads,
            "order": list(self.order),
            "block_samples": self.block_samples,
            "block_seconds": 0.0,
            "max_block_seconds": self.max_block_seconds,
            "warmup": {"samples": self.warmup_samples, "seconds": self.warmup_seconds},
            "fresh": "auto",
            "timeout_s": self.timeout_s,
        }


def draw_order(contestants: int, rounds: int, seed: int) -> tuple[int, ...]:
    """The order of blocks: each round a drawn permutation, each second round the mirror of the one
    before (ABBA), so that a linear drift cancels within a pair of rounds."""
    draw = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    order: list[int] = []
    last: list[int] = []
    for number in range(rounds):
        if number % 2 == 0:
            last = list(range(contestants))
            draw.shuffle(last)
        else:
            last = last[::-1]
        order += last
    return tuple(order)


def duel(formats: tuple[str, ...], defaults: Bench, *, seed: int, rounds: int = ROUNDS) -> DuelPlan:
    """A duel of the release's formats with a target's defaults."""
    return DuelPlan(
        contestants=formats,
        threads=defaults.threads,
        order=draw_order(len(formats), rounds, seed),
        block_samples=max(1, defaults.samples // rounds),
        max_block_seconds=defaults.seconds / rounds,
        warmup_samples=10,
        warmup_seconds=min(2.0, defaults.seconds / 10),
        timeout_s=max(120.0, defaults.seconds * 3),
        seed=seed,
    )

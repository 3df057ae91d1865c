"""The plan of a fair duel: who runs when. Pure; a seed decides what is drawn."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from edgefreeze.device.protocol import BLOCK_S, WAIT_S
from edgefreeze.errors import Failure, out_of_range
from edgefreeze.targets import Bench

ROUNDS = 20
"""Blocks of each contestant. Every round has one block of each, so that heat, clock drift and other
load hit all alike; the statistics resample rounds."""
COLD_STARTS = 3
LONG_START_S = 5.0
"""A contestant whose start takes longer than this is started once, unless a number of starts was asked."""
NO_XNNPACK = "@no-xnnpack"
ACTIVE = "active:"
WAITED = 3
"""A request is waited for this many times as long as a contestant may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One contestant: an artifact ("tflite:int8") and how it runs."""

    artifact: str
    release: str | None = None
    """Of another release on the device than the one that is measured: the one that is active there."""
    xnnpack: bool = True
    """TFLite only: with the delegate that it brings, or with its own kernels."""

    @property
    def name(self) -> str:
        """What the contestant is called in results: "tflite", "tflite@no-xnnpack", "active:tflite"."""
        return (ACTIVE if self.release else "") + self.artifact + ("" if self.xnnpack else NO_XNNPACK)

    def as_args(self) -> dict[str, Any]:
        """The contestant of the device's plan."""
        args: dict[str, Any] = {"artifact": self.artifact, "xnnpack": self.xnnpack}
        return args if self.release is None else {**args, "release": self.release}


def entrants_of(
    artifacts: tuple[str, ...], active: tuple[str, str] | None = None, *, variants: bool = False
) -> tuple[Entrant, ...]:
    """The contestants: every artifact; with variants TFLite in floats without XNNPACK as well; and what is
    active on the device, (release, artifact), where it is to be compared."""
    found = []
    for artifact in artifacts:
        found.append(Entrant(artifact=artifact))
        if variants and artifact == "tflite":
            found.append(Entrant(artifact=artifact, xnnpack=False))
    if active is not None:
        found.append(Entrant(artifact=active[1], release=active[0]))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long, with what and how often is measured. None: the target's, or none."""

    threads: tuple[int, ...] = ()
    """A duel for each number of threads."""
    cpus: tuple[int, ...] = ()
    """Processors that the contestants may use."""
    batch: int | None = None
    rate_hz: float | None = None
    """One call every 1/rate_hz seconds: a camera's duty cycle."""
    min_samples: int | None = None
    min_seconds: float = 0.0
    max_seconds: float | None = None
    """Of each contestant in steady state; where it is reached, there may be fewer samples."""
    cold_starts: int | None = None
    """Of each contestant; None: COLD_STARTS, and one where they take long."""

    def __post_init__(self) -> None:
        """Raise Failure usage for a value that cannot be."""
        for name, value, least, most in (
            *(("threads", threads, 1, 256) for threads in self.threads),
            *(("cpus", cpu, 0, 4095) for cpu in self.cpus),
            ("rate_hz", self.rate_hz, 0.001, 100_000),
            ("min_samples", self.min_samples, 1, 1_000_000),
            ("min_seconds", self.min_seconds, 0, 3600),
            ("max_seconds", self.max_seconds, ROUNDS * BLOCK_S[0], 3600),
            ("cold_starts", self.cold_starts, 1, 100),
        ):
            if value is not None and not least <= value <= most:
                raise out_of_range(name, value, f"{least} to {most}")
        if self.max_seconds is not None and self.max_seconds < self.min_seconds:
            raise Failure("usage", "--max-seconds is less than --min-seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class DuelPlan:
    """What the device is told. Times in seconds."""

    entrants: tuple[Entrant, ...]
    threads: int
    order: tuple[int, ...]
    block_samples: int
    block_seconds: float
    max_block_seconds: float
    warmup_samples: int
    warmup_seconds: float
    timeout_s: float
    seed: Annotated[int, msgspec.Meta(ge=0)]
    starts: tuple[int, ...] = ()
    """Cold starts, by contestant, in drawn order; the last ones stay for the race. (): each once."""
    long_start_s: float | None = None
    """Starts that take longer than this are not repeated."""
    cpus: tuple[int, ...] = ()
    """Processors that every contestant is held to; none: all that its user may use."""
    batch: int | None = None
    rate_hz: float | None = None

    @property
    def contestants(self) -> tuple[str, ...]:
        """The names of the entrants."""
        return tuple(e.name for e in self.entrants)

    def as_args(self) -> dict[str, Any]:
        """The `plan` of the device's bench operation."""
        return {
            "contestants": [e.as_args() for e in self.entrants],
            "threads": self.threads,
            "cpus": list(self.cpus),
            "batch": self.batch,
            "rate_hz": self.rate_hz,
            "starts": list(self.starts),
            "long_start_s": self.long_start_s,
            "order": list(self.order),
            "block_samples": self.block_samples,
            "block_seconds": self.block_seconds,
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


def require_time(effort: Effort, defaults: Bench, rounds: int = ROUNDS) -> float:
    """Seconds that each contestant may take in steady state. Raises Failure usage where the device takes no
    plan of so little or so much."""
    samples, slow = effort.min_samples or defaults.samples, ""
    # Whoever asks for more than the target's samples or seconds means it, and is given the time.
    longest = max(effort.max_seconds or defaults.seconds, effort.min_seconds)
    if effort.rate_hz and effort.max_seconds is None and samples / effort.rate_hz * 1.1 > longest:
        longest = samples / effort.rate_hz * 1.1
        slow = f"{samples} samples at {effort.rate_hz:g} Hz take "
    least, most = rounds * BLOCK_S[0], min(rounds * BLOCK_S[1], WAIT_S[1] / WAITED)
    if not least <= longest <= most:
        raise Failure(
            "usage",
            f"{slow}{longest:.6g} s for each contestant cannot be measured",
            expected=f"{least:g} s to {most:g} s",
            found=f"{longest:.6g} s",
            next="--max-seconds, or fewer --min-samples" if slow else "--max-seconds",
        )
    return longest


def duel(
    entrants: tuple[Entrant, ...],
    defaults: Bench,
    *,
    seed: int,
    effort: Effort | None = None,
    threads: int | None = None,
    rounds: int = ROUNDS,
) -> DuelPlan:
    """A duel with a target's defaults, where `effort` says nothing else; threads: of this duel."""
    effort = effort or Effort()
    samples = effort.min_samples or defaults.samples
    longest = require_time(effort, defaults, rounds)
    warmup = min(2.0, longest / 10)
    return DuelPlan(
        entrants=entrants,
        threads=threads or next(iter(effort.threads), defaults.threads),
        order=draw_order(len(entrants), rounds, seed),
        block_samples=max(1, -(-samples // rounds)),
        block_seconds=effort.min_seconds / rounds,
        max_block_seconds=longest / rounds,
        warmup_samples=10,
        warmup_seconds=warmup,
        timeout_s=max(120.0, longest * WAITED),
        seed=seed,
        starts=draw_order(len(entrants), effort.cold_starts or COLD_STARTS, seed + 1),
        long_start_s=LONG_START_S if effort.cold_starts is None else None,
        cpus=effort.cpus or defaults.cpus,
        batch=effort.batch,
        rate_hz=effort.rate_hz,
    )

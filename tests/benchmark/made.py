"""Results made of known distributions."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefreeze.benchmark.plan import DuelPlan, Effort, Entrant, duel
from edgefreeze.benchmark.result import About, Collector, DuelResult
from edgefreeze.targets import Bench
from edgefreeze.types import DeviceFacts

FACTS = DeviceFacts(
    machine="aarch64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-aarch64", bits=64, cpu_model="Cortex-A72", cpu_count=4, ram_bytes=4 << 30, os="Debian 12",
    kernel="6.6", board="A board",
)  # fmt: skip


def about(**changes: Any) -> About:
    return About(
        **{
            "release": "a" * 64, "device": "cam1", "facts": FACTS, "app": "doorbell", "target": "pi4",
            "run": "0123456789abcdef", "started": "2026-11-21T11:08:00Z", "version": "1", **changes,
        }
    )  # fmt: skip


def plan_of(*names: str, **effort: Any) -> DuelPlan:
    return duel(tuple(Entrant(artifact=n) for n in names), Bench(), seed=3, effort=Effort(**effort))


def blocks(rng: np.random.Generator, ms: float, rounds: int, calls: int) -> list[list[int]]:
    level = rng.normal(0, 0.01, (rounds, 1)) + rng.normal(0, 0.03, (rounds, calls))
    return (ms * 1e6 * np.exp(level)).astype(int).tolist()


def environment(when: str, at_s: float, **more: Any) -> dict[str, Any]:
    known = {
        "kind": "environment", "when": when, "at_ns": int(at_s * 1e9), "governor": "ondemand",
        "temperature_c": 50.0 + at_s / 10, "cpu_mhz_min": 1500.0, "busy_s": at_s, "own_s": at_s, "load_1m": 0.2,
    }  # fmt: skip
    return {**known, **more}


def collected(plan: DuelPlan, latencies: dict[str, float], calls: int = 10, seed: int = 1) -> Collector:
    """Events of a quiet duel. latencies: milliseconds by contestant."""
    rng = np.random.default_rng(seed)
    collector = Collector(plan=plan)
    for index, name in enumerate(plan.contestants):
        collector.add(
            {"kind": "cold", "contestant": index, "spawn_ns": 40_000_000, "import_ns": 200_000_000 * (index + 1),
             "load_ns": 30_000_000, "first_ns": 9_000_000, "version": "runtime 1." + str(index),
             "rss_bytes": 80_000_000, "peak_bytes": 90_000_000, "pss_bytes": 70_000_000, "bytes": 400_000}
        )  # fmt: skip
        collector.add(
            {"kind": "warmup", "contestant": index, "samples_ns": [int(latencies[name] * 1.2e6)] * 5}
        )
    rounds = len(plan.order) // len(plan.contestants)
    drawn = {n: iter(blocks(rng, ms, rounds, calls)) for n, ms in latencies.items()}
    collector.add(environment("before", 0.0))
    for number, index in enumerate(plan.order):
        name = plan.contestants[index]
        collector.add(
            {"kind": "block", "contestant": index, "block": number, "samples_ns": next(drawn[name]),
             "at_ns": int(number * 1e8), "cpu_ns": 10**7, "rss_bytes": 100_000_000 + 1000 * number,
             "peak_bytes": 120_000_000, "pss_bytes": 90_000_000}
        )  # fmt: skip
        collector.add(environment("during", number / 10))
    collector.add(environment("after", len(plan.order) / 10))
    return collector


def made(
    calls: int = 10, seed: int = 1, effort: dict[str, Any] | None = None, **latencies: float
) -> DuelResult:
    """A result of a quiet duel: made(saved_model=10.0, tflite=4.0)."""
    plan = plan_of(*latencies, **(effort or {}))
    return collected(plan, latencies, calls, seed).result(about())

"""A duel on the device, with a runtime that takes as long as its model says and has the faults it names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefreeze.benchmark.plan import DuelPlan, Effort, Entrant, duel
from edgefreeze.benchmark.result import About, Collector, DuelResult
from edgefreeze.device import journal, protocol, tensors
from edgefreeze.device.duel import Duel
from edgefreeze.targets import Bench
from edgefreeze.types import DeviceFacts
from tests.device.litert_fake import PACKAGE

FACTS = DeviceFacts(
    machine="x86_64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-x86_64", bits=64,
)  # fmt: skip
DEFAULTS = Bench(samples=200, seconds=10.0)
ABOUT = About(release="r", device="d", facts=FACTS, app="cam", run="ab" * 8, started="2026-11-21T11:08:00Z")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("site")
    (folder / "ai_edge_litert").mkdir()
    (folder / "ai_edge_litert" / "__init__.py").write_text("")
    (folder / "ai_edge_litert" / "interpreter.py").write_text(PACKAGE)
    return str(folder)


def cases(count: int = 3) -> list[tensors.Case]:
    draw = np.random.default_rng(1)
    inputs = [draw.normal(size=(1, 8)).astype("f4") for _ in range(count)]
    return [({"x": x}, {"y": x * 2}) for x in inputs]


Race = Callable[..., Any]


@pytest.fixture
def release(made: Any, package: str) -> Callable[..., Any]:
    """release(a={"ms": 1}, b={…}) -> a release with an artifact for each, named so."""

    def make(**models: dict[str, Any]) -> Any:
        end = {"dtype": "float32", "shape": [None, 8]}
        return made(
            files={f"{name}.tflite": json.dumps(how).encode() for name, how in models.items()},
            golden=tensors.encode_golden(cases()),
            artifacts=[
                {
                    "format": name, "precision": "fp32", "status": "verified", "path": f"{name}.tflite",
                    "runtime": "tflite", "inputs": [{"name": "x", "tensor": "x", **end}],
                    "outputs": [{"name": "y", "tensor": "y", **end}], "init_ops": [], "tolerance": 1e-5,
                }
                for name in models
            ],
            runtimes={"tflite": {"tree": None, "paths": [package]}},
        )  # fmt: skip

    return make


def planned(*names: str, rounds: int = 20, **effort: Any) -> DuelPlan:
    entrants = tuple(Entrant(artifact=name) for name in names)
    effort = {"cold_starts": 1, **effort}
    return duel(entrants, DEFAULTS, seed=5, effort=Effort(**effort), rounds=rounds)


def race(helper: Any, release: Any, plan: DuelPlan, **more: Any) -> tuple[DuelResult, dict[str, Any]]:
    release.stage(helper)
    helper.events.clear()
    answer = helper.ask("bench", {**release.named, "plan": plan.as_args(), **more})
    collector = Collector(plan=plan)
    for event in helper.events:
        if event["kind"] != "heartbeat":
            collector.add(event)
    return collector.result(ABOUT, parity=answer["checks"]), answer


def found(result: DuelResult, contestant: str | None = None) -> dict[str, str]:
    return {f.code: f.message for f in result.findings if f.contestant == contestant}


def in_process(
    release: Any, plan: DuelPlan, program: Path, package: str, tmp_path: Path, sense: Any,
    written: journal.Journal | None = None, told: Callable[[dict[str, Any]], None] = lambda event: None,
) -> DuelResult:  # fmt: skip
    """The real race with sensors of the test's, which the helper itself reads from the board."""
    from edgefreeze.device.child import Runner

    golden = tmp_path / "golden.npz"
    golden.write_bytes(release.golden)
    for name, data in release.files.items():
        (tmp_path / name).write_bytes(data)

    class Stand:
        manifest = release.manifest

        def start(self, artifact: dict[str, Any], threads: int, cpus: Any = None) -> Runner:
            return Runner(sys.executable, str(program), threads, 30.0, cpus)

        def load(
            self, runner: Runner, artifact: dict[str, Any], threads: int, timeout: float, batch: Any
        ) -> Any:
            args = {
                "artifact": artifact, "path": str(tmp_path / artifact["path"]), "golden": str(golden),
                "threads": threads, "sys_paths": [package], "pycache": None, "batch": batch,
            }  # fmt: skip
            return runner.call("load", args, timeout)

    collector = Collector(plan=plan)
    stand: Any = Stand()

    def tell(event: dict[str, Any]) -> None:
        told(event)
        collector.add(event)

    answer = Duel(lambda release: stand, plan.as_args(), tell, written, sense=sense).run()
    return collector.result(ABOUT, parity=answer["checks"])


def sensors(**changes: Callable[[int], Any]) -> Callable[[], dict[str, Any]]:
    """Readings of the real sensors, but for some that are functions of how often they were read."""
    from edgefreeze.device.sensors import environment

    count = -1

    def sense() -> dict[str, Any]:
        nonlocal count
        count += 1
        return {**environment(), **{name: value(count) for name, value in changes.items()}}

    return sense


def beat(helper: Any) -> None:
    """What a host answers to a heartbeat."""
    protocol.write_frame(helper.stdin, b"J", protocol.BEAT)
    helper.stdin.flush()

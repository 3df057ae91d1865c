"""TensorRT's way on the device, on a stand-in for trtexec that computes with ONNX Runtime (trtexec_fake.py).
No Jetson was there: what is shown is the flow, not NVIDIA's program."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgefreeze.ship
from edgefreeze.benchmark.plan import DuelPlan, Effort, Entrant, duel
from edgefreeze.benchmark.result import About, Collector, DuelResult
from edgefreeze.device import engines, tensors, trtexec
from edgefreeze.device.errors import DeviceError
from edgefreeze.targets import Bench
from edgefreeze.types import DeviceFacts
from tests.device.trtexec_fake import OPTIONS, Fake

TINY = Path(edgefreeze.ship.__file__).parent / "tiny" / "tiny.onnx"
ARGUMENTS = ["--onnx=model.onnx", "--saveEngine=model.engine", "--fp16"]
W = np.asarray([[1, -1, 0.5], [0.25, 2, -1], [-0.5, 1, 1], [2, 0, -4]], np.float32)


def cases(count: int = 1) -> list[tensors.Case]:
    draw = np.random.default_rng(1)
    inputs = [draw.normal(size=(1, 4)).astype("f4") for _ in range(count)]
    bias = np.asarray([0.5, 1.0, -0.25], np.float32)
    return [({"x": x}, {"y": np.maximum(x @ W + bias, 0)}) for x in inputs]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(tmp_path / "bin")
    monkeypatch.setenv("PATH", made.path)
    return made


@pytest.fixture
def release(made: Any) -> Callable[..., Any]:
    """release(arguments=…, count=…) -> a release with a recipe, and the same model for ONNX Runtime."""

    def make(arguments: list[str] = ARGUMENTS, count: int = 1, **more: Any) -> Any:
        ends = {
            "inputs": [{"name": "x", "tensor": "x", "dtype": "float32", "shape": [1, 4]}],
            "outputs": [{"name": "y", "tensor": "y", "dtype": "float32", "shape": [1, 3]}],
        }
        recipe = {"schema": 1, "precision": "fp16", "arguments": arguments}
        built = {"format": "tensorrt", "precision": "fp16", "status": "unverified", "built_there": True}
        plain = {"format": "onnx", "precision": "fp32", "status": "verified", "runtime": "onnxruntime"}
        return made(
            files={
                "tensorrt.fp16/model.onnx": TINY.read_bytes(),
                "tensorrt.fp16/recipe.json": json.dumps(recipe).encode(),
                "model.onnx": TINY.read_bytes(),
            },
            golden=tensors.encode_golden(cases(count)),
            artifacts=[
                {**built, "path": "tensorrt.fp16", "runtime": "tensorrt", "tolerance": 1e-2, **ends, **more},
                {**plain, "path": "model.onnx", "tolerance": 1e-4, **ends},
            ],
            runtimes={"tensorrt": {"tree": None}, "onnxruntime": {"tree": None}},
        )

    return make


def test_the_engine_is_built_proved_and_used_again(
    start: Any, release: Any, fake: Fake, root: Path, look: Any
) -> None:
    helper, made = start(), release(count=2)
    assert helper.ask("probe")["programs"] == {"trtexec": "10.3.0"}
    made.stage(helper)
    result = helper.ask("selftest", made.named)
    assert result["passed"], result
    assert [(a["format"], a["version"], a["device"]) for a in result["artifacts"]] == [
        ("tensorrt", "TensorRT 10.3.0", "gpu"),
        ("onnx", result["artifacts"][1]["version"], "cpu"),
    ]
    # The build, and one process for each golden case.
    assert [call.split()[0].partition("=")[0] for call in fake.calls()] == ["--onnx"] + ["--loadEngine"] * 2
    assert "--fp16" in fake.calls()[0]
    assert "--skipInference" in fake.calls()[0]
    # Proved by its self-test, it becomes active without --allow-unverified.
    assert helper.ask("activate", made.named)["active"] == made.id
    folder = root / "apps" / "cam" / "releases" / made.id
    (engine,) = (folder / "engines").iterdir()
    told = json.loads((engine / "engine.json").read_text())
    assert told["key"]["tensorrt"] == "10.3.0"
    assert told["key"]["arguments"] == ARGUMENTS
    assert told["gpu"] == "Orin"
    assert told["sha256"] == look.sha((engine / "model.engine").read_bytes())
    # An inference, and a second self-test in another session, take the engine that is there.
    answer = helper.ask("infer", {"app": "cam", "format": "tensorrt"}, tensors.encode(cases()[0][0]))
    assert np.allclose(tensors.decode(answer["data"])["y"], cases()[0][1]["y"], atol=1e-4)
    helper.close()
    assert start().ask("selftest", made.named)["passed"]
    assert fake.builds() == 1
    assert not list((folder / "engines").glob(".*"))


def test_what_a_device_is_decides_which_engine_holds(
    start: Any, release: Any, fake: Fake, root: Path, tmp_path: Path
) -> None:
    helper, made = start(), release()
    made.stage(helper)
    assert helper.ask("selftest", made.named)["passed"]
    # Another power mode: another engine, with the first one's timings still there for its own mode.
    (fake.folder / "nvpmodel").write_text("#!/bin/sh\necho 'NV Power Mode: 15W'\necho 2\n")
    (fake.folder / "nvpmodel").chmod(0o755)
    assert helper.ask("selftest", made.named)["passed"]
    assert fake.builds() == 2
    # A newer TensorRT, of which the old engine is none.
    fake.behave(banner="[TensorRT v101600] [b72]")
    assert helper.ask("selftest", made.named)["passed"]
    assert helper.ask("probe")["programs"] == {"trtexec": "10.16.0"}
    assert fake.builds() == 3
    timings = list((root / "cache" / "tensorrt").iterdir())
    assert [t.read_text() for t in timings] == ["timings\n"] * 3
    kept = [json.loads(f.read_text())["key"] for f in (root / "apps").rglob("engine.json")]
    assert {(k["tensorrt"], k["power_mode"]) for k in kept} == {
        ("10.3.0", None), ("10.3.0", "15W"), ("10.16.0", "15W"),
    }  # fmt: skip
    # The same model in a second release: its own engine, from the timings that the first one left.
    (tmp_path / "again").mkdir()
    other = release(tolerance=2e-2)
    other.stage(helper)
    assert helper.ask("selftest", other.named)["passed"]
    assert fake.builds() == 4
    assert sorted(t.read_text() for t in timings) == ["timings\n", "timings\n", "timings\ntimings\n"]
    # All of it goes with its release, and the rest with everything else.
    helper.ask("discard", made.named)
    assert len(list((root / "apps").rglob("engine.json"))) == 1
    helper.ask("purge", {"who": "tester"})
    assert not root.exists()


def test_a_damaged_engine_is_built_anew(start: Any, release: Any, fake: Fake, root: Path) -> None:
    helper, made = start(), release()
    made.stage(helper)
    assert helper.ask("selftest", made.named)["passed"]
    (engine,) = (root / "apps").rglob("model.engine")
    engine.write_bytes(engine.read_bytes()[:-1] + b"!")
    left = engine.parent.parent / ".999999999"
    left.mkdir()
    assert helper.ask("selftest", made.named)["passed"]
    assert fake.builds() == 2
    assert not left.exists()


def test_an_engine_that_computes_something_else_is_refused(start: Any, release: Any, fake: Fake) -> None:
    fake.behave(factor=1.05)
    helper, made = start(), release()
    made.stage(helper)
    result = helper.ask("selftest", made.named)
    assert [a["ok"] for a in result["artifacts"]] == [False, True]
    assert helper.refuse("activate", made.named)["code"] == "selftest-failed"
    assert helper.refuse("activate", dict(made.named, allow_unverified=True))["code"] == "selftest-failed"


def test_what_is_built_anew_is_proved_before_it_runs(
    start: Any, release: Any, fake: Fake, root: Path
) -> None:
    """After an update of the system an inference builds the engine again, and nobody asks for a self-test."""
    helper, made = start(), release()
    made.stage(helper)
    assert helper.ask("selftest", made.named)["passed"]
    fake.behave(banner="[TensorRT v101600]", factor=1.05)
    asked = ("infer", {**made.named, "format": "tensorrt"}, tensors.encode(cases()[0][0]))
    assert helper.refuse(*asked)["code"] == "selftest-failed"
    assert len(list(root.rglob("engine.json"))) == 1
    fake.behave(banner="[TensorRT v101600]")
    assert helper.ask(*asked)["version"] == "TensorRT 10.16.0"
    assert fake.builds() == 3
    # A record of an earlier self-test is none of an engine that may be another one.
    assert helper.ask("selftest", {**made.named, "recorded": True})["artifacts"]


BROKEN: list[tuple[dict[str, Any], str]] = [
    (
        {"fail_build": ["[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"]},
        "trtexec: Error Code 1: Cuda Runtime (out of memory)",
    ),
    ({"fail_run": ["Error[2]: Error Code 2: Internal Error (Assertion failed. )"]}, "Internal Error"),
    ({"options": tuple(o for o in OPTIONS if o != "--fp16")}, "trtexec: Unknown option: --fp16"),
]


@pytest.mark.parametrize(("how", "said"), BROKEN)
def test_what_trtexec_says_is_the_reason(
    start: Any, release: Any, fake: Fake, how: dict[str, Any], said: str
) -> None:
    fake.behave(**how)
    helper, made = start(), release()
    made.stage(helper)
    result = helper.ask("selftest", made.named)
    first = result["artifacts"][0]
    assert (first["ok"], first["code"]) == (False, "runtime-failed")
    assert said in first["error"]


def test_without_trtexec_that_is_the_reason(
    start: Any, release: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    helper, made = start(), release()
    assert helper.ask("probe")["programs"] == {}
    made.stage(helper)
    first = helper.ask("selftest", made.named)["artifacts"][0]
    assert (first["code"], "no trtexec" in first["error"]) == ("missing-content", True)


def test_a_recipe_passes_nothing_on_that_it_should_not(start: Any, release: Any, fake: Fake) -> None:
    helper, made = start(), release(arguments=[*ARGUMENTS[:2], "--dynamicPlugins=/tmp/evil.so"])
    made.stage(helper)
    first = helper.ask("selftest", made.named)["artifacts"][0]
    assert first["code"] == "bad-manifest"
    assert not fake.calls()


def test_a_build_goes_with_its_runner(start: Any, release: Any, fake: Fake, root: Path) -> None:
    """A helper that is killed during a build leaves no trtexec behind."""
    fake.behave(hang=60)
    helper, made = start(), release()
    made.stage(helper)
    helper.send("selftest", made.named)
    _wait_for(lambda: bool(fake.calls()))
    assert _running(fake)
    helper.process.kill()
    _wait_for(lambda: not _running(fake))


def _wait_for(done: Callable[[], bool], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


def _running(fake: Fake) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if os.fsencode(fake.program) in words and state != "Z":
            found.append(int(folder.name))
    return found


FACTS = DeviceFacts(
    machine="x86_64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-x86_64", bits=64,
)  # fmt: skip


def race(helper: Any, release: Any, plan: DuelPlan) -> DuelResult:
    release.stage(helper)
    helper.ask("selftest", release.named)
    helper.events.clear()
    answer = helper.ask("bench", {**release.named, "plan": plan.as_args()})
    collector = Collector(plan=plan)
    for event in helper.events:
        if event["kind"] != "heartbeat":
            collector.add(event)
    about = About(
        release="r", device="d", facts=FACTS, app="cam", run="ab" * 8, started="2026-11-21T11:08:00Z"
    )  # fmt: skip
    return collector.result(about, parity=answer["checks"])


def planned(**effort: Any) -> DuelPlan:
    entrants = tuple(Entrant(artifact=name) for name in ("tensorrt:fp16", "onnx"))
    return duel(entrants, Bench(samples=20, seconds=2.0), seed=5, effort=Effort(**effort), rounds=2)


def test_it_is_a_contestant_of_the_duel(start: Any, release: Any, fake: Fake) -> None:
    result = race(start(), release(count=2), planned())
    ours, other = result.contestants
    assert ours.version == "TensorRT 10.3.0"
    assert len(ours.samples) >= 20
    assert len(other.samples) >= 20
    assert min(ours.samples) > 20_000  # the stand-in adds 20 microseconds of transfers
    assert result.parity["tensorrt:fp16"].ok
    assert (ours.memory["peak_bytes"] or 0) > 10 << 20
    assert fake.builds() == 1
    timed = [call for call in fake.calls() if "--exportTimes" in call]
    assert all("--warmUp=0" in call and "--exposeDMA" in call for call in timed)
    assert len(timed) == 2 + 3  # blocks, and chunks of the warm-up


@pytest.mark.slow
def test_a_rate_is_refused_by_it_alone_and_a_wrong_answer_has_no_latency(
    start: Any, release: Any, fake: Fake
) -> None:
    helper, made = start(), release()
    result = race(helper, made, planned(rate_hz=200.0))
    assert "trtexec" in str(result.contestants[0].failed)
    assert not result.contestants[1].failed
    fake.behave(factor=2.0)
    result = race(helper, made, planned())
    assert "wrong" in str(result.contestants[0].failed)


def test_its_profile_has_the_engines_layers(start: Any, release: Any, fake: Fake) -> None:
    helper, made = start(), release()
    made.stage(helper)
    helper.ask("selftest", made.named)
    answer = helper.ask("profile", {**made.named, "format": "tensorrt", "calls": 5})
    (layer,) = answer["operations"]
    assert layer["name"] == "gemm + relu"
    assert layer["ns"] > 0


def test_other_sizes_than_it_was_built_for_are_refused(start: Any, release: Any, fake: Fake) -> None:
    helper, made = start(), release()
    made.stage(helper)
    helper.ask("selftest", made.named)
    two = tensors.encode({"x": np.zeros((2, 4), np.float32)})
    refused = helper.refuse("infer", {**made.named, "format": "tensorrt"}, two)
    assert (refused["code"], refused["expected"], refused["found"]) == (
        "bad-input",
        {"x": [1, 4]},
        {"x": [2, 4]},
    )


@pytest.mark.slow
def test_an_older_trtexec_is_spoken_to_in_its_own_words(start: Any, release: Any, fake: Fake) -> None:
    """Of TensorRT 7: no version in the banner, no timing cache, --buildOnly."""
    left = {"--timingCacheFile", "--skipInference"}
    fake.behave(banner="", wide=False, options=(*(o for o in OPTIONS if o not in left), "--buildOnly"))
    helper, made = start(), release()
    made.stage(helper)
    assert helper.ask("selftest", made.named)["passed"]
    assert "--buildOnly" in fake.calls()[0]
    assert "--timingCacheFile" not in fake.calls()[0]
    assert helper.ask("probe")["programs"] == {"trtexec": ""}


@pytest.mark.process
def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    before = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        engines.call(["/bin/sleep", "30"], str(tmp_path), 0.2)
    assert caught.value.code == "runner-timeout"
    assert time.monotonic() - before < 5


@pytest.mark.process
def test_of_an_endless_log_both_ends_are_kept(tmp_path: Path) -> None:
    told = engines.call(
        ["/bin/sh", "-c", "echo first; yes 'filler' | head -c 3000000; echo; echo last"], str(tmp_path), 30
    )
    assert told.text.startswith("first\n")
    assert told.text.endswith("last\n")
    assert len(told.text) < 300_000
    assert trtexec.parse_passed(told.text) is None

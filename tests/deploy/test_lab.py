"""Over real SSH: the x86-64 container and the emulated Raspberry Pi."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefreeze import inventory
from edgefreeze.benchmark import store
from edgefreeze.transport.client import connect
from tests.lab_plugin import LabDevice

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]


def deploy(run: Run, model: Path, target: str, host: str, *more: str) -> dict[str, Any]:
    result = run("deploy", model, "--app", "cam", "--target", target, "--host", host, "--json", *more)
    assert result.status == 0, result.out + result.err
    return result.json


def check(document: dict[str, Any], formats: set[str], emulated: bool) -> None:
    assert document["active"] == document["release"]
    assert {t["format"] for t in document["selftest"] if t["ok"]} == formats
    assert document["emulated"] is emulated
    duel = document["bench"]
    assert duel["emulated"] is emulated
    for contestant in duel["contestants"]:
        assert contestant["failed"] is None, contestant
        assert contestant["p50_ms"] > 0
    assert {c["baseline"] for c in duel["comparisons"]} == {"saved_model"}


def current(board: LabDevice) -> str:
    return board.sh("readlink ~/.edgefreeze/apps/cam/current").rpartition("/")[2]


def test_mobilenet_to_the_x86_container_and_back(
    mobilenets: Path,
    lab_x86: LabDevice,
    over_ssh: Callable[[LabDevice], str],
    edgefreeze_: Run,
    tmp_path: Path,
) -> None:
    host = over_ssh(lab_x86)
    formats = {"frozen_pb", "saved_model", "tflite", "onnx"}
    first = deploy(edgefreeze_, mobilenets / "mobilenet_a.keras", "x86", host)
    check(first, formats, emulated=False)
    assert first["previous"] is None
    assert current(lab_x86) == first["release"]
    assert first["bytes_sent"] > 1e9, "TensorFlow was to be brought"
    assert "tensorflow-cpu 2.21" in first["runtimes"]["tensorflow"]

    second = deploy(edgefreeze_, mobilenets / "mobilenet_b.keras", "x86", host, "--no-bench")
    assert (second["previous"], second["active"]) == (first["release"], second["release"])
    assert second["bytes_sent"] < 80e6, "the runtimes were sent again"

    # Within 2 s of the connection: the connection is opened apart, the rest is the switch.
    where = inventory.Device(name=host, target="x86", transport="ssh", host=host, python=None, root=None)
    with connect(where) as helper:
        started = time.monotonic()
        helper.request("open_app", {"app": "cam", "who": "test", "mode": "write"})
        back = helper.request("rollback", {"app": "cam"})
        took = time.monotonic() - started
    assert back["active"] == first["release"] == current(lab_x86)
    assert took < 2, f"rollback took {took:.2f} s"

    forward = edgefreeze_("rollback", "--host", host, "--json").json
    assert (forward["release"], forward["bytes_sent"]) == (second["release"], 0)
    assert current(lab_x86) == second["release"]

    np.savez(tmp_path / "in.npz", **{_only_input(second): np.zeros((1, 224, 224, 3), np.float32)})
    ran = edgefreeze_(
        "run", "--host", host, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz", "--json"
    )
    assert ran.status == 0, ran.out
    assert list(ran.json["outputs"].values()) == [[1, 1000]]

    # What is on the board needs no more than the board's user, and nobody else can read it.
    assert lab_x86.sh("stat -c '%a %U' ~/.edgefreeze ~/.edgefreeze/apps/cam").split() == [
        "700",
        "pi",
        "700",
        "pi",
    ]
    assert lab_x86.sh("pgrep -u pi -f '[e]dgefreeze' || true") == ""


def _only_input(document: dict[str, Any]) -> str:
    (entry,) = (a for a in document["artifacts"] if a["format"] == "frozen_pb")
    (tensor,) = entry["inputs"]
    return str(tensor["name"])


@pytest.mark.models
@pytest.mark.skipif("EDGEFREEZE_MODELS" not in os.environ, reason="EDGEFREEZE_MODELS is not set")
def test_keyword_spotting_by_others_to_the_x86_container(
    lab_x86: LabDevice, over_ssh: Callable[[LabDevice], str], edgefreeze_: Run
) -> None:
    model = Path(os.environ["EDGEFREEZE_MODELS"]).resolve() / "kws_savedmodel"
    document = deploy(edgefreeze_, model, "x86", over_ssh(lab_x86))
    check(document, {"frozen_pb", "saved_model", "tflite", "onnx"}, emulated=False)


@pytest.mark.timeout(1500)
def test_the_emulated_pi(
    mobilenets: Path, small: Path, lab_pi4: LabDevice, over_ssh: Callable[[LabDevice], str], edgefreeze_: Run
) -> None:
    """A MobileNetV2 of small width all the way, with TensorFlow, TFLite and a duel; a second model; and back."""
    host = over_ssh(lab_pi4)
    first = deploy(edgefreeze_, mobilenets / "mobilenet_small.keras", "pi4", host)
    check(first, {"tflite", "frozen_pb", "saved_model"}, emulated=True)
    assert first["facts"]["machine"] == "aarch64"
    assert "Raspberry Pi 4" in first["facts"]["board"]
    models = os.environ.get("EDGEFREEZE_MODELS")
    other = Path(models).resolve() / "kws_savedmodel" if models else small / "small_a"
    second = deploy(edgefreeze_, other, "pi4", host, "--no-bench")
    assert {t["format"] for t in second["selftest"] if t["ok"]} == {"tflite", "frozen_pb", "saved_model"}
    assert second["bytes_sent"] < 30e6
    back = edgefreeze_("rollback", "--host", host, "--json").json
    assert (back["release"], back["previous"]) == (first["release"], second["release"])
    assert current(lab_pi4) == first["release"]
    shown = edgefreeze_("status", "--host", host)
    assert shown.status == 0
    assert f"runs {first['release'][:12]}" in shown.out


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("model", ["mobilenet_a.keras", "kws_savedmodel"])
def test_the_emulated_pi_with_models_of_full_size(
    model: str, mobilenets: Path, lab_pi4: LabDevice, over_ssh: Callable[[LabDevice], str], edgefreeze_: Run
) -> None:
    """MobileNetV2 at 224 × 224 and the keyword spotter by others, each with its duel."""
    if model == "kws_savedmodel":
        if "EDGEFREEZE_MODELS" not in os.environ:
            pytest.skip("EDGEFREEZE_MODELS is not set")
        path = Path(os.environ["EDGEFREEZE_MODELS"]).resolve() / model
    else:
        path = mobilenets / model
    check(
        deploy(edgefreeze_, path, "pi4", over_ssh(lab_pi4)),
        {"tflite", "frozen_pb", "saved_model"},
        emulated=True,
    )


def test_the_target_alone_is_enough_and_emulated_latencies_are_labelled(
    small: Path, lab_pi4: LabDevice, over_ssh: Callable[[LabDevice], str], edgefreeze_: Run
) -> None:
    """All else stands in edgefreeze.toml. Without TensorFlow: TFLite alone, for a board with little room."""
    over_ssh(lab_pi4)
    assert (
        edgefreeze_("init", "--model", str(small / "small_a"), "--app", "cam", "--target", "pi4").status == 0
    )
    with Path("edgefreeze.toml").open("a") as file:
        file.write('[devices.pole7]\ntarget = "pi4"\nhost = "pi4"\n')
    result = edgefreeze_("deploy", "--target", "pi4", "--no-tf")
    assert result.status == 0, result.err
    assert "pole7 runs cam " in result.out
    assert "EMULATED: these figures show that it runs, not how fast a device is" in result.out
    assert "Latency on pole7, batch of the golden inputs, 1 thread (emulated)" in result.out
    assert "tensorflow" not in lab_pi4.sh("ls ~/.edgefreeze/runtimes/*/")


def test_the_wrong_architecture_is_refused_before_anything_is_built(
    small: Path, lab_pi4: LabDevice, over_ssh: Callable[[LabDevice], str], edgefreeze_: Run
) -> None:
    result = edgefreeze_("deploy", small / "small_a", "-t", "x86", "--host", over_ssh(lab_pi4), "--json")
    assert result.status == 3
    error = result.json["error"]
    assert error["code"] == "device-mismatch"
    assert (error["expected"], error["found"][:7]) == ("x86_64", "aarch64")
    assert error["device_state"] == "probed only; unchanged"
    assert lab_pi4.sh("ls ~/.edgefreeze") == "helper"


def test_a_board_without_python(
    small: Path, lab_device_factory: Any, over_ssh: Callable[[LabDevice], str], edgefreeze_: Run
) -> None:
    board = lab_device_factory(without_python=True)
    result = edgefreeze_("deploy", small / "small_a", "-t", "x86", "--host", over_ssh(board), "--json")
    assert result.status == 4
    error = result.json["error"]
    assert error["code"] == "no-python"
    assert "python3" in error["expected"]


def test_a_board_with_too_little_room_is_left_as_it_was(
    small: Path,
    prebuilt: None,
    lab_device_factory: Any,
    over_ssh: Callable[[LabDevice], str],
    edgefreeze_: Run,
) -> None:
    board = lab_device_factory(home_size="64m")
    host = over_ssh(board)
    result = edgefreeze_(
        "deploy",
        small / "small_a",
        "--app",
        "cam",
        "-t",
        "x86",
        "--host",
        host,
        "--format",
        "tflite",
        "--json",
    )
    assert result.status == 1
    error = result.json["error"]
    assert error["code"] == "disk-space"
    assert "free" in error["expected"]
    assert "free" in error["found"]
    # The app was opened, under its lock; nothing of a release came.
    left = board.sh(
        "find ~/.edgefreeze/apps ~/.edgefreeze/store ~/.edgefreeze/runtimes -type f 2>/dev/null; true"
    )
    assert {Path(file).name for file in left.splitlines()} == {"lock"}
    assert edgefreeze_("status", "--host", host, "--json").json["apps"] == []


def test_after_a_purge_not_one_file_of_ours_is_left(
    small: Path,
    lab_x86: LabDevice,
    over_ssh: Callable[[LabDevice], str],
    edgefreeze_: Run,
    prebuilt: None,
) -> None:
    """On a board with Python and nothing else, no network and no root: deploy, run, purge."""
    host = over_ssh(lab_x86)
    lab_x86.sh("python3 -c 'import numpy' 2>/dev/null && exit 1; true")

    def files() -> set[str]:
        listing = lab_x86.sh("find / -xdev \\( -user pi -o -group pi \\) -not -path '/proc/*'", user="root")
        return set(listing.splitlines())

    before = files()
    # The release that was built before is one of the app `demo`.
    deployed = edgefreeze_(
        *("deploy", small / "small_a", "--app", "demo", "--target", "x86", "--host", host),
        *("--format", "tflite", "--no-bench"),
    )
    assert deployed.status == 0, deployed.err
    assert len(files() - before) > 100
    doctor = edgefreeze_("doctor", "--target", "x86", "--host", host, "--json")
    levels = {check["name"]: check["level"] for check in doctor.json["checks"]}
    assert levels["app-demo"] == "fine", doctor.out
    purged = edgefreeze_("device", "purge", "--target", "x86", "--host", host, "--yes", "--json")
    assert purged.status == 0, purged.out
    assert purged.json["apps"] == ["demo"]
    assert files() == before


def test_a_benchmark_over_ssh_whose_host_is_killed(
    small: Path,
    lab_x86: LabDevice,
    over_ssh: Callable[[LabDevice], str],
    releases: dict[str, Any],
    edgefreeze_: Run,
) -> None:
    """Measured, never active, gone again; and nothing stays or is lost where the host dies."""
    host = over_ssh(lab_x86)
    folder = releases["small_b"].release.folder
    done = edgefreeze_(
        "bench",
        folder,
        "--host",
        host,
        "--min-samples",
        "100",
        "--cold-starts",
        "1",
        "--require",
        "p90<10s",
        "--json",
    )
    assert done.status == 0, done.out + done.err
    release = done.json["release"]
    assert done.json["device"] == host
    assert [g["passed"] for g in done.json["gates"]] == [True]
    assert lab_x86.sh(f"ls -d ~/.edgefreeze/apps/demo/releases/{release} 2>/dev/null || echo gone") == "gone"

    process = subprocess.Popen(
        [sys.executable, "-m", "edgefreeze", "bench", folder, "--host", host, "--min-seconds", "20", "--json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
    )  # fmt: skip
    parts: list[Path] = []
    deadline = time.monotonic() + 120
    while not parts or parts[0].read_text().count('"kind":"block"') < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
        parts = list(store.root().rglob("*.part"))
    run = parts[0].stem.partition("-")[2]
    alive = f"for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -q {run} && echo $p; done; true"
    assert lab_x86.sh(alive)
    process.kill()
    process.wait()
    streamed = parts[0].read_text().count('"kind":"block"')
    until = time.monotonic() + 30
    while lab_x86.sh(alive):
        assert time.monotonic() < until, "a process stayed"
        time.sleep(0.5)
    (recovered,) = edgefreeze_("results", "recover", "--host", host, "--json").json["results"]
    assert recovered["run"] == run
    assert sum(len(c["samples_ns"]) for c in recovered["contestants"]) >= streamed
    status = edgefreeze_(
        "bench", folder, "--host", host, "--min-samples", "40", "--cold-starts", "1", "--json"
    )
    assert status.status == 0, "what was staged is cleared away, and the lock is free"
    assert lab_x86.sh(f"ls -d ~/.edgefreeze/apps/demo/releases/{release} 2>/dev/null || echo gone") == "gone"


def test_an_emulated_board_decides_nothing(
    lab_pi4: LabDevice, over_ssh: Callable[[LabDevice], str], small: Path, edgefreeze_: Run
) -> None:
    host = over_ssh(lab_pi4)
    refused = edgefreeze_(
        "bench", small / "small_a", "-t", "pi4", "--host", host, "--require", "p50<10s", "--json"
    )
    assert (refused.status, refused.json["error"]["code"]) == (6, "gate-emulated")
    assert "unchanged" in refused.json["error"]["device_state"]

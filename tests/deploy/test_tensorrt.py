"""A board with a GPU, whose trtexec is the stand-in of tests/device/trtexec_fake.py, deployed to and measured.
No Jetson was there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.device.trtexec_fake import SCRIPT, SOUND, Fake
from tests.lab_plugin import LabDevice, LabDeviceFactory

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]

BOARD = """
extends = "x86"
summary = "A box with a GPU"
gpu = true

[bench]
samples = 8
seconds = 2
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(tmp_path / "bin")
    monkeypatch.setenv("PATH", made.path)
    return made


@pytest.fixture
def board(device: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    folder = tmp_path / "boards"
    folder.mkdir()
    (folder / "gpubox.toml").write_text(BOARD)
    return ("--target", "gpubox", "--targets", folder, "--app", "demo", "--json")


def test_a_recipe_is_built_proved_and_activated(
    small: Path, device: Path, board: tuple[str | Path, ...], edgefreeze_: Run, fake: Fake
) -> None:
    formats = ("--format", "tensorrt:fp16", "--format", "onnx", "--no-bench")
    result = edgefreeze_("deploy", small / "small_a", *formats, *board)
    assert result.status == 0, result.out + result.err
    document = result.json
    assert document["active"] == document["release"]
    assert document["unverified"] == []
    assert [(t["format"], t["ok"], t["device"]) for t in document["selftest"]] == [
        ("tensorrt", True, "gpu"), ("onnx", True, "cpu"),
    ]  # fmt: skip
    proved = {a["format"]: a for a in document["artifacts"]}
    assert proved["tensorrt"]["status"] == "verified"
    assert proved["tensorrt"]["parity"]["ok"]
    assert document["runtimes"]["tensorrt"].startswith("trtexec 10.3.0 with numpy ")
    manifest = json.loads((device / "apps" / "demo" / "current" / "manifest.json").read_text())
    assert [(a["status"], a.get("built_there", False)) for a in manifest["artifacts"]] == [
        ("unverified", True), ("verified", False),
    ]  # fmt: skip
    # The same again tests the engine that is there.
    again = edgefreeze_("deploy", small / "small_a", *formats, *board[:-1])
    assert again.status == 0, again.err
    assert fake.builds() == 1
    assert "onnx ran on the CPU" in again.err


@pytest.mark.slow
def test_it_is_measured_beside_the_others_and_refused_where_it_is_wrong(
    small: Path, device: Path, board: tuple[str | Path, ...], edgefreeze_: Run, fake: Fake
) -> None:
    result = edgefreeze_("deploy", small / "small_a", "--format", "tensorrt:fp16", "--format", "onnx", *board)
    assert result.status == 0, result.out + result.err
    document = result.json
    trt, onnx = document["bench"]["contestants"]
    assert (trt["version"], trt["device"]) == ("TensorRT 10.3.0", "gpu")
    assert trt["p50_ms"] > 0.02
    assert onnx["device"] == "cpu"
    (said,) = [f for f in document["bench"]["findings"] if f["code"] == "cpu-only"]
    assert said["message"] == "onnx ran on the CPU, and the board's GPU was not used"
    # A TensorRT that computes something else is refused, and the old release stays.
    fake.behave(banner="[TensorRT v101600]", factor=1.5)
    refused = edgefreeze_("deploy", small / "small_b", "--format", "tensorrt:fp16", "--no-bench", *board)
    assert (refused.status, refused.json["error"]["code"]) == (6, "selftest-failed"), refused.out
    assert (device / "apps" / "demo" / "current").readlink().name == document["release"]


def test_a_board_without_trtexec_says_so(
    small: Path, device: Path, board: tuple[str | Path, ...], edgefreeze_: Run
) -> None:
    result = edgefreeze_("deploy", small / "small_a", "--format", "tensorrt:fp16", "--no-bench", *board)
    assert result.json["error"]["code"] == "runtime-unavailable", result.out
    assert "trtexec" in result.json["error"]["expected"]


def test_prepare_and_doctor_try_a_tiny_engine(
    device: Path, board: tuple[str | Path, ...], edgefreeze_: Run, fake: Fake
) -> None:
    found = edgefreeze_("prepare", "--format", "tensorrt:fp16", *board[:4], "--json")
    assert found.status == 0, found.out + found.err
    (row,) = found.json["runtimes"]
    assert (row["runtime"], row["ok"]) == ("tensorrt", True)
    assert fake.builds() == 1
    fake.behave(fail_build=["Error[1]: Error Code 1: Cuda Runtime (no CUDA-capable device is detected)"])
    found = edgefreeze_("prepare", "--format", "tensorrt:fp16", *board[:4], "--json")
    assert found.status == 1
    assert "no CUDA-capable device" in found.json["error"]["found"]


STAND_IN = "/usr/src/tensorrt/bin"
"""Where JetPack has trtexec; no PATH leads there."""


def put_stand_in(board: LabDevice, tree: str) -> None:
    """Have the stand-in where JetPack has trtexec, with the packages of a tree that was brought."""
    packages = f"/home/pi/.edgefreeze/runtimes/{tree}"
    program = f"#!/usr/bin/python3\nimport sys\nsys.path.insert(0, {packages!r})\n{SCRIPT}"
    board.sh(f"mkdir -p {STAND_IN} && chmod 777 {STAND_IN}", user="root")
    board.sh(f"cat > {STAND_IN}/trtexec && chmod 755 {STAND_IN}/trtexec", stdin=program)
    board.sh(f"cat > {STAND_IN}/trtexec.json", stdin=json.dumps(SOUND))


def test_a_container_with_the_stand_in_where_jetpack_has_trtexec(
    small: Path,
    over_ssh: Callable[[LabDevice], str],
    edgefreeze_: Run,
    lab_device_factory: LabDeviceFactory,
    tmp_path: Path,
) -> None:
    board = lab_device_factory("x86")
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "gpubox.toml").write_text(BOARD)
    where = ("-t", "gpubox", "--targets", tmp_path / "boards", "--host", over_ssh(board), "--json")
    prepared = edgefreeze_("prepare", "--format", "onnx", *where)
    assert prepared.status == 0, prepared.out + prepared.err
    put_stand_in(board, prepared.json["runtimes"][0]["tree"])

    formats = ("--format", "tensorrt:fp16", "--format", "onnx")
    done = edgefreeze_("deploy", small / "small_a", "--app", "cam", *formats, "--cold-starts", "1", *where)
    assert done.status == 0, done.out + done.err
    assert [(t["format"], t["ok"], t["device"]) for t in done.json["selftest"]] == [
        ("tensorrt", True, "gpu"), ("onnx", True, "cpu"),
    ]  # fmt: skip
    trt, onnx = done.json["bench"]["contestants"]
    assert (trt["failed"], trt["version"], trt["device"]) == (None, "TensorRT 10.3.0", "gpu")
    assert len(trt["samples_ns"]) > 0
    assert onnx["failed"] is None
    built = board.sh(f"grep -c -e --onnx= {STAND_IN}/trtexec.calls")
    engine = json.loads(board.sh("cat ~/.edgefreeze/apps/cam/current/engines/*/engine.json"))
    assert engine["key"]["tensorrt"] == "10.3.0"

    # What is active is measured with the engine that is there; and all of it goes.
    again = edgefreeze_("bench", "--app", "cam", "--min-samples", "8", "--cold-starts", "1", *where)
    assert again.status == 0, again.out + again.err
    assert board.sh(f"grep -c -e --onnx= {STAND_IN}/trtexec.calls") == built
    gone = edgefreeze_("device", "purge", "--host", board.name, "--yes", "--json")
    assert gone.status == 0, gone.out + gone.err
    assert board.sh("ls -A ~/.edgefreeze 2>/dev/null || true") == ""

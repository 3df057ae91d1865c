"""Each kind of emulated board, with an old, a newer and the newest Debian, in 64 and 32 bit: looked at,
prepared, deployed to and measured, or told the true reason why not.

Their images take minutes to make: docker/lab up pi4-bullseye pi4-trixie pi4-32bit pi4-32bit-bullseye
pi4-32bit-trixie.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab_plugin import LabDeviceFactory

from .conftest import Result

pytestmark = [pytest.mark.tf, pytest.mark.slow, pytest.mark.timeout(1800)]
Run = Callable[..., Result]

QUICK = ("--min-samples", "20", "--min-seconds", "0", "--max-seconds", "20", "--cold-starts", "1")


def through(run: Run, where: tuple[str | Path, ...], model: Path, kind: str) -> dict[str, Any]:
    """doctor, prepare, deploy and bench, TFLite alone; gives what prepare found of its runtime."""
    looked = run("doctor", *where, "--json")
    checks = {c["name"]: c for c in looked.json["checks"]}
    assert looked.status == 0, [c for c in checks.values() if c["level"] == "failure"]
    assert checks["emulation"]["level"] == "warning"
    assert checks["runtime-litert"]["level"] == "fine"

    prepared = run("prepare", *where, "--format", "tflite", "--json")
    assert prepared.status == 0, prepared.out + prepared.err
    (runtime,) = prepared.json["runtimes"]
    assert runtime["ok"], kind

    deployed = run("deploy", model, "--app", "cam", *where, "--format", "tflite", "--no-bench", "--json")
    assert deployed.status == 0, deployed.out + deployed.err
    assert [t["ok"] for t in deployed.json["selftest"]] == [True]
    assert deployed.json["active"] == deployed.json["release"]

    measured = run("bench", *where, "--app", "cam", *QUICK, "--json")
    assert measured.status == 0, measured.out + measured.err
    assert measured.json["emulated"] is True
    contestants = {c["format"]: c for c in measured.json["contestants"]}
    assert set(contestants) == {"tflite", "tflite@no-xnnpack"}
    for contestant in contestants.values():
        assert contestant["failed"] is None, contestant
        assert len(contestant["samples_ns"]) > 0
    return dict(runtime)


@pytest.mark.parametrize(
    ("kind", "target", "package"),
    [
        ("pi4", "pi4", "ai-edge-litert"),
        ("pi4-bullseye", "pi4", "ai-edge-litert"),
        ("pi4-trixie", "pi4", "ai-edge-litert"),
        ("pi4-32bit", "pi-32", "tflite-runtime"),
        ("pi4-32bit-bullseye", "pi-32", "tflite-runtime"),
    ],
)
def test_tflite_runs_on_every_board_that_has_a_runtime(
    kind: str,
    target: str,
    package: str,
    small: Path,
    over_ssh: Callable[..., str],
    edgefreeze_: Run,
    lab_device_factory: LabDeviceFactory,
) -> None:
    host = over_ssh(lab_device_factory(kind))
    found = through(edgefreeze_, ("--host", host, "-t", target), small / "small_a", kind)
    assert package in found["packages"]


def test_the_old_tflite_runtime_infers_beside_numpy_1(
    small: Path,
    over_ssh: Callable[..., str],
    edgefreeze_: Run,
    lab_device_factory: LabDeviceFactory,
    tmp_path: Path,
) -> None:
    """tflite-runtime 2.14 was built against NumPy 1: a target that names it gets both."""
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "older.toml").write_text(
        'extends = "generic-arm64"\nsummary = "A Pi with the old runtime"\n[runtimes]\nlitert = "tflite-runtime==2.14.*"\n'
    )
    host = over_ssh(lab_device_factory("pi4"))
    where = ("--host", host, "-t", "older", "--targets", tmp_path / "boards")
    found = through(edgefreeze_, where, small / "small_a", "pi4")
    assert found["packages"]["tflite-runtime"] == "2.14.0"
    assert found["packages"]["numpy"].startswith("1.")


def test_a_board_for_which_there_is_no_runtime_hears_why(
    small: Path, over_ssh: Callable[..., str], edgefreeze_: Run, lab_device_factory: LabDeviceFactory
) -> None:
    """No one builds a TFLite for 32-bit Arm and Python 3.13."""
    board = lab_device_factory("pi4-32bit-trixie")
    where = ("--host", over_ssh(board), "-t", "pi-32")
    looked = edgefreeze_("doctor", *where, "--json")
    assert looked.status == 1
    (check,) = (c for c in looked.json["checks"] if c["name"] == "runtime-litert")
    assert check["level"] == "failure"
    assert "needs Python" in check["found"]
    for command in (("prepare",), ("deploy", small / "small_a", "--app", "cam")):
        refused = edgefreeze_(*command, *where, "--format", "tflite", "--json")
        assert (refused.status, refused.json["error"]["code"]) == (3, "runtime-unavailable"), refused.out
        assert "Python 3.13" in refused.json["error"]["found"]
    assert board.sh("ls ~/.edgefreeze/apps 2>/dev/null || true") == ""

"""The doctor without a board: real packages on a real CPU model, with the lab's Pi as the files of a system."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefreeze import runtimes, targets
from edgefreeze.cli import main
from edgefreeze.device import readings
from edgefreeze.doctor import emulate, emulation
from edgefreeze.errors import Failure
from edgefreeze.progress import Silent
from tests.lab_plugin import LabDevice


@pytest.mark.parametrize(
    ("target", "model"),
    [("pi3", "Cortex-A53"), ("pi4", "Cortex-A72"), ("pi5", "Cortex-A76"), ("jetson-nano", "Cortex-A57")],
)
def test_the_cpuinfo_that_is_made_up_says_what_the_target_says(target: str, model: str) -> None:
    found = readings.parse_cpuinfo(emulate.cpuinfo(targets.load(target)))
    assert (found["cpu_model"], found["cpu_count"]) == (model, emulate.CORES)
    assert set(found["cpu_features"]) == set(targets.load(target).match.features)


def test_what_cannot_be_emulated_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(target: str) -> Failure:
        with pytest.raises(Failure) as caught:
            emulate.doctor(targets.load(target), tmp_path, Silent())
        return caught.value

    assert "names no CPU model" in refusal("x86").message
    assert "names no CPU model" in refusal("generic-arm64").message
    assert "no usr/bin/python3" in refusal("pi4").message
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal("pi4").next == "sudo apt install qemu-user-static"


def test_without_a_sysroot_it_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    status = main.run(["doctor", "--emulate", "pi4", "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert (status, error["code"]) == (2, "usage")
    assert error["next"].startswith("mmdebstrap")


@pytest.fixture
def sysroot(lab_pi4: LabDevice, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "sysroot"
    folder.mkdir()
    argv = ["tar", "-x", "-C", folder, "--exclude=dev/*", "--exclude=proc/*", "--exclude=home/*"]
    with subprocess.Popen(["docker", "export", lab_pi4.container], stdout=subprocess.PIPE) as export:
        subprocess.run(argv, stdin=export.stdout, check=True)
    assert export.returncode == 0
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=False)


@pytest.mark.lab
@pytest.mark.pi
@pytest.mark.slow
def test_packages_of_a_pi_4_without_one(sysroot: Path, tmp_path: Path) -> None:
    """What runs does, and onnxruntime 1.21.0 dies of an illegal instruction on a Cortex-A72 alone."""
    (tmp_path / "run").mkdir()
    board = emulate.Board(targets.load("pi4"), sysroot, tmp_path / "run")
    facts = board.facts()
    assert (facts.machine, facts.libc, facts.emulated) == ("aarch64", "glibc 2.36", True)
    litert = emulate.run(board, runtimes.choose("litert", facts), facts, Silent())
    assert emulation.emulated(board.cpu, litert).level == "fine"
    row = runtimes.table().packages("onnxruntime")[0]
    known = runtimes.Choice(
        runtime="onnxruntime", own=None, package=row, requirement=("onnxruntime==1.21.0",)
    )
    seen = emulate.run(board, known, facts, Silent())
    assert seen.exact is not None
    assert seen.exact.said == "SIGILL"
    found = emulation.emulated(board.cpu, seen)
    assert (found.level, found.name) == ("failure", "emulated-onnxruntime")

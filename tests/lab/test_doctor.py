"""The doctor on the lab's boards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.cli import main
from tests.lab_plugin import LabDevice

pytestmark = pytest.mark.lab


def doctor(
    board: LabDevice,
    target: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    work: Path,
) -> tuple[int, dict[str, dict[str, Any]]]:
    monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", board.ssh_config)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.chdir(work)
    status = main.run(["doctor", "--target", target, "--host", board.name, "--json"])
    document = json.loads(capsys.readouterr().out)
    return status, {check["name"]: check for check in document["checks"]}


@pytest.mark.pi
def test_the_emulated_pi(
    lab_pi4: LabDevice, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, found = doctor(lab_pi4, "pi4", capsys, monkeypatch, tmp_path)
    assert status == 0, found
    assert found["board"] == {
        "name": "board",
        "level": "fine",
        "found": "Raspberry Pi 4 Model B Rev 1.2",
        "fix": None,
    }
    assert found["cpu"]["found"] == "4 × Cortex-A72"
    assert found["architecture"]["found"] == "aarch64, 64 bit"
    assert found["emulation"]["level"] == "warning"
    assert "Python 3.11" in found["python"]["found"]
    assert found["libc"]["found"] == "glibc 2.36"
    assert found["mount"]["level"] == "warning"  # a container's overlay
    assert "ai-edge-litert" in found["runtime-litert"]["found"]
    assert lab_pi4.sh("ls -A ~/.edgefreeze/apps 2>/dev/null", check=False) == ""


def test_a_container_that_is_no_pi(
    lab_x86: LabDevice, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, found = doctor(lab_x86, "pi4", capsys, monkeypatch, tmp_path)
    assert status == 1
    assert found["architecture"]["level"] == "failure"
    assert found["architecture"]["fix"] == "--target x86"

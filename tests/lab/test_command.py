"""docker/lab's command line, as far as it needs neither docker nor root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab_plugin import LAB

pytestmark = [pytest.mark.process, pytest.mark.alone]


def lab(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "EDGEFREEZE_LAB_DIR": str(tmp_path / "lab"), **environment}
    return subprocess.run([sys.executable, LAB, *words], capture_output=True, text=True, timeout=60, env=env)


def test_help_shows_examples_and_kinds(tmp_path: Path) -> None:
    done = lab(tmp_path, "--help")
    assert done.returncode == 0
    for part in ("docker/lab up x86", "pi4-bullseye", "EDGEFREEZE_LAB_DIR", "exit status"):
        assert part in done.stdout


def test_nothing_up_is_said_and_is_status_1(tmp_path: Path) -> None:
    done = lab(tmp_path, "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is up" in done.stderr
    assert lab(tmp_path, "down").returncode == 0
    assert not (tmp_path / "lab").exists()


def test_mistakes_end_in_one_cause_and_one_cure(tmp_path: Path) -> None:
    for words, cause, cure in (
        (("up", "pi5"), "no kind of board 'pi5'", "one of: x86, pi4"),
        (("start", "x86", "--name", "pi4"), "no name for a further board: 'pi4'", "no kind's name"),
        (("start", "x86", "--name", "../x"), "no name for a further board", "digits"),
        (("ssh", "pi4"), "no board 'pi4' is up", "docker/lab up"),
    ):
        done = lab(tmp_path, *words)
        assert done.returncode == 1
        error, remedy = done.stderr.splitlines()
        assert error.startswith(f"lab: error: {cause}")
        assert remedy.startswith("lab: cure:  ")
        assert cure in remedy


def test_a_daemon_elsewhere_is_refused(tmp_path: Path) -> None:
    done = lab(tmp_path, "up", "x86", DOCKER_HOST="tcp://127.0.0.1:2375")
    assert done.returncode == 1
    assert "DOCKER_HOST is tcp://127.0.0.1:2375" in done.stderr
    assert "unset DOCKER_HOST" in done.stderr


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    record = tmp_path / "lab" / "lab.json"
    record.parent.mkdir()
    record.write_text('{"devices": {"x86": {}}}')
    done = lab(tmp_path, "status")
    assert done.returncode == 1
    assert str(record) in done.stderr


def test_down_removes_its_own_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    (folder / "host-keys").mkdir(parents=True)
    for name in ("host-keys/x86", "id_ed25519", "known_hosts", "dockerd.log", "mine"):
        (folder / name).write_text("")
    assert lab(tmp_path, "down").returncode == 0
    assert {path.name for path in folder.iterdir()} == {"dockerd.log", "mine", "lock"}

"""The doctor over a real SSH server: what stands in the way is a line with its cure, not a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.cli import main

from .conftest import Sshd

pytestmark = pytest.mark.sshd


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    status = main.run(["doctor", "--target", "x86", "--host", "board", "--json"])
    document = json.loads(capsys.readouterr().out)
    return status, {check["name"]: check for check in document["checks"]}


def test_a_board_over_ssh(sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = doctor(capsys)
    assert found["ssh"]["found"].endswith(f"@127.0.0.1 port {sshd.port}")
    assert found["host-key"]["found"] == f"known: ssh-ed25519 in {sshd.known_hosts}"
    assert found["jump"]["found"] == "none: reached directly"
    assert found["latency"]["level"] == "fine"
    assert found["banner"]["level"] == "fine"
    assert status == (1 if any(c["level"] == "failure" for c in found.values()) else 0)
    assert len(found) > 20


def test_a_host_key_that_is_not_known(sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    sshd.known_hosts.write_text("")
    status, found = doctor(capsys)
    assert (status, list(found)) == (1, ["host-key"])
    assert found["host-key"]["fix"].startswith("ssh ")


def test_a_server_that_is_not_there(sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    sshd.process.terminate()
    sshd.process.wait(10)
    status, found = doctor(capsys)
    assert (status, list(found)) == (1, ["ssh"])
    assert "cannot reach 127.0.0.1" in found["ssh"]["found"]


def test_a_login_that_prints(start_sshd: Callable[..., Sshd], capsys: pytest.CaptureFixture[str]) -> None:
    start_sshd("ForceCommand echo 'Welcome to the board!'; eval \"$SSH_ORIGINAL_COMMAND\"\n")
    _, found = doctor(capsys)
    assert found["banner"]["level"] == "warning"
    assert "Welcome to the board!" in found["banner"]["found"]


@pytest.mark.parametrize(
    "command",
    ["echo for backups only", "true", pytest.param("cat >/dev/null", marks=pytest.mark.slow)],  # a minute
)
def test_a_forced_command(
    start_sshd: Callable[..., Sshd], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    start_sshd(f"ForceCommand {command}\n")
    status, found = doctor(capsys)
    assert (status, list(found)) == (1, ["forced-command"])
    assert "something else than it was asked to" in found["forced-command"]["found"]
    assert "authorized_keys" in found["forced-command"]["fix"]


def test_a_key_that_is_not_accepted(sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    status, found = doctor(capsys)
    assert (status, list(found)) == (1, ["ssh"])
    assert "cannot log in" in found["ssh"]["found"]


def test_a_destination_that_ssh_cannot_take(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("Host board\n  Port no\n")
    monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", str(tmp_path / "config"))
    status, found = doctor(capsys)
    assert (status, list(found)) == (1, ["ssh"])
    assert "OpenSSH cannot resolve" in found["ssh"]["found"]

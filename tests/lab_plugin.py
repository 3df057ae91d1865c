"""Fixtures that give tests the boards of docker/lab: lab_x86, lab_pi4, lab_device_factory.

Without a lab such tests are skipped, with the reason; under EDGEFREEZE_LAB=required they fail instead.
A test that uses one of them is marked `lab`, and `pi` with the emulated Pi, whether or not it says so.
The lab's folder is found as docker/lab finds it (EDGEFREEZE_LAB_DIR, else below XDG_STATE_HOME).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

LAB = Path(__file__).resolve().parents[1] / "docker" / "lab"
UP_S = 180
_STATE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
FOLDER = Path(os.environ.get("EDGEFREEZE_LAB_DIR") or _STATE / "edgefreeze-lab")
"""Looked up once: a test may point XDG_STATE_HOME at a folder of its own."""


@dataclass(frozen=True)
class LabDevice:
    """A board of the lab. Its methods go past SSH, through docker, so that SSH can be what is tested."""

    name: str
    model: str
    host: str
    port: int
    user: str
    key: str
    known_hosts: str
    ssh_config: str
    """`ssh -F <ssh_config> <name>` is all it takes."""
    container: str
    emulated: bool
    machine: str

    def sh(
        self, command: str, *, user: str = "pi", check: bool = True, stdin: str = "", timeout: float = 60
    ) -> str:
        """Run a shell line on the board, in its user's home; return its stdout, stripped.

        Raises AssertionError with what it printed where it fails, unless `check` is off.
        """
        argv = ["docker", "exec", "-i", "-u", user, "-w", "/home/pi", self.container, "sh", "-c", command]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(
                f"{self.name}: {command!r} gave {done.returncode}: {done.stderr or done.stdout}"
            )
        return done.stdout.strip()

    def python(self, code: str, *, timeout: float = 60) -> str:
        """Run a program with the board's python3; return its stdout, stripped."""
        return self.sh("exec python3 -", stdin=code, timeout=timeout)

    def ssh(self, command: str, *options: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command as OpenSSH would, with the lab's key and its known_hosts; `options` come first."""
        argv = ["ssh", *options, "-F", self.ssh_config, "-o", "BatchMode=yes", self.name, command]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)

    def reset(self) -> None:
        """End all that the board's user runs, its SSH sessions too, and remove ~/.edgefreeze."""
        self.sh("pkill -KILL -u pi; rm -rf /home/pi/.edgefreeze", user="root")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the board stand still: connections stay open, or open, and nobody answers."""
        _docker("pause", self.container)
        try:
            yield
        finally:
            _docker("unpause", self.container)

    def kill(self) -> None:
        """Take the board's power away. What it wrote stays, but for a home of limited size."""
        _docker("kill", self.container)

    def start(self) -> None:
        """Give a killed board its power back: same address, same keys. It may take a moment to answer."""
        _docker("start", self.container)

    @property
    def status(self) -> str:
        """What docker says of it: "running", "paused", "exited", … or "" where it is gone."""
        argv = ["docker", "container", "inspect", "--format", "{{.State.Status}}", self.container]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.strip()


class LabDeviceFactory(Protocol):
    """Starts a board that lives as long as the test."""

    def __call__(
        self, model: str = "x86", *, home_size: str | None = None, without_python: bool = False
    ) -> LabDevice: ...


@pytest.fixture
def lab_x86() -> LabDevice:
    """The x86-64 board of the lab, with nothing of edgefreeze on it."""
    return _fresh("x86")


@pytest.fixture
def lab_pi4() -> LabDevice:
    """The emulated Raspberry Pi 4 of the lab, with nothing of edgefreeze on it."""
    return _fresh("pi4")


@pytest.fixture
def lab_device_factory() -> Iterator[LabDeviceFactory]:
    """Further boards for one test, of a kind that the lab has up."""
    started: list[str] = []

    def start(model: str = "x86", *, home_size: str | None = None, without_python: bool = False) -> LabDevice:
        _on_record(model)
        name = f"test-{uuid.uuid4().hex[:8]}"
        options = ["--home-size", home_size] if home_size else []
        options += ["--without-python"] if without_python else []
        started.append(name)
        return LabDevice(**json.loads(_lab("start", model, "--name", name, "--json", *options)))

    yield start
    if up := [name for name in started if name in _devices()]:
        _lab("down", *up)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if any(name.startswith("lab_") for name in fixtures):
            item.add_marker("lab")
        if "lab_pi4" in fixtures:
            item.add_marker("pi")


def _fresh(name: str) -> LabDevice:
    device = _on_record(name)
    if device.status != "running":  # a reboot, or a test that was interrupted
        _lab("up", name)
        device = _devices()[name]
    device.reset()
    return device


def _on_record(name: str) -> LabDevice:
    device = _devices().get(name)
    if device is not None:
        return device
    reason = f"no board {name} is up ({_lab_json()}): docker/lab up {name}"
    if os.environ.get("EDGEFREEZE_LAB") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _devices() -> dict[str, LabDevice]:
    try:
        document = json.loads(_lab_json().read_text())
    except FileNotFoundError:
        return {}
    return {name: LabDevice(name=name, **entry) for name, entry in document["devices"].items()}


def _lab_json() -> Path:
    return FOLDER / "lab.json"


def _lab(*words: str) -> str:
    env = {**os.environ, "EDGEFREEZE_LAB_DIR": str(FOLDER)}
    done = subprocess.run(
        [sys.executable, LAB, *words], capture_output=True, text=True, timeout=UP_S, env=env
    )
    assert done.returncode == 0, f"docker/lab {' '.join(words)}: {done.stderr}"
    return done.stdout


def _docker(*words: str) -> None:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"

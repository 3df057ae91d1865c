"""The lab's folder: keys, known_hosts, ssh_config, logs, and lab.json, which says what is up."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.shell import LabError, run, say

LOCK_S = 900


@dataclass(frozen=True)
class Device:
    """One board that is up, as lab.json has it."""

    name: str
    model: str
    host: str
    port: int
    user: str
    key: str
    known_hosts: str
    ssh_config: str
    container: str
    emulated: bool
    machine: str


@dataclass(frozen=True)
class State:
    """Paths and records below one folder; two folders are two labs, on one daemon if need be."""

    root: Path

    @classmethod
    def from_environment(cls) -> State:
        """EDGEFREEZE_LAB_DIR, else edgefreeze-lab in XDG_STATE_HOME (~/.local/state)."""
        if folder := os.environ.get("EDGEFREEZE_LAB_DIR"):
            return cls(Path(folder).absolute())
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        return cls(home.absolute() / "edgefreeze-lab")

    @property
    def id(self) -> str:
        """What tells this lab's containers from another lab's."""
        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]

    @property
    def lab_json(self) -> Path:
        """What is up: {"schema": 1, "devices": {name: fields of Device but the name}}."""
        return self.root / "lab.json"

    @property
    def key(self) -> Path:
        """The private key that logs in to every board of the lab."""
        return self.root / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The boards' host keys, known before the first connection."""
        return self.root / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """A Host for each board: `ssh -F FILE NAME`."""
        return self.root / "ssh_config"

    @property
    def daemon_log(self) -> Path:
        """What the dockerd that the lab started had to say."""
        return self.root / "dockerd.log"

    @property
    def daemon_pid_file(self) -> Path:
        """Names the dockerd that the lab started."""
        return self.root / "dockerd.pid"

    def daemon_pid(self) -> int | None:
        """The process id of the dockerd that the lab started, while it runs."""
        try:
            pid = int(self.daemon_pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if words.startswith(b"dockerd\0") else None

    @property
    def host_keys(self) -> Path:
        """The folder of the boards' own keys."""
        return self.root / "host-keys"

    def host_key(self, name: str) -> Path:
        """The private host key of the board `name`."""
        return self.host_keys / name

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only command that changes this lab. Raises LabError after LOCK_S seconds."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / "lock").open("w") as file:
            deadline = time.monotonic() + LOCK_S
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LabError(
                            f"another docker/lab has held {self.root} for {LOCK_S} s",
                            "wait for it, or end it",
                        ) from None
                if not told:
                    say("waiting for another docker/lab")
                    told = True
                time.sleep(0.2)
            yield

    def devices(self) -> dict[str, Device]:
        """The boards on record, by name; empty where nothing was ever up."""
        try:
            document = json.loads(self.lab_json.read_text())
            return {name: Device(name=name, **entry) for name, entry in document["devices"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"{self.lab_json} is not readable: {error}", "remove it; docker/lab up writes a new one"
            ) from error

    def write_devices(self, devices: dict[str, Device]) -> None:
        """Put the boards on record, lab.json last; each file is whole at any time."""
        entries = {name: asdict(device) for name, device in sorted(devices.items())}
        for entry in entries.values():
            del entry["name"]
        _replace(self.known_hosts, "".join(self._known_host(device) for device in devices.values()))
        _replace(self.ssh_config, "\n".join(_ssh_host(device) for device in devices.values()))
        _replace(self.lab_json, json.dumps({"schema": 1, "devices": entries}, indent=2) + "\n")

    def make_key(self, path: Path, comment: str) -> None:
        """Make an Ed25519 key without a passphrase, unless it is there."""
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path],
            what="ssh-keygen",
            cure="apt-get install openssh-client",
        )

    def _known_host(self, device: Device) -> str:
        public = Path(f"{self.host_key(device.name)}.pub")
        kind, blob = public.read_text().split()[:2]
        return f"[{device.host}]:{device.port} {kind} {blob}\n"


def _ssh_host(device: Device) -> str:
    return (
        f"Host {device.name}\n"
        f"  HostName {device.host}\n"
        f"  Port {device.port}\n"
        f"  User {device.user}\n"
        f'  IdentityFile "{device.key}"\n'
        "  IdentitiesOnly yes\n"
        f'  UserKnownHostsFile "{device.known_hosts}"\n'
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
    )


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)

"""A real OpenSSH server on loopback, for the user that runs the tests: keys, known_hosts and configuration
in a folder of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Sshd:
    """A server, and the client's configuration for it under the alias `board`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def host_key(self) -> str:
        kind, key, *_ = (self.folder / "host.pub").read_text().split()
        return f"{kind} {key}"

    def configure(self, more: str = "", alias: str = "board") -> None:
        """Write the alias; `more` are further lines of its Host block."""
        self.config.write_text(
            f"Host {alias}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder}/key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n{more}"
        )


def key(path: Path, passphrase: str = "") -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def start_sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sshd]]:
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).exists():
        if os.environ.get("EDGEFREEZE_LAB") == "required":
            pytest.fail("openssh-server is not installed")
        pytest.skip("openssh-server is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    started: list[Sshd] = []

    def start(options: str = "", name: str = "sshd") -> Sshd:
        folder = tmp_path / name
        folder.mkdir()
        key(folder / "host")
        key(folder / "key")
        (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
        port = free_port()
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n{options}"
        )
        process = subprocess.Popen(
            [server, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        found = Sshd(folder=folder, port=port, process=process)
        started.append(found)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        found.known_hosts.write_text(f"[127.0.0.1]:{port} {found.host_key()}\n")
        found.configure()
        monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", str(found.config))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        return found

    yield start
    for server_ in started:
        server_.process.terminate()
        server_.process.wait(10)


@pytest.fixture
def sshd(start_sshd: Callable[..., Sshd]) -> Sshd:
    return start_sshd()

"""A real OpenSSH server on loopback for all cases of a run, and a proxy in front of it that breaks things."""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

UP, DOWN = "up", "down"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Server:
    """A server and its keys."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, options: str = "", within: tuple[str, ...] = ()) -> Server | None:
        """None where there is no sshd on this machine. within: a program that starts it."""
        program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None:
            return None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True)
        for name in ("host", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
            )
        (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
        port = free_port()
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nMaxStartups 1000\n"
            f"PermitRootLogin prohibit-password\nLoginGraceTime 20\nAcceptEnv *\n{options}"
        )
        process = subprocess.Popen(
            [*within, program, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        return cls(folder, port, process)

    @classmethod
    def start_dropbear(cls, folder: Path) -> Server:
        """Dropbear, which many boards have in place of OpenSSH; its user is the one who runs the tests."""
        folder.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        made = subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", folder / "host"],
            check=True,
            capture_output=True,
            text=True,
        )
        line = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519 "))
        (folder / "host.pub").write_text(line + "\n")
        (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
        (folder / "authorized_keys").chmod(0o600)
        folder.chmod(0o700)
        port = free_port()
        process = subprocess.Popen(
            # It reads ~/.ssh alone: so it gets one, in a mount namespace of its own.
            ["unshare", "-m", "sh", "-c",
             f'mount --bind "{folder}" ~/.ssh && exec dropbear -F -s -r "{folder}/host" -p 127.0.0.1:{port} -P "{folder}/pid"'],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        return cls(folder, port, process)

    @property
    def host_key(self) -> str:
        """Kind and key, as known_hosts has them."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def configure(
        self, folder: Path, port: int | None = None, known: str | None = None, patience_s: int = 1
    ) -> Path:
        """Write a client's configuration, and have edgefreeze use it. known: what known_hosts holds."""
        hosts, config = folder / "known_hosts", folder / "ssh_config"
        hosts.write_text(f"board {self.host_key}\n" if known is None else known)
        config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {port or self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder}/key\n  IdentitiesOnly yes\n  HostKeyAlias board\n"
            f"  UserKnownHostsFile {hosts}\n  GlobalKnownHostsFile none\n  ConnectTimeout {patience_s}\n"
        )
        os.environ["EDGEFREEZE_SSH_CONFIG"] = str(config)
        os.environ.pop("SSH_AUTH_SOCK", None)
        return config

    def stop(self) -> None:
        """End it; sessions that are under way end by themselves."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


class Proxy:
    """Passes one connection on until so many bytes have gone in one direction, then does something.

    action: "reset", "close", "hole" (nothing goes any more, both ends stay open until close()), "flip" (one
    bit of the byte at the offset), None. `passed` counts what has gone each way.
    """

    def __init__(
        self, port: int, direction: str = UP, offset: int = -1, action: str | None = None, bit: int = 0
    ) -> None:
        self._target = port
        self._direction, self._offset, self._action, self._bit = direction, offset, action, bit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.passed = {UP: 0, DOWN: 0}
        self.struck = False
        self._end, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End whatever goes on; once is enough."""
        if self._wake.fileno() < 0:
            return
        self._wake.close()
        self._thread.join(5)
        self._listener.close()
        self._end.close()

    def _run(self) -> None:
        ready, _, _ = select.select([self._listener, self._end], [], [])
        if self._listener not in ready:
            return
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with near, far, contextlib.suppress(OSError):
            self._pass_on(near, far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        ends = {near: (far, UP), far: (near, DOWN)}
        while True:
            ready, _, _ = select.select([near, far, self._end], [], [])
            if self._end in ready:
                return None
            for sock in ready:
                other, direction = ends[sock]  # type: ignore[index]
                data = sock.recv(65536)
                if not data:
                    return None
                left = self._offset - self.passed[direction]
                if direction == self._direction and self._action and 0 <= left < len(data):
                    self.struck = True
                    if self._action != "flip":
                        other.sendall(data[:left])
                        self.passed[direction] += left
                        return self._strike(near, far)
                    data = data[:left] + bytes([data[left] ^ 1 << self._bit]) + data[left + 1 :]
                other.sendall(data)
                self.passed[direction] += len(data)

    def _strike(self, near: socket.socket, far: socket.socket) -> None:
        if self._action == "reset":
            for sock in (near, far):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self._action == "hole":
            select.select([self._end], [], [])

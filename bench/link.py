"""A link on loopback: so many bits a second each way, so long a delay, for whatever connects to it.

A token bucket and a queue for each direction, in a process of its own. It is no network: there is no loss, no
slow start, and TCP on either side acknowledges at once. Every contestant goes through the same one.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

CHUNK = 16 * 1024
BUFFERED = 64
"""Chunks that a direction holds before the sender has to wait: a megabyte, as a router might."""


class Direction:
    """One way of the link, shared by all its connections."""

    def __init__(self, bytes_per_s: float, delay_s: float) -> None:
        self._rate, self._delay = bytes_per_s, delay_s
        self._free = 0.0
        self._lock = threading.Lock()

    def arrives(self, size: int) -> float:
        """When so many bytes, sent now, are there (time.monotonic)."""
        with self._lock:
            self._free = max(self._free, time.monotonic()) + size / self._rate
            return self._free + self._delay

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on all that comes, each chunk when it is due."""
        due: queue.Queue[tuple[float, bytes]] = queue.Queue(BUFFERED)

        def deliver() -> None:
            while True:
                when, data = due.get()
                time.sleep(max(0.0, when - time.monotonic()))
                try:
                    if data:
                        target.sendall(data)
                        continue
                    target.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                if not data:
                    return

        threading.Thread(target=deliver, daemon=True).start()
        while True:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            due.put((self.arrives(len(data)), data))
            if not data:
                return


def serve(target_port: int, bits_per_s: float, delay_s: float) -> None:
    """Listen, say on which port, and carry for ever. delay_s: one way."""
    up, down = (Direction(bits_per_s / 8, delay_s) for _ in range(2))
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        near, _ = listener.accept()
        threading.Thread(target=_connect, args=(near, target_port, up, down), daemon=True).start()


def _connect(near: socket.socket, port: int, up: Direction, down: Direction) -> None:
    time.sleep(2 * up.arrives(0) - 2 * time.monotonic())  # the handshake that the kernel made without us
    far = socket.create_connection(("127.0.0.1", port))
    for sock in (near, far):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = threading.Thread(target=down.carry, args=(far, near), daemon=True)
    back.start()
    up.carry(near, far)
    back.join()
    near.close()
    far.close()


def start(port: int, bits_per_s: float, delay_s: float) -> tuple[subprocess.Popen[str], int]:
    """A link to a port, in a process of its own; (the process, the port to connect to)."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), str(port), str(bits_per_s), str(delay_s)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, int(process.stdout.readline())


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))

"""Links that are slow, far or lossy, as they look from above TCP; with the deadlines that users have: a ship that
takes long is no failure.

There is no netem in the kernel here, and so no real loss: what a lost segment does to a TCP stream is that all that
comes after it arrives late, by one retransmission time-out and twice as much for each further loss (RFC 6298). That
is how it is made. Fast retransmission would make it milder. Reordering is not visible in a stream at all.
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import threading
import time

from . import check
from .cases import Attempt, Case, Kind, shipped
from .connection import lacks
from .surroundings import each
from .world import Site, World

SEGMENT = 1460
WINDOW = 8
"""Segments that are under way at a time, each way."""
RTO_S, MOST_RTO_S = 0.2, 6.0
"""The shortest retransmission time-out of Linux; and the longest that is waited for here."""
PLACES = ("rate/2000", "rate/20000", "delay/1.0", "delay/0.3", "loss/0.3", "loss/0.1", "all/0.1")


class Link:
    """Passes one connection on at so many bytes a second, so many seconds late, and late again for each segment that
    is lost with this probability."""

    def __init__(self, port: int, dice: random.Random, rate: float, delay_s: float, loss: float) -> None:
        self._target, self._dice = port, dice
        self.rate, self.delay_s, self.loss = rate, delay_s, loss
        self.stalls = 0
        self.passed = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = [self._listener]
        self._closed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """End whatever goes on."""
        self._closed.set()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(WINDOW)
                threading.Thread(target=self._read, args=(source, under_way), daemon=True).start()
                threading.Thread(target=self._deliver, args=(target, under_way), daemon=True).start()

    def _read(self, source: socket.socket, under_way: queue.Queue[tuple[float, bytes]]) -> None:
        sent = arrived = 0.0
        data = b"x"
        while data:
            try:
                data = source.recv(SEGMENT)
            except OSError:
                data = b""
            sent = max(sent, time.monotonic()) + len(data) / self.rate
            arrived = max(arrived, sent + self.delay_s + self._stalled_s())
            under_way.put((arrived, data))

    def _stalled_s(self) -> float:
        """How much later a segment arrives for being lost, perhaps several times."""
        late, timeout = 0.0, RTO_S + 2 * self.delay_s
        while self._dice.random() < self.loss:
            self.stalls += 1
            late += timeout
            timeout = min(2 * timeout, MOST_RTO_S)
        return late

    def _deliver(self, target: socket.socket, under_way: queue.Queue[tuple[float, bytes]]) -> None:
        while True:
            due, data = under_way.get()
            self._closed.wait(max(0.0, due - time.monotonic()))
            self.passed += len(data)
            with contextlib.suppress(OSError):
                if data:
                    target.sendall(data)
                else:
                    target.shutdown(socket.SHUT_WR)
            if not data:
                return


def _ship(case: Case, site: Site) -> Attempt:
    """The ship succeeds, and takes at least as long as such a link needs."""
    what, _, text = case.place.partition("/")
    value = float(text)
    rate = {"rate": value, "all": 20_000.0}.get(what, 1e9)
    delay_s = {"delay": value, "all": 0.1}.get(what, 0.0)
    assert site.world.server is not None
    link = Link(site.world.server.port, case.random, rate, delay_s, value if what in ("loss", "all") else 0.0)
    site.stack.callback(link.close)
    site.world.server.configure(site.folder, link.port, patience_s=15)
    site.over_ssh = True
    started = time.monotonic()
    failure = shipped(site)
    took = time.monotonic() - started
    check.require(failure is None, f"{case.place}: after {took:.1f} s {failure}")
    if what == "rate":
        check.require(took > link.passed / 2 / rate, f"{link.passed} bytes in {took:.1f} s: no such link")
    if what == "delay":
        check.require(took > 10 * delay_s, f"{took:.1f} s: no such link")
    return Attempt(failure, struck=what not in ("loss", "all") or link.stalls > 0)


def _places(world: World) -> list[tuple[str, int]]:
    """With the helper there already: the cases' own is a megabyte, which at 2 kB/s takes minutes."""
    return each(*PLACES)


KINDS = [Kind("link", _places, _ship, lacks)]

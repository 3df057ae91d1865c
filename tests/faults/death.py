"""All that runs on a device is killed at once, as with a container that is stopped hard or a board whose system dies
with its disk intact: sshd, its session, the helper, what the helper runs, and the watcher that would outlive it."""

from __future__ import annotations

import subprocess
import threading
import time
from functools import cache

from . import check, connection
from .cases import Attempt, Case, Kind, impatient, shipped
from .connection import messages, watched
from .misbehaviour import service, strays
from .server import Server
from .world import Site, Variant, World

NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child=KILL")
"""The server is the first process of a PID namespace: the kernel ends all the others when it ends."""


@cache
def lacks() -> str | None:
    """Why there is no such namespace here."""
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True)
    reason = None if tried.returncode == 0 else f"no PID namespace can be made: {tried.stderr.strip()[-200:]}"
    return connection.lacks() or reason


def _places(world: World) -> list[tuple[str, int]]:
    return [
        (f"{way}/{what}/{number}", seed)
        for way, seed in (("ship", 0), ("ship", 3), ("service", 1), ("service", 2))
        for what, count in messages(world)[Variant.of(seed).name].items()
        for number in range(1, count + 1)
    ]


def _kill(case: Case, site: Site) -> Attempt:
    """ship: at the very message; service: within half a second after it, so that the trial is struck too."""
    way, what, number = case.place.split("/")
    server = Server.start(site.folder / "own-sshd", within=NAMESPACE)
    assert server is not None
    site.stack.callback(server.stop)
    server.configure(site.folder)
    site.over_ssh = True
    late_s = 0.0
    if way == "service":
        site.service = service(restart="sleep 0.3", health="true")
        late_s = case.random.uniform(0, 0.5)
    left = [int(number)]
    struck = threading.Event()

    def kill() -> None:
        server.process.kill()
        struck.set()

    def count(now: str) -> None:
        left[0] -= now == what
        if left[0] == 0 and late_s:
            threading.Timer(late_s, kill).start()
        elif left[0] == 0:
            kill()

    with impatient(site), watched(count):
        failure = shipped(site)
    if left[0] <= 0:
        struck.wait()
        _require_dead(site)
    return Attempt(failure, struck=left[0] <= 0)


def _require_dead(site: Site) -> None:
    """Nothing of the device outlives its namespace, the watcher included."""
    deadline = time.monotonic() + 5
    while found := check.processes(site) + check.processes(site, b"watch") + strays(site):
        check.require(time.monotonic() < deadline, f"it is still there: {found[:3]}")
        time.sleep(0.01)


KINDS = [Kind("device-killed", _places, _kill, lacks)]

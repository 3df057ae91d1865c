"""The connection is reset, closed or black-holed at an offset, or the client is killed at a message."""

from __future__ import annotations

import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any

from edgefreeze.transport.client import Helper

from . import check
from .cases import Attempt, Case, Kind, impatient, shipped
from .server import DOWN, UP, Proxy
from .world import VARIANTS, Site, Variant, World

OFFSETS = 256
CLIENT_S = 30.0


def lacks() -> str | None:
    """Why there is no server, None where there is."""
    return (
        None
        if shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        else "no sshd is installed"
    )


def through(site: Site, proxy: Proxy) -> None:
    """The ship goes over SSH and through the proxy."""
    assert site.world.server is not None
    site.stack.callback(proxy.close)
    site.world.server.configure(site.folder, proxy.port)
    site.over_ssh = True


def _port(world: World) -> int:
    assert world.server is not None
    return world.server.port


def lengths(world: World) -> dict[str, dict[str, int]]:
    """How many bytes go each way in a ship without a fault, by variant."""
    if "bytes" not in world.counts:
        found = {}
        for variant in VARIANTS:
            folder = world.folder / f"bytes-{variant.name}"
            shutil.copytree(world.base(variant), folder / "device", symlinks=True)
            site, proxy = Site(world, variant, folder / "device"), Proxy(_port(world))
            with site.stack:
                through(site, proxy)
                site.ship()
            found[variant.name] = dict(proxy.passed)
            shutil.rmtree(folder)
        world.counts["bytes"] = found
    return world.counts["bytes"]  # type: ignore[no-any-return]


def _offset_places(world: World) -> list[tuple[str, int]]:
    lengths(world)
    return [
        (f"{action}/{direction}/{number}", number % 4)
        for action in ("reset", "close", "hole")
        for direction in (UP, DOWN)
        for number in range(OFFSETS)
    ]


def _break(case: Case, site: Site) -> Attempt:
    action, direction, number = case.place.split("/")
    total = lengths(site.world)[site.variant.name][direction]
    offset = (int(number) * total + case.random.randrange(total)) // OFFSETS
    proxy = Proxy(_port(site.world), direction, offset, action)
    through(site, proxy)
    with impatient(site):
        failure = shipped(site)
    if action == "hole" and proxy.struck:
        check.wait_until_left(site)  # it hears nothing and nobody tells it: it leaves by itself
    proxy.close()
    return Attempt(failure, struck=proxy.struck)


def messages(world: World) -> dict[str, dict[str, int]]:
    """How many messages the client sends and gets in a ship without a fault, by variant."""
    if "messages" not in world.counts:
        found = {}
        for variant in VARIANTS:
            folder = world.folder / f"messages-{variant.name}"
            shutil.copytree(world.base(variant), folder / "device", symlinks=True)
            counts = {"sent": 0, "got": 0}

            def count(what: str, counts: dict[str, int] = counts) -> None:
                counts[what] += 1

            with watched(count):
                Site(world, variant, folder / "device").ship()
            found[variant.name] = counts
            shutil.rmtree(folder)
        world.counts["messages"] = found
    return world.counts["messages"]  # type: ignore[no-any-return]


class watched:  # noqa: N801 - used like a function
    """tell("sent") after each message that the client has written, tell("got") after each answer."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._write, self._receive = Helper._write, Helper._receive

    def __enter__(self) -> None:
        tell, write, receive = self._tell, self._write, self._receive

        def written(self: Helper, message: dict[str, Any], blob: int) -> int:
            number = write(self, message, blob)
            self._stream.writer.flush()
            tell("sent")
            return number

        def received(self: Helper, *args: Any) -> dict[str, Any]:
            result = receive(self, *args)
            tell("got")
            return result

        Helper._write, Helper._receive = written, received  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        Helper._write, Helper._receive = self._write, self._receive  # type: ignore[method-assign]


def _client_places(world: World) -> list[tuple[str, int]]:
    found = messages(world)
    return [
        (f"{how}/{what}/{number}", seed)
        for how in ("local", "ssh")
        for seed in range(4)
        for what, count in found[Variant.of(seed).name].items()
        for number in range(1, count + 1)
    ]


def fork() -> int:
    """os.fork without the warning of threads that an earlier connection has left behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _client_killed(case: Case, site: Site) -> Attempt:
    how, what, number = case.place.split("/")
    site.over_ssh = how == "ssh"
    child = fork()
    if child == 0:
        try:
            _ship_until(site, what, int(number))
        finally:
            os._exit(3)  # it was not killed: it got through, or failed
    deadline = time.monotonic() + CLIENT_S
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return Attempt(None, struck=os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise check.Broken(f"the client did not end within {CLIENT_S} s")
        time.sleep(0.005)


def _ship_until(site: Site, what: str, number: int) -> None:
    left = [number]

    def count(now: str) -> None:
        left[0] -= now == what
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with watched(count):
        site.ship()


KINDS = [
    Kind("connection", _offset_places, _break, lacks),
    Kind("client-killed", _client_places, _client_killed, lacks),
]

"""What runs on the device misbehaves: the model in its self-test, the hook, the health check; the helper is
killed while a release is on trial; several clients come at once."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from edgefreeze.errors import Failure
from edgefreeze.inventory import Service

from . import check
from .cases import Attempt, Case, Kind, impatient, shipped
from .connection import fork
from .surroundings import each
from .world import Site, World

MODELS = ("hang", "noise", "cry", "forks", "memory", "killed", "segv", "exit", "wrong", "good")
COMMANDS = {
    "hang": "sleep 600", "noise": "yes", "cry": "yes >&2", "killed": "kill -9 $$", "fails": "exit 3",
    "forks": "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 600 & done; sleep 600", "hup": "kill -HUP $$; sleep 600",
    "closes": "exec >&- 2>&-; sleep 600", "bytes": "head -c 3000000 /dev/urandom; exit 1",
    "ignores": "trap '' TERM HUP INT; sleep 600", "deletes": 'rm -f "$EDGEFREEZE_CURRENT"; exit 1',
    "escapes": "printf '\\033]0;x\\007\\033[2J'; exit 1",
}  # fmt: skip
KILLS_HELPER = "kill -9 $PPID; sleep 0.2"
STOPS_HELPER = 'd="$EDGEFREEZE_CURRENT.stopped"; test -e "$d" || { touch "$d"; kill -STOP $PPID; sleep 3; }'
"""Once: the hook that is run when the device goes back stops nobody."""
CLIENTS, DEPLOYS = 4, 5
WATCHED_S = 25.0


def service(**commands: str) -> Service:
    """A service whose commands are lines of a shell, with deadlines of a second."""
    return Service(
        **{name: ("/bin/sh", "-c", line) for name, line in commands.items()},  # type: ignore[arg-type]
        restart_timeout_s=1.0, successes=2, period_s=0.1, deadline_s=1.0,
    )  # fmt: skip


def strays(site: Site) -> list[str]:
    """Runners and hooks of this device that are still there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line, surrounding = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            runner = os.fsencode(str(site.root)) in line and b"\0runner" in line
            hook = b"EDGEFREEZE_CURRENT=" + os.fsencode(str(site.root)) in surrounding
            if runner or hook:
                found.append(line.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


def _none_left(site: Site) -> None:
    deadline = time.monotonic() + 10
    while found := strays(site):
        check.require(time.monotonic() < deadline, f"still running: {found[:3]}")
        time.sleep(0.05)


def _model(case: Case, site: Site) -> Attempt:
    release = site.world.b if case.place == "good" else site.world.release(case.place)
    with impatient(site):
        failure = shipped(site, release=release)
    check.require((failure is None) == (case.place == "good"), f"the model {case.place}: {failure}")
    _none_left(site)
    return Attempt(failure)


def _command_places(world: World) -> list[tuple[str, int]]:
    return each(*(f"{which}/{name}" for which in ("restart", "health") for name in COMMANDS))


def _command(case: Case, site: Site) -> Attempt:
    which, name = case.place.split("/")
    site.service = service(**{which: COMMANDS[name]})
    with impatient(site):
        failure = shipped(site)
    check.require(failure is not None and failure.code in ("hook-failed", "health-failed", "rollback-failed"),
                  f"{case.place} ended with {failure}")  # fmt: skip
    check.require(site.current() == site.world.a.id, "the device did not go back")
    _none_left(site)
    site.service = service(restart="true", health="true")
    return Attempt(failure)


def _dead_man(case: Case, site: Site) -> Attempt:
    """Nobody comes back: the watcher alone returns to A."""
    site.service = service(restart=KILLS_HELPER if case.place == "killed" else STOPS_HELPER)
    with impatient(site):
        failure = shipped(site)
    check.require(failure is not None, "the helper was killed and nobody noticed")
    deadline = time.monotonic() + WATCHED_S
    while site.current() != site.world.a.id or site.state()["phase"] != "COMMITTED":
        check.require(time.monotonic() < deadline, f"nobody went back: {site.state()}")
        time.sleep(0.05)
    while check.processes(site, b"watch"):
        check.require(time.monotonic() < deadline, "the watcher stays")
        time.sleep(0.05)
    (site.app / "current.stopped").unlink(missing_ok=True)
    site.service = service(restart="true", health="true")
    return Attempt(failure)


def _crowd(case: Case, site: Site) -> Attempt:
    """Each client ships A or B, or has the device go back, several times; the one error is that somebody else
    is at work."""
    children = []
    for number in range(CLIENTS):
        child = fork()
        if child == 0:
            os._exit(_client(site, random.Random(f"{case.id}:{number}")))
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    check.require(not any(ends), f"the clients ended with {ends}")
    check.wait_until_left(site)
    site.ship(site.world.a)
    return Attempt(None)


def _client(site: Site, dice: random.Random) -> int:
    for _ in range(DEPLOYS):
        try:
            what = dice.choice(("a", "b", "b", "back"))
            if what == "back":
                with site.connect() as helper:
                    helper.request("open_app", {"app": "cam", "who": "crowd", "mode": "write"})
                    helper.request("rollback", {"app": "cam"})
            else:
                site.ship(site.world.a if what == "a" else site.world.b)
        except Failure as failure:
            if failure.code not in ("locked", "no-previous"):
                print(f"crowd: {failure.code}: {failure} {failure.found}", flush=True)
                return 1
        except BaseException as error:
            print(f"crowd: {error!r}", flush=True)
            return 2
    return 0


def _holder(case: Case, site: Site) -> Attempt:
    """Somebody holds the lock, and is stopped or killed."""
    holder = site.connect()
    pid = (
        holder.request("open_app", {"app": "cam", "who": "the holder", "mode": "write"})
        and holder.request("ping")["pid"]
    )
    if case.place == "stopped":
        os.kill(pid, signal.SIGSTOP)
        site.stack.callback(holder.close)
    elif case.place == "killed":
        os.kill(pid, signal.SIGKILL)
        holder.close()
        check.wait_until_left(site)
    failure = shipped(site)
    if case.place == "killed":
        check.require(failure is None, f"a lock outlived its holder: {failure}")
    else:
        check.require(
            failure is not None and failure.code == "locked", f"the lock was not respected: {failure}"
        )
        check.require("the holder" in str(failure), f"it does not say who holds it: {failure}")
    if case.place == "stopped":
        os.kill(pid, signal.SIGKILL)
    holder.close()
    return Attempt(failure)


KINDS = [
    Kind("selftest", lambda world: each(*MODELS, seeds=(0, 1, 2, 3)), _model),
    Kind("service", _command_places, _command),
    Kind("dead-man", lambda world: each("killed", "stopped"), _dead_man),
    Kind("crowd", lambda world: [(str(number), number % 4) for number in range(40)], _crowd),
    Kind("lock-holder", lambda world: each("stopped", "killed", "alive"), _holder),
]

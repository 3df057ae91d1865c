"""A case is data: its kind, its place, its seed. What the kinds are, and how one case is run."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefreeze.errors import Failure
from edgefreeze.transport import client, ssh

from . import check
from .world import SECRET, Site, Variant, World

_numbers = itertools.count()
LIMIT_S = 90
"""A case that takes longer has found something."""


@dataclass(frozen=True, order=True)
class Case:
    """`place` says where the fault strikes, in the kind's own words; the seed decides the rest."""

    kind: str
    place: str
    seed: int

    @property
    def id(self) -> str:
        """As it stands in results and on the command line."""
        return f"{self.kind}:{self.place}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """The case of an id."""
        kind, _, rest = text.partition(":")
        place, _, seed = rest.rpartition(":")
        return cls(kind, place, int(seed))

    @property
    def random(self) -> random.Random:
        """The case's own dice."""
        return random.Random(self.id)


@dataclass
class Attempt:
    """What came of the ship with the fault. struck: the fault took place, so that the case counts."""

    failure: BaseException | None = None
    struck: bool = True
    told: str = ""
    """For the message of a case that fails: what the fault was."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault. places: for a world, where it can strike, each with the seeds to take; attempt: ships B
    with the fault; lacks: why it cannot be made on this machine."""

    name: str
    places: Callable[[World], list[tuple[str, int]]]
    attempt: Callable[[Case, Site], Attempt]
    lacks: Callable[[], str | None] = lambda: None
    allow: tuple[str, ...] = ()
    """Files that a case of this kind may leave."""


@dataclass(frozen=True)
class Result:
    """What a case showed."""

    case: Case
    ok: bool
    struck: bool
    code: str | None
    """Of the error that the host raised."""
    active: str | None
    """ "A" or "B": what ran after the fault."""
    seconds: float
    message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """A line of the results file."""
        return {
            "case": self.case.id, "ok": self.ok, "struck": self.struck, "code": self.code,
            "active": self.active, "seconds": round(self.seconds, 3), "message": self.message,
        }  # fmt: skip


def shipped(site: Site, **how: Any) -> Failure | None:
    """Ship B; the failure where it failed. Whatever else is raised is a finding."""
    try:
        site.ship(**how)
    except Failure as failure:
        return failure
    return None


def run(world: World, kind: Kind, case: Case, scratch: Path) -> Result:
    """One case from start to end."""
    started = time.monotonic()
    # Of its own: what a case before has left must not be taken for this one's.
    folder = scratch / f"case-{os.getpid()}-{next(_numbers)}"
    folder.mkdir(parents=True)
    variant = Variant.of(case.seed)
    shutil.copytree(world.base(variant), folder / "device", symlinks=True, copy_function=linking_copy())
    site = Site(world, variant, folder / "device")
    attempt, active, message = Attempt(), None, ""
    try:
        with _deadline(), _surroundings(world, folder), site.stack:
            attempt = kind.attempt(case, site)
            if attempt.struck:
                check.wait_until_left(site)
                active = check.after(site, attempt.failure)
                _plain(site)
                check.converged(site, kind.allow)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        message = _told(error, attempt)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = {world.a.id: "A", world.b.id: "B", None: None}
    return Result(
        case=case, ok=not message, struck=attempt.struck, code=getattr(attempt.failure, "code", None),
        active=names.get(active), seconds=time.monotonic() - started, message=message,
    )  # fmt: skip


def _plain(site: Site) -> None:
    """The same again, with the deadlines of every day: that this machine is busy is no fault of the ship's."""
    site.program = "true"
    if site.service is not None:
        site.service = msgspec.structs.replace(site.service, restart_timeout_s=30.0, deadline_s=30.0)
    site.python, site.over_ssh = site.plain_python, False
    try:
        site.ship()
    except Failure as failure:
        raise check.Broken(f"the plain ship failed: {failure.code}: {failure} {failure.found}") from failure


def _told(error: BaseException, attempt: Attempt) -> str:
    where = "".join(traceback.format_exception(error)[-8:])
    code = getattr(attempt.failure, "code", None)
    return f"{type(error).__name__}: {error} [{attempt.told} after {code}: {attempt.failure}]\n{where}"[:6000]


def linking_copy() -> Callable[[str, str], object]:
    """Copies that keep hard links: a release's files are links into the store."""
    known: dict[int, str] = {}

    def copy(source: str, target: str) -> object:
        inode = Path(source).stat().st_ino
        if inode in known:
            os.link(known[inode], target)
        else:
            shutil.copy2(source, target)
            known[inode] = target
        return target

    return copy


class TookTooLong(Exception):
    """The case's time is up."""


@contextmanager
def _deadline() -> Iterator[None]:
    def end(*_: object) -> None:
        raise TookTooLong(f"more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def impatient(site: Site) -> Iterator[None]:
    """Both ends wait seconds where they would wait a minute; after the attempt they are themselves again."""
    site.program = "quick"
    kept = client.SILENCE_S, client.GREETING_S, ssh.CONNECT_TIMEOUT_S, ssh.AUTH_TIMEOUT_S
    client.SILENCE_S, client.GREETING_S, ssh.CONNECT_TIMEOUT_S, ssh.AUTH_TIMEOUT_S = 2.0, 3.0, 1.0, 1.5
    try:
        yield
    finally:
        client.SILENCE_S, client.GREETING_S, ssh.CONNECT_TIMEOUT_S, ssh.AUTH_TIMEOUT_S = kept


@contextmanager
def _surroundings(world: World, folder: Path) -> Iterator[None]:
    """A password in the environment, and a configuration for the server."""
    before = dict(os.environ)
    os.environ["EDGEFREEZE_SSH_PASSWORD"] = SECRET
    if world.server is not None:
        world.server.configure(folder)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

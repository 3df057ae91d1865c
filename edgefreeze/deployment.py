"""What a deployment is asked, and what it did; deploying.py is the order in which it does it."""

from __future__ import annotations

import getpass
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgefreeze import runtimes
from edgefreeze.accuracy import Accuracy
from edgefreeze.benchmark import choice
from edgefreeze.benchmark.gates import Gate, Judgement
from edgefreeze.benchmark.plan import Effort
from edgefreeze.benchmark.result import DuelResult
from edgefreeze.building import Built, Wish
from edgefreeze.conversion import Options
from edgefreeze.inventory import Device, Service
from edgefreeze.release import signing
from edgefreeze.release.manifest import Release
from edgefreeze.ship import admission
from edgefreeze.ship.admission import Trust
from edgefreeze.ship.plan import RuntimePlan, ShipPlan
from edgefreeze.ship.session import SelfTest
from edgefreeze.shown import Shown
from edgefreeze.targets import Target
from edgefreeze.text import short, size
from edgefreeze.types import Artifact, DeviceFacts

Ask = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to deploy, where, and how."""

    model: Path
    app: str
    target: Target
    device: Device
    options: Options = field(default_factory=Options)
    wish: Wish = field(default_factory=Wish)
    bench: bool = True
    dry_run: bool = False
    service: Service | None = None
    rate: int | None = None
    """At most so many bytes a second are sent."""
    sign: Path | None = None
    """The SSH key to sign with."""
    sources: runtimes.Sources = field(default_factory=runtimes.Sources)
    """Where the runtimes' packages come from."""
    effort: Effort = field(default_factory=Effort)
    """How the duel is measured."""
    gates: tuple[Gate, ...] = ()
    """What the figures must show before the release becomes active."""
    allow_emulated: bool = False
    """Let an emulated device's figures decide."""


@dataclass(slots=True, kw_only=True, repr=False)
class Deployment(Shown):
    """What a deployment did. `bytes_*` are payload; `seconds` is by stage."""

    release: str
    app: str
    target: str
    device: str
    emulated: bool
    facts: DeviceFacts
    artifacts: tuple[Artifact, ...]
    golden: str
    """Where the golden inputs came from."""
    bytes_total: int
    bytes_needed: int
    bytes_sent: int = 0
    bytes_saved: int = 0
    previous: str | None = None
    active: str | None = None
    changed: bool = True
    """False: the release was active there before."""
    rolled_back: bool = False
    dry_run: bool = False
    selftest: tuple[SelfTest, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    bench: DuelResult | None = None
    choice: choice.Choice | None = None
    """Of --format auto: which artifact runs there, and why."""
    gates: tuple[Judgement, ...] = ()
    """What --require and --max-regress asked for, judged."""
    unverified: tuple[str, ...] = ()
    """Artifacts that are there though nothing could be proved of them (--allow-unverified)."""
    cached: bool = False
    """The build was in the cache."""
    signer: str | None = None
    """Fingerprint of the key that signed the release; none: it is unsigned."""
    seconds: dict[str, float] = field(default_factory=dict)
    runtimes: dict[str, str] = field(default_factory=dict)
    """Runtime to what it is there: the interpreter's own package, or the packages that were brought."""


def begun(request: Request, built: Built, ship: ShipPlan, facts: DeviceFacts) -> Deployment:
    """What is known of a deployment before anything is sent."""
    golden = built.conversion.golden
    return Deployment(
        release=built.release.id,
        app=request.app,
        target=request.target.name,
        device=request.device.name,
        emulated=facts.emulated,
        facts=facts,
        artifacts=built.conversion.artifacts,
        golden=golden.text,
        bytes_total=ship.bytes_total,
        bytes_needed=ship.bytes_needed,
        bytes_saved=ship.bytes_saved,
        dry_run=request.dry_run,
        accuracy=built.accuracy,
        unverified=unverified_of(built.release),
        cached=built.cached,
        runtimes={
            r.choice.runtime: f"{r.choice.here} of the device" if r.tree is None else _packages(r)
            for r in ship.runtimes
        },
    )


def _packages(runtime: RuntimePlan) -> str:
    assert runtime.tree is not None
    assert runtime.choice.package is not None
    tree, name = runtime.tree, runtime.choice.package.package
    brought = f"{name} {tree.packages.get(name, '?')}, {size(tree.bytes)}, tree {short(tree.id)}"
    return f"{runtime.choice.here} of the device; {brought}" if runtime.choice.here else brought


def signed_for(trust: Trust, release: Release, key: Path, plans: tuple[RuntimePlan, ...]) -> Release:
    """The release signed for a device, with a sequence beyond what that has seen, and the runtimes that go
    there. Raises Failure as signing.sign()."""
    return signing.signed(
        release,
        key,
        sequence=admission.next_sequence(trust, now_s=int(time.time())),
        runtimes=admission.trees(plans, runtimes.table().runner),
    )


def who() -> str:
    """Who is at work, for the lock and the history."""
    return f"{getpass.getuser()}@{platform.node() or 'unknown'}"


def unverified_of(release: Release) -> tuple[str, ...]:
    """The artifacts of which nothing was proved here, and nothing can be there."""
    return tuple(a.key for a in release.artifacts if not a.provable)


def proved_there(artifacts: tuple[Artifact, ...], tests: tuple[SelfTest, ...]) -> tuple[Artifact, ...]:
    """The artifacts, with those "verified" that the device has built and its self-test has proved. Pure."""
    passed = {test.key: test for test in tests if test.ok}
    return tuple(
        replace(a, status="verified", parity=passed[a.key].parity, reason=None)
        if a.built_there and a.key in passed
        else a
        for a in artifacts
    )


def weights(release: Release, plans: tuple[RuntimePlan, ...]) -> dict[str, int | None]:
    """Bytes of each artifact's runtime, where it is brought."""
    trees = {p.choice.runtime: p.tree.bytes for p in plans if p.tree is not None}
    return {a.key: trees.get(runtimes.table().of_format(a.format)) for a in release.artifacts}


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the seconds within to those of the stage."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

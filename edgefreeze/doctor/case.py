"""What the checks judge, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgefreeze.errors import Failure
from edgefreeze.targets import Target
from edgefreeze.types import DeviceFacts

Level = Literal["fine", "warning", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's: what was found, and what a person does about it (None: nothing)."""

    name: str
    level: Level
    found: str
    fix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The way to the device. `jump`: it leads through another host; `known`: where and as what kind the
    host's key is known, such as "ssh-ed25519 in ~/.ssh/known_hosts"; `noise`: what the login printed before
    the command that it was asked to run; `round_trips_ms`: of small requests on the open channel."""

    destination: str
    address: str
    local: bool = False
    jump: bool = False
    known: str | None = None
    noise: str = ""
    round_trips_ms: tuple[float, ...] = ()
    echo: str | None = None
    """What `ssh HOST echo …` printed, where the helper did not start."""
    failure: Failure | None = None
    """Why there is no connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A cluster of CPUs and their clock, in kHz."""

    cpus: str
    governor: str | None
    now_khz: int | None
    max_khz: int | None
    able_khz: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One that takes processor time; `cores` of it, 1.0 being one core's whole."""

    pid: int
    name: str
    cores: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the device fares, as its helper collected it (device/health.py). All text is untrusted."""

    texts: dict[str, str] = field(default_factory=dict)
    policies: tuple[Policy, ...] = ()
    zones: dict[str, float] = field(default_factory=dict)
    busiest: tuple[Process, ...] = ()
    now: float | None = None
    uname: str | None = None
    page_bytes: int | None = None
    user: int | None = None
    root: str = ""
    writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a runtime that the target's formats need is on the device.

    own: the package that its interpreter has; bring: what would be brought, with `unpacked_mb`; reason: why
    there is none. inferred: whether a tiny model ran in it; None: it was not tried. error: what it said.
    """

    name: str
    formats: tuple[str, ...]
    first: bool
    """The target's preferred format needs it."""
    own: str | None = None
    bring: str | None = None
    unpacked_mb: int = 0
    reason: str | None = None
    inferred: bool | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An app's active release on the device, and how its self-test on its golden inputs went just now."""

    app: str
    release: str
    passed: tuple[str, ...]
    failed: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is known of the device and of what it should be. `asked_at` and `answered_at`: the host's
    clock around the collection; `others`: names of targets of the device's architecture."""

    target: Target
    link: Link
    facts: DeviceFacts
    health: Health = field(default_factory=Health)
    asked_at: float = 0.0
    answered_at: float = 0.0
    others: tuple[str, ...] = ()
    runtimes: tuple[Runtime, ...] = ()
    releases: tuple[Release, ...] = ()

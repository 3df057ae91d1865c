"""What commands print with --json, as types, where it is no result of another room. Dataclasses where
Python has them as results too; otherwise the dicts that the commands' jobs give. Text of a device in it has
been cleaned of what a terminal would obey. The whole table, with the other rooms' results: schemas.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from edgefreeze.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A release on a device. None: the device does not say."""

    release: str | None
    created: str | None
    """UTC."""
    target: str | None
    formats: tuple[str, ...]
    preferred: str | None
    """The artifact that runs there because a duel chose it."""
    bytes: int | None
    signed: str | None
    """By whom."""
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An application on a device."""

    app: str | None
    release: str | None
    """The active one."""
    previous: str | None
    """The one that rollback returns to."""
    phase: str | None
    """ "COMMITTED"; "TRIAL" while a switch has not been confirmed."""
    releases: tuple[Stored, ...]


class Boot(TypedDict):
    """The unit that goes back, when the device starts, from a trial that was cut."""

    unit: str | None
    """Its file on the device."""
    enabled: bool
    lacks: list[str | None]
    """Files that it would need and that are not there."""
    booted: bool
    """The device was started by systemd."""
    user: str | None
    lingers: bool
    """Whether the user's units start without a login."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Status(Shown):
    """What a device runs. `release` and `previous` are those of the app where there is only one."""

    device: str
    release: str | None
    previous: str | None
    apps: tuple[App, ...]
    store_bytes: int | None
    disk_free_bytes: int | None
    boot: Boot


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a device's log."""

    time: str | None
    """UTC."""
    event: str | None
    release: str | None
    previous: str | None
    who: str | None
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class History(Shown):
    """The log of an app, oldest first."""

    device: str
    app: str
    release: str | None
    previous: str | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Switch(Shown):
    """A rollback: `release` runs now, `previous` ran before it."""

    device: str
    app: str
    release: str | None
    previous: str | None
    bytes_sent: int = 0
    """Nothing: it is there."""


class Pinned(TypedDict):
    """A release that is kept however many come after it, or no longer."""

    device: str
    app: str
    release: str
    pinned: bool
    changed: bool


class Run(TypedDict):
    """An inference on the device. `path`: the .npz of its outputs; `outputs`: their shapes."""

    device: str
    app: str
    release: str | None
    format: str | None
    path: str
    outputs: dict[str, list[int]]


class Listed(TypedDict):
    """A device of edgefreeze.toml."""

    name: str
    target: str
    host: str | None
    transport: str
    state: str
    """ "reachable", "not asked", or the code of what stands in the way."""
    last_seen: str | None
    """UTC."""
    apps: dict[str, str | None]
    """App to its active release, when last asked."""


class Devices(TypedDict):
    """The inventory."""

    devices: list[Listed]


class DeviceAdded(TypedDict):
    """A device that was written into edgefreeze.toml (`path`)."""

    path: str
    name: str
    host: str
    target: str


class DeviceRemoved(TypedDict):
    """A device that was taken out of edgefreeze.toml (`path`). What is on it stays."""

    path: str
    name: str


class Host(TypedDict):
    """A host that could become a device."""

    alias: str
    address: str
    jump: bool
    """It is reached through another host."""
    device: str | None
    """The device of edgefreeze.toml that it is."""
    add: str | None
    """The command that adds it."""


class Discovered(TypedDict):
    """Hosts of ~/.ssh/config, and of multicast DNS where asked for."""

    hosts: list[Host]


class RecoversAtBoot(TypedDict):
    """The unit was put there, or taken away."""

    device: str
    changed: bool
    told: bool
    """The user's systemd took notice."""
    boot: Boot


class Purged(TypedDict):
    """What was removed of ours; `foreign`: what somebody else has put there, which stays."""

    device: str
    root: str
    apps: list[str | None]
    files: int | None
    bytes: int | None
    foreign: list[str | None]


class SignerEntry(TypedDict):
    """An enrolled key."""

    fingerprint: str
    comment: str


class Trusted(TypedDict):
    """Whom a device trusts, after what was asked."""

    device: str
    policy: str
    """ "first-use", "require", "allow-unsigned"."""
    signers: list[SignerEntry]
    ignored_lines: int
    """Lines of its allowed_signers that cannot be read; they trust nobody."""
    verifier: str | None
    """What verifies signatures there."""
    folder: str | None
    entries: list[Entry]


class Packed(TypedDict):
    """A release as one file, every byte of it checked."""

    path: str
    release: str
    app: str
    target: str
    formats: list[str]
    created: str
    sequence: int
    signer: str | None
    """Fingerprint of the key that signed it."""
    runtimes: list[str]
    """Runners whose packages go along."""
    machine: str | None
    python: str | None
    bytes: int


class Unpacked(TypedDict):
    """A packed release as a folder (`path`)."""

    path: str
    release: str
    signer: str | None


class HelperFile(TypedDict):
    """The helper as one file."""

    path: str
    bytes: int
    sha256: str


class TargetLine(TypedDict):
    """A target in a line."""

    name: str
    summary: str
    path: str


class TargetLines(TypedDict):
    """All targets."""

    targets: list[TargetLine]


class TargetFiles(TypedDict):
    """The files that were checked and hold."""

    files: list[str]


class TargetWritten(TypedDict):
    """A target that was drawn from a device."""

    path: str
    extends: str | None


class TargetSchema(TypedDict):
    """The JSON Schema of a target's file."""

    json_schema: dict[str, Any]


class Completion(TypedDict):
    """A script of completion."""

    shell: str
    script: str


class Begun(TypedDict):
    """An edgefreeze.toml that was written."""

    path: str
    app: str
    target: str
    model: str


class ResultExported(TypedDict):
    """A result in another form: in the file `path`, or as `text`."""

    to: str
    path: str | None
    text: str | None

"""What a device says of itself: the results of edgefreeze.status, history and rollback. All text in it has
been cleaned of what a terminal would obey."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


class Plain:
    """to_dict(), as the other results have it."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, by the names of the --json document."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Plain):
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
class App(Plain):
    """An application on a device."""

    app: str | None
    release: str | None
    """The active one."""
    previous: str | None
    """The one that rollback returns to."""
    phase: str | None
    """ "COMMITTED"; "TRIAL" while a switch has not been confirmed."""
    releases: tuple[Stored, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Plain):
    """What a device runs. `release` and `previous` are those of the app where there is only one."""

    device: str
    release: str | None
    previous: str | None
    apps: tuple[App, ...]
    store_bytes: int | None
    disk_free_bytes: int | None
    boot: dict[str, Any]
    """Of the unit that goes back from a trial when the device starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Plain):
    """A line of a device's log."""

    time: str | None
    """UTC."""
    event: str | None
    release: str | None
    previous: str | None
    who: str | None
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History(Plain):
    """The log of an app, oldest first."""

    device: str
    app: str
    release: str | None
    previous: str | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Plain):
    """A rollback: `release` runs now, `previous` ran before it."""

    device: str
    app: str
    release: str | None
    previous: str | None

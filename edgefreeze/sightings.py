"""When each device was last seen from this machine, and what it ran then: a small file below XDG_STATE_HOME,
kept so that `edgefreeze devices` has something to say of a device that is off."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edgefreeze.inventory import state_root

_one_at_a_time = threading.Lock()
"""Several devices are asked at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The last contact with a device: when (UTC, "2026-11-21T18:00:00Z"), and its apps' active releases, as
    they were when they were last asked for."""

    seen: str
    apps: dict[str, str | None] = field(default_factory=dict)


def read() -> dict[str, Sighting]:
    """All sightings by device; none where the file is not there or makes no sense."""
    try:
        return msgspec.json.decode(_file().read_bytes(), type=dict[str, Sighting])
    except (OSError, msgspec.DecodeError):
        return {}


def saw(name: str, apps: dict[str, str | None] | None = None) -> None:
    """Note that a device answered just now. apps: what each runs; None: it was not asked. Never raises: a
    note that cannot be written is no reason to stop."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with _one_at_a_time:
        known = read()
        before = known.get(name)
        kept = before.apps if before else {}
        known[name] = Sighting(seen=now, apps=kept if apps is None else apps)
        _write(known)


def forget(name: str) -> None:
    """Drop what is known of a device."""
    with _one_at_a_time:
        known = read()
        if known.pop(name, None) is not None:
            _write(known)


def _write(known: dict[str, Sighting]) -> None:
    file = _file()
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(known))
        part.replace(file)


def _file() -> Path:
    return state_root() / "devices.json"

"""A target's file from a probe: what was found on a board, on top of the nearest target."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from edgefreeze import inventory, targets
from edgefreeze.errors import Failure
from edgefreeze.inventory import Config, Device
from edgefreeze.ship import session
from edgefreeze.targets import Target
from edgefreeze.transport.client import connect
from edgefreeze.types import DeviceFacts

Ask = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A target's file, and the target that it extends."""

    text: str
    extends: str


def from_device(name: str, config: Config, host: str, folders: tuple[Path, ...], ask: Ask) -> Draft:
    """Look at a device and write its target. `host`: as --host, or "local", this machine.

    Raises Failure as connecting does, device-mismatch where no target is of its architecture.
    """
    local = host == "local" and host not in config.devices
    device = inventory.choose(config, name, "local" if local else "ssh", None if local else host)
    with connect(device, ask, session.FIRST) as helper:
        facts = session.probe(helper)
    # One that extends another cannot be extended itself: what it says is taken from it instead.
    known = [targets.read(file, folders).target for file in targets.names(folders).values()]
    return draft(facts, [target for target in known if target.name != name], device)


def draft(facts: DeviceFacts, known: list[Target], device: Device) -> Draft:
    """The file of a target for a board with these facts. Raises Failure device-mismatch. Pure."""
    base = nearest(facts, known)
    match: list[tuple[str, object]] = [("machine", [facts.machine])]
    if facts.board:
        match.append(("board", [_without_revision(facts.board)]))
    if facts.cpu_model:
        match.append(("cpu", [facts.cpu_model]))
    match.append(("python", _at_least(facts.python)))
    if facts.libc.startswith("glibc "):
        match.append(("glibc", _at_least(facts.libc.removeprefix("glibc "))))
    summary = facts.board or facts.cpu_model or f"{facts.machine} board"
    lines = [
        f"# As found on {_comment(device.name)}: {_comment(facts.os or 'an unknown system')},"
        f" Python {_comment(facts.python)}.",
        f'extends = "{base.name}"',
        f"summary = {_quoted(summary)}",
    ]
    if device.python is not None:
        lines.append(f"python = {_quoted(device.python)}")
    lines += ["", "[match]", *(f"{key} = {_quoted(value)}" for key, value in match)]
    if facts.ram_bytes:
        lines += ["", "[limits]", f"memory_mb = {max(1, facts.ram_bytes // 2 // 10**6)} # half of its RAM"]
    return Draft(text="\n".join(lines) + "\n", extends=base.name)


def nearest(facts: DeviceFacts, known: list[Target]) -> Target:
    """The target to start from: of the board's architecture, one that extends no other, and with the fewest
    mismatches. Raises Failure device-mismatch where none is of that architecture. Pure."""
    fitting = [t for t in known if t.extends is None and facts.machine in t.match.machine]
    if not fitting:
        raise Failure(
            "device-mismatch",
            f"no target is for {facts.machine}",
            expected=" or ".join(sorted({m for t in known for m in t.match.machine})),
            found=facts.machine,
        )
    return min(fitting, key=lambda target: (len(target.mismatches(facts)[1]), target.name))


def _without_revision(board: str) -> str:
    return re.sub(r" Rev(ision)? [\d.]+$", "", board)


def _at_least(version: str) -> str:
    try:
        major, minor = Version(version).release[:2]
    except (InvalidVersion, ValueError):
        return ""
    return f">={major}.{minor}"


def _quoted(value: object) -> str:
    """As TOML. JSON's strings, lists and numbers are TOML's too, but for what lies beyond the BMP."""
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    return " ".join(text.split())

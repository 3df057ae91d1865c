"""Whether a device goes back at boot from a trial that was cut, for a person."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

if TYPE_CHECKING:
    from rich.console import Console


def troubles(boot: Mapping[str, Any]) -> list[str]:
    """Why the unit that is there would not run at boot, and what to do; empty where it would."""
    found = []
    if not boot["booted"]:
        found.append("the device was not booted with systemd, and nothing else starts the unit")
    if not boot["enabled"]:
        found.append("the unit is not enabled; next: edgefreeze device recover-at-boot")
    if boot["lacks"]:
        missing = ", ".join(str(path) for path in boot["lacks"])
        found.append(f"the unit runs what is not there: {missing}; next: edgefreeze device recover-at-boot")
    if boot["booted"] and not boot["lingers"]:
        user = shlex.quote(boot["user"] or "USER")
        found.append(
            f"{user} does not linger, so that the unit starts at {user}'s first login and not at boot;"
            f" next, on the device: sudo loginctl enable-linger {user}"
        )
    return found


def print_outcome(console: Console, found: Mapping[str, Any]) -> None:
    """What `device recover-at-boot` did."""
    boot, name = found["boot"], escape(found["device"])
    if boot["unit"] is None:
        console.print(f"{name}: the unit is gone" if found["changed"] else f"{name}: there was no unit")
        return
    told = "" if found["told"] or not boot["booted"] else " (no systemd of the user's runs just now)"
    console.print(f"{name}: {escape(boot['unit'])} goes back at boot from a trial that was cut{told}")
    _print_troubles(console, boot)


def print_state(console: Console, device: str, boot: Mapping[str, Any]) -> None:
    """A line of `status`, and what stands in the way."""
    if boot["unit"] is None:
        console.print(
            "[dim]after a power cut on trial it goes back with the next command, not at boot"
            f" (edgefreeze device recover-at-boot --host {escape(device)})[/]"
        )
        return
    console.print(f"[dim]at boot it goes back from a trial that was cut: {escape(boot['unit'])}[/]")
    _print_troubles(console, boot)


def _print_troubles(console: Console, boot: Mapping[str, Any]) -> None:
    for trouble in troubles(boot):
        console.print(f"[yellow]warning[/] {escape(trouble)}")

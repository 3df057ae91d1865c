"""Devices, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from edgefreeze.report import tables
from edgefreeze.text import short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_COLOURS = {"reachable": "green", "not asked": "dim"}


def print_devices(console: Console, found: Mapping[str, Any]) -> None:
    """A line for each device."""
    if not found["devices"]:
        console.print("no devices yet. Next: edgefreeze devices discover, edgefreeze devices add NAME HOST")
        return
    table = _table("device", "target", "host", "state", "last seen", "active release")
    for row in found["devices"]:
        colour = _COLOURS.get(row["state"], "red")
        apps = ", ".join(f"{app} {short(release)}" for app, release in row["apps"].items())
        tables.add_row(
            table, row["name"], row["target"], row["host"] or "this machine",
            Text(row["state"], style=colour), row["last_seen"] or "never", apps or "none",
        )  # fmt: skip
    tables.show(console, table)


def print_hosts(console: Console, found: Mapping[str, Any]) -> None:
    """A line for each alias, and how it becomes a device."""
    if not found["hosts"]:
        console.print("~/.ssh/config has no names for hosts. Next: edgefreeze devices add NAME user@host")
        return
    table = _table("alias", "address", "device", "next")
    for row in found["hosts"]:
        via = " (through a jump)" if row["jump"] else ""
        tables.add_row(
            table, row["alias"], row["address"] + via, row["device"] or "", row["add"] or "",
        )  # fmt: skip
    tables.show(console, table)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table

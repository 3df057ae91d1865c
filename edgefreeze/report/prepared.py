"""What `prepare` did, for a terminal and as the fields of its --json document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from edgefreeze.preparing import Preparation, Prepared
from edgefreeze.report import tables
from edgefreeze.report.markup import marked
from edgefreeze.text import duration, short, size

if TYPE_CHECKING:
    from rich.console import Console


def fields(found: Preparation) -> dict[str, Any]:
    """The fields of the --json document."""
    document: dict[str, Any] = msgspec.to_builtins(found)
    return document | {
        "bytes_sent": 0 if found.dry_run else found.bytes_sent,
        "bytes_needed": found.bytes_sent,
    }


def show(console: Console, found: Preparation) -> None:
    """A line for each runtime."""
    if found.dry_run:
        told = "Dry run: {} would go to {}; nothing was sent."
        console.print(marked(told, size(found.bytes_sent), found.device))
    else:
        where = " (emulated)" if found.emulated else ""
        sent, took = size(found.bytes_sent), duration(found.seconds)
        told = "[bold green]{}{} is prepared.[/] Sent {}; {} in all."
        console.print(marked(told, found.device, where, sent, took))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("runtime", "packages", "size", "tree", "infers", "for"):
        table.add_column(column, overflow="fold")
    for runtime in found.runtimes:
        tables.add_row(
            table, runtime.runtime, _packages(runtime), size(runtime.bytes) if runtime.tree else "–",
            short(runtime.tree) if runtime.tree else "the device's own", _infers(runtime),
            ", ".join(runtime.formats),
        )  # fmt: skip
    tables.show(console, table)
    if not found.dry_run:
        host = "" if found.device == "local" else f" --host {found.device}"
        told = "\n[bold]Next[/]\n  edgefreeze deploy MODEL --target {}{}{}"
        console.print(marked(told, found.target, host, _formats(found)))


def _formats(found: Preparation) -> str:
    """--no-tf where that was left out: the deployment would bring it all the same."""
    return "" if any(r.runtime == "tensorflow" for r in found.runtimes) else " --no-tf"


def _packages(runtime: Prepared) -> str:
    listed = [f"{name} {version}" for name, version in runtime.packages.items()]
    return ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")


def _infers(runtime: Prepared) -> str:
    return "not tried" if runtime.ok is None else f"yes, {duration(runtime.seconds or 0.0)}"

"""Whom a device trusts, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgefreeze.report import tables
from edgefreeze.report.markup import marked
from edgefreeze.report.text import event_table

if TYPE_CHECKING:
    from rich.console import Console

_POLICIES = {
    "first-use": "takes unsigned releases; the first signed one enrols its signer",
    "require": "takes releases only that are signed by one of these keys",
    "allow-unsigned": "takes any release, signed or not",
}


def print_trust(console: Console, found: Mapping[str, Any]) -> None:
    """Policy, signers, and who changed them."""
    policy = _POLICIES.get(found["policy"], "has a policy that this edgefreeze does not know")
    console.print(marked("[bold]{}[/] {}.", found["device"], policy))
    for signer in found["signers"]:
        console.print(f"  {signer['fingerprint']}  {signer['comment']}", markup=False)
    if not found["signers"]:
        console.print("  no key is enrolled")
        if found["policy"] == "require":
            host = "" if found["device"] == "local" else f" --host {found['device']}"
            told = "[yellow]  so it takes nothing. Next: edgefreeze trust add KEY.pub{}[/]"
            console.print(marked(told, host))
    if found["ignored_lines"]:
        console.print(f"[yellow]  {found['ignored_lines']} lines of allowed_signers cannot be read[/]")
    console.print(marked("[dim]signatures are verified there by: {}[/]", found["verifier"]))
    if found["entries"]:
        tables.show(console, event_table(found["entries"]))

"""Text from outside that looks like rich's markup is shown as it is, and is no style, link or error."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edgefreeze.report import devices, tables, text, trust
from edgefreeze.report.markup import marked

ODD = ["[/opt/app/run.sh]", "[link=http://x]here[/link]", "[fe80::1]", "[bold]loud", "[/]", "\\[x]"]


def shown(print_it: Any, *arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=300, highlight=False)
    print_it(console, *arguments)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("odd", ODD)
def test_a_value_stands_for_itself(odd: str) -> None:
    assert shown(lambda c: c.print(marked("[bold]{}[/] is {:>5}", odd, 3))) == f"{odd} is     3\n"


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("width", [300, 30])
def test_a_table_shows_what_is_in_it(odd: str, width: int) -> None:
    table = tables.new_table("one", f"on {odd}", title=odd)
    tables.add_row(table, odd, "two")
    console = Console(file=io.StringIO(), width=width, highlight=False)
    tables.show(console, table)
    assert console.file.getvalue().count(odd) >= 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("odd", ODD)
def test_what_a_device_logs_is_no_markup(odd: str) -> None:
    entry = {"time": "", "event": odd, "release": None, "previous": None, "who": odd, "detail": odd}
    history = {"device": odd, "app": "cam", "entries": [entry]}
    assert shown(text.print_history, history).count(odd) == 4
    trusted = {
        "device": odd, "policy": "require", "ignored_lines": 0, "verifier": odd, "entries": [entry],
        "signers": [{"fingerprint": "SHA256:x", "comment": odd}],
    }  # fmt: skip
    assert shown(trust.print_trust, trusted).count(odd) == 6
    row = {"name": odd, "target": "pi4", "host": odd, "state": odd, "last_seen": None, "apps": {}}
    assert shown(devices.print_devices, {"devices": [row]}).count(odd) == 3

"""Every document that a command prints with --json in a test is held to its type."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

HEAD = {"schema", "command", "ok"}


def check(document: dict[str, Any]) -> None:
    """Raise AssertionError, or msgspec.ValidationError, where a document is not as docs/schemas says."""
    from edgefreeze import schemas  # not at the top: most tests print none

    assert document["schema"] == schemas.NUMBER
    command = document["command"]
    fields = {name: value for name, value in document.items() if name not in HEAD}
    if not document["ok"]:
        error, log = fields.pop("error"), fields.pop("log")
        msgspec.convert(error, schemas.Error)
        assert set(error) == set(schemas.Error.__annotations__)
        assert log is None or isinstance(log, str)
        if not fields:
            return
    kind = schemas.DOCUMENTS[command]
    beside = {name: fields.pop(name) for name in schemas.BESIDE.get(command, ())}
    for name, value in beside.items():
        msgspec.convert(value, schemas.BESIDE[command][name])
    if "result_schema" in beside:
        fields["schema"] = beside["result_schema"]
    known = {f.encode_name for f in msgspec.inspect.type_info(kind).fields}  # type: ignore[attr-defined]
    if not document["ok"] and set(fields) < known:
        return  # what was found out before it failed
    assert set(fields) == known, f"{command}: {set(fields) ^ known}"
    msgspec.convert(fields, kind)


def checking(printing: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """The same function, but what it prints is checked."""

    def checked(value: dict[str, Any]) -> None:
        printing(value)
        check(json.loads(msgspec.json.encode(value)))

    return checked

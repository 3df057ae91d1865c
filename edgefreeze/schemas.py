"""JSON Schemas of the project's TOML files, for editors: made from the types that read them."""

from __future__ import annotations

from typing import Any

import msgspec

from edgefreeze import inventory, targets

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def target() -> dict[str, Any]:
    """Of a target's file. What one that extends another leaves out is required of one that does not."""
    schema = _flat(targets.TargetFile)
    required = schema.pop("required")
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required}]
    return {"$schema": DRAFT, "title": "A target of edgefreeze", **schema}


def config() -> dict[str, Any]:
    """Of edgefreeze.toml."""
    return {"$schema": DRAFT, "title": "edgefreeze.toml", **_flat(inventory.ConfigFile)}


def _flat(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A type's schema with the type itself at the top."""
    made = msgspec.json.schema(kind)
    definitions = made.pop("$defs")
    top: dict[str, Any] = definitions.pop(kind.__name__)
    top.pop("title", None)
    return {**top, "$defs": definitions}

"""Checks for JSON that came from outside: arguments of requests, manifests, files read back from disk.

A check is a function of (value, where) that returns None or raises Invalid, which says where, what was
expected and what was found. They are put together like the shape that they describe.
"""

import json
import re
from typing import Any, Callable, Dict, FrozenSet, Optional, Pattern

from edgefreeze.device.protocol import NAME, SHA256, is_safe_path

Check = Callable[[Any, str], None]
MAX_SIZE = 1 << 50


class Invalid(ValueError):
    """A value that is not what it should be."""

    def __init__(self, where: str, expected: str, found: Any) -> None:
        self.where = where
        self.expected = expected
        self.found = brief(found)
        super().__init__("%s: expected %s, found %s" % (where or "value", expected, self.found))


def brief(value: Any) -> str:
    """A value as short JSON, for an error."""
    text = json.dumps(value, default=lambda v: "<%s>" % type(v).__name__)
    return text if len(text) <= 120 else text[:117] + "..."


def text(limit: int = 1024, pattern: Optional[Pattern[str]] = None, expected: str = "a string") -> Check:
    """A string of at most `limit` characters that matches the whole pattern."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > limit:
            raise Invalid(where, expected, value)
        if pattern is not None and pattern.fullmatch(value) is None:
            raise Invalid(where, expected, value)

    return check


def integer(least: int = 0, most: int = MAX_SIZE) -> Check:
    """An integer (no boolean) within bounds."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Invalid(where, "an integer from %d to %d" % (least, most), value)

    return check


def number(least: float = 0.0, most: float = 1e9) -> Check:
    """An integer or float (finite, no boolean) within bounds."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
            raise Invalid(where, "a number from %g to %g" % (least, most), value)

    return check


def one_of(*choices: str) -> Check:
    """One of the given strings."""

    def check(value: Any, where: str) -> None:
        if value not in choices:
            raise Invalid(where, "one of " + ", ".join(choices), value)

    return check


def list_of(item: Check, most: int = 1_000_000, least: int = 0) -> Check:
    """A list of `least` to `most` items, each checked."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise Invalid(where, "a list of %d to %d items" % (least, most), value)
        for index, element in enumerate(value):
            item(element, "%s[%d]" % (where, index))

    return check


def row(*items: Check) -> Check:
    """A list of exactly these items, in this order."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != len(items):
            raise Invalid(where, "a list of %d items" % len(items), value)
        for index, item in enumerate(items):
            item(value[index], "%s[%d]" % (where, index))

    return check


def dict_of(item: Check, key: Optional[Check] = None) -> Check:
    """An object whose values, and keys where asked, are checked alike."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(where, "an object", value)
        for name, element in value.items():
            if key is not None:
                key(name, "%s key" % where)
            item(element, "%s.%s" % (where, name))

    return check


def optional(item: Check) -> Check:
    """null, or what the check allows."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            item(value, where)

    return check


def record(
    required: Dict[str, Check], extra: Optional[Dict[str, Check]] = None, closed: bool = False
) -> Check:
    """An object with the required fields and, perhaps, the extra ones. closed: and with no others."""
    fields = dict(required)
    fields.update(extra or {})
    known: FrozenSet[str] = frozenset(fields)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(where, "an object", value)
        for name in required:
            if name not in value:
                raise Invalid(_join(where, name), "a value", "nothing")
        for name, item in fields.items():
            if name in value:
                item(value[name], _join(where, name))
        if closed:
            for name in value:
                if name not in known:
                    raise Invalid(_join(where, name), "no such field", value[name])

    return check


def _join(where: str, name: str) -> str:
    return "%s.%s" % (where, name) if where else name


def flag(value: Any, where: str) -> None:
    """true or false."""
    if not isinstance(value, bool):
        raise Invalid(where, "true or false", value)


def safe_path(value: Any, where: str) -> None:
    """A relative path that stays beneath its folder (protocol.is_safe_path)."""
    if not is_safe_path(value):
        raise Invalid(where, "a relative path without ..", value)


def absolute_path(value: Any, where: str) -> None:
    """An absolute path without control characters."""
    if not isinstance(value, str) or re.fullmatch(r"/[^\x00-\x1f\x7f]{0,4095}", value) is None:
        raise Invalid(where, "an absolute path", value)


def anything(value: Any, where: str) -> None:
    """Any JSON value."""


digest = text(64, SHA256, "a SHA-256 in hex")
name = text(64, NAME, "a name of letters, digits, '.', '_' and '-'")
line = text(256, re.compile(r"[^\x00-\x1f\x7f]*"), "one line of text")
size = integer()

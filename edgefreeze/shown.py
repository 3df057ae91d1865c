"""Results of the Python API: how they show themselves at a prompt, in a notebook and to a program.

How each looks is said above the rooms that make them, in report/, which enters it in LOOKS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgefreeze.text import clean


@dataclass(frozen=True, slots=True)
class Look:
    """How results of one class look: in one line, as HTML, as the fields of the command's --json document."""

    line: Callable[[Any], str]
    html: Callable[[Any], str]
    fields: Callable[[Any], dict[str, Any]]


LOOKS: dict[type[Shown], Look] = {}
"""By class."""


class Shown:
    """A result: str() is a line for a person, a notebook shows a table, to_dict() is for a program."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the fields that the command's --json document has, but for schema, command and ok."""
        return LOOKS[type(self)].fields(self)

    def __str__(self) -> str:
        return clean(LOOKS[type(self)].line(self), 1000) if type(self) in LOOKS else type(self).__name__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>" if type(self) in LOOKS else f"<{type(self).__name__}>"

    def _repr_html_(self) -> str | None:
        return LOOKS[type(self)].html(self) if type(self) in LOOKS else None

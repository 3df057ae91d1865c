"""Reads tables of a FlatBuffer by the numbers of their fields, and no byte outside of the file.

The layout: https://flatbuffers.dev/internals/. A table begins with the distance back to its vtable, which
has for each field its distance from the table, 0 where the field is absent.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


class FlatBufferError(ValueError):
    """The bytes are no FlatBuffer, or point outside of themselves."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: `data` is the whole file, `at` where the table begins."""

    data: bytes
    at: int

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A scalar; `kind` is its letter in struct."""
        place = self._field(field)
        return default if place is None else _unpack(self.data, kind, place)

    def table(self, field: int) -> Table | None:
        """A table within."""
        place = self._field(field)
        return None if place is None else Table(self.data, place + _unpack(self.data, "I", place))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        found = []
        for index in range(self.length(field)):
            place = self._start(field) + 4 * index
            found.append(Table(self.data, place + _unpack(self.data, "I", place)))
        return found

    def numbers(self, field: int, kind: str) -> tuple[int, ...]:
        """A vector of scalars."""
        count, start = self.length(field), self._start(field)
        if start + count * struct.calcsize(f"<{kind}") > len(self.data):
            raise FlatBufferError("a vector is longer than the file")
        return struct.unpack_from(f"<{count}{kind}", self.data, start) if count else ()

    def raw(self, field: int) -> bytes:
        """A vector of bytes."""
        start = self._start(field)
        return self.data[start : start + self.length(field)]

    def text(self, field: int) -> str:
        """A string, "" where it is absent."""
        return self.raw(field).decode("utf-8", "replace")

    def length(self, field: int) -> int:
        """Of a vector; 0 where it is absent."""
        start = self._start(field)
        if not start:
            return 0
        count = _unpack(self.data, "I", start - 4)
        if start + count > len(self.data):
            raise FlatBufferError("a vector is longer than the file")
        return count

    def _start(self, field: int) -> int:
        place = self._field(field)
        return 0 if place is None else place + _unpack(self.data, "I", place) + 4

    def _field(self, field: int) -> int | None:
        vtable = self.at - _unpack(self.data, "i", self.at)
        if 4 + 2 * field >= _unpack(self.data, "H", vtable):
            return None
        offset = _unpack(self.data, "H", vtable + 4 + 2 * field)
        return self.at + offset if offset else None


def root(data: bytes, identifier: bytes) -> Table:
    """The table that a file begins with. Raises FlatBufferError where it has not the identifier."""
    if data[4:8] != identifier:
        raise FlatBufferError(f"it does not say {identifier.decode()} where a TensorFlow Lite file does")
    return Table(data, _unpack(data, "I", 0))


def _unpack(data: bytes, kind: str, at: int) -> int:
    if at < 0 or at + struct.calcsize(f"<{kind}") > len(data):
        raise FlatBufferError("it points outside of the file: it is damaged or cut short")
    return int(struct.unpack_from(f"<{kind}", data, at)[0])

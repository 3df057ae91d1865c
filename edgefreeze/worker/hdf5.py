"""What an HDF5 file says about itself, read from its bytes: the host asks before any library is loaded.

Attributes are found by their names and decoded as far as strings go, which is all that Keras writes.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

MAGIC = b"\x89HDF\r\n\x1a\n"
_STRING, _VARIABLE_LENGTH = 3, 9


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as an HDF5 file does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def mentions(path: Path, *names: str) -> set[str]:
    """Those of the names that stand in the file as names of attributes or groups do."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return {name for name in names if data.find(name.encode() + b"\0") >= 0}


def attribute(path: Path, name: str) -> str | None:
    """The first string attribute of a name, None where there is none that can be read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = -1
        while (at := data.find(name.encode() + b"\0", at + 1)) >= 0:
            try:
                found = _value(data, at, len(name) + 1)
            except (struct.error, IndexError):
                found = None
            if found is not None:
                return found.rstrip(b"\0").decode("utf-8", "replace")
    return None


def _value(data: mmap.mmap, name_at: int, name_size: int) -> bytes | None:
    """The value of the attribute message whose name is at `name_at`: version, sizes of name, type and
    space, these three (padded to 8 bytes in version 1), data."""
    for version, header in ((1, 8), (2, 8), (3, 9)):
        start = name_at - header
        sizes = struct.unpack_from("<HHH", data, start + 2)
        if data[start] == version and sizes[0] == name_size:
            break
    else:
        return None
    padded = [(size + 7) // 8 * 8 if version == 1 else size for size in sizes]
    datatype_at = name_at + padded[0]
    value_at = datatype_at + padded[1] + padded[2]
    kind = data[datatype_at] & 0x0F
    if kind == _STRING:
        (size,) = struct.unpack_from("<I", data, datatype_at + 4)
        return data[value_at : value_at + size]
    if kind == _VARIABLE_LENGTH:
        size, heap, index = struct.unpack_from("<IQI", data, value_at)
        return _in_heap(data, heap, index, size)
    return None


def _in_heap(data: mmap.mmap, heap: int, index: int, size: int) -> bytes | None:
    """An object of a global heap collection, by its index."""
    if data[heap : heap + 4] != b"GCOL":
        return None
    (whole,) = struct.unpack_from("<Q", data, heap + 8)
    at, end = heap + 16, min(heap + whole, len(data))
    while at + 16 <= end:
        number, length = struct.unpack_from("<H6xQ", data, at)
        if number == index:
            return data[at + 16 : at + 16 + size]
        if number == 0:
            return None
        at += 16 + (length + 7) // 8 * 8
    return None

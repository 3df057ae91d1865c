"""Which of TensorFlow's messages a protobuf file holds, told by its first bytes, without TensorFlow.

A file's name says little: .pb is a GraphDef, a SavedModel or any other message. The wire format names no
types, but the fields that these messages begin with differ.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_OP = re.compile(rb"[A-Z_][A-Za-z0-9_>]*")
_TEXT = (
    ("SavedModel", re.compile(rb"saved_model_schema_version\s*:")),
    ("MetaGraphDef", re.compile(rb"(meta_info_def|graph_def)\s*:?\s*[{<]")),
    ("GraphDef", re.compile(rb"(node|versions|library)\s*:?\s*[{<]")),
)
_COMMENTS = re.compile(rb"(\s|#[^\n]*\n)*")
_META_GRAPHS, _OBJECT_GRAPH = 2, 7
"""Numbers of SavedModel.meta_graphs and of MetaGraphDef.object_graph_def."""


class WireError(ValueError):
    """Not protobuf's wire format."""


def message(path: Path) -> str | None:
    """ "GraphDef", "MetaGraphDef" or "SavedModel", in binary or as text; None for anything else."""
    with path.open("rb") as file:
        head = file.read(4096)
    text = head[_COMMENTS.match(head).end() :]  # type: ignore[union-attr]
    for name, start in _TEXT:
        if start.match(text):
            return name
    return _binary(path) if head else None


def is_text(path: Path) -> bool:
    """Whether a message that `message` knows is in protobuf's text format."""
    with path.open("rb") as file:
        head = file.read(4096)
    text = head[_COMMENTS.match(head).end() :]  # type: ignore[union-attr]
    return any(start.match(text) for _, start in _TEXT)


def has_object_graph(saved_model: Path) -> bool | None:
    """Whether a saved_model.pb or .pbtxt is one of TensorFlow 2; None where it cannot be read."""
    if is_text(saved_model):
        return b"object_graph_def" in saved_model.read_bytes()
    with _mapped(saved_model) as data:
        try:
            graphs = _graphs(data)
            found = [number for start, end in graphs for number, _ in fields(data, start, end)]
        except WireError:
            return None
    return _OBJECT_GRAPH in found if graphs else None


def graphs_in(saved_model: Path) -> int:
    """How many MetaGraphs a saved_model.pb has; 0 where it cannot be read, or is text."""
    with _mapped(saved_model) as data:
        try:
            return len(_graphs(data))
        except WireError:
            return 0


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """A file's bytes, read where they are looked at. One of 0 bytes cannot be mapped."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _graphs(data: mmap.mmap | bytes) -> list[tuple[int, int]]:
    spans = [span for number, span in fields(data, 0, len(data)) if number == _META_GRAPHS]
    return [span for span in spans if not isinstance(span, int)]


def fields(data: mmap.mmap | bytes, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """(number, value) of a message's fields: an int, or (start, end) of what has a length.

    Raises WireError.
    """
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field 0")
        if kind == _VARINT:
            value, at = _varint(data, at, end)
            yield number, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at, end)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise WireError(f"wire type {kind}")
        if at + size > end:
            raise WireError("a field is longer than its message")
        yield number, (at, at + size)
        at += size


def _varint(data: mmap.mmap | bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError("a number has no end")


def _binary(path: Path) -> str | None:
    """By the first field: SavedModel begins with a number, GraphDef with a node, which has a name and an
    operation, MetaGraphDef with what is about itself."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            top = fields(data, 0, len(data))
            number, first = next(top)
            if number != 1:
                return None
            if isinstance(first, int):
                following = next(top, None)
                is_saved = following is not None and following[0] == _META_GRAPHS
                return "SavedModel" if is_saved else None
            inner = dict(reversed([f for _, f in zip(range(8), fields(data, *first), strict=False)]))
        except (WireError, StopIteration):
            return None
        name, op = inner.get(1), inner.get(2)
        if isinstance(name, tuple) and isinstance(op, tuple) and _OP.fullmatch(data[op[0] : op[1]]):
            return "GraphDef"
        try:
            second = next(top, None)
        except WireError:
            # A graph_def that is cut short: the file's own second tag still says what it was.
            return "MetaGraphDef" if data[first[1] : first[1] + 1] == b"\x12" else None
        return "MetaGraphDef" if second is not None and second[0] == 2 and first[1] > first[0] else None

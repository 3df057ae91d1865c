"""The wire between host and device: frames, messages, names. Python >= 3.8, standard library only.

This is what both sides import. A stream starts with MAGIC (so that whatever a login shell or a
banner printed before it is skipped), followed by frames:

    frame   = kind (1 byte) length (4 bytes, big endian) payload
    kind    = b"J" one JSON object, UTF-8, at most MAX_JSON bytes
              b"D" a piece of the blob announced by the J frame before it, at most MAX_DATA bytes
              b"Z" such a piece, squeezed (squeezed.py)

Host to device:  {"id": n, "op": "put", "args": {...}, "blob": bytes that follow (optional)}
Device to host:  {"id": n, "event": {...}}                      any number, while it works
                 {"id": n, "ok": true, "result": {...}, "blob": bytes that follow (optional)}
                 {"id": n, "ok": false, "error": {"code", "message", "expected", "found", ...}}

Requests are answered in order, so a host may send the next before it has read an answer.
The helper and the runner processes that it starts for inference speak the same frames.
"""

import json
import re
import struct
from typing import Any, BinaryIO, Callable, Dict, Iterator, Tuple

from edgefreeze.device import squeezed

PROTOCOL = 1
MAGIC = b"\x00edgefreeze-helper\x01\n"
MAX_JSON = 64 * 1024 * 1024
MAX_DATA = 256 * 1024
MAX_BLOB = 2 << 30
"""Bytes of a blob that is held in memory whole: the most that tensors.decode() unpacks."""
MAX_NOISE = 64 * 1024
HEARTBEAT_S = 5.0
BEAT = b'{"beat":true}'
"""A J frame of the host, in answer to a heartbeat: it is still there. It is no request."""

_HEADER = struct.Struct("!cI")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an app, a target or a device may be called: it becomes a folder's name on the board."""
SHA256 = re.compile(r"[0-9a-f]{64}")
RUN = re.compile(r"[0-9a-f]{8,64}")
"""What a run of a benchmark is called: it becomes part of a file's name on the board and on the host."""
BLOCK_S = (0.001, 3600.0)
"""How long a block of a duel may be told to take, at least and at most."""
WAIT_S = (0.001, 86_400.0)
"""How long an inference may be waited for, at least and at most."""
_PART = re.compile(r"[^/\x00-\x1f\x7f]{1,255}")


class ProtocolError(Exception):
    """The peer sent something that is no message of this protocol."""


class EndOfStream(ProtocolError):
    """The peer closed the stream."""


def canonical(value: Any) -> bytes:
    """One and only one spelling of a JSON value, whose SHA-256 can be an identity (as RFC 8785 asks,
    for the strings, integers, floats and booleans that manifests hold)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def is_safe_path(path: str) -> bool:
    """Whether a relative path of a manifest stays beneath its folder: no "..", no absolute path,
    no control characters, no empty part, at most 1024 characters."""
    if not isinstance(path, str) or not path or len(path) > 1024:
        return False
    return all(p not in (".", "..") and _PART.fullmatch(p) is not None for p in path.split("/"))


def write_frame(stream: BinaryIO, kind: bytes, payload: bytes) -> None:
    """Write one frame. The caller flushes."""
    stream.write(_HEADER.pack(kind, len(payload)))
    stream.write(payload)


def write_message(stream: BinaryIO, message: Dict[str, Any]) -> None:
    """Write one J frame and flush."""
    payload = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(payload) > MAX_JSON:
        raise ProtocolError("a message of %d bytes; at most %d" % (len(payload), MAX_JSON))
    write_frame(stream, b"J", payload)
    stream.flush()


def write_blob(stream: BinaryIO, data: bytes) -> None:
    """Write a blob, announced before, as D frames, and flush."""
    view = memoryview(data)
    for start in range(0, len(view), MAX_DATA):
        write_frame(stream, b"D", bytes(view[start : start + MAX_DATA]))
    stream.flush()


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    """Read exactly count bytes, or raise EndOfStream."""
    readinto = getattr(stream, "readinto", None)
    if readinto is not None:
        # One buffer: a pipe gives little at a time, and a buffer for each part would leave memory in shreds.
        whole = bytearray(count)
        view = memoryview(whole)
        while view:
            got = readinto(view)
            if not got:
                raise EndOfStream("the stream ended %d bytes short of a frame" % len(view))
            view = view[got:]
        return bytes(whole)
    parts = []
    left = count
    while left:
        part = stream.read(left)
        if not part:
            raise EndOfStream("the stream ended %d bytes short of a frame" % left)
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_frame(stream: BinaryIO) -> Tuple[bytes, bytes]:
    """Read one frame: (kind, payload). Raises ProtocolError where it is none, EndOfStream at the end."""
    kind, length = _HEADER.unpack(read_exactly(stream, _HEADER.size))
    limit = {b"J": MAX_JSON, b"D": MAX_DATA, b"Z": MAX_DATA}.get(kind)
    if limit is None:
        raise ProtocolError("a frame of unknown kind %r" % kind)
    if length > limit:
        raise ProtocolError("a frame of %d bytes; at most %d" % (length, limit))
    return kind, read_exactly(stream, length)


def parse_message(payload: bytes) -> Dict[str, Any]:
    """A J frame's payload as a dict, or ProtocolError."""
    try:
        message = json.loads(payload.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a message that is not JSON: %s" % type(error).__name__) from None
    if not isinstance(message, dict):
        raise ProtocolError("a message that is no object")
    return message


def read_message(stream: BinaryIO) -> Dict[str, Any]:
    """Read one J frame. Raises ProtocolError for anything else."""
    kind, payload = read_frame(stream)
    if kind != b"J":
        raise ProtocolError("a data frame where a message was due")
    return parse_message(payload)


def blob_size(message: Dict[str, Any]) -> int:
    """How many bytes of blob follow the message (0: none). Raises ProtocolError."""
    size = message.get("blob", 0)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ProtocolError("a blob of %r bytes" % (size,))
    return size


def read_blob(read: Callable[[], Tuple[bytes, bytes]], size: int) -> Iterator[bytes]:
    """Yield the pieces of an announced blob; `read` gives frames. Raises ProtocolError."""
    left = size
    while left:
        kind, payload = read()
        if kind == b"Z":
            try:
                kind, payload = b"D", squeezed.restore(payload, MAX_DATA)
            except ValueError as error:
                raise ProtocolError(str(error)) from None
        if kind != b"D" or not payload or len(payload) > left:
            raise ProtocolError("a blob broke off with %d bytes to come" % left)
        left -= len(payload)
        yield payload


def take_blob(read: Callable[[], Tuple[bytes, bytes]], message: Dict[str, Any]) -> bytes:
    """The whole blob that the message announces. Raises ProtocolError, also where it announces too much."""
    size = blob_size(message)
    if size > MAX_BLOB:
        raise ProtocolError("a blob of %d bytes; at most %d" % (size, MAX_BLOB))
    return b"".join(read_blob(read, size))


def skip_to_magic(stream: BinaryIO) -> Tuple[bool, bytes]:
    """Read up to and including MAGIC: (found, noise before it). Not found: the stream ended, or
    MAX_NOISE bytes went by without it."""
    seen = bytearray()
    while len(seen) < MAX_NOISE:
        byte = stream.read(1)
        if not byte:
            return False, bytes(seen)
        seen += byte
        if seen.endswith(MAGIC):
            return True, bytes(seen[: -len(MAGIC)])
    return False, bytes(seen)

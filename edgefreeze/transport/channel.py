"""A byte stream to the helper: what every transport gives, and how a stream becomes a helper.

A transport is a function that opens a Stream. Adding one takes a file beside local.py and ssh.py.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from edgefreeze.device.protocol import PROTOCOL, EndOfStream, ProtocolError, read_message, skip_to_magic
from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.transport import bootstrap, pyz

_NOISE = 64 * 1024


class Stream(Protocol):
    """Two pipes and a way to end them."""

    reader: BinaryIO
    writer: BinaryIO

    def set_timeout(self, seconds: float | None) -> None:
        """Reads and writes that take longer raise TimeoutError."""

    def stderr_tail(self) -> str:
        """The last lines that the far side wrote to stderr."""

    def exit_status(self) -> int | None:
        """The far side's exit status, where it has ended and it is known."""

    def close(self) -> None:
        """End it. Never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What the helper says first."""

    version: str
    protocol: int
    python: str
    root: str
    sent_bytes: int
    """Bytes of helper that had to be sent first; 0 where the device had it."""
    noise: str
    """What a login shell or a banner printed before."""


def greet(stream: Stream, *, where: str, root: str, timeout_s: float, early: bytes = b"") -> Greeting:
    """Turn a stream that runs the bootstrap into one that speaks the framed protocol.

    early: frames that the helper finds when it has started; they go out before its greeting is there, so that
    they cost no round trip of their own.
    Raises Failure no-python, old-python, helper-no-greeting, store-io, digest-mismatch, protocol.
    """
    data, digest = pyz.build()
    stream.set_timeout(timeout_s)
    try:
        ask = {"sha256": digest, "bytes": len(data), "root": root}
        with contextlib.suppress(OSError):  # it has ended already; what it said tells why
            stream.writer.write(json.dumps(ask).encode() + b"\n")
            stream.writer.flush()
        noise = _skip_to_bootstrap(stream, where)
        need = _answer(stream, where)
        stream.writer.write(data + early if need.get("need") else early)
        stream.writer.flush()
        hello = _hello(stream, where)
    except TimeoutError:
        raise Failure(
            "device-silent",
            f"{where}: the helper did not answer within {timeout_s:.0f} s",
            retry_safe=True,
            detail=stream.stderr_tail(),
        ) from None
    except (OSError, EndOfStream) as error:
        raise _not_started(stream, where, str(error)) from None
    return Greeting(
        version=clean(str(hello.get("version", "?")), 40),
        protocol=PROTOCOL,
        python=clean(str(hello.get("python", "?")), 40),
        root=clean(str(hello.get("root", root)), 1024),
        sent_bytes=len(data) if need.get("need") else 0,
        noise=clean(noise, 500),
    )


def _skip_to_bootstrap(stream: Stream, where: str) -> str:
    magic = bootstrap.MAGIC.encode() + b"\n"
    seen = bytearray()
    while len(seen) < _NOISE:
        byte = stream.reader.read(1)
        if not byte:
            raise _not_started(stream, where, seen.decode("utf-8", "replace"))
        seen += byte
        if seen.endswith(magic):
            return seen[: -len(magic)].decode("utf-8", "replace")
    raise Failure(
        "helper-no-greeting",
        f"{where}: the login prints more than {_NOISE // 1024} KiB before any command starts",
        found=clean(seen[:200].decode("utf-8", "replace"), 200),
        next="ssh HOST true, and silence what its start-up files print",
    )


def _answer(stream: Stream, where: str) -> dict[str, Any]:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < 4096:
        byte = stream.reader.read(1)
        if not byte:
            raise _not_started(stream, where, "")
        line += byte
    return _explain(bytes(line), stream, where)


def _explain(line: bytes, stream: Stream, where: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise _not_started(stream, where, line.decode("utf-8", "replace"))
    if "error" not in said:
        return said
    text = clean(str(said.get("text", "")), 300)
    if said["error"] == "old-python":
        raise Failure(
            "old-python",
            f"{where}: the device's Python is {text}",
            expected="Python 3.8 or later",
            found=text,
            next='set python = "/path/to/python3" for this device in edgefreeze.toml',
        )
    code = (
        said["error"]
        if said["error"] in ("store-io", "disk-space", "digest-mismatch")
        else "helper-no-greeting"
    )
    raise Failure(code, f"{where}: the helper could not be installed: {text}", found=text, retry_safe=True)


def _hello(stream: Stream, where: str) -> dict[str, Any]:
    """The helper's greeting frame; the bootstrap's own complaint, if it wrote one instead."""
    found, before = skip_to_magic(stream.reader)
    if not found:
        if before.lstrip().startswith(b"{"):
            _explain(before.strip().splitlines()[-1], stream, where)
        raise _not_started(stream, where, before.decode("utf-8", "replace"))
    try:
        hello = read_message(stream.reader)
    except EndOfStream:
        raise
    except ProtocolError as error:
        raise Failure("helper-no-greeting", f"{where}: the helper's greeting is garbled: {error}") from None
    if hello.get("protocol") != PROTOCOL:
        raise Failure(
            "protocol",
            f"{where}: the helper speaks another protocol",
            expected=str(PROTOCOL),
            found=clean(str(hello.get("protocol")), 20),
        )
    return hello


def _not_started(stream: Stream, where: str, printed: str) -> Failure:
    stderr = clean(stream.stderr_tail(), 600)
    status = stream.exit_status()
    text = (stderr + " " + clean(printed, 300)).strip()
    if status == 127 or "not found" in text or "No such file or directory" in text:
        return Failure(
            "no-python",
            f"{where}: no Python 3 on the device",
            expected="python3 on the device's PATH, or python = … in edgefreeze.toml",
            found=text or f"exit status {status}",
            next="sudo apt install python3-minimal, on the device",
        )
    return Failure(
        "helper-no-greeting",
        f"{where}: the device ended the session before the helper had started",
        found=text or (f"exit status {status}" if status is not None else "the connection was closed"),
        retry_safe=True,
        next="ssh HOST true, to see what the device says",
    )

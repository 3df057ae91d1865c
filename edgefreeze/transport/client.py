"""The host's end of the framed protocol: requests, answers, blobs, over any transport."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from edgefreeze.device import protocol
from edgefreeze.device.protocol import EndOfStream, ProtocolError
from edgefreeze.errors import CODES, Failure
from edgefreeze.inventory import Device, local_root
from edgefreeze.text import clean, short
from edgefreeze.transport import pyz
from edgefreeze.transport.channel import Greeting, Stream, greet
from edgefreeze.transport.pace import Pace
from edgefreeze.transport.pieces import Pieces

OnEvent = Callable[[dict[str, Any]], None]

SILENCE_S = 45.0
"""Without a heartbeat for this long (they come every 5 s) the device is taken for gone."""
GREETING_S = 60.0
"""An emulated or small board may take seconds to start Python."""
_PING_S = 30.0
_UNOPENED = "no app had been opened for a change, so nothing was switched"
_ANSWERED = ("bench",)
"""Requests during which heartbeats are answered: the device stops soon after the link is cut."""
_AHEAD = 256
"""Requests that may be under way before an answer is read: their answers must fit in any pipe."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Content to bring: its digest, its size, how to open it, and how much of it is there already, left by
    a put that broke off. The device hashes that part too before it believes it. `passing`: for this session
    only."""

    sha256: str
    bytes: int
    open: Callable[[], BinaryIO]
    offset: int = 0
    passing: bool = False


class Ask(NamedTuple):
    """One of several requests that go out together. expect: fields that its result must have, or the `linked`
    ones after it are skipped, as they are after a failure."""

    op: str
    args: dict[str, Any]
    expect: dict[str, Any] | None = None
    linked: bool = False

    def fields(self) -> dict[str, Any]:
        """The message, but for its number."""
        chain = {"expect": self.expect} if self.expect is not None else {}
        return {"op": self.op, "args": self.args, **chain, **({"linked": True} if self.linked else {})}


class Helper:
    """The helper on a device. One thread at a time talks to it; a second one keeps an idle line alive."""

    def __init__(self, stream: Stream, where: str, greeting: Greeting, early: Sequence[str] = ()) -> None:
        """early: operations that have been asked already, as early_requests() writes them."""
        self._stream = stream
        self.where = where
        self.greeting = greeting
        self._id = len(early)
        self._early = list(enumerate(early, 1))
        self._answers: dict[str, dict[str, Any] | Failure] = {}
        self._recent: dict[str, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.RLock()
        self._last = time.monotonic()
        self._closed = threading.Event()
        self._held = False
        self._app: dict[str, Any] | None = None
        self._broken = False
        self._pinger = threading.Thread(target=self._keep_alive, daemon=True)
        self._pinger.start()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyboardInterrupt) and (state := self.state_sentence()):
            error.device_state = f"{state}, as last heard"  # type: ignore[attr-defined]
        self.close()

    def request(
        self,
        op: str,
        args: dict[str, Any] | None = None,
        *,
        blob: bytes | None = None,
        on_event: OnEvent | None = None,
    ) -> dict[str, Any]:
        """Ask and wait for the answer's result; a blob in the answer is under the key "blob".

        Raises Failure with the device's code, or helper-died, device-silent, protocol.
        """
        with self._lock, self._talking(op):
            self._stream.set_timeout(SILENCE_S)
            if not args and blob is None and (known := self._asked_early(op)) is not None:
                if isinstance(known, Failure):
                    raise known
                return known
            number = self._send(op, args or {}, blob)
            return self._receive(number, op, on_event)

    def recent(self, op: str, age_s: float) -> dict[str, Any]:
        """request() without arguments, or what it gave here not longer ago. Raises as request()."""
        known = self._recent.get(op)
        if known is None or time.monotonic() - known[0] > age_s:
            known = self._recent[op] = (time.monotonic(), self.request(op))
        return known[1]

    def _asked_early(self, op: str) -> dict[str, Any] | Failure | None:
        """The answer to what was asked with the first words, once; None where that was not asked."""
        if op in [asked for _, asked in self._early]:
            self._take_early()
        return self._answers.pop(op, None)

    def _take_early(self) -> None:
        """Read the answers that come before all others."""
        early, self._early = self._early, []
        for number, op in early:
            try:
                self._answers[op] = self._answer(number, op, None)
            except Failure as failure:
                self._answers[op] = failure

    def requests(self, asks: Sequence[Ask], on_event: OnEvent | None = None) -> list[dict[str, Any] | None]:
        """Ask several things in one round trip; the results in order, None for what was skipped.

        All others are answered, also those after one that failed; then the first failure is raised. Raises as
        request().
        """
        results: list[dict[str, Any] | None] = []
        failed: Failure | None = None
        with self._lock, self._talking(asks[0].op):
            self._stream.set_timeout(SILENCE_S)
            numbers = [self._write(ask.fields(), 0) for ask in asks]
            self._stream.writer.flush()
            for number, ask in zip(numbers, asks, strict=True):
                with self._talking(ask.op):
                    try:
                        result = self._receive(number, ask.op, on_event)
                        results.append(None if ask.linked and result.get("skipped") is True else result)
                    except Failure as failure:
                        failed = failed or failure
        if failed is not None:
            raise failed
        return results

    def put(self, uploads: Iterable[Upload], on_bytes: Callable[[int], None], rate: int | None = None) -> int:
        """Send contents, pipelined, to the device's store. Returns the payload bytes sent.

        on_bytes is told of every piece's size; rate: at most so many bytes a second on the link. Raises as
        request().
        """
        sent = 0
        self._recent.clear()  # there is less room now
        pace, link = Pace(rate), Pieces(self._stream.writer, at_once=rate is not None)
        waiting: list[int] = []
        with self._lock, self._talking("put"):
            self._stream.set_timeout(SILENCE_S)
            try:
                for upload in uploads:
                    with _opened(upload) as file:  # before it is announced
                        left = upload.bytes - upload.offset
                        waiting.append(self._write(_asked(upload), left))
                        while left:
                            piece = self._piece(file, min(pace.piece(protocol.MAX_DATA), left), upload, left)
                            pace.sent(link.send(piece))
                            left -= len(piece)
                            sent += len(piece)
                            on_bytes(len(piece))
                    while len(waiting) >= _AHEAD:
                        self._stream.writer.flush()
                        self._receive(waiting.pop(0), "put", None)
                self._stream.writer.flush()
                while waiting:
                    self._receive(waiting.pop(0), "put", None)
            except Failure:
                self._drain(waiting)
                raise
        return sent

    def _piece(self, file: BinaryIO, count: int, upload: Upload, left: int) -> bytes:
        """The next bytes of a content that was announced. Without them the device waits for ever."""
        try:
            piece = file.read(count)
            if piece:
                return piece
            why = f"is {left} bytes shorter than it was"
        except OSError as error:
            why = f"cannot be read any more: {error.strerror or error}"
        self._broken = True
        raise Failure("internal", f"{upload.sha256[:12]} {why}", retry_safe=True)

    def _drain(self, waiting: Sequence[int]) -> None:
        """Read the answers that are still to come after a failure, so that the next is the next request's."""
        try:
            if not self._broken:
                self._stream.writer.flush()
                for number in waiting:
                    with contextlib.suppress(Failure):
                        self._receive(number, "put", None)
        except (OSError, ProtocolError):
            self._broken = True  # what is told is the failure that came first

    def close(self) -> None:
        """Say goodbye and end the stream, unless it is held open for others. Never raises."""
        if self._closed.is_set() or (self._held and not self._broken):
            return
        self._closed.set()
        if not self._broken and self._lock.acquire(timeout=1):
            try:
                with contextlib.suppress(Exception):
                    self._stream.set_timeout(2.0)
                    self._send("bye", {}, None)
            finally:
                self._lock.release()
        self._stream.close()

    def _keep_alive(self) -> None:
        while not self._closed.wait(_PING_S / 3):
            if time.monotonic() - self._last < _PING_S or not self._lock.acquire(blocking=False):
                continue
            try:
                if not self._closed.is_set():
                    self.request("ping")
            except Failure:
                return  # the next request says what happened
            finally:
                self._lock.release()

    def _send(self, op: str, args: dict[str, Any], blob: bytes | None) -> int:
        number = self._write({"op": op, "args": args}, len(blob) if blob is not None else 0)
        if blob:
            protocol.write_blob(self._stream.writer, blob)
        self._stream.writer.flush()
        return number

    def _write(self, message: dict[str, Any], blob: int) -> int:
        self._id += 1
        message = {"id": self._id, **message}
        if blob:
            message["blob"] = blob
        protocol.write_frame(self._stream.writer, b"J", protocol.canonical(message))
        return self._id

    def _receive(self, number: int, op: str, on_event: OnEvent | None) -> dict[str, Any]:
        self._take_early()
        return self._answer(number, op, on_event)

    def _answer(self, number: int, op: str, on_event: OnEvent | None) -> dict[str, Any]:
        while True:
            message = protocol.read_message(self._stream.reader)
            if message.get("id") != number:
                raise ProtocolError(f"an answer to {message.get('id')!r} where {number} was due")
            event = message.get("event")
            if isinstance(event, dict):
                if event.get("kind") != "heartbeat":
                    if on_event is not None:
                        on_event(event)
                elif op in _ANSWERED:
                    protocol.write_frame(self._stream.writer, b"J", protocol.BEAT)
                    self._stream.writer.flush()
                continue
            if message.get("ok") is not True:
                raise self._failure(message.get("error"), op)
            result = message.get("result")
            if not isinstance(result, dict):
                raise ProtocolError("an answer without a result")
            blob = protocol.take_blob(lambda: protocol.read_frame(self._stream.reader), message)
            if blob:
                result["blob"] = blob
            if op in ("open_app", "activate", "rollback") and result.get("skipped") is not True:
                self._app = result
            return result

    def _failure(self, error: Any, op: str) -> Failure:
        """The device's own error, cleaned: everything in it is text from outside."""
        if not isinstance(error, dict):
            raise ProtocolError("an error that is no object")
        code = str(error.get("code", "protocol"))
        text = {
            key: clean(_spoken(error[key]), 1500)
            for key in ("message", "expected", "found")
            if error.get(key) is not None
        }
        state = error.get("device_state")
        if isinstance(state, dict):
            self._app = {**(self._app or {}), **state}
        # Every operation of the device can be repeated; one that could not would say so.
        retry = error.get("retry_safe", True)
        return Failure(
            code if code in CODES else "device-internal",
            f"{self.where}: {text.get('message', op)}",
            expected=text.get("expected"),
            found=text.get("found"),
            # Of an app that is not there nothing is active, and that says nothing of those that are.
            device_state=_UNOPENED if code == "no-app" else self.state_sentence() or _UNOPENED,
            retry_safe=retry if isinstance(retry, bool) else None,
            detail=clean(str(error.get("trace") or error.get("stderr") or ""), 8000) or None,
        )

    def state_sentence(self) -> str | None:
        """What the app on the device runs, as far as this session was told."""
        if self._app is None:
            return None
        active = self._app.get("active")
        if not isinstance(active, str):
            return "no release is active there; nothing was switched"
        return f"release {short(clean(active, 64))} is active there"

    @contextlib.contextmanager
    def _talking(self, op: str) -> Iterator[None]:
        """Turns whatever breaks the stream into a Failure that names the step."""
        if self._broken:
            raise Failure("helper-died", f"{self.where}: the connection is gone", retry_safe=True)
        try:
            yield
        except Failure:
            raise
        except TimeoutError:
            raise self._gone("device-silent", f"no sign of life for {SILENCE_S:.0f} s", op) from None
        except (EndOfStream, OSError) as error:
            raise self._gone("helper-died", str(error) or "the connection was closed", op) from None
        except ProtocolError as error:
            raise self._gone("protocol", str(error), op) from None
        except BaseException:
            self._broken = True  # half a message may be under way: nothing more can be said
            raise
        finally:
            self._last = time.monotonic()

    def _gone(self, code: str, why: str, op: str) -> Failure:
        self._broken = True
        stderr = clean(self._stream.stderr_tail(), 1500)
        state = self.state_sentence() or _UNOPENED
        return Failure(
            code,
            f"{self.where}: lost during '{op}': {clean(why, 300)}",
            found=stderr or None,
            device_state=state + ", as last heard; the next command checks and recovers",
            retry_safe=True,
            next="the same command again",
        )


def _opened(upload: Upload) -> BinaryIO:
    """A content, from where it is to be sent on. Raises Failure internal: the device is not to blame."""
    try:
        file = upload.open()
        file.seek(upload.offset)
    except OSError as error:
        why = error.strerror or error
        raise Failure("internal", f"{upload.sha256[:12]} cannot be read: {why}", retry_safe=True) from None
    return file


def _asked(upload: Upload) -> dict[str, Any]:
    args: dict[str, Any] = {"sha256": upload.sha256, "bytes": upload.bytes}
    if upload.offset:
        args["offset"] = upload.offset
    if upload.passing:
        args["passing"] = True
    return {"op": "put", "args": args}


def _spoken(value: Any) -> str:
    """A JSON value as a person would write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_spoken(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(_spoken(part) for part in value)
    return str(value)


_held: dict[Device, Helper] | None = None


@contextlib.contextmanager
def held_open() -> Iterator[None]:
    """Until the end of this, a connection stays open for whoever connects to the same device next."""
    global _held
    _held = {}
    try:
        yield
    finally:
        left, _held = _held, None
        for helper in left.values():
            helper._held = False
            helper.close()


def early_requests(operations: Sequence[str]) -> bytes:
    """The frames that ask for these, in the order and with the numbers that a Helper expects."""
    out = io.BytesIO()
    for number, op in enumerate(operations, 1):
        protocol.write_frame(out, b"J", protocol.canonical({"id": number, "op": op, "args": {}}))
    return out.getvalue()


def connect(
    device: Device, ask: Callable[[str], str | None] = lambda prompt: None, early: Sequence[str] = ()
) -> Helper:
    """Open the device's transport and turn it into a helper. Raises Failure as the transports and greet().

    early: operations, without arguments, whose answers are wanted first: they cost no round trip.
    Within held_open(), the helper that another command has left, if it is still there.
    """
    if _held is not None and (known := _held.get(device)) is not None and not known._broken:
        return known
    try:
        helper = _connected(device, ask, early)
        if _held is not None:
            helper._held = True
            _held[device] = helper
        return helper
    except Failure as failure:
        failure.device_state = failure.device_state or "the helper had not started there; unchanged"
        raise


def _connected(device: Device, ask: Callable[[str], str | None], early: Sequence[str]) -> Helper:
    stream: Stream
    if device.transport == "local":
        import sys

        from edgefreeze.transport import local

        stream = local.open_stream(device.python or sys.executable)
        where, root = device.name, device.root or str(local_root())
    else:
        from edgefreeze.transport import ssh

        assert device.host is not None
        threading.Thread(target=pyz.build, daemon=True).start()  # done when the connection is there
        stream = ssh.open_stream(device.host, device.python or "python3", ask)
        where, root = device.name, device.root or "~/.edgefreeze"
    try:
        greeting = greet(stream, where=where, root=root, timeout_s=GREETING_S, early=early_requests(early))
    except BaseException:
        stream.close()
        raise
    return Helper(stream, where, greeting, early)

"""Frames on pipes: a reader thread with a bounded queue, a writer that threads share.

Both ends of a helper use it, the one to the host and the one to a runner.
"""

import threading
import time
from collections import deque
from typing import Any, BinaryIO, Callable, Deque, Dict, Optional, Tuple

from edgefreeze.device import protocol

Frame = Tuple[bytes, bytes]
QUEUE_BYTES = 4 * 1024 * 1024


class Silent(protocol.EndOfStream):
    """The peer said nothing for as long as was to be waited."""


class FrameReader:
    """Reads frames in a thread, at most QUEUE_BYTES ahead (one frame at least).

    `stream` is unbuffered, so that a thread blocked in it does not hold a lock when the process leaves.
    on_end() is called from the thread when the peer is gone; frames not taken by then are dropped.
    """

    def __init__(self, stream: BinaryIO, on_end: Callable[[], None], skip_noise: bool = False) -> None:
        self._stream = stream
        self._on_end = on_end
        self._skip_noise = skip_noise
        self._frames: Deque[Frame] = deque()
        self._held = 0
        self._error: Optional[protocol.ProtocolError] = None
        self._changed = threading.Condition()
        self.last_beat: Optional[float] = None
        """When the host last answered a heartbeat (time.monotonic()); None until it does."""
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            if self._skip_noise:
                found, noise = protocol.skip_to_magic(self._stream)
                if not found:
                    raise protocol.EndOfStream("no greeting: %r" % noise[-400:])
            while True:
                frame = protocol.read_frame(self._stream)
                if frame[1] == protocol.BEAT:
                    self.last_beat = time.monotonic()
                    continue
                with self._changed:
                    while self._held and self._held + len(frame[1]) > QUEUE_BYTES and self._error is None:
                        self._changed.wait()
                    self._frames.append(frame)
                    self._held += len(frame[1])
                    self._changed.notify_all()
        except protocol.EndOfStream as error:
            self.end(error)
            self._on_end()
        except protocol.ProtocolError as error:
            self._fail(error)
        except OSError as error:
            self.end(protocol.EndOfStream("the stream broke: %s" % error))
            self._on_end()

    def end(self, error: protocol.EndOfStream) -> None:
        """Make every get() from now on raise the error, whatever is queued."""
        with self._changed:
            self._frames.clear()
            self._held = 0
        self._fail(error)

    def _fail(self, error: protocol.ProtocolError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the stream's end; whether it came, so that the stream can be closed."""
        self.end(protocol.EndOfStream("closed"))
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def get(self, timeout_s: Optional[float] = None) -> Frame:
        """The next frame. Raises ProtocolError, EndOfStream, Silent after timeout_s."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._frames:
                if self._error is not None:
                    raise self._error
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Silent("no frame within %g s" % (timeout_s or 0))
                self._changed.wait(left)
            frame = self._frames.popleft()
            self._held -= len(frame[1])
            self._changed.notify_all()
        return frame


class FrameWriter:
    """Writes messages, one thread at a time. on_fail() is called once when the peer does not take them.

    A write that another thread's stuck write holds up for stall_s counts as failed.
    """

    def __init__(self, stream: BinaryIO, on_fail: Callable[[], None], stall_s: float) -> None:
        self._stream = stream
        self._on_fail = on_fail
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._busy: Optional[int] = None
        self._began: Optional[float] = None

    @property
    def stuck_s(self) -> float:
        """For how long the write under way has been; 0 where there is none."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def busy(self) -> bool:
        """Whether a request is in progress."""
        return self._busy is not None

    def begin(self, request: int) -> None:
        """From now until the reply, heartbeats say that this request is being worked on."""
        self._busy = request

    def heartbeat(self) -> None:
        """Say that the request in progress is, where one is."""
        if self._busy is not None:
            self._locked(self._write_heartbeat)

    def _write_heartbeat(self) -> None:
        if self._busy is not None:
            protocol.write_message(self._stream, {"id": self._busy, "event": {"kind": "heartbeat"}})

    def event(self, request: int, event: Dict[str, Any]) -> None:
        """Send one event of a request."""
        self._locked(lambda: protocol.write_message(self._stream, {"id": request, "event": event}))

    def reply(self, message: Dict[str, Any], blob: bytes = b"") -> None:
        """Send a request's answer, the last thing said of it."""

        def write() -> None:
            protocol.write_message(self._stream, message)
            if blob:
                protocol.write_blob(self._stream, blob)
            self._busy = None

        self._locked(write)

    def _locked(self, write: Callable[[], None]) -> None:
        if not self._lock.acquire(timeout=self._stall_s):
            self._on_fail()
            raise protocol.EndOfStream("the peer has not read for %g s" % self._stall_s)
        try:
            self._began = time.monotonic()
            write()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._on_fail()
            raise protocol.EndOfStream("the peer is gone: %s" % error) from None
        finally:
            self._began = None
            self._lock.release()

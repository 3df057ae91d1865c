"""The helper's loop: a request in, events and an answer out, until the host is gone or says nothing more.

Leaving is one thing, however it comes about (end of stdin, a write that fails, SIGTERM, SIGHUP, idleness):
runners are killed, what was received is made durable, trials are taken back, the kernel frees the locks.
Should that take longer than GRACE_S, the process ends at once: every step on disk is made to be cut.
"""

import fcntl
import os
import platform
import signal
import sys
import threading
import time
from typing import Any, BinaryIO, Dict, Optional, Tuple

from edgefreeze.device import child, ops, protocol
from edgefreeze.device.errors import DeviceError, from_exception, from_os_error
from edgefreeze.device.frames import FrameReader, FrameWriter
from edgefreeze.device.requests import Request
from edgefreeze.device.session import Session

GRACE_S = 30.0
STUCK_S = 5.0
IDLE_S = 120.0
DEAF_S = 20.0
"""A host that has answered heartbeats during a request, and does not for so long, is gone: a link that was
cut without a word ends no stream."""
EXIT_LEFT, EXIT_PROTOCOL = 0, 1


class Helper:
    """One connection."""

    def __init__(self, root: str, program: str, idle_s: float, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self._idle_s = idle_s
        self._stdout = stdout
        self._gone = threading.Event()
        self._left = threading.Event()
        self._session = Session(root, program)
        self._unbroken = True
        self._writer = FrameWriter(stdout, self._leave, idle_s)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._wait_for_signal, name="signals", daemon=True).start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        self._reader = FrameReader(stdin, self._leave)
        threading.Thread(target=self._listen, name="listen", daemon=True).start()

    def _leave(self) -> None:
        """The host is gone, or wants us to be: stop what runs. Called from any thread."""
        if not self._gone.is_set():
            self._gone.set()
            threading.Thread(target=self._leave_in_time, name="leave", daemon=True).start()

    def _leave_in_time(self) -> None:
        child.kill_all()
        deadline = time.monotonic() + GRACE_S
        while not self._left.wait(0.5):
            # A write that nobody reads never ends: a cut link leaves pipe and socket full.
            if time.monotonic() > deadline or self._writer.stuck_s > STUCK_S:
                os._exit(EXIT_LEFT)

    def _wait_for_signal(self) -> None:
        signal.sigwait(_SIGNALS)
        self._leave()
        self._reader.end(protocol.EndOfStream("a signal asked to leave"))

    def _beat(self) -> None:
        try:
            while not self._gone.wait(protocol.HEARTBEAT_S):
                self._writer.heartbeat()
        except protocol.EndOfStream:
            pass  # the writer has said so

    def _listen(self) -> None:
        deaf_s = min(DEAF_S, self._idle_s)
        while not self._gone.wait(deaf_s / 10):
            heard = self._reader.last_beat
            if not self._writer.busy:
                self._reader.last_beat = None
            elif heard is not None and time.monotonic() - heard > deaf_s:
                self._reader.end(protocol.EndOfStream("the host has not answered for %g s" % deaf_s))
                self._leave()

    def run(self) -> int:
        """Serve; the exit status."""
        status = EXIT_LEFT
        try:
            self._stdout.write(protocol.MAGIC)
            protocol.write_message(self._stdout, self._greeting())
            while self._serve_one():
                pass
        except (protocol.EndOfStream, BrokenPipeError) as error:
            print("edgefreeze helper: leaving: %s" % error, file=sys.stderr)
        except protocol.ProtocolError as error:
            status = EXIT_PROTOCOL
            self._try_to_say(DeviceError("protocol", str(error)))
        self._leave()
        try:
            self._session.close()
        except (DeviceError, OSError) as error:
            print("edgefreeze helper: leaving: %s" % error, file=sys.stderr)
        self._left.set()
        return status

    def _greeting(self) -> Dict[str, Any]:
        return {
            "protocol": protocol.PROTOCOL,
            "version": os.path.basename(self._session.program)[:12],  # a helper is called by its digest
            "python": platform.python_version(),
            "root": self._session.root,
        }

    def _try_to_say(self, error: DeviceError) -> None:
        try:
            self._writer.reply({"id": None, "ok": False, "error": dict(error.as_dict(), device_state=None)})
        except protocol.ProtocolError:
            pass

    def _serve_one(self) -> bool:
        """Take one request; False after the last."""
        kind, payload = self._reader.get(self._idle_s)
        if kind != b"J":
            raise protocol.ProtocolError("a data frame where a message was due")
        message = protocol.parse_message(payload)
        number = message.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise protocol.ProtocolError("a request without a number")
        size = protocol.blob_size(message)
        blob = protocol.read_blob(lambda: self._reader.get(self._idle_s), size)
        request = Request(message.get("args", {}), blob, size, lambda event: self._tell(number, event))
        self._writer.begin(number)
        error = self._linked(number, message, request)
        for _ in blob:  # what nobody took, so that the next frame is the next request
            pass
        return error is not None or message.get("op") != "bye"

    def _linked(self, number: int, message: Dict[str, Any], request: Request) -> Optional[DeviceError]:
        """Answer a request, unless it is a link of a broken chain: then the result is {"skipped": true}.

        A chain is requests that have `expect`, or `linked`: true, one after the other. What `expect` names
        must stand in the result, or the chain breaks, as it does when a request fails. `linked` ones are done
        in an unbroken chain only.
        """
        expected, linked = message.get("expect"), message.get("linked") is True
        if not (expected is None or isinstance(expected, dict)):
            raise protocol.ProtocolError("an expectation that is no object")
        if expected is None and not linked:
            self._unbroken = True
            return self._answer(number, message.get("op"), request, {})
        if linked and not self._unbroken:
            self._writer.reply({"id": number, "ok": True, "result": {"skipped": True}})
            return None
        error = self._answer(number, message.get("op"), request, expected or {})
        self._unbroken = self._unbroken and error is None
        return error

    def _tell(self, number: int, event: Dict[str, Any]) -> None:
        """Send an event. Raises EndOfStream where nobody listens any more, so that long jobs end."""
        if self._gone.is_set():
            raise protocol.EndOfStream("the host is gone")
        self._writer.event(number, event)

    def _answer(
        self, number: int, op: Any, request: Request, expected: Dict[str, Any]
    ) -> Optional[DeviceError]:
        try:
            result = ops.run(self._session, ops.find(op), request)
        except protocol.ProtocolError:
            raise
        except Exception as error:
            failure = from_exception(error, str(op))
        else:
            if any(result.get(field) != value for field, value in expected.items()):
                self._unbroken = False
            reply: Dict[str, Any] = {"id": number, "ok": True, "result": result}
            if request.reply_blob:
                reply["blob"] = len(request.reply_blob)
            self._writer.reply(reply, request.reply_blob)
            return None
        fields = dict(failure.as_dict(), device_state=self._device_state(request.args))
        self._writer.reply({"id": number, "ok": False, "error": fields})
        return failure

    def _device_state(self, args: Any) -> Any:
        try:
            return ops.device_state(self._session, args)
        except (DeviceError, OSError):
            return None


F_SETPIPE_SZ = 1031
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def prepare_root(root: str) -> str:
    """The root folder, made where it is not there (0700), without links. Raises store-io."""
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        return os.path.realpath(root)
    except OSError as error:
        raise from_os_error(error, "making the root folder") from error


def take_stdio() -> Tuple[BinaryIO, BinaryIO]:
    """stdin and stdout as unbuffered and buffered streams of our own; prints go to stderr from now on."""
    out = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    in_ = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        fcntl.fcntl(in_, F_SETPIPE_SZ, 1 << 20)
    except OSError:
        pass
    return open(in_, "rb", buffering=0), open(out, "wb")

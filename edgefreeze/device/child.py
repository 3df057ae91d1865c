"""A runner process, seen from the helper: in a session of its own, asked with a deadline, killed whole."""

import io
import os
import signal
import subprocess
import threading
import time
from typing import Any, BinaryIO, Dict, Optional, Sequence, Set, Tuple, cast

from edgefreeze.device import protocol
from edgefreeze.device.errors import CODES, DeviceError
from edgefreeze.device.frames import FrameReader, Silent

STDERR_TAIL = 8 * 1024
ALONE = {
    "ORT_DISABLE_TELEMETRY": "1",
    "KERAS_HOME": "/dev/null/keras",
}
"""For every process that has a runtime in it. ONNX Runtime (seen in 1.31.1) keeps an id of the machine and
events to be sent to its maker; Keras writes a configuration where it can, so here it cannot."""
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")

_alive: Set["Runner"] = set()
_closing = False
_alive_lock = threading.Lock()


def kill_all() -> None:
    """Kill every runner that there is, and let no other start: the helper is leaving."""
    global _closing
    with _alive_lock:
        _closing = True
        for runner in _alive:
            runner.kill()


class Runner:
    """A runner process. Close it, or use it as a context."""

    def __init__(
        self,
        python: str,
        program: str,
        threads: int,
        greeting_s: float,
        cpus: Optional[Sequence[int]] = None,
    ) -> None:
        """Start it with this interpreter; `program` is the helper's own .pyz, `cpus` the processors that it
        may use (None: as many as the helper).

        Raises python-missing, runner-died, runner-timeout. `spawn_ns` is how long it took to greet.
        """
        self._next_id = 0
        self._tail = bytearray()
        start = time.perf_counter_ns()
        with _alive_lock:
            if _closing:
                raise DeviceError("runner-died", "the helper is leaving")
            self._process = _start(python, program, threads, cpus)
            _alive.add(self)
        self._stdin = io.BufferedWriter(cast(io.RawIOBase, self._process.stdin))
        self._stdout = cast(BinaryIO, self._process.stdout)
        self._stderr = cast(BinaryIO, self._process.stderr)
        self._stderr_thread = threading.Thread(target=self._keep_tail, name="stderr", daemon=True)
        self._stderr_thread.start()
        self._reader = FrameReader(self._stdout, on_end=lambda: None, skip_noise=True)
        try:
            self._ask("hello", {}, b"", greeting_s)
        except BaseException:
            self.close()
            raise
        self.spawn_ns = time.perf_counter_ns() - start

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def call(self, op: str, args: Dict[str, Any], timeout_s: float) -> Dict[str, Any]:
        """Ask for one thing; its result. Raises what the runner raised, runner-died, runner-timeout."""
        return self._ask(op, args, b"", timeout_s)[0]

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def infer(self, blob: bytes, timeout_s: float) -> Tuple[Dict[str, Any], bytes]:
        """One inference on .npz bytes; (result, .npz bytes). Raises as call() does."""
        return self._ask("infer", {}, blob, timeout_s)

    def _ask(
        self, op: str, args: Dict[str, Any], blob: bytes, timeout_s: float
    ) -> Tuple[Dict[str, Any], bytes]:
        self._next_id += 1
        request: Dict[str, Any] = {"id": self._next_id, "op": op, "args": args}
        if blob:
            request["blob"] = len(blob)
        deadline = time.monotonic() + timeout_s
        stuck = threading.Timer(timeout_s, self.kill)  # one that does not read would hold us up for ever
        stuck.start()
        try:
            protocol.write_message(self._stdin, request)
            protocol.write_blob(self._stdin, blob)
        except (OSError, ValueError):  # ValueError: closed, after a question that took too long
            raise self._died(op) from None
        finally:
            stuck.cancel()
        try:
            kind, payload = self._reader.get(timeout_s)
            answer = protocol.parse_message(payload) if kind == b"J" else {}
            if answer.get("id") != self._next_id:
                raise protocol.ProtocolError("an answer to another question")
            data = protocol.take_blob(lambda: self._reader.get(max(0.0, deadline - time.monotonic())), answer)
        except Silent:
            self.close()
            raise DeviceError(
                "runner-timeout",
                "%s took longer than %g s; the runner was killed" % (op, timeout_s),
                expected=timeout_s,
                stderr=self.stderr_tail(),
            ) from None
        except protocol.EndOfStream:
            raise self._died(op) from None
        except protocol.ProtocolError as error:
            self.close()
            raise DeviceError("runner-died", "%s: the runner broke the protocol: %s" % (op, error)) from None
        if answer.get("ok") is not True:
            raise self._failure(answer.get("error"))
        result = answer.get("result")
        return (result if isinstance(result, dict) else {}), data

    def _failure(self, error: Any) -> DeviceError:
        fields = error if isinstance(error, dict) else {}
        code = fields.get("code") if fields.get("code") in CODES else "runtime-failed"
        assert isinstance(code, str)
        return DeviceError(
            code,
            str(fields.get("message")),
            fields.get("expected"),
            fields.get("found"),
            trace=fields.get("trace"),
            stderr=self.stderr_tail(),
        )

    def _died(self, op: str) -> DeviceError:
        how = describe_exit(self.close(after_s=5.0))
        return DeviceError(
            "runner-died",
            "%s: the process that runs the model ended: %s" % (op, how),
            found=how,
            stderr=self.stderr_tail(),
        )

    def stderr_tail(self) -> str:
        """The last that it wrote to stderr, at most STDERR_TAIL bytes."""
        return bytes(self._tail).decode("utf-8", "replace")

    def _keep_tail(self) -> None:
        while True:
            part = os.read(self._stderr.fileno(), 4096)
            if not part:
                return
            self._tail += part
            del self._tail[:-STDERR_TAIL]

    def kill(self) -> None:
        """Kill its whole process group."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it is gone

    def close(self, after_s: float = 0.0) -> int:
        """Kill it and all that it started, and collect it; its return code. May be called more than once.

        after_s: how long it may take to end by itself first.
        """
        if self._process.returncode is None:
            # It is not collected before its group is killed: until then the number is nobody else's.
            deadline = time.monotonic() + after_s
            flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
            while os.waitid(os.P_PID, self._process.pid, flags) is None and time.monotonic() < deadline:
                time.sleep(0.01)
            self.kill()
            self._process.wait()
            self._close_pipes()
        assert self._process.returncode is not None
        return self._process.returncode

    def _close_pipes(self) -> None:
        with _alive_lock:
            _alive.discard(self)
        try:
            self._stdin.close()
        except OSError:
            pass  # what it did not read any more
        # A descriptor in which a thread still reads (something outlived its group) is left open: its
        # number would go to the next file.
        if self._reader.join(1):
            self._stdout.close()
        self._stderr_thread.join(1)
        if not self._stderr_thread.is_alive():
            self._stderr.close()


def _start(
    python: str, program: str, threads: int, cpus: Optional[Sequence[int]]
) -> "subprocess.Popen[bytes]":
    pinned = ["--cpus", ",".join(map(str, cpus))] if cpus else []
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment.update(
        ALONE,
        TF_CPP_MIN_LOG_LEVEL="3",
        OMP_NUM_THREADS=str(threads),
        OPENBLAS_NUM_THREADS=str(threads),
    )
    try:
        return subprocess.Popen(
            [python, "-I", program, "runner", *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(
            "python-missing", "%s cannot be started: %s" % (python, error.strerror), "a Python", python
        ) from None


def describe_exit(status: int) -> str:
    """A return code of subprocess in words."""
    if status >= 0:
        return "exit status %d" % status
    name = signal_name(-status)
    return name + (" (out of memory?)" if name == "SIGKILL" else "")


def signal_name(number: int) -> str:
    """ "SIGKILL"; the number where Python has no name for it, as for most real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number

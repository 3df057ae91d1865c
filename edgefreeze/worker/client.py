"""The host's side of the worker: starts the process, reads its events, turns its end into a result or a
Failure. Imports no TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from edgefreeze.device.child import ALONE, signal_name
from edgefreeze.errors import Failure
from edgefreeze.text import clean, duration
from edgefreeze.worker import sources

Event = dict[str, Any]

_TAIL_LINES = 30
_GRACE_S = 5.0
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_MAX_LINE = 64 * 1024 * 1024

# Hash seeds and device choice must not decide what a conversion gives: the same model, the same bytes.
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "PYTHONUNBUFFERED": "1",
}


def run(
    request: dict[str, Any],
    *,
    on_event: Callable[[Event], None] | None = None,
    log: Path | None = None,
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run one request (see worker/__main__.py) in a process of its own and return its result.

    A worker that gets a model has no network and writes nowhere but into the request's `out` and a scratch
    folder, as far as the system allows it (see sandbox.py). on_event is called with each event. What
    TensorFlow prints goes to `log` (a temporary file if None), whose last lines are the Failure's detail.
    env is added to the environment.

    Raises Failure: what the worker refused; worker-no-tensorflow; worker-crashed, with the signal or exit
    status; worker-timeout. On Ctrl-C or any other exception the worker's process group is killed.
    """
    with contextlib.ExitStack() as stack:
        if log is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgefreeze-worker-"))
            path = Path(folder) / "worker.log"
        else:
            path = log
            path.parent.mkdir(parents=True, exist_ok=True)
        errors = stack.enter_context(path.open("wb"))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgefreeze-scratch-"))
        if "model" in request:
            request = {**request, "sandbox": [scratch, *_written(request)]}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edgefreeze.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment({"TMPDIR": scratch, **_for_the_model(request), **(env or {})}),
            process_group=0,
        )
        stack.callback(_end, process)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        stages: list[str] = []

        def heard(event: Event) -> None:
            if event["event"] == "stage":
                stages.append(str(event.get("name")))
            if on_event is not None:
                on_event(event)

        reply = _converse(process, request, heard, deadline)
        if reply is None:
            raise _timed_out(request, timeout_s, path)
        if "result" in reply:
            result: dict[str, Any] = reply["result"]
            return result
        if "error" in reply:
            raise _failure(reply["error"], path)
        crash = _crashed(process, path, log)
        if stages[-1:] == ["load"] and _of_damage(process):
            raise _killed_by(request, crash) from crash
        raise crash


def _of_damage(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process died as one dies that trusts what it reads, not for want of memory."""
    return -(process.returncode or 0) in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)


def _killed_by(request: Mapping[str, Any], crash: Failure) -> Failure:
    return Failure(
        "model-broken",
        f"The model {request.get('model')} cannot be loaded: TensorFlow died of reading it.",
        expected="whole files, as they were written",
        found=crash.found,
        next=crash.next or "Save or copy the model again.",
        detail=crash.detail,
    )


def _written(request: Mapping[str, Any]) -> list[str]:
    """The folders that the request has the worker write into; those that are missing are made."""
    out = Path(request["out"])
    folder = out if request.get("op") in ("convert", "trace") else out.parent
    folder.mkdir(parents=True, exist_ok=True)
    return [str(folder)]


def _for_the_model(request: Mapping[str, Any]) -> dict[str, str]:
    """What the kind of model needs, such as another Keras, before anything is imported."""
    model = request.get("model")
    return sources.environment(Path(model)) if model else {}


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child that runs edgefreeze's own code, from wherever this one was imported."""
    merged = {**os.environ, **ALONE, **_ENVIRONMENT, **(more or {})}
    paths = [str(_PACKAGE_PARENT), merged.get("PYTHONPATH", "")]
    merged["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    return merged


def _converse(
    process: subprocess.Popen[bytes],
    request: dict[str, Any],
    on_event: Callable[[Event], None],
    deadline: float | None,
) -> dict[str, Any] | None:
    """The last reply; {} if the worker ended without one; None at the deadline."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once: its log says why
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    for line in _lines(process.stdout, deadline):
        if line is None:
            return None
        try:
            reply = json.loads(line)
        except ValueError:
            return {}
        if not isinstance(reply, dict):
            return {}
        if "event" not in reply:
            return reply
        on_event(reply)
    return {}


def _lines(stream: IO[bytes], deadline: float | None) -> Iterator[bytes | None]:
    """The stream's lines as they come; None once the deadline has passed."""
    pending = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and (left <= 0 or not selector.select(left)):
                yield None
                return
            piece = os.read(stream.fileno(), 65536)
            if not piece or len(pending) > _MAX_LINE:
                return
            pending += piece
            *whole, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            yield from whole


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes and see that the whole process group is gone."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(clean(line, 400) for line in lines[-_TAIL_LINES:])


def _timed_out(request: dict[str, Any], timeout_s: float | None, log: Path) -> Failure:
    return Failure(
        "worker-timeout",
        f"The worker did not finish {request.get('op')} in {duration(timeout_s or 0)} and was stopped.",
        expected=f"an answer within {duration(timeout_s or 0)}",
        found="none",
        retry_safe=True,
        detail=_tail(log),
    )


def _failure(error: dict[str, Any], log: Path) -> Failure:
    return Failure(
        error["code"],
        error["message"],
        expected=error.get("expected"),
        found=error.get("found"),
        retry_safe=error.get("retry_safe"),
        next=error.get("next"),
        detail=_tail(log) or None,
    )


def _crashed(process: subprocess.Popen[bytes], log: Path, kept: Path | None) -> Failure:
    try:
        status: int | None = process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        status = None
    if status is None:
        found = "it closed its output without an answer"
    elif status < 0:
        name = signal_name(-status)
        memory = "; the system may have run out of memory" if -status == signal.SIGKILL else ""
        found = f"killed by {name}{memory}"
    else:
        found = f"exit status {status}"
    tail = _tail(log)
    last = next((line for line in reversed(tail.splitlines()) if line.strip()), "")
    return Failure(
        "worker-crashed",
        f"The process that runs TensorFlow ended unexpectedly ({found}).",
        expected="a result or an error",
        found=f"{found}; it last said: {clean(last, 300)}" if last else found,
        retry_safe=True,
        next=f"See {kept}" if kept else None,
        detail=tail,
    )

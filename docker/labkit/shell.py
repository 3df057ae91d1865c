"""Running programs with bounded waits, and the one error that ends a command of the lab."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

STOP_S = 30
"""What a program that is told to stop gets for its own cleaning up, before it is killed."""


class LabError(Exception):
    """A step failed: the cause, and the cure, each one line."""

    def __init__(self, cause: str, cure: str) -> None:
        """Keep both apart, so that they print as two lines."""
        super().__init__(cause)
        self.cure = cure


def say(text: str) -> None:
    """Tell what happens, on stderr: stdout is for data."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def stage(text: str, hint: str = "") -> Iterator[None]:
    """Announce a step that takes long, and say what it took."""
    say(f"{text} … {hint}".rstrip())
    start = time.monotonic()
    yield
    say(f"{text}: {time.monotonic() - start:.0f} s")


def attempt(argv: Sequence[str | Path], *, timeout: float, log: Path | None = None) -> tuple[int, str, str]:
    """Run a program whose failure is an answer; return (exit status, stdout, stderr), both stripped.

    With `log` both streams go there and come back empty. A program that is not there gives 127, one
    that ran past `timeout` seconds is stopped and gives 124. Whatever interrupts the wait stops the
    program first, and lets it clean up.
    """
    sink = log.open("wb") if log else None
    try:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=sink or subprocess.PIPE,
            stderr=subprocess.STDOUT if sink else subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,  # so that it and what it started can be told to stop together
        )
    except FileNotFoundError:
        return 127, "", f"{argv[0]}: not installed"
    finally:
        if sink:
            sink.close()
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _stop(process)
        return 124, "", f"no end within {timeout:.0f} s"
    except BaseException:
        _stop(process)
        raise
    return process.returncode, (out or "").strip(), (err or "").strip()


def run(
    argv: Sequence[str | Path], *, what: str, cure: str, timeout: float = 60, log: Path | None = None
) -> str:
    """Run a program that must succeed; return its stdout, stripped.

    Raises LabError with `what`, the program's last line and `cure`.
    """
    status, out, err = attempt(argv, timeout=timeout, log=log)
    if status:
        if log and log.exists():
            err = err or log.read_text(errors="replace").strip()
            cure = f"{cure} (log: {log})"
        raise LabError(f"{what}: {last_line(err or out) or f'exit status {status}'}", cure)
    return out


def last_line(text: str) -> str:
    """The line that says why a program failed: its last, of which at most 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _stop(process: subprocess.Popen[str]) -> None:
    for end, patience in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, end)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=patience)
            return

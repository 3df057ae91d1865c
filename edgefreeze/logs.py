"""Logs in the host's state folder: what the processes with TensorFlow print, and what each run did."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import IO

from edgefreeze.text import clean

KEPT = 50
"""Of each kind; of more the oldest go."""
RUNS = "runs"


def folder(kind: str = "") -> Path:
    """Where logs of a kind are: RUNS, or those of the workers."""
    from edgefreeze.inventory import state_root  # not for --help, which keeps no log

    return state_root() / "logs" / kind


def new(name: str, kind: str = "") -> Path:
    """The path of a new log, named by time. Raises OSError where there can be none."""
    place = folder(kind)
    place.mkdir(parents=True, exist_ok=True)
    for old in sorted(place.glob("*.log"))[: -KEPT + 1]:
        old.unlink(missing_ok=True)
    seconds, micros = divmod(time.time_ns() // 1000, 10**6)
    return place / f"{time.strftime('%Y%m%dT%H%M%S', time.localtime(seconds))}-{micros:06d}-{name}.log"


def runs() -> list[Path]:
    """Logs of runs, the oldest first."""
    return sorted(folder(RUNS).glob("*.log"))


class Run:
    """What one run of the command line did. There is a file only where it came to do something, and none
    where none can be written. The first line is a JSON list of the arguments."""

    def __init__(self, command: str, arguments: list[str]) -> None:
        self._command, self._arguments = command, arguments
        self._began = time.monotonic()
        self._stream: IO[str] | None = None
        self._broken = False
        self.path: Path | None = None

    def line(self, text: str) -> None:
        """Add a line, with the seconds since the run began."""
        try:
            self._write(f"{time.monotonic() - self._began:9.3f} {clean(text)}\n")
        except OSError:
            self._broken, self.path = True, None

    def _write(self, text: str) -> None:
        if self._broken:
            return
        if self._stream is None:
            path = new(self._command or "run", RUNS)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            # A name on a disk may be no UTF-8.
            self._stream = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")
            self.path = path
            self._stream.write(json.dumps(self._arguments) + "\n")
        self._stream.write(text)
        self._stream.flush()

    def end(self, status: int) -> None:
        """Say how it ended, where there is a log. What a thread says later is not kept."""
        if self._stream is not None and not self._broken:
            self.line(f"exit status {status}")
            self._broken = True
            self._stream.close()


current = Run("", [])
"""The run under way."""


def begin(command: str, arguments: list[str]) -> Run:
    """A run begins."""
    global current
    current = Run(command, arguments)
    return current

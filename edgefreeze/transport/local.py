"""This machine as a device: the very same helper, as a subprocess."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
from typing import BinaryIO

from edgefreeze.errors import Failure
from edgefreeze.transport import bootstrap


class _Pipe:
    """One end of a pipe with a deadline on every read and write. An unbuffered file for the protocol."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.timeout: float | None = None
        os.set_blocking(fd, False)

    def _wait(self, *, write: bool) -> None:
        fds = [self._fd]
        ready = select.select([] if write else fds, fds if write else [], [], self.timeout)
        if not (ready[0] or ready[1]):
            raise TimeoutError

    def read(self, count: int = -1) -> bytes:
        while True:
            try:
                return os.read(self._fd, count)
            except BlockingIOError:
                self._wait(write=False)

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                self._wait(write=True)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class LocalStream:
    """The helper as a child process."""

    def __init__(self, python: str) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the stream
        try:
            self._process = subprocess.Popen(
                [python, "-IS", "-c", bootstrap.program()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise Failure(
                "no-python",
                f"local: {python} cannot be started: {error.strerror}",
                expected="a Python 3 interpreter",
                found=python,
            ) from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.reader: BinaryIO = _Pipe(self._process.stdout.fileno())  # type: ignore[assignment]
        self.writer: BinaryIO = _Pipe(self._process.stdin.fileno())  # type: ignore[assignment]

    def set_timeout(self, seconds: float | None) -> None:
        """As Stream.set_timeout."""
        self.reader.timeout = self.writer.timeout = seconds  # type: ignore[attr-defined]

    def stderr_tail(self) -> str:
        """As Stream.stderr_tail."""
        try:
            end = self._stderr.seek(0, os.SEEK_END)
            self._stderr.seek(max(0, end - 4000))
            return self._stderr.read().decode("utf-8", "replace")
        except (OSError, ValueError):
            return ""

    def exit_status(self) -> int | None:
        """As Stream.exit_status."""
        try:
            return self._process.wait(2)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End of input first, which lets the helper leave in order; then a kill."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._stderr.close()


def open_stream(python: str) -> LocalStream:
    """Start the bootstrap in the given interpreter on this machine. Raises Failure no-python."""
    return LocalStream(python)

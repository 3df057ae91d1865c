"""The processors' governor, set for a measurement and put back whoever dies.

A process of its own sets it, waits until its stdin ends (the helper has closed it, or was killed), and puts
back what was there. Should that process be killed, the helper puts it back when it leaves.
"""

import glob
import json
import os
import subprocess
import sys
from typing import Any, BinaryIO, Dict, Optional, TextIO

from edgefreeze.device import checks, probe
from edgefreeze.device.errors import DeviceError, from_os_error

_FILES = "/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
WAIT_S = 10.0


def read(sysfs: str = "/sys") -> Dict[str, str]:
    """File to governor, of every processor that has one."""
    found = {path: probe.read_text(path, 100) for path in sorted(glob.glob(sysfs + _FILES))}
    return {path: text for path, text in found.items() if text}


def write(wanted: Dict[str, str]) -> None:
    """File to governor. Raises OSError."""
    for path, governor in wanted.items():
        with open(path, "w", encoding="ascii") as stream:
            stream.write(governor)


def guard(governor: str, sysfs: str, stdin: BinaryIO, stdout: TextIO) -> int:
    """The process: set it, say what was there, wait for the end of stdin, put it back."""
    before = read(sysfs)
    try:
        write(dict.fromkeys(before, governor))
    except OSError as error:
        _restore(before)
        stdout.write(json.dumps({"error": error.strerror, "errno": error.errno, "before": before}) + "\n")
        stdout.flush()
        return 1
    stdout.write(json.dumps({"before": before}) + "\n")
    stdout.flush()
    while os.read(stdin.fileno(), 4096):
        pass
    _restore(before)
    return 0


def _restore(before: Dict[str, str]) -> None:
    for path, governor in before.items():
        try:
            write({path: governor})
        except OSError:
            pass  # as far as possible


class Governor:
    """The helper's hold on it."""

    def __init__(self, program: str, sysfs: str = "/sys") -> None:
        self._program = program
        self._sysfs = sysfs
        self._process: "Optional[subprocess.Popen[bytes]]" = None
        self._before: Dict[str, str] = {}

    def set(self, governor: str) -> Dict[str, str]:
        """Set it; what was there, by file. Raises store-io where it is not to be had, or not allowed."""
        self.restore()
        if not read(self._sysfs):
            raise DeviceError("store-io", "the board has no governor to set", "cpufreq", None)
        command = [sys.executable, "-I", self._program, "governor", "--set", governor, "--sysfs", self._sysfs]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd="/"
            )
        except OSError as error:
            raise from_os_error(error, "setting the governor") from None
        assert process.stdout is not None
        line = process.stdout.readline()
        self._process = process
        said: Dict[str, Any] = _said(line)
        self._before = said["before"]
        if "error" in said:
            self.restore()
            raise DeviceError(
                "store-io",
                "setting the governor: %s" % said["error"],
                "a user who may write scaling_governor, and a governor that the kernel has",
                governor,
            )
        return self._before

    def restore(self) -> None:
        """Put back what was there, also where the process was killed; nothing where none was set."""
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if process.returncode < 0:
            _restore(self._before)


def _said(line: bytes) -> Dict[str, Any]:
    """What the process said. Raises store-io where that is nothing."""
    try:
        value: Dict[str, Any] = json.loads(line.decode("utf-8"))
        checks.record({"before": checks.dict_of(checks.text(100))})(value, "governor")
    except ValueError:
        raise DeviceError("store-io", "setting the governor: its process ended", None, None) from None
    return value

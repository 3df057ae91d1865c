"""One writer per app: a flock on the app's lock file, which the kernel frees however the holder ends."""

import fcntl
import json
import os
import time

from edgefreeze.device import checks, files
from edgefreeze.device.errors import DeviceError, storage

_check = checks.record({"who": checks.line, "pid": checks.integer(), "since": checks.line})


def utc_now() -> str:
    """The device's idea of the time, "2026-11-21T11:08:00Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def utc_instant() -> str:
    """The same with microseconds, "2026-11-21T11:08:00.123456Z", for the order of two logs' entries."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds)) + "%06dZ" % (rest // 1000)


class AppLock:
    """The write lock of an app. The file says who holds it, since when and in which process."""

    def __init__(self, path: str, who: str) -> None:
        """Take the lock, at once or not at all. Raises locked (saying who has it), store-io."""
        with storage("opening the lock"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with storage("writing the lock"):
                try:
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise _held(path) from None
                holder = {"who": who, "pid": os.getpid(), "since": utc_now()}
                os.ftruncate(self._fd, 0)
                files.write_all(self._fd, json.dumps(holder).encode("utf-8"))
        except BaseException:
            os.close(self._fd)  # else this session's next try would find it held
            raise

    def release(self) -> None:
        """Let the lock go."""
        os.close(self._fd)


def _held(path: str) -> DeviceError:
    try:
        holder = files.read_json(path, _check, 4096)
        by = "%s since %s" % (holder["who"], holder["since"])
    except (OSError, checks.Invalid):  # it is just being written
        holder, by = None, "another session"
    return DeviceError("locked", "the app is being changed by %s" % by, "nobody else changing it", holder)

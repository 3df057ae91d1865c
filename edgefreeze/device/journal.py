"""Measurements on the device's disk, as they come: whoever is killed, what was measured is not lost.

What was measured is synced before the host is told of it and before the next block begins, so that a power
cut costs the block under way at most. Nothing is timed meanwhile.

    bench/<run>.jsonl    what was asked for, then every event, a line each
    bench/<run>.block    the samples of the block that is running, 8 bytes each, written by the runner itself
    bench/lock           one duel at a time: two at once would measure each other

A run is removed when the host says that it has it; what is left is asked for by the next host that measures.
"""

import array
import fcntl
import json
import os
from typing import Any, Dict, List, Optional

from edgefreeze.device import files
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.protocol import RUN
from edgefreeze.device.timing import MOST_SAMPLES

MOST_BYTES = 256 << 20
KEPT = 20
"""Runs that nobody has fetched; of more the oldest go."""


DURABLE = ("head", "cold", "warmup", "block", "failed", "end")
"""Events that are synced; the others (what the board was doing, what begins) are with the next of these."""


def _folder(root: str) -> str:
    return os.path.join(root, "bench")


class Journal:
    """A run being written. Holds the device's measuring lock until close()."""

    def __init__(self, root: str, run: str, head: Dict[str, Any]) -> None:
        """Raises locked where something is being measured already, store-io."""
        folder = _folder(root)
        with storage("keeping measurements"):
            files.make_folder(root)
            files.make_folder(folder)
            self._lock = os.open(
                os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        self._path = os.path.join(folder, run)
        self._block: Optional[Dict[str, Any]] = None
        self._fd = -1
        try:
            self._begin(folder, head)
        except BaseException:
            # Else this session would hold for as long as it lives what it cannot use.
            if self._fd >= 0:
                os.close(self._fd)
                files.remove_file(self._path + ".jsonl")
            os.close(self._lock)
            raise

    def _begin(self, folder: str, head: Dict[str, Any]) -> None:
        with storage("keeping measurements"):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeviceError(
                    "locked", "the device is measuring already; two at once would disturb each other"
                ) from None
            _drop_oldest(folder)
            self._fd = os.open(
                self._path + ".jsonl",
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
        self.event(dict(head, kind="head"))
        with storage("keeping measurements"):
            files.fsync_path(folder)

    def event(self, event: Dict[str, Any]) -> None:
        """Keep an event; one of DURABLE is on the disk afterwards. Raises store-io, disk-space."""
        line = json.dumps(event, separators=(",", ":")).encode("utf-8") + b"\n"
        with storage("keeping measurements"):
            files.write_all(self._fd, line)
            if event["kind"] in DURABLE:
                os.fdatasync(self._fd)

    def begin(self, contestant: int, block: int) -> str:
        """A block begins; the path at which its runner keeps its samples."""
        files.remove_file(self._path + ".block")
        self._block = {"kind": "begin", "contestant": contestant, "block": block}
        self.event(self._block)
        return self._path + ".block"

    def cut(self) -> Optional[List[int]]:
        """Samples of the block that its runner did not live to hand in; None where there are none."""
        return _spooled(self._path + ".block")

    def close(self) -> None:
        """Let the lock go; the file stays until forget()."""
        os.close(self._fd)
        files.remove_file(self._path + ".block")
        os.close(self._lock)


def _drop_oldest(folder: str) -> None:
    runs = [os.path.join(folder, n) for n in files.list_folder(folder) if n.endswith(".jsonl")]
    for path in sorted(runs, key=_written)[: -KEPT + 1]:
        files.remove_file(path)


def _written(path: str) -> float:
    try:
        return os.path.getmtime(path)
    except OSError:
        return 0.0  # another session has just had it forgotten


def left(root: str) -> List[Dict[str, Any]]:
    """[{"run", "bytes"}] of runs that no host has taken; none while something is being measured."""
    found: List[Dict[str, Any]] = []
    folder = _folder(root)
    try:
        fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return found
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return found
    finally:
        os.close(fd)
    for name in files.list_folder(folder):
        run, _, kind = name.rpartition(".")
        if kind == "jsonl" and RUN.fullmatch(run):
            size = files.regular_size(os.path.join(folder, name))
            found.append({"run": run, "bytes": size or 0})
    return found


def read(root: str, run: str) -> bytes:
    """A run's lines. A block that was cut is there as a block, with `partial` true. Raises store-io."""
    path = os.path.join(_folder(root), run)
    with storage("reading measurements"):
        data = files.read_bytes(path + ".jsonl", MOST_BYTES)
    data = data[: data.rfind(b"\n") + 1]
    last = _last(data)
    samples = _spooled(path + ".block") if last.get("kind") == "begin" else None
    if samples:
        block = dict(last, kind="block", samples_ns=samples, partial=True)
        data += json.dumps(block, separators=(",", ":")).encode("utf-8") + b"\n"
    return data


def _last(data: bytes) -> Dict[str, Any]:
    """The last line; {} where there is none, or after a power cut something else."""
    try:
        found = json.loads(data.splitlines()[-1].decode("utf-8"))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def forget(root: str, run: str) -> None:
    """Remove a run that the host has."""
    for ending in (".jsonl", ".block"):
        files.remove_file(os.path.join(_folder(root), run + ending))


def _spooled(path: str) -> Optional[List[int]]:
    try:
        with open(path, "rb") as stream:
            samples = array.array("q", stream.read(8 * MOST_SAMPLES))
    except (OSError, ValueError):
        return None
    count = next((i for i, ns in enumerate(samples) if ns <= 0), len(samples))
    return samples[:count].tolist() or None

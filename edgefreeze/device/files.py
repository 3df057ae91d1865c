"""Files that survive a power cut, and folders that nobody can redirect.

The order that holds everywhere: write under a name that nobody looks at, fsync the file, rename it to
its name, fsync the folder. A file whose fsync failed is thrown away and never synced again: the kernel
has marked its pages clean.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from edgefreeze.device.checks import Check, Invalid
from edgefreeze.device.errors import DeviceError, storage

READ = 1 << 20
SYNC_THREADS = 8
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}(\.new|\.link)?")
_NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


def random_name() -> str:
    """16 hex digits that no other file has."""
    return os.urandom(8).hex()


def fsync_path(path: str) -> None:
    """fsync a file or a folder. Raises OSError; a symlink is none."""
    fd = os.open(path, os.O_RDONLY | _NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_all(paths: Sequence[str]) -> List[Optional[OSError]]:
    """fsync many files or folders; for each None or the error.

    Several at a time: the kernel then takes them into one journal commit instead of one for each (2000 small
    files on ext4: 0.5 to 1.3 s instead of 2 to 10).
    """

    def sync(path: str) -> Optional[OSError]:
        try:
            fsync_path(path)
        except OSError as error:
            return error
        return None

    if len(paths) < 2 * SYNC_THREADS:
        return [sync(path) for path in paths]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(SYNC_THREADS) as pool:
        return list(pool.map(sync, paths))


def require_synced(paths: Sequence[str]) -> None:
    """fsync_all, or raise the first error."""
    for error in fsync_all(paths):
        if error is not None:
            raise error


def make_folder(path: str) -> None:
    """Create a folder (0700) and make its entry durable; an existing one is fine, a symlink is not."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        require_folder(path)
        return
    fsync_path(os.path.dirname(path))


def require_folder(path: str) -> None:
    """Raise store-io where path is there and is no folder of its own (a symlink, a file)."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise DeviceError("store-io", "%s is not a folder" % path, "a folder", "a link or a file", path=path)


def make_folders(root: str, relative_files: Iterable[str]) -> List[str]:
    """Create the folders beneath root that hold these files; return root and all of them, deepest last."""
    made = {root}
    order = [root]
    for name in relative_files:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = os.path.join(root, *parts[:depth])
            if folder not in made:
                os.mkdir(folder, 0o700)
                made.add(folder)
                order.append(folder)
    return order


def write_durably(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at path by data, atomically and durably."""
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, ".%s.new" % random_name())
    try:
        write_new(temporary, data, mode)
        os.rename(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    fsync_path(folder)


def write_new(path: str, data: bytes, mode: int = 0o600) -> None:
    """Create a file that was not there and fsync it (not its folder)."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, mode)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """os.write until all of data is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_json(path: str, value: Any) -> None:
    """Replace the file at path by a JSON value, durably."""
    write_durably(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """A JSON value as it stands in the device's files."""
    return json.dumps(value, indent=1, sort_keys=True).encode("utf-8") + b"\n"


def read_bytes(path: str, limit: int = 64 << 20) -> bytes:
    """A whole file of at most limit bytes. Raises OSError, or Invalid where it is longer."""
    fd = os.open(path, os.O_RDONLY | _NOFOLLOW)
    with open(fd, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise Invalid(path, "at most %d bytes" % limit, "more")
    return data


def read_json(path: str, check: Check, limit: int = 64 << 20) -> Any:
    """A JSON file that passes the check. Raises OSError, or Invalid where it does not."""
    return parse_json(read_bytes(path, limit), check, os.path.basename(path))


def parse_json(data: bytes, check: Check, what: str) -> Any:
    """JSON from outside, checked. Raises Invalid; `what` names it."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Invalid(what, "JSON", "%d bytes that are none" % len(data)) from None
    check(value, what)
    return value


def remove_unfinished(folder: str) -> None:
    """Remove what a cut left in a folder of a file, or of a link, on its way to its name."""
    for name in list_folder(folder):
        if _UNFINISHED.fullmatch(name):
            remove_file(os.path.join(folder, name))


def remove_file(path: str) -> None:
    """Remove a file, if it is there and can be."""
    try:
        os.unlink(path)
    except OSError:
        pass


def remove_tree(path: str) -> None:
    """Remove a folder and all in it, as far as possible (what stays is removed by the next clean-up)."""
    shutil.rmtree(path, ignore_errors=True)


def hash_stream(fd: int, progress: Optional[Callable[[int], None]] = None) -> Tuple[str, int]:
    """SHA-256 and size of what an open file holds from where it stands. progress(bytes of this read)."""
    state = hashlib.sha256()
    total = 0
    while True:
        part = os.read(fd, READ)
        if not part:
            return state.hexdigest(), total
        state.update(part)
        total += len(part)
        if progress is not None:
            progress(len(part))


def hash_from_disk(path: str, progress: Optional[Callable[[int], None]] = None) -> Tuple[str, int]:
    """SHA-256 and size of a file, read from the disk where the kernel lets go of what it has cached."""
    fd = os.open(path, os.O_RDONLY | _NOFOLLOW)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return hash_stream(fd, progress)
    finally:
        os.close(fd)


def verify(path: str, sha256: str, size: int, progress: Optional[Callable[[int], None]] = None) -> None:
    """Hash a file as it is on the disk. Raises digest-mismatch, or store-io where it cannot be read."""
    with storage("reading back"):
        found, found_size = hash_from_disk(path, progress)
    if found != sha256 or found_size != size:
        raise DeviceError(
            "digest-mismatch",
            "%s is not on the disk as it was sent" % path,
            expected={"sha256": sha256, "bytes": size},
            found={"sha256": found, "bytes": found_size},
            path=path,
        )


def regular_size(path: str) -> Optional[int]:
    """Size of a regular file, None where there is none (a link is none)."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def list_folder(path: str) -> List[str]:
    """Sorted names in a folder; none where it is not there."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []

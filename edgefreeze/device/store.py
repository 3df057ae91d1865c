"""The content store: files by their SHA-256, shared by all apps and runtimes of a device.

    store/<2 hex>/<sha256>   0400; the name exists only once the content is durable
    store/partial/<sha256>   a large file that broke off, to be resumed
    store/tmp/<session>/     files received and not yet committed; its session holds a flock on it, and one on
                             tmp/ while it begins
    store/lock               shared by every session that relies on what it found or put, exclusive to sweep

What is put is hashed while it arrives. commit() is the sync point: fsync each file, rename it to its
digest, fsync the folders.
"""

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from edgefreeze.device import files
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.protocol import SHA256, EndOfStream, ProtocolError

RESUMABLE = 1 << 20
"""Files of at least this size are kept when they break off."""
WRITE_OUT = 8 << 20
"""Bytes that are received before the system is told to write them to the disk."""
COMMIT_BYTES = 64 << 20
COMMIT_FILES = 2000
RESERVE_BYTES = 16 << 20
"""Never fill a device's disk beyond this: other programs live there too."""


class Store:
    """One session's view of the store beneath `root` (the helper's root folder)."""

    def __init__(self, root: str) -> None:
        self.path = os.path.join(root, "store")
        self._partial = os.path.join(self.path, "partial")
        self._temporary = os.path.join(self.path, "tmp")
        self._session: Optional[str] = None
        self._session_fd = -1
        self._lock_fd = -1
        self._pending: Dict[str, Tuple[str, int]] = {}
        self._pending_bytes = 0
        self._passing: Dict[str, str] = {}

    # --- what is there

    def object_path(self, sha256: str) -> str:
        """Where content of this digest is, once it is there."""
        return os.path.join(self.path, sha256[:2], sha256)

    def has(self, sha256: str, size: int) -> bool:
        """Whether the content is in the store (of that size; it is hashed again before it is used)."""
        pending = self._pending.get(sha256)
        if pending is not None:
            return pending[1] == size
        return files.regular_size(self.object_path(sha256)) == size

    def missing(self, wanted: Iterable[Tuple[str, int]]) -> Tuple[List[str], Dict[str, int]]:
        """Digests that are not there, each once, and for those that broke off how many bytes are."""
        self.hold()
        absent = []
        partial = {}
        for sha256, size in dict.fromkeys(wanted):
            if self.has(sha256, size):
                continue
            absent.append(sha256)
            have = files.regular_size(os.path.join(self._partial, sha256))
            if have and size >= RESUMABLE:
                partial[sha256] = min(have, size)
        return absent, partial

    def require(self, wanted: Iterable[Tuple[str, int]]) -> None:
        """Raise missing-content unless all of this content is there, if only passing through."""
        absent = [s for s, size in wanted if s not in self._passing and not self.has(s, size)]
        if absent:
            raise DeviceError(
                "missing-content",
                "the store lacks %d files that are to be used" % len(absent),
                expected="all of them put before",
                found=absent[:10],
            )

    # --- putting

    def put(
        self, sha256: str, size: int, pieces: Iterable[bytes], offset: int = 0, passing: bool = False
    ) -> bool:
        """Take content in; False where it was there. Durable after commit(), unless it is only passing
        through: then it goes with the session.

        offset: how much of it an earlier, broken-off put has left here (see missing()).
        Raises disk-space, store-io, digest-mismatch.
        """
        self.hold()
        if self.has(sha256, size) or (passing and sha256 in self._passing):
            return False
        self.require_space(size - offset)
        with storage("receiving a file"):
            if size >= RESUMABLE:
                path = self._receive_resumable(sha256, size, pieces, offset)
            else:
                path = self._receive_small(sha256, size, pieces)
        if passing:
            self._passing[sha256] = os.path.join(self._session or "", files.random_name())
            os.rename(path, self._passing[sha256])
            return True
        self._pending[sha256] = (path, size)
        self._pending_bytes += size
        if len(self._pending) >= COMMIT_FILES or self._pending_bytes >= COMMIT_BYTES:
            self.commit()
        return True

    def require_space(self, size: int, inodes: int = 1) -> None:
        """Raise disk-space unless the file system has room for so many bytes and files."""
        with storage("asking for free space"):
            found = os.statvfs(self.path)
        free = found.f_bavail * found.f_frsize
        if free < size + RESERVE_BYTES:
            raise DeviceError(
                "disk-space",
                "%d bytes are to be written and %d are free" % (size, free),
                expected="%d bytes free (%d stay in reserve)" % (size + RESERVE_BYTES, RESERVE_BYTES),
                found=free,
            )
        if found.f_files and found.f_favail < inodes:
            raise DeviceError(
                "disk-space",
                "the file system has no inode left",
                expected="%d inodes free" % inodes,
                found=found.f_favail,
            )

    def _receive_small(self, sha256: str, size: int, pieces: Iterable[bytes]) -> str:
        assert self._session is not None
        path = os.path.join(self._session, sha256)
        state = hashlib.sha256()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                _receive(fd, state, pieces)
            finally:
                os.close(fd)
            _require_digest(sha256, state.hexdigest())
        except BaseException:
            files.remove_file(path)
            raise
        return path

    def _receive_resumable(self, sha256: str, size: int, pieces: Iterable[bytes], offset: int) -> str:
        assert self._session is not None
        kept = os.path.join(self._partial, sha256)
        fd = _open_locked(kept)
        try:
            have = os.fstat(fd).st_size
            if have < offset:
                raise DeviceError(
                    "digest-mismatch", "there is less of the file here than is to be resumed", offset, have
                )
            os.ftruncate(fd, offset)
            state = hashlib.sha256()
            left = offset
            while left:
                part = os.read(fd, min(files.READ, left))
                state.update(part)
                left -= len(part)
            try:
                _receive(fd, state, pieces)
                _require_digest(sha256, state.hexdigest())
            except (EndOfStream, ProtocolError):
                raise  # what has arrived stays, for the next try
            except BaseException:
                files.remove_file(kept)
                raise
            path = os.path.join(self._session, sha256)
            os.rename(kept, path)
            return path
        finally:
            os.close(fd)

    def commit(self) -> int:
        """Make all that was put durable and give it its name; how many files that were.

        Raises disk-space or store-io; the file that could not be synced is thrown away, the rest stays.
        """
        if not self._pending:
            return 0
        pending = [(sha256, path) for sha256, (path, _) in self._pending.items()]
        self._pending.clear()
        self._pending_bytes = 0
        with storage("making files durable"):
            for _, path in pending:
                os.chmod(path, 0o400)
            errors = files.fsync_all([path for _, path in pending])
            for folder in sorted({sha256[:2] for sha256, _ in pending}):
                files.make_folder(os.path.join(self.path, folder))
            folders: Set[str] = set()
            for (sha256, path), error in zip(pending, errors):  # noqa: B905 - Python 3.8
                if error is not None:
                    files.remove_file(path)
                    continue
                os.rename(path, self.object_path(sha256))
                folders.add(os.path.join(self.path, sha256[:2]))
            files.require_synced(sorted(folders))
            for error in errors:
                if error is not None:
                    raise error
        return len(pending)

    # --- taking out

    def scratch(self, wanted: Iterable[Tuple[str, str, int]]) -> str:
        """A folder that goes with the session, with (path, digest, size) of content that was put, in it.

        Raises missing-content, digest-mismatch.
        """
        self.hold()
        assert self._session is not None
        rows = list(wanted)
        self.require((sha256, size) for _, sha256, size in rows)
        folder = os.path.join(self._session, files.random_name())
        with storage("putting files together"):
            os.mkdir(folder, 0o700)
            files.make_folders(folder, [path for path, _, _ in rows])
            for path, sha256, size in rows:
                target = os.path.join(folder, path)
                self.link(sha256, target)
                files.verify(target, sha256, size)
        return folder

    def _source(self, sha256: str) -> str:
        pending = self._pending.get(sha256)
        return self._passing.get(sha256) or (pending[0] if pending else self.object_path(sha256))

    def link(self, sha256: str, target: str, executable: bool = False) -> bool:
        """Put content at a path: a hard link, a copy where the file system has none or the mode differs.

        True where it was copied (the copy is fsynced; its folder is the caller's). Raises OSError.
        """
        source = self._source(sha256)
        if not executable:
            try:
                os.link(source, target, follow_symlinks=False)
                return False
            except FileNotFoundError:
                raise
            except OSError:
                pass  # no links here (FAT, overlay, too many of them): a copy does it
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                while True:
                    part = os.read(fd, files.READ)
                    if not part:
                        break
                    files.write_all(out, part)
                os.fchmod(out, 0o500 if executable else 0o400)
                os.fsync(out)
            finally:
                os.close(out)
        finally:
            os.close(fd)
        return True

    def drop(self, sha256: str) -> None:
        """Forget content that turned out to be damaged, so that the next try sends it again."""
        files.remove_file(self.object_path(sha256))

    # --- sessions and sweeping

    def hold(self) -> None:
        """Nothing is swept from now until this process ends or release() is called."""
        if self._lock_fd >= 0:
            return
        with storage("opening the store"):
            for folder in (self.path, self._partial, self._temporary):
                files.make_folder(folder)
            lock = self._open_lock()
            try:
                fcntl.flock(lock, fcntl.LOCK_SH)
                self._begin_session()
            except BaseException:
                os.close(lock)
                raise
            self._lock_fd = lock

    def _begin_session(self) -> None:
        """One at a time: a folder whose session has not locked it yet looks like one that was left."""
        turn = os.open(self._temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self._remove_left_over_sessions()
            session = os.path.join(self._temporary, files.random_name())
            os.mkdir(session, 0o700)
            fd = os.open(session, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._session, self._session_fd = session, fd
        finally:
            os.close(turn)

    def release(self) -> None:
        """End the session: what was put and not committed is gone."""
        if self._lock_fd < 0:
            return
        assert self._session is not None
        self._pending.clear()
        self._passing.clear()
        files.remove_tree(self._session)
        os.close(self._session_fd)
        os.close(self._lock_fd)
        self._session, self._session_fd, self._lock_fd = None, -1, -1

    def _open_lock(self) -> int:
        path = os.path.join(self.path, "lock")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _remove_left_over_sessions(self) -> None:
        for name in files.list_folder(self._temporary):
            folder = os.path.join(self._temporary, name)
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its session has just ended
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                files.remove_tree(folder)
            except BlockingIOError:
                pass  # its session lives
            finally:
                os.close(fd)

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """End this session (release()), then hold the store alone: False where another session is at work."""
        self.release()
        if not os.path.isdir(self.path):
            yield False
            return
        with storage("locking the store"):
            fd = self._open_lock()
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def sweep(self, referenced: Set[str]) -> Dict[str, int]:
        """Remove content that neither a link nor `referenced` holds, and what broke off: {"files", "bytes"}.

        Only within exclusive().
        """
        removed = {"files": 0, "bytes": 0}
        with storage("collecting garbage"):
            self._remove_left_over_sessions()
            for path, name in self._objects():
                found = os.lstat(path)
                if name in referenced or found.st_nlink > 1:
                    continue
                os.unlink(path)
                removed["files"] += 1
                removed["bytes"] += found.st_size
        for name in files.list_folder(self._partial):
            files.remove_file(os.path.join(self._partial, name))
        return removed

    def _objects(self) -> List[Tuple[str, str]]:
        found = []
        for prefix in files.list_folder(self.path):
            if len(prefix) == 2:
                folder = os.path.join(self.path, prefix)
                for name in files.list_folder(folder):
                    if SHA256.fullmatch(name):
                        found.append((os.path.join(folder, name), name))
        return found

    def total_bytes(self) -> int:
        """Bytes of all content."""
        return sum(files.regular_size(path) or 0 for path, _ in self._objects())


def _open_locked(kept: str) -> int:
    """A partial file, ours alone. Raises locked, OSError."""
    while True:
        fd = os.open(kept, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.lstat(kept)):
                return fd
        except FileNotFoundError:
            pass  # in between another session had it whole and took it away: what is open is that one's
        except BlockingIOError:
            os.close(fd)
            found = os.path.basename(kept)
            raise DeviceError("locked", "another session is sending the same file", found=found) from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _receive(fd: int, state: Any, pieces: Iterable[bytes]) -> None:
    written = started = os.fstat(fd).st_size
    for piece in pieces:
        state.update(piece)
        files.write_all(fd, piece)
        written += len(piece)
        if written - started >= WRITE_OUT:
            # Starts writing it out; otherwise all of that would wait for the fsync at the end.
            os.posix_fadvise(fd, started, written - started, os.POSIX_FADV_DONTNEED)
            started = written


def _require_digest(expected: str, found: str) -> None:
    if found != expected:
        raise DeviceError("digest-mismatch", "what arrived is not what was announced", expected, found)

"""Runtimes as folders: runtimes/<id>/, put together from the store by hard link.

The id is the digest of the listing, [[path, sha256, bytes, executable], ...] sorted, so the same
packages are the same tree. A tree is whole once <id>.json, its listing, is beside it.
"""

import fcntl
import hashlib
import os
from typing import Any, Callable, Dict, List, Optional, Set

from edgefreeze.device import checks, files, protocol
from edgefreeze.device.errors import DeviceError, from_os_error, storage
from edgefreeze.device.store import Store

Listing = List[List[Any]]
Progress = Callable[[int, int], None]
"""(bytes read back, bytes in all)."""

_ROW = checks.row(checks.safe_path, checks.digest, checks.size, checks.flag)
check_listing = checks.list_of(_ROW, least=1)


def tree_id(listing: Listing) -> str:
    """The digest of a listing, in whatever order it is given."""
    return hashlib.sha256(protocol.canonical(sorted(listing))).hexdigest()


def conflicting_path(paths: List[str]) -> Optional[str]:
    """A path that is there twice, or is a file and a folder at once; None where all is well."""
    ordered = sorted(path.split("/") for path in paths)
    for before, after in zip(ordered, ordered[1:]):  # noqa: B905, RUF007 - Python 3.8
        if after[: len(before)] == before:
            return "/".join(after)
    return None


check_prepared = checks.dict_of(checks.digest, checks.text(64, protocol.NAME))


class Trees:
    """The runtimes of a device."""

    def __init__(self, root: str, store: Store) -> None:
        self.path = os.path.join(root, "runtimes")
        self._prepared = os.path.join(root, "prepared.json")
        self._cache = os.path.join(root, "cache", "pycache")
        self._store = store

    def folder(self, identity: str) -> str:
        """Where the tree is, once it is whole."""
        return os.path.join(self.path, identity)

    def has(self, identity: str) -> bool:
        """Whether the tree is here and whole, by its files' sizes. A damaged one is taken away."""
        self._store.hold()
        listing = self.listing(identity)
        if listing is None:
            return False
        folder = self.folder(identity)
        if all(files.regular_size(os.path.join(folder, row[0])) == row[2] for row in listing):
            return True
        self.remove(identity)
        return False

    def listing(self, identity: str) -> Optional[Listing]:
        """The files of a whole tree, None where there is no such tree."""
        try:
            listing = files.read_json(self.folder(identity) + ".json", check_listing)
        except (OSError, checks.Invalid):
            return None
        assert isinstance(listing, list)
        return listing if tree_id(listing) == identity else None

    def build(self, identity: str, listing: Listing, progress: Progress) -> bool:
        """Put a tree together and read it back from the disk; False where it was there.

        Raises protocol, missing-content, digest-mismatch, disk-space, store-io.
        """
        if tree_id(listing) != identity:
            raise DeviceError("protocol", "the tree's id is not its listing's", identity, tree_id(listing))
        conflict = conflicting_path([row[0] for row in listing])
        if conflict is not None:
            raise DeviceError("protocol", "two files of the tree are in each other's way", found=conflict)
        with storage("putting a runtime together"):
            files.make_folder(self.path)
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # one builder at a time: another app may need the same tree
                return not self.has(identity) and self._build(identity, listing, progress)
            finally:
                os.close(fd)

    def _build(self, identity: str, listing: Listing, progress: Progress) -> bool:
        self.remove(identity)
        self._store.commit()
        self._store.require((row[1], row[2]) for row in listing)
        folders = len({row[0].rpartition("/")[0] for row in listing})
        self._store.require_space(sum(row[2] for row in listing if row[3]), folders + 1)
        temporary = os.path.join(self.path, "tmp-" + files.random_name())
        try:
            self._assemble(temporary, listing)
            self._verify(temporary, listing, progress)
            os.rename(temporary, self.folder(identity))
        except BaseException:
            files.remove_tree(temporary)
            raise
        files.fsync_path(self.path)
        files.write_json(self.folder(identity) + ".json", sorted(listing))
        return True

    def _assemble(self, folder: str, listing: Listing) -> None:
        os.mkdir(folder, 0o700)
        folders = files.make_folders(folder, [row[0] for row in listing])
        for path, sha256, _, executable in listing:
            self._store.link(sha256, os.path.join(folder, path), executable)
        files.require_synced(folders)

    def _verify(self, folder: str, listing: Listing, progress: Progress) -> None:
        total = sum(row[2] for row in listing)
        done = 0
        seen: Set[str] = set()
        for path, sha256, size, executable in listing:
            if executable or sha256 not in seen:
                seen.add(sha256)
                try:
                    files.verify(os.path.join(folder, path), sha256, size)
                except DeviceError as error:
                    if error.code == "digest-mismatch":
                        self._store.drop(sha256)
                    raise
            done += size
            progress(done, total)

    def distrust(self, identity: str) -> List[str]:
        """Read a whole tree back. What is not as it was sent is taken away, here and from the store, so that
        the next ship brings it again; the paths. What Python compiled of any tree goes too: no digest says
        that it is right."""
        files.remove_tree(self._cache)
        damaged = []
        for path, sha256, size, _ in self.listing(identity) or []:
            try:
                files.verify(os.path.join(self.folder(identity), path), sha256, size)
            except DeviceError:
                files.remove_file(os.path.join(self.folder(identity), path))
                self._store.drop(sha256)
                damaged.append(path)
        return damaged

    def remove(self, identity: str) -> None:
        """Take a tree away: first its marker, then its files and what Python compiled of it."""
        folder = self.folder(identity)
        files.remove_file(folder + ".json")
        files.remove_tree(folder)
        files.remove_tree(self._cache + os.path.realpath(folder))

    def prepare(self, runtime: str, identity: str) -> None:
        """Keep a tree though no release uses it yet, in place of the one that was kept for that runtime.

        Raises missing-content, store-io.
        """
        require_tree(self, identity)
        with storage("noting what was prepared"):
            files.write_json(self._prepared, dict(self.prepared(), **{runtime: identity}))

    def prepared(self) -> Dict[str, str]:
        """The trees that are kept though no release need use them, by runtime."""
        try:
            found = files.read_json(self._prepared, check_prepared)
        except (OSError, checks.Invalid):
            return {}
        assert isinstance(found, dict)
        return found

    def collect(self, used: Set[str]) -> Dict[str, int]:
        """Remove the trees that neither a release uses nor prepare() keeps, and what broken-off builds left:
        {"trees"} removed.

        Only within Store.exclusive().
        """
        removed = 0
        used = used | set(self.prepared().values())
        files.remove_unfinished(self.path)
        names = files.list_folder(self.path)
        for name in names:
            if name.startswith("tmp-"):
                files.remove_tree(os.path.join(self.path, name))
        for identity in {name.split(".")[0] for name in names if not name.startswith("tmp-")} - used:
            if protocol.SHA256.fullmatch(identity):
                self.remove(identity)
                removed += 1
        return {"trees": removed}

    def referenced(self) -> Set[str]:
        """The digests that the trees are made of."""
        digests: Set[str] = set()
        for name in files.list_folder(self.path):
            if name.endswith(".json"):
                digests.update(row[1] for row in self.listing(name[: -len(".json")]) or [])
        return digests


def require_tree(trees: Trees, identity: str) -> str:
    """The folder of a tree that must be here. Raises missing-content."""
    try:
        there = trees.has(identity)
    except OSError as error:
        raise from_os_error(error, "looking for a runtime") from error
    if not there:
        raise DeviceError("missing-content", "the runtime is not on the device", expected=identity)
    return trees.folder(identity)

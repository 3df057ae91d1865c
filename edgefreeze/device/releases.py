"""The releases of an app: staged from the store, read back, kept, thrown away.

    releases/<id>/  manifest.json  envelope.json  envelope.sig  binding.json  selftest.json
                    golden/golden.npz  engines/  the files

A folder under releases/ is whole: it got there by one rename, after all in it was durable and read back.
"""

import hashlib
import os
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from edgefreeze.device import checks, files, manifest, protocol
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.lock import utc_now
from edgefreeze.device.service import check_plan
from edgefreeze.device.store import Store

Progress = Callable[[int, int], None]
File = Tuple[str, str, int]
"""path in the release, sha256, bytes"""

_check_preferred = checks.record({"artifact": checks.text(130)})
_check_pins = checks.list_of(checks.digest, 10_000)
_check_selftest = checks.record(
    {
        "release": checks.digest,
        "evidence": checks.digest,
        "passed": checks.flag,
        "tested": checks.integer(),
        "time": checks.line,
    }
)


class Releases:
    """The folder releases/ of one app, with staging/ and trash/ beside it."""

    def __init__(self, app_folder: str, store: Store) -> None:
        self.app_folder = app_folder
        self.path = os.path.join(app_folder, "releases")
        self._staging = os.path.join(app_folder, "staging")
        self._trash = os.path.join(app_folder, "trash")
        self._store = store

    def folder(self, release: str) -> str:
        """Where a release is, or would be."""
        return os.path.join(self.path, release)

    def names(self) -> List[str]:
        """The ids of all releases that are here."""
        return [name for name in files.list_folder(self.path) if protocol.SHA256.fullmatch(name)]

    # --- reading

    def manifest(self, release: str) -> Dict[str, Any]:
        """The checked manifest of a release that is here. Raises no-release, bad-manifest."""
        try:
            data = files.read_bytes(os.path.join(self.folder(release), "manifest.json"))
        except (OSError, checks.Invalid):
            raise DeviceError("no-release", "there is no such release here", self.names(), release) from None
        found = manifest.release_id(data)
        if found != release:
            raise DeviceError("bad-manifest", "the manifest of the release is damaged", release, found)
        return manifest.parse_manifest(data)

    def envelope(self, release: str) -> Dict[str, Any]:
        """The checked envelope of a release that is here. Raises no-release, bad-manifest."""
        return manifest.parse_envelope(self._read(release, "envelope.json"), release)

    def binding(self, release: str) -> Dict[str, Any]:
        """The checked binding of a release that is here. Raises no-release, bad-manifest."""
        try:
            value = files.parse_json(self._read(release, "binding.json"), checks.anything, "binding")
        except checks.Invalid as error:
            raise manifest.bad_manifest(error) from None
        return manifest.parse_binding(value)

    def signed_envelope(self, release: str) -> Tuple[bytes, Optional[str]]:
        """The envelope of a release that is here and its signature (None: unsigned). Raises no-release."""
        envelope = self._read(release, "envelope.json")
        if files.regular_size(os.path.join(self.folder(release), "envelope.sig")) is None:
            return envelope, None
        return envelope, self._read(release, "envelope.sig").decode("latin-1")

    def _read(self, release: str, name: str) -> bytes:
        try:
            return files.read_bytes(os.path.join(self.folder(release), name))
        except (OSError, checks.Invalid) as error:
            raise DeviceError("no-release", "the release is not whole: %s" % error, name, release) from None

    def require_whole(self, release: str) -> None:
        """Raise no-release unless manifest and envelope are sound and every file has its size. Instant."""
        for path, _, size in self.contents(release):
            found = files.regular_size(os.path.join(self.folder(release), path))
            if found != size:
                raise DeviceError("no-release", "the release lacks %s" % path, size, found, path=path)

    def contents(self, release: str) -> List[File]:
        """Every file of a release from the store: those of the manifest and the golden data."""
        return _contents(self.manifest(release), self.envelope(release))

    def referenced(self) -> Tuple[Set[str], Set[str]]:
        """(digests of the store, ids of trees) that the releases use, as far as they can be read."""
        digests: Set[str] = set()
        trees: Set[str] = set()
        for release in self.names():
            try:
                digests.update(sha256 for _, sha256, _ in self.contents(release))
            except DeviceError:
                pass  # damaged: its links still hold its content
            try:
                bound = self.binding(release)["runtimes"].values()
                trees.update(runtime["tree"] for runtime in bound if runtime["tree"])
            except DeviceError:
                pass
        return digests, trees

    # --- staging

    def scratch(self) -> str:
        """The folder staging/, made where it is not there: what is in it is gone when the app is opened."""
        with storage("making a folder"):
            files.make_folder(self._staging)
        return self._staging

    def stage(
        self,
        data: bytes,
        envelope: bytes,
        binding: Dict[str, Any],
        progress: Progress,
        signature: Optional[str] = None,
    ) -> Tuple[str, bool]:
        """Put a release together: (its id, whether it was here before). It is whole and not active.

        A release that was here is read back too, mended from the store where it is damaged, and takes
        the new envelope, its signature, golden data and binding. Raises bad-manifest, missing-content,
        digest-mismatch, disk-space, store-io.
        """
        release = manifest.release_id(data)
        wanted = _contents(manifest.parse_manifest(data), manifest.parse_envelope(envelope, release))
        self._store.commit()
        with storage("staging"):
            for folder in (self.path, self._staging, self._trash):
                files.make_folder(folder)
            known = os.path.isdir(self.folder(release))
            if known:
                self._mend(self.folder(release), data, wanted, progress)
            else:
                self._assemble(release, data, envelope, signature, binding, wanted, progress)
            if known:
                self._replace_envelope(self.folder(release), envelope, signature)
                files.write_json(os.path.join(self.folder(release), "binding.json"), binding)
        return release, known

    def _assemble(
        self,
        release: str,
        data: bytes,
        envelope: bytes,
        signature: Optional[str],
        binding: Dict[str, Any],
        wanted: List[File],
        progress: Progress,
    ) -> None:
        self._store.require((sha256, size) for _, sha256, size in wanted)
        staged = os.path.join(self._staging, release)
        files.remove_tree(staged)
        os.mkdir(staged, 0o700)
        folders = files.make_folders(staged, [path for path, _, _ in wanted])
        for path, sha256, _ in wanted:
            self._store.link(sha256, os.path.join(staged, path))
        files.write_new(os.path.join(staged, "manifest.json"), data, 0o400)
        files.write_new(os.path.join(staged, "envelope.json"), envelope)
        if signature is not None:
            files.write_new(os.path.join(staged, "envelope.sig"), signature.encode("ascii"))
        files.write_new(os.path.join(staged, "binding.json"), protocol.canonical(binding))
        files.require_synced(folders)  # what the store has, or has copied for us, is durable itself
        self._read_back(staged, wanted, progress)
        os.rename(staged, self.folder(release))
        files.fsync_path(self._staging)
        files.fsync_path(self.path)

    def _replace_envelope(self, folder: str, envelope: bytes, signature: Optional[str]) -> None:
        """Cut in between, the release is unsigned: never does a signature stand beside another envelope."""
        files.remove_file(os.path.join(folder, "envelope.sig"))
        files.fsync_path(folder)
        files.write_durably(os.path.join(folder, "envelope.json"), envelope)
        if signature is not None:
            files.write_durably(os.path.join(folder, "envelope.sig"), signature.encode("ascii"))

    def _read_back(self, folder: str, wanted: List[File], progress: Progress) -> None:
        for path, sha256, size, done, total in _running(wanted):
            try:
                files.verify(os.path.join(folder, path), sha256, size, _from(done, total, progress))
            except DeviceError as error:
                if error.code == "digest-mismatch":
                    self._store.drop(sha256)  # so that the next try sends it again
                raise

    def _mend(self, folder: str, data: bytes, wanted: List[File], progress: Progress) -> None:
        for inside, _, _ in os.walk(folder):
            files.remove_unfinished(inside)
        if not _holds(os.path.join(folder, "manifest.json"), data):
            files.write_durably(os.path.join(folder, "manifest.json"), data, 0o400)
        damaged = []
        for path, sha256, size, done, total in _running(wanted):
            try:
                files.verify(os.path.join(folder, path), sha256, size, _from(done, total, progress))
            except DeviceError:
                damaged.append((path, sha256, size))
        for path, sha256, size in damaged:
            self._store.require([(sha256, size)])
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
            temporary = os.path.join(os.path.dirname(target), "." + files.random_name())
            self._store.link(sha256, temporary)
            try:
                files.verify(temporary, sha256, size)
            except DeviceError:
                self._store.drop(sha256)
                files.remove_file(temporary)
                raise
            os.rename(temporary, target)
            files.fsync_path(os.path.dirname(target))

    # --- here to be measured only

    def mark_passing(self, release: str, passing: bool) -> None:
        """Keep whether a release goes again when the app is closed. Raises store-io."""
        mark = os.path.join(self.folder(release), manifest.PASSING)
        with storage("marking a release"):
            if passing:
                files.write_durably(mark, b"")
            else:
                files.remove_file(mark)

    def passing(self) -> List[str]:
        """Releases that are here to be measured only."""
        marks = [os.path.join(self.folder(name), manifest.PASSING) for name in self.names()]
        return [os.path.basename(os.path.dirname(mark)) for mark in marks if os.path.exists(mark)]

    # --- the self-test's verdict

    def evidence(self, release: str) -> str:
        """The digest of all that a self-test's verdict rests on: manifest, golden data, binding."""
        golden = self.envelope(release)["golden"]["sha256"]
        return hashlib.sha256(protocol.canonical([release, golden, self.binding(release)])).hexdigest()

    def record_selftest(self, release: str, result: Dict[str, Any]) -> None:
        """Keep a self-test's result beside the release. Raises store-io."""
        record = dict(result, release=release, evidence=self.evidence(release), time=utc_now())
        with storage("recording the self-test"):
            files.write_json(os.path.join(self.folder(release), "selftest.json"), record)

    def selftest(self, release: str) -> Optional[Dict[str, Any]]:
        """The recorded result, None where none holds for the release as it is bound now."""
        try:
            path = os.path.join(self.folder(release), "selftest.json")
            record: Dict[str, Any] = files.read_json(path, _check_selftest)
        except (OSError, checks.Invalid):
            return None
        same = record["release"] == release and record["evidence"] == self.evidence(release)
        return record if same else None

    # --- which artifact to run

    def prefer(self, release: str, wanted: str) -> None:
        """Keep which verified artifact runs here unless another is named. Raises no-artifact, store-io."""
        artifact = manifest.find_artifact(self.manifest(release), wanted)
        if not manifest.is_provable(artifact):
            raise DeviceError("no-artifact", "only a proved artifact can be preferred", "verified", wanted)
        chosen = {"artifact": "%s:%s" % (artifact["format"], artifact["precision"])}
        with storage("keeping which artifact is preferred"):
            files.write_json(os.path.join(self.folder(release), "preferred.json"), chosen)

    def preferred(self, release: str) -> Optional[str]:
        """The artifact ("format:precision") that was preferred here, None where none was."""
        try:
            record = files.read_json(os.path.join(self.folder(release), "preferred.json"), _check_preferred)
        except (OSError, checks.Invalid):
            return None
        artifact: str = record["artifact"]
        return artifact

    # --- which to keep

    def pinned(self) -> List[str]:
        """The releases that prune never takes. Where their file cannot be read: all."""
        path = os.path.join(self.app_folder, "pins.json")
        if not os.path.lexists(path):
            return []
        try:
            pins: List[str] = files.read_json(path, _check_pins, 1 << 20)
        except (OSError, checks.Invalid):
            return self.names()
        return pins

    def pin(self, release: str, keep: bool) -> bool:
        """Keep a release from prune, or no longer; False where it was so. Raises no-release, store-io."""
        if keep:
            self.require_whole(release)
        pins = self.pinned()
        if (release in pins) == keep:
            return False
        left = [name for name in pins if name != release and name in self.names()]
        with storage("pinning a release"):
            files.write_json(os.path.join(self.app_folder, "pins.json"), left + [release] * keep)
        return True

    # --- the application's service

    def keep_service(self, release: str, plan: Dict[str, Any]) -> None:
        """Keep how the application is told of this release. Raises no-release, store-io."""
        self.require_whole(release)
        with storage("keeping the hook"):
            files.write_json(os.path.join(self.folder(release), "service.json"), plan)

    def service(self, release: str) -> Optional[Dict[str, Any]]:
        """How the application is told of a release, None where it is not."""
        try:
            plan: Dict[str, Any] = files.read_json(
                os.path.join(self.folder(release), "service.json"), check_plan
            )
        except (OSError, checks.Invalid):
            return None
        return plan

    # --- throwing away

    def discard(self, release: str) -> None:
        """Take a release away: out of releases/ in one step, then deleted. Raises no-release, store-io."""
        if release not in self.names():
            raise DeviceError("no-release", "there is no such release here", self.names(), release)
        with storage("discarding a release"):
            files.make_folder(self._trash)
            gone = os.path.join(self._trash, files.random_name())
            os.rename(self.folder(release), gone)
            files.fsync_path(self.path)
        files.remove_tree(gone)

    def remove_left_overs(self) -> None:
        """Empty staging/ and trash/."""
        for folder in (self._staging, self._trash):
            for name in files.list_folder(folder):
                files.remove_tree(os.path.join(folder, name))


def _holds(path: str, data: bytes) -> bool:
    try:
        return files.read_bytes(path) == data
    except (OSError, checks.Invalid):
        return False


def _contents(parsed: Dict[str, Any], envelope: Dict[str, Any]) -> List[File]:
    golden = envelope["golden"]
    wanted = [(entry["path"], entry["sha256"], entry["bytes"]) for entry in parsed["files"]]
    return [*wanted, (manifest.GOLDEN, golden["sha256"], golden["bytes"])]


def _running(wanted: List[File]) -> List[Tuple[str, str, int, int, int]]:
    total = sum(size for _, _, size in wanted)
    rows = []
    done = 0
    for path, sha256, size in wanted:
        rows.append((path, sha256, size, done, total))
        done += size
    return rows


def _from(done: int, total: int, progress: Progress) -> Callable[[int], None]:
    """Per-read progress of one file as progress over all files."""
    so_far = [done]

    def read(count: int) -> None:
        so_far[0] += count
        progress(so_far[0], total)

    return read

"""One app on a device: its lock, its releases, and the switch from one to another.

The switch: write phase TRIAL with the release to come, rename a new `current` over the old, then write
COMMITTED. Cut at any point, `current` names a whole release, and whoever opens the app next finds TRIAL
and goes back to the release that was committed.
"""

import os
from typing import Any, Dict, List, Optional

from edgefreeze.device import files, manifest, service, state
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.lock import AppLock
from edgefreeze.device.releases import Releases
from edgefreeze.device.store import Store
from edgefreeze.device.trust import Trust

_ACTIVATIONS = ("activated", "rolled-back", "adopted")


class App:
    """An app's folder, to read. open_for_writing() before anything is changed."""

    def __init__(self, root: str, name: str, store: Store, program: str = "") -> None:
        self.name = name
        self.root = root
        self.program = program
        self._apps = os.path.join(root, "apps")
        self.folder = os.path.join(self._apps, name)
        self.memory = state.Memory(self.folder)
        self.releases = Releases(self.folder, store)
        self.trust = Trust(root)
        self.who = ""
        self._lock: Optional[AppLock] = None

    @property
    def exists(self) -> bool:
        """Whether the device has such an app."""
        return os.path.isdir(self.folder)

    @property
    def writable(self) -> bool:
        """Whether this session holds the app's lock."""
        return self._lock is not None

    @property
    def blank(self) -> bool:
        """Whether nothing was ever installed here."""
        return not self.releases.names() and not self.memory.history()

    def require(self) -> None:
        """Raise no-app unless the device has it."""
        if not self.exists:
            there = files.list_folder(self._apps)
            raise DeviceError("no-app", "there is no app %s here" % self.name, there, self.name)

    def open_for_writing(self, who: str) -> List[str]:
        """Take the lock and put right what an earlier session left; what that was, in words.

        Raises locked, store-io.
        """
        with storage("opening the app"):
            for folder in (self._apps, self.folder):
                files.make_folder(folder)
        had = self._lock
        self._lock = had or AppLock(os.path.join(self.folder, "lock"), who)
        self.who = who
        try:
            with storage("recovering the app"):
                recovered = self._recover("an earlier session was cut")
                self.releases.remove_left_overs()
                files.remove_unfinished(self.folder)
                self.drop_passing()
        except BaseException:
            if had is None:
                self.abandon()
            raise
        return recovered

    def close(self) -> None:
        """Go back from a trial that nobody confirmed, and let the lock go."""
        if self._lock is None:
            return
        with storage("leaving the app"):
            self._recover("the session ended before the trial was confirmed")
            self.drop_passing()
        self._lock.release()
        self._lock = None

    def abandon(self) -> None:
        """Let the lock go, and nothing else: the app has been removed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # --- what is active

    def where(self) -> Dict[str, Any]:
        """{"active", "previous", "phase"}: what `current` names now, what a rollback would go to."""
        known = self.memory.read()
        current = self.memory.current()
        previous = known["active"] if current != known["active"] else known["previous"]
        return {"active": current, "previous": previous, "phase": known["phase"]}

    def _recover(self, why: str) -> List[str]:
        known = self.memory.read()
        current = self.memory.current()
        if known["phase"] == state.TRIAL:
            self.memory.point(known["active"])
            self.memory.write(state.committed(known["active"], known["previous"]))
            self.memory.log("recovered", known["active"], known["trial"], self.who, why)
            done = ["went back from the trial of %s: %s" % (known["trial"], why)]
            failed = self.tell(known["active"], otherwise=known["trial"])
            return done if failed is None else [*done, failed]
        if current == known["active"]:
            return []
        if known["active"] is not None and current is None:
            self.memory.point(known["active"])
            self.memory.log("recovered", known["active"], None, self.who, "`current` was gone")
            return ["`current` was gone; it names %s again" % known["active"]]
        self.memory.write(state.committed(current, known["active"]))
        self.memory.log("adopted", current, known["active"], self.who, "`current` was changed by other means")
        return ["`current` had been changed by other means to %s" % current]

    # --- the application's service

    def told(self, release: str) -> service.Where:
        """What a hook is told of."""
        return service.Where(self.name, release, self.folder, self.program)

    def tell(self, release: Optional[str], otherwise: Optional[str] = None) -> Optional[str]:
        """Run a release's hook after going back to it; why that failed, which the history has too.

        otherwise: whose hook runs where the release was installed without one.
        """
        plan = None
        for name in (release, otherwise):
            plan = plan or (self.releases.service(name) if name is not None else None)
        if release is None or plan is None:
            return None
        try:
            service.tell(plan, self.told(release))
        except DeviceError as error:
            self.memory.log("hook-failed", release, None, self.who, error.message[:4000])
            return error.message
        return None

    def go_back(self, why: str) -> Optional[str]:
        """End the trial that is under way with the release before; why its hook failed, None where not."""
        with storage("switching back"):
            done = self._recover(why)
        return done[1] if len(done) > 1 else None

    def activate(
        self,
        release: str,
        trial: bool = False,
        allow_unverified: bool = False,
        detail: Optional[str] = None,
        prefer: Optional[str] = None,
    ) -> bool:
        """Switch to a release that passed its self-test here; False where it is active already.

        trial: stay in phase TRIAL until confirm(); rollback(), or the end of the session, goes back.
        allow_unverified: also one of which nothing could be tested (never one that failed).
        prefer: the artifact that runs there unless another is named; kept with the release.
        Raises no-release, no-artifact, untrusted, replayed, not-tested, selftest-failed, store-io.
        """
        self.releases.require_whole(release)
        if prefer is not None:
            self.releases.prefer(release, prefer)
        known = self.memory.read()
        if known["phase"] != state.TRIAL and known["active"] == release == self.memory.current():
            return False
        tested = self._require_tested(release, allow_unverified)
        signed = self._require_trusted(release)
        detail = "; ".join(part for part in (signed, None if tested else "unverified", detail) if part)
        with storage("switching"):
            self._switch(release, "activated", trial, detail)
        return True

    def _require_tested(self, release: str, allow_unverified: bool) -> bool:
        """True: it passed its self-test here. False: nothing in it can be tested, which is allowed."""
        if not manifest.provable(self.releases.manifest(release)) and allow_unverified:
            return False
        result = self.releases.selftest(release)
        if result is None or not result["tested"]:
            raise DeviceError(
                "not-tested",
                "the release has not passed a self-test on this device",
                expected="a self-test that passed, as the release is bound now",
                found=None if result is None else "nothing in it can be tested",
            )
        if not result["passed"]:
            raise DeviceError(
                "selftest-failed", "the release failed its self-test here", "a pass", result["time"]
            )
        return True

    def _require_trusted(self, release: str) -> str:
        """Who signed it, in words; what was staged before the policy changed is judged by the new one.

        Its sequence is kept before the switch: what was once active here is never older than what comes.
        """
        envelope, signature = self.releases.signed_envelope(release)
        verdict = self.trust.judge(envelope, signature, self.releases.scratch())
        if verdict.signer is not None:
            sequence = self.releases.envelope(release)["sequence"]
            if release != self.memory.current():
                self.trust.require_newer(self.name, sequence)
            if verdict.enrolled:
                self.trust.record(self.name, sequence)
        return verdict.text

    def _signed(self, release: str) -> str:
        return self.trust.describe_signature(self.releases.signed_envelope(release)[1])

    def confirm(self) -> str:
        """Commit the trial that is under way; the release. Raises not-tested where none is."""
        known = self.memory.read()
        if known["phase"] != state.TRIAL:
            raise DeviceError("not-tested", "no release is on trial", state.TRIAL, known["phase"])
        release = known["trial"]
        assert isinstance(release, str)
        with storage("committing"):
            self._commit(known, "activated", self._signed(release))
        return release

    def rollback(self, to: Optional[str] = None) -> Dict[str, Any]:
        """Go back to the previous release, or to a given one; {"release", "previous", "changed"}.

        Instant: nothing is hashed or tested again. Raises no-previous, no-release, store-io.
        """
        known = self.memory.read()
        active = self.memory.current()
        if known["phase"] == state.TRIAL:
            with storage("switching back"):
                self._recover("rolled back from the trial")
            if to in (None, known["active"]):
                return {"release": known["active"], "previous": active, "changed": True}
            active = self.memory.current()
        release = to if to is not None else known["previous"]
        if release is None:
            raise DeviceError("no-previous", "there is no release to go back to", found=known["active"])
        if release == active:
            return {"release": release, "previous": active, "changed": False}
        try:
            self.releases.require_whole(release)
        except DeviceError as error:
            if to is None:
                raise DeviceError("no-previous", error.message, release, error.found) from None
            raise
        with storage("switching back"):
            self._switch(release, "rolled-back", False, self._signed(release))
        failed = self.tell(release, otherwise=active)
        if failed is not None:
            raise DeviceError(
                "rollback-failed",
                "release %s is active again, but %s" % (release[:12], failed),
                "a hook that ends well",
                release,
            )
        return {"release": release, "previous": active, "changed": True}

    def _switch(self, release: str, event: str, trial: bool, detail: Optional[str]) -> None:
        known = dict(self.memory.read(), phase=state.TRIAL, trial=release)
        self.memory.write(known)
        self.memory.point(release)
        if trial:
            self.memory.log("trial", release, known["active"], self.who, detail)
        else:
            self._commit(known, event, detail)

    def _commit(self, known: state.State, event: str, detail: Optional[str]) -> None:
        before = known["active"] if known["active"] != known["trial"] else known["previous"]
        self.memory.write(state.committed(known["trial"], before))
        self.memory.log(event, known["trial"], known["active"], self.who, detail)

    # --- throwing away

    def drop_passing(self) -> None:
        """Take away what was staged to be measured only, also by a session that was cut."""
        known = self.memory.read()
        for release in self.releases.passing():
            if release not in (self.memory.current(), known["active"], known["trial"]):
                self.releases.discard(release)

    def discard(self, release: str) -> None:
        """Take a release away. Raises in-use for the one that is active or on trial, no-release, store-io."""
        known = self.memory.read()
        if release in (self.memory.current(), known["active"], known["trial"]):
            raise DeviceError("in-use", "the release is active", "another one", release)
        if known["previous"] == release:
            with storage("discarding a release"):
                self.memory.write(dict(known, previous=None))
        self.releases.discard(release)
        with storage("discarding a release"):
            self.memory.log("discarded", release, known["active"], self.who)

    def pin(self, release: str, keep: bool) -> bool:
        """As Releases.pin, and the history says so."""
        changed = self.releases.pin(release, keep)
        if changed:
            with storage("pinning a release"):
                self.memory.log("pinned" if keep else "unpinned", release, self.memory.current(), self.who)
        return changed

    def prune(self, keep: int) -> List[str]:
        """Discard all but the active, the previous, the pinned and the `keep` releases last activated; which
        went."""
        known = self.memory.read()
        kept = [known["active"], known["trial"], known["previous"], self.memory.current()]
        kept += self.releases.pinned()
        recent: List[str] = []
        for release in self._by_activation():
            if release not in recent:
                recent.append(release)
        kept += recent[:keep]
        gone = [release for release in self.releases.names() if release not in kept]
        for release in gone:
            self.discard(release)
        return gone

    def _by_activation(self) -> List[str]:
        """Releases of the history, the last activated first."""
        return [e["release"] for e in reversed(self.memory.history()) if e["event"] in _ACTIVATIONS]

    # --- telling

    def status(self) -> Dict[str, Any]:
        """The app and its releases, as far as they can be read."""
        activated = {e["release"]: e["time"] for e in self.memory.history() if e["event"] in _ACTIVATIONS}
        releases: List[Dict[str, Any]] = []
        sequence = None
        where, pinned = self.where(), self.releases.pinned()
        for release in self.releases.names():
            try:
                parsed, envelope = self.releases.manifest(release), self.releases.envelope(release)
            except DeviceError as error:
                releases.append({"id": release, "damaged": error.message})
                continue
            if release == where["active"]:
                sequence = envelope["sequence"]
            releases.append(
                {
                    "id": release,
                    "created": envelope["created"],
                    "target": parsed["target"],
                    "formats": [
                        manifest.key(artifact)
                        for artifact in parsed["artifacts"]
                        if artifact["status"] != "refused"
                    ],
                    "preferred": self.releases.preferred(release),
                    "bytes": sum(entry["bytes"] for entry in parsed["files"]),
                    "signed": self._signed(release),
                    "pinned": release in pinned,
                    "activated": activated.get(release),
                }
            )
        return dict(where, app=self.name, releases=releases, sequence=sequence)

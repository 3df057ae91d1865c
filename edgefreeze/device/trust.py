"""Who may install on this device: its own policy, kept here, whatever a host says.

    trust/allowed_signers   OpenSSH's allowed_signers, one key a line
    trust/policy.json       {"schema": 1, "unsigned": "refuse" or "allow"}, once somebody has decided
    trust/sequences.json    for each app the highest sequence of a signed release that became active
    trust/copies.json       the three as they were written, against a bit that flips (copied.py)
    trust/history.jsonl     who changed any of it

While nobody has decided anything, unsigned releases are taken, and the first signed one that comes over a
verified connection enrols its signer (FIRST_USE). From then on what is not signed by one of them is refused
(REQUIRE), unless the device is told otherwise (ALLOW). What of these files cannot be read trusts nobody.

The sequences are not like that, or a damaged file would shut a device for ever: what of sequences.json cannot
be read is taken from its copy. Where that is gone too, the apps concerned start anew, as on a new device, and
the history says so ("sequences-lost"): until their next signed release an old one of theirs would be taken.
"""

import fcntl
import os
import re
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from edgefreeze.device import checks, files, sshsig, state, verification
from edgefreeze.device.copied import Copied
from edgefreeze.device.errors import DeviceError, storage
from edgefreeze.device.verification import untrusted

FIRST_USE, REQUIRE, ALLOW = "first-use", "require", "allow-unsigned"
MAX_SIGNERS = 1000
_LOCK_S = 10.0
_SIGNERS, _POLICY, _SEQUENCES = "allowed_signers", "policy.json", "sequences.json"
_LINE = re.compile(r'\S+(?: namespaces="%s")? (\S+ \S+(?: .*)?)' % re.escape(sshsig.NAMESPACE))
_UNSIGNED = {REQUIRE: "refuse", ALLOW: "allow"}
_check_policy = checks.record(
    {"schema": checks.integer(1, 1), "unsigned": checks.one_of(*_UNSIGNED.values())}, closed=True
)
_check_sequences = checks.dict_of(checks.integer(), checks.name)


class Signer(NamedTuple):
    """A key whose releases are taken."""

    key: sshsig.PublicKey
    comment: str


class Verdict(NamedTuple):
    """Why a release is taken: who signed it (None: nobody), whether that one is enrolled, in words."""

    signer: Optional[sshsig.PublicKey]
    enrolled: bool
    text: str


class Trust:
    """The policy of the device with this root folder."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.folder = os.path.join(root, "trust")
        self._files = Copied(self.folder, (_SIGNERS, _POLICY, _SEQUENCES))
        self._memory = state.Memory(self.folder)

    # --- what holds

    def policy(self) -> str:
        """FIRST_USE, REQUIRE or ALLOW. A file that is there and cannot be read is REQUIRE."""
        if not self._there(_POLICY):
            return REQUIRE if self._there(_SIGNERS) else FIRST_USE
        try:
            decided = files.parse_json(self._files.read(_POLICY, 4096), _check_policy, _POLICY)["unsigned"]
        except (OSError, checks.Invalid):
            return REQUIRE
        return ALLOW if decided == _UNSIGNED[ALLOW] else REQUIRE

    def _there(self, name: str) -> bool:
        return os.path.lexists(self._files.path(name))

    def signers(self) -> List[Signer]:
        """The enrolled keys. A line that is not of the form that we write enrols nobody."""
        return self._read_signers()[0]

    def _read_signers(self) -> Tuple[List[Signer], int]:
        """(the keys, how many lines could not be read)."""
        try:
            text = self._files.read(_SIGNERS).decode("utf-8", "replace")
        except (OSError, checks.Invalid):
            return [], 1 if self._there(_SIGNERS) else 0
        found: Dict[bytes, Signer] = {}
        ignored = 0
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            try:
                key, comment = sshsig.parse_key(match[1] if match else "")
            except sshsig.Malformed:
                ignored += 1
            else:
                found.setdefault(key.blob, Signer(key, _plain(comment)))
        return list(found.values()), ignored

    def describe(self) -> Dict[str, Any]:
        """The policy and the signers, as the host is told of them."""
        signers, ignored = self._read_signers()
        return {
            "policy": self.policy(),
            "signers": [
                {"fingerprint": s.key.fingerprint, "kind": s.key.kind, "comment": s.comment} for s in signers
            ],
            "ignored_lines": ignored,
            "folder": self.folder,
            "only": "" if verification.ssh_keygen() else sshsig.ED25519,
            "verifier": "ssh-keygen" if verification.ssh_keygen() else "own, %s only" % sshsig.ED25519,
        }

    def history(self) -> List[Dict[str, Any]]:
        """Who changed what, oldest first."""
        return self._memory.history()

    # --- judging a release

    def judge(self, envelope: bytes, signature: Optional[str], scratch: str) -> Verdict:
        """Why a release with this envelope is taken. Raises untrusted, store-io.

        A signature that is wrong is refused whatever the policy: something was changed on the way.
        scratch: a folder for ssh-keygen's files, which is emptied should we be killed.
        """
        policy = self.policy()
        if signature is None:
            if policy == REQUIRE:
                raise untrusted(
                    "the release is not signed, and this device takes signed ones only",
                    "a signature by " + self._names(),
                    "none",
                )
            return Verdict(None, False, "unsigned")
        with storage("verifying the signature"):
            program = verification.ssh_keygen()
            key = verification.require_signed(envelope, signature, scratch, program).key
        known = next((s for s in self.signers() if s.key == key), None)
        if known is None and policy == REQUIRE:
            raise untrusted(
                "the release is signed by a key that is not enrolled on this device",
                self._names(),
                key.fingerprint,
            )
        return Verdict(key, known is not None, self._words(key, known))

    def _names(self) -> str:
        names = ["%s %s" % (s.key.fingerprint, s.comment) for s in self.signers()]
        return " or ".join(name.strip() for name in names[:10]) or "a key that is enrolled here; none is"

    @staticmethod
    def _words(key: sshsig.PublicKey, known: Optional[Signer]) -> str:
        comment = " (%s)" % known.comment if known is not None and known.comment else ""
        return "signed by %s%s%s" % (key.fingerprint, comment, "" if known else ", not enrolled here")

    def describe_signature(self, signature: Optional[str]) -> str:
        """Who signed, in words and without verifying: of a release that was taken before."""
        try:
            key = sshsig.parse_signature(signature).key if signature is not None else None
        except sshsig.Malformed:
            return "signature unreadable"
        if key is None:
            return "unsigned"
        return self._words(key, next((s for s in self.signers() if s.key == key), None))

    # --- the sequence

    def highest(self, app: str) -> int:
        """The highest sequence of a signed release of the app that became active here; 0 for none."""
        return self._sequences()[0].get(app, 0)

    def _sequences(self) -> Tuple[Dict[str, int], Optional[str]]:
        """(for each app its highest, as far as is known; where the file cannot be read the event to log)."""
        if not self._there(_SEQUENCES):
            return {}, None
        try:
            data = self._files.read(_SEQUENCES)
        except (OSError, checks.Invalid):
            data = b""
        found, whole = _parse_sequences(data)
        if whole:
            return found, None
        copied, safe = _parse_sequences(self._files.copy(_SEQUENCES) or b"")
        return dict(copied, **found), "mended" if safe else "sequences-lost"

    def require_newer(self, app: str, sequence: int) -> None:
        """Raise replayed where the sequence is older than one that was active here."""
        highest = self.highest(app)
        if sequence < highest:
            raise DeviceError(
                "replayed",
                "the signed release is older than one that this device has run",
                "sequence %d or higher; to go back on purpose: edgefreeze rollback" % highest,
                sequence,
            )

    def record(self, app: str, sequence: int) -> None:
        """Keep the sequence of a signed release that becomes active. Raises store-io."""
        with self._changing():
            known, _ = self._sequences()
            if sequence > known.get(app, 0):
                self._files.write(_SEQUENCES, files.json_bytes(dict(known, **{app: sequence})))

    # --- changing the policy: the log first, so that a cut in between hides no change of who is trusted

    def enrol(self, key: sshsig.PublicKey, comment: str, who: str, event: str, why: str) -> bool:
        """Take releases signed by this key from now on; False where that was so already. Raises store-io."""
        with self._changing():
            signers = self.signers()
            if any(s.key == key for s in signers):
                return False
            if len(signers) >= MAX_SIGNERS:
                raise DeviceError("untrusted", "too many signers are enrolled", MAX_SIGNERS, len(signers))
            policy = self.policy()
            self._memory.log(event, None, None, who, "%s %s; %s" % (key.fingerprint, _plain(comment), why))
            # The signers first: cut in between, the file alone means REQUIRE, and this key is in it.
            self._write_signers([*signers, Signer(key, _plain(comment))])
            if policy != ALLOW:
                self._write_policy(REQUIRE)
        return True

    def remove(self, fingerprint: str, who: str) -> None:
        """Take no more releases signed by this key. Raises untrusted where it is not enrolled, store-io."""
        with self._changing():
            signers = self.signers()
            left = [s for s in signers if s.key.fingerprint != fingerprint]
            if len(left) == len(signers):
                raise untrusted("there is no such signer here", self._names(), fingerprint)
            self._memory.log("signer-removed", None, None, who, fingerprint)
            # Without its last signer the device must not fall back to trusting the first that comes.
            self._write_policy(self.policy())
            self._write_signers(left)

    def decide(self, policy: str, who: str) -> None:
        """REQUIRE or ALLOW from now on. Raises store-io."""
        with self._changing():
            self._memory.log("policy", None, None, who, "%s, was %s" % (policy, self.policy()))
            self._write_policy(policy)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time. Raises locked, store-io."""
        with storage("changing who is trusted"):
            files.make_folder(self.folder)
            fd = os.open(
                os.path.join(self.folder, "lock"),
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
            try:
                _lock(fd)
                files.remove_unfinished(self.folder)
                for name in self._files.mend():
                    self._memory.log("mended", None, None, "this device", "a bit of %s had flipped" % name)
                self._mend_sequences()
                yield
            finally:
                os.close(fd)

    def _mend_sequences(self) -> None:
        """Write anew what of them is known, before another change replaces the copy that it is known from."""
        known, event = self._sequences()
        if event is not None:
            kept = "%s could not be read; kept: %s" % (_SEQUENCES, ", ".join(sorted(known)) or "none")
            self._memory.log(event, None, None, "this device", kept[:1000])
            self._files.write(_SEQUENCES, files.json_bytes(known))

    def _write_signers(self, signers: List[Signer]) -> None:
        lines = [
            ('signer namespaces="%s" %s %s' % (sshsig.NAMESPACE, s.key.text, s.comment)).rstrip() + "\n"
            for s in signers
        ]
        self._files.write(_SIGNERS, "".join(lines).encode("utf-8"))

    def _write_policy(self, policy: str) -> None:
        self._files.write(_POLICY, files.json_bytes({"schema": 1, "unsigned": _UNSIGNED[policy]}))


def _parse_sequences(data: bytes) -> Tuple[Dict[str, int], bool]:
    """(what can be read, whether that is all)."""
    try:
        rows = files.parse_json(data, checks.anything, _SEQUENCES)
    except checks.Invalid:
        return {}, False
    if not isinstance(rows, dict):
        return {}, False
    found: Dict[str, int] = {}
    for app, sequence in rows.items():
        try:
            _check_sequences({app: sequence}, _SEQUENCES)
        except checks.Invalid:
            continue
        found[app] = sequence
    return found, len(found) == len(rows)


def _lock(fd: int) -> None:
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise DeviceError("locked", "somebody else is changing who is trusted here") from None
            time.sleep(0.05)


def _plain(comment: str) -> str:
    """A comment that can stand in a file of lines and on a terminal."""
    return re.sub(r"[^A-Za-z0-9@._+:/ -]", "_", comment)[:100].strip()

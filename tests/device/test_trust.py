"""The device's own policy: who may install, both ways of verifying, nothing staged before it is known."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.device import protocol, sshsig
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.trust import Trust

WAYS = ["ssh-keygen", "own"]
SSH_KEYGEN = shutil.which("ssh-keygen") or ""


class Key:
    """A key of the test's, made by ssh-keygen."""

    def __init__(self, file: Path, kind: str = "ed25519") -> None:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{file.name}@desk", "-f", str(file)], check=True
        )
        self.file = file
        self.line = file.with_suffix(".pub").read_text().strip()
        self.fingerprint = sshsig.parse_key(self.line)[0].fingerprint

    def sign(self, text: str) -> str:
        return subprocess.run(
            [SSH_KEYGEN, "-Y", "sign", "-n", sshsig.NAMESPACE, "-f", str(self.file)],
            input=text.encode(), capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("alice") / "alice")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("mallory") / "mallory")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """With the machine's ssh-keygen, and where the only one is too old to verify."""
    if request.param == "own":
        old = tmp_path / "bin" / "ssh-keygen"
        old.parent.mkdir()
        old.write_text("#!/bin/sh\ncat >/dev/null\necho 'unknown option -- Y' >&2\nexit 1\n")
        old.chmod(0o700)
        monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    return str(request.param)


def args(release: Any, key: Key | None = None, *, sequence: int = 7, enrol: bool = True) -> dict[str, Any]:
    release.envelope["sequence"] = sequence
    made = dict(release.args)
    if key is not None:
        made |= {"signature": key.sign(made["envelope"]), "enrol": enrol}
    return made


def opened(helper: Any, release: Any) -> dict[str, Any]:
    helper.put(*release.contents)
    found: dict[str, Any] = helper.ask("open_app", {"app": release.app, "who": "alice@desk", "mode": "write"})
    return found


def activate(helper: Any, release: Any) -> None:
    helper.ask("activate", dict(release.named, allow_unverified=True))


def policy(root: Path) -> Any:
    return json.loads((root / "trust" / "policy.json").read_text())


def test_a_device_that_knows_nobody_takes_unsigned_releases_and_says_so(start: Any, made: Any) -> None:
    helper, release = start(), made()
    assert opened(helper, release)["trust"]["policy"] == "first-use"
    assert helper.ask("stage", args(release))["signed"] == "unsigned"
    activate(helper, release)
    (entry,) = helper.ask("history", {"app": "cam"})["entries"]
    assert "unsigned" in entry["detail"]
    (app,) = helper.ask("status", {"app": "cam"})["apps"]
    assert app["releases"][0]["signed"] == "unsigned"


def test_the_history_is_in_the_order_of_what_happened_within_a_second_too(
    start: Any, made: Any, alice: Key
) -> None:
    helper, unsigned, signed = start(), made(), made(content=b"m2")
    for release, key in ((unsigned, None), (signed, alice)):
        opened(helper, release)
        helper.ask("stage", args(release, key))
        activate(helper, release)
    entries = helper.ask("history", {"app": "cam"})["entries"]
    assert [e["event"] for e in entries] == ["activated", "signer-enrolled", "activated"]


def test_the_first_that_signs_is_enrolled_and_from_then_on_needed(
    start: Any, made: Any, root: Path, alice: Key, mallory: Key, way: str, look: Any
) -> None:
    helper, release = start(), made()
    opened(helper, release)
    staged = helper.ask("stage", args(release, alice))
    assert staged["enrolled"] is True
    assert staged["signed"] == f"signed by {alice.fingerprint} (alice@desk)"
    activate(helper, release)
    folder = root / "apps" / "cam" / "releases" / release.id
    assert (folder / "envelope.sig").read_text().startswith("-----BEGIN SSH SIGNATURE")
    events = [(e["event"], e["who"], e["detail"]) for e in helper.ask("history", {"app": "cam"})["entries"]]
    assert [e[0] for e in events] == ["signer-enrolled", "activated"]
    assert alice.fingerprint in events[0][2]
    assert f"signed by {alice.fingerprint}" in events[1][2]

    for second, signer in ((made(content=b"m2"), None), (made(content=b"m3"), mallory)):
        known = opened(helper, second)["trust"]
        assert (known["policy"], known["highest"]) == ("require", 7)
        error = helper.refuse("stage", args(second, signer, sequence=8))
        assert error["code"] == "untrusted"
        assert alice.fingerprint in error["expected"]
        assert error["found"] == ("none" if signer is None else mallory.fingerprint)
        assert error["device_state"]["active"] == release.id
        # Nothing of it was staged.
        assert not (root / "apps" / "cam" / "releases" / second.id).exists()
        assert list((root / "apps" / "cam" / "staging").iterdir()) == []
    third = made(content=b"m4")
    helper.put(*third.contents)
    assert helper.ask("stage", args(third, alice, sequence=8))["enrolled"] is False
    activate(helper, third)
    assert look.current(root) == third.id


def test_what_was_changed_after_it_was_signed_is_refused(
    start: Any, made: Any, root: Path, alice: Key, way: str
) -> None:
    helper, release = start(), made()
    opened(helper, release)
    good = args(release, alice)
    changed = {
        "another sequence": {"envelope": good["envelope"].replace('"sequence":7', '"sequence":8')},
        "a blank": {"envelope": good["envelope"] + " "},
        "a cut": {"signature": good["signature"][:-40]},
        "nothing": {"signature": ""},
        "another's": {"signature": alice.sign("something else")},
    }
    for what, fields in changed.items():
        error = helper.refuse("stage", {**good, **fields})
        assert error["code"] == "untrusted", what
    assert not list((root / "apps" / "cam").glob("releases/*"))
    # It is refused also by a device that takes unsigned releases: something happened to it on the way.
    helper.ask("trust_policy", {"policy": "allow-unsigned", "who": "me"})
    assert helper.refuse("stage", {**good, **changed["another sequence"]})["code"] == "untrusted"
    helper.ask("stage", good)
    assert helper.ask("trust")["signers"] == []  # a policy that was decided enrols nobody
    # And not of the signed sequence by way of another manifest.
    other = made(content=b"other")
    helper.put(*other.contents)
    assert helper.refuse("stage", {**good, "manifest": other.text})["code"] == "bad-manifest"


def test_the_runtimes_are_signed_too(start: Any, made: Any, alice: Key, look: Any) -> None:
    helper = start()
    code = b"print('litert')"
    listing = [["lib.py", look.sha(code), len(code), False]]
    tree = look.sha(protocol.canonical(listing))
    helper.put(code)
    helper.ask("tree", {"id": tree, "files": listing})
    release = made(runtimes={"tflite": {"tree": tree}, "tf_frozen": {"tree": None}})
    opened(helper, release)
    error = helper.refuse("stage", args(release, alice))
    assert (error["code"], error["expected"], error["found"]) == ("untrusted", "none", f"tflite {tree[:12]}")
    release.envelope["runtimes"] = {"tflite": tree}
    helper.ask("stage", args(release, alice))


def test_the_sequence_goes_back_by_a_rollback_only(
    start: Any, made: Any, root: Path, alice: Key, look: Any
) -> None:
    helper, old, new = start(), made(content=b"old"), made(content=b"new")
    opened(helper, old)
    signed_old = args(old, alice, sequence=10)
    helper.ask("stage", signed_old)
    activate(helper, old)
    helper.put(*new.contents)
    helper.ask("stage", args(new, alice, sequence=11))
    # Staged and not active yet: the old one is no replay, and may be brought again.
    helper.ask("stage", signed_old)
    activate(helper, new)
    error = helper.refuse("stage", signed_old)
    assert (error["code"], error["found"]) == ("replayed", 10)
    assert "rollback" in error["expected"]
    # It is on the device still; activating it is going back as well.
    assert helper.refuse("activate", dict(old.named, allow_unverified=True))["code"] == "replayed"
    # A release made again, with the same sequence or signed anew, is fine.
    helper.ask("stage", args(new, alice, sequence=11))
    helper.ask("stage", args(new, alice, sequence=12))
    helper.ask("rollback", {"app": "cam"})
    assert look.current(root) == old.id
    entry = helper.ask("history", {"app": "cam"})["entries"][-1]
    assert (entry["event"], entry["release"]) == ("rolled-back", old.id)
    assert alice.fingerprint in entry["detail"]
    helper.ask("stage", signed_old)  # what is active goes nowhere
    # The counter belongs to the app, and outlives its folder.
    helper.close()
    subprocess.run(["chmod", "-R", "u+w", str(root)], check=True)
    subprocess.run(["rm", "-rf", str(root / "apps")], check=True)
    helper = start()
    opened(helper, old)
    assert helper.refuse("stage", signed_old)["code"] == "replayed"
    other = made(app="door", content=b"old")
    opened(helper, other)
    helper.ask("stage", args(other, alice, sequence=3))


def test_what_was_staged_under_another_policy_is_judged_again(start: Any, made: Any, alice: Key) -> None:
    helper, release = start(), made()
    opened(helper, release)
    helper.ask("stage", args(release))
    helper.ask("trust_add", {"key": alice.line, "who": "bob@desk"})
    error = helper.refuse("activate", dict(release.named, allow_unverified=True))
    assert error["code"] == "untrusted"
    helper.ask("stage", args(release, alice))
    activate(helper, release)
    helper.ask("stage", args(release, alice, sequence=8))
    # Removed from the list, the key signs no further release; what runs goes on running.
    helper.ask("trust_remove", {"fingerprint": alice.fingerprint, "who": "bob@desk"})
    assert helper.refuse("stage", args(release, alice, sequence=9))["code"] == "untrusted"


def test_signers_are_added_and_removed_and_the_history_says_who(
    start: Any, root: Path, made: Any, alice: Key, mallory: Key
) -> None:
    helper, release = start(), made()
    empty = helper.ask("trust")
    assert (empty["policy"], empty["signers"], empty["entries"]) == ("first-use", [], [])
    assert not (root / "trust").exists()  # to look changes nothing
    added = helper.ask("trust_add", {"key": alice.line, "who": "bob@desk"})
    assert (added["policy"], added["changed"], added["fingerprint"]) == ("require", True, alice.fingerprint)
    assert helper.ask("trust_add", {"key": alice.line, "who": "bob@desk"})["changed"] is False
    helper.ask("trust_add", {"key": mallory.line, "who": "bob@desk"})
    lines = (root / "trust" / "allowed_signers").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0] == f'signer namespaces="{sshsig.NAMESPACE}" {alice.line}'
    # OpenSSH reads it as we do.
    signature = root / "sig"
    signature.write_text(alice.sign("text"))
    subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", str(root / "trust" / "allowed_signers"), "-I", "signer",
         "-n", sshsig.NAMESPACE, "-s", str(signature)], input=b"text", check=True, capture_output=True,
    )  # fmt: skip
    error = helper.refuse("trust_remove", {"fingerprint": "SHA256:none", "who": "bob@desk"})
    assert error["code"] == "untrusted"
    for key in (mallory, alice):
        helper.ask("trust_remove", {"fingerprint": key.fingerprint, "who": "bob@desk"})
    # Without its last signer a device does not go back to trusting whoever comes first.
    assert helper.ask("trust")["policy"] == "require"
    opened(helper, release)
    for signer in (None, alice):
        assert helper.refuse("stage", args(release, signer))["code"] == "untrusted"
    helper.ask("trust_policy", {"policy": "allow-unsigned", "who": "bob@desk"})
    assert "not enrolled here" in helper.ask("stage", args(release, alice))["signed"]
    log = [(e["event"], e["who"]) for e in helper.ask("trust")["entries"]]
    assert log == [
        ("signer-added", "bob@desk"), ("signer-added", "bob@desk"), ("signer-removed", "bob@desk"),
        ("signer-removed", "bob@desk"), ("policy", "bob@desk"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "key", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "a\nb", "ssh-dss AAAAB3NzaC1kc3MAAAAA"]
)
def test_what_is_no_key_is_not_enrolled(start: Any, root: Path, key: str) -> None:
    helper = start()
    assert helper.refuse("trust_add", {"key": key, "who": "me"})["code"] == "untrusted"
    assert helper.ask("trust")["policy"] == "first-use"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("policy.json", b""),
        ("policy.json", b'{"schema":1,"unsigned":"perhaps"}'),
        ("policy.json", b'{"schema":2,"unsigned":"allow"}'),
        ("allowed_signers", b""),
        ("allowed_signers", b"\xff\xfe\x00"),
        ("allowed_signers", b'* cert-authority ssh-ed25519 AAAAC3Nz\nroot namespaces="git" ssh-rsa AAAA\n'),
    ],
)
def test_what_cannot_be_read_trusts_nobody(
    start: Any, root: Path, made: Any, alice: Key, name: str, content: bytes
) -> None:
    (root / "trust").mkdir(parents=True)
    (root / "trust" / name).write_bytes(content)
    helper, release = start(), made()
    assert opened(helper, release)["trust"]["policy"] == "require"
    for signer in (None, alice):
        assert helper.refuse("stage", args(release, signer))["code"] == "untrusted"
    # And is put right by deciding anew.
    helper.ask("trust_add", {"key": alice.line, "who": "me"})
    helper.ask("stage", args(release, alice))


@pytest.mark.parametrize("name", ["allowed_signers", "policy.json", "sequences.json"])
def test_a_bit_that_flips_shuts_nobody_out_and_lets_nobody_in(
    start: Any, root: Path, made: Any, alice: Key, mallory: Key, name: str
) -> None:
    helper, first, second = start(), made(), made(content=b"m2")
    opened(helper, first)
    helper.ask("stage", args(first, alice, sequence=1_764_500_000))
    activate(helper, first)
    file = root / "trust" / name
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
    known = opened(helper, second)["trust"]
    assert (known["policy"], known["highest"]) == ("require", 1_764_500_000)
    assert [s["fingerprint"] for s in known["signers"]] == [alice.fingerprint]
    assert helper.refuse("stage", args(second, mallory, sequence=1_764_500_001))["code"] == "untrusted"
    helper.ask("stage", args(second, alice, sequence=1_764_500_000))
    activate(helper, second)
    assert file.read_bytes() == whole
    assert [e["event"] for e in helper.ask("trust")["entries"]] == ["signer-enrolled", "mended"]


def known(folder: Path, **sequences: int) -> Trust:
    trusted = Trust(str(folder))
    folder.mkdir(exist_ok=True)
    for app, sequence in sequences.items():
        trusted.record(app, sequence)
    return trusted


def events(trusted: Trust) -> list[str]:
    return [entry["event"] for entry in trusted.history()]


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[]", b'{"cam": 70', b'{"cam": -1, "door": 5}'])
def test_sequences_that_cannot_be_read_are_those_of_the_copy(root: Path, damage: bytes) -> None:
    trusted = known(root, cam=70, door=5)
    file = root / "trust" / "sequences.json"
    file.write_bytes(damage)
    assert (trusted.highest("cam"), trusted.highest("door")) == (70, 5)
    with pytest.raises(DeviceError) as caught:
        trusted.require_newer("cam", 69)
    assert caught.value.code == "replayed"
    trusted.decide("require", "me")  # which makes a new copy of all
    assert json.loads(file.read_bytes()) == {"cam": 70, "door": 5}
    trusted.record("cam", 71)
    assert json.loads(file.read_bytes()) == {"cam": 71, "door": 5}
    assert events(trusted) == ["mended", "policy"]


@pytest.mark.parametrize(
    ("damage", "left"), [(b"\xff", {}), (b'{"cam": "x", "door": 5, "../x": 3}', {"door": 5})]
)
def test_sequences_that_are_lost_shut_no_device_and_the_history_says_so(
    root: Path, damage: bytes, left: dict[str, int]
) -> None:
    trusted = known(root, cam=70, door=5)
    (root / "trust" / "copies.json").unlink()
    (root / "trust" / "sequences.json").write_bytes(damage)
    trusted.require_newer("cam", 69)
    trusted.record("cam", 69)
    assert json.loads((root / "trust" / "sequences.json").read_bytes()) == {**left, "cam": 69}
    (entry,) = trusted.history()
    assert entry["event"] == "sequences-lost"
    assert entry["detail"] == f"sequences.json could not be read; kept: {', '.join(left) or 'none'}"


def test_sequences_that_are_not_there_are_nothing_that_was_lost(root: Path) -> None:
    trusted = known(root, cam=70)
    (root / "trust" / "sequences.json").unlink()
    assert trusted.highest("cam") == 0
    trusted.record("cam", 3)
    assert (trusted.highest("cam"), events(trusted)) == (3, [])


def test_a_comment_cannot_become_a_line_of_its_own(start: Any, root: Path, alice: Key) -> None:
    helper = start()
    key = " ".join(alice.line.split()[:2])
    helper.ask("trust_add", {"key": key + ' evil" \x1b[31m # x', "who": "me"})
    (signer,) = helper.ask("trust")["signers"]
    assert signer["comment"] == "evil_ __31m _ x"
    assert len((root / "trust" / "allowed_signers").read_text().splitlines()) == 1


@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_old_pythons_verify_by_themselves(
    start: Any,
    made: Any,
    alice: Key,
    look: Any,
    version: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    python = look.python(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    old = tmp_path / "bin" / "ssh-keygen"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'unknown option -- Y'\nexit 1\n")
    old.chmod(0o700)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    helper, release = start(python=python), made(python=python)
    opened(helper, release)
    good = args(release, alice)
    assert helper.refuse("stage", {**good, "envelope": good["envelope"] + "\n"})["code"] == "untrusted"
    assert helper.ask("stage", good)["enrolled"] is True

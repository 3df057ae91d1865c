"""Signing with ssh-keygen: what is signed, and every way in which it does not come about."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefreeze.device import sshsig
from edgefreeze.device.verification import require_signed, ssh_keygen
from edgefreeze.errors import Failure
from edgefreeze.release import manifest, signing
from edgefreeze.release.manifest import Release

from .conftest import Key, write_release


def test_the_envelope_is_signed_with_sequence_and_runtimes(
    release: Release, alice: Key, tmp_path: Path
) -> None:
    made = signing.signed(release, alice.file, sequence=41, runtimes={"tflite": "a" * 64})
    assert made.signature
    assert (made.id, made.manifest_text) == (release.id, release.manifest_text)
    envelope = json.loads(made.envelope_text)
    assert (envelope["sequence"], envelope["runtimes"]) == (41, {"tflite": "a" * 64})
    assert envelope["manifest_sha256"] == release.id
    assert envelope["golden"] == json.loads(release.envelope_text)["golden"]
    (tmp_path / "v").mkdir()
    for program in (ssh_keygen(), None):
        found = require_signed(made.envelope_text.encode(), made.signature, str(tmp_path / "v"), program)
        assert found.key.fingerprint == alice.fingerprint == signing.fingerprint(made)
    # Signed again without runtimes, the old ones are gone.
    assert "runtimes" not in json.loads(
        signing.signed(made, alice.file, sequence=42, runtimes={}).envelope_text
    )


def test_a_folder_keeps_its_signature(folder: Path, alice: Key) -> None:
    made = signing.sign_folder(folder, alice.file)
    again = manifest.load(folder)
    assert (again.signature, again.envelope_text) == (made.signature, made.envelope_text)
    assert signing.fingerprint(again) == alice.fingerprint
    assert json.loads(again.envelope_text)["sequence"] > 1_700_000_000


def test_an_unsigned_release_has_no_signer(release: Release, folder: Path) -> None:
    assert signing.fingerprint(release) is None
    (folder / "envelope.sig").write_text("nonsense")
    with pytest.raises(Failure) as caught:
        signing.fingerprint(manifest.load(folder))
    assert caught.value.code == "bad-manifest"


def test_a_build_that_is_made_anew_is_unsigned(folder: Path, alice: Key) -> None:
    """A signature of an older envelope must not lie beside the new one."""
    signing.sign_folder(folder, alice.file)
    write_release(folder)
    assert manifest.load(folder).signature is None


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ssh-agent of the test's own."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    for _ in range(200):
        if socket.exists():
            break
        process.poll()
        subprocess.run(["sleep", "0.02"], check=True)
    yield socket
    process.terminate()
    process.wait(10)


@pytest.mark.process
def test_a_key_in_the_agent_signs_by_its_public_part(
    release: Release, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Key(tmp_path / "held")
    subprocess.run(["ssh-add", "-q", str(key.file)], check=True, capture_output=True)
    key.file.unlink()
    made = signing.signed(release, key.public, sequence=1, runtimes={})
    assert signing.fingerprint(made) == key.fingerprint
    # Forgotten by the agent, it does not.
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    with pytest.raises(Failure) as caught:
        signing.sign(b"m", key.public)
    assert caught.value.code == "sign-failed"
    assert "ssh-add" in str(caught.value.next)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(Failure) as caught:
        signing.sign(b"m", key.public)
    assert caught.value.code == "sign-failed"


@pytest.mark.process
def test_a_passphrase_is_not_waited_for_where_nobody_can_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSH_AUTH_SOCK", "DISPLAY", "SSH_ASKPASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CI", "1")
    key = Key(tmp_path / "locked", "-t", "ed25519", "-N", "secret")
    with pytest.raises(Failure) as caught:
        signing.sign(b"m", key.file)
    assert caught.value.code == "sign-failed"
    assert "passphrase" in caught.value.message
    assert "secret" not in str(caught.value.found)


def test_what_is_no_key(tmp_path: Path, alice: Key) -> None:
    text, public, large = tmp_path / "text", tmp_path / "text.pub", tmp_path / "large"
    text.write_text("hello\n")
    text.chmod(0o600)
    public.write_text("ssh-ed25519 nothing\n")
    large.write_bytes(bytes(70_000))
    for path in (tmp_path / "none", text, public, large):
        with pytest.raises(Failure) as caught:
            signing.sign(b"m", path)
        assert caught.value.code == "sign-key", path
        assert str(path) in caught.value.message
    assert signing.read_public(alice.public).startswith("ssh-ed25519 ")
    with pytest.raises(Failure):
        signing.read_public(alice.file)


def test_without_ssh_keygen(alice: Key, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure) as caught:
        signing.sign(b"m", alice.file)
    assert caught.value.code == "sign-key"
    assert "openssh-client" in str(caught.value.next)


def test_an_ssh_keygen_that_makes_nonsense(
    alice: Key, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell = shutil.which("sh")
    for text, code in (
        ("echo nonsense", "sign-failed"),
        ("echo 'unknown option -- Y' >&2; exit 1", "sign-key"),
    ):
        (tmp_path / "ssh-keygen").write_text(f"#!{shell}\n{text}\n")
        (tmp_path / "ssh-keygen").chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        with pytest.raises(Failure) as caught:
            signing.sign(b"m", alice.file)
        assert caught.value.code == code


def test_somebody_is_told_to_touch_a_security_key(alice: Key, tmp_path: Path) -> None:
    assert signing.announcement(alice.file) == signing.announcement(alice.public) == "signing the release"
    parts = (b"sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:")
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    line = f"sk-ssh-ed25519@openssh.com {base64.b64encode(blob).decode()} me\n"
    (tmp_path / "sk.pub").write_text(line)
    for key in (tmp_path / "sk.pub", tmp_path / "sk"):
        assert "touch" in signing.announcement(key)


def test_the_namespace_is_our_own() -> None:
    """Whoever changes it makes every signature that is out there worthless."""
    assert sshsig.NAMESPACE == "release@edgefreeze"

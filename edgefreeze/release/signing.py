"""Signing releases with the engineer's own SSH key, by ssh-keygen: keys in files, in an agent, on a security
key. What is signed is the envelope, which binds the manifest's digest, the sequence, the golden data's digest
and the ids of the runtimes that are shipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from edgefreeze.device import sshsig
from edgefreeze.device.protocol import canonical
from edgefreeze.errors import Failure
from edgefreeze.release.manifest import SIGNATURE, Release, load
from edgefreeze.text import clean

_TIMEOUT_S = 120.0
"""A passphrase may have to be typed, a security key to be touched."""


def require_key(key: Path) -> None:
    """Raise Failure sign-key where the key cannot be one; whether it signs is known when it does."""
    try:
        if (key.stat().st_size) > 64 * 1024:
            raise Failure("sign-key", f"{key} is no SSH key: it is too large", found=str(key))
    except OSError as error:
        raise Failure(
            "sign-key",
            f"the key to sign with cannot be read: {key}: {error.strerror}",
            expected="a private key's file, or the .pub of a key in ssh-agent",
            found=str(key),
            next="ls ~/.ssh/*.pub",
        ) from None
    if key.suffix == ".pub":
        read_public(key)


def read_public(path: Path) -> str:
    """The line of a .pub file, checked. Raises Failure sign-key."""
    try:
        with path.open("rb") as file:
            text = file.read(sshsig.MAX_KEY + 1).decode("utf-8")
        sshsig.parse_key(text)
    except (OSError, UnicodeDecodeError, sshsig.Malformed) as error:
        raise Failure(
            "sign-key",
            f"{path}: {clean(str(error), 300)}",
            expected="a public key, such as ~/.ssh/id_ed25519.pub",
            found=str(path),
        ) from None
    return text.strip()


def announcement(key: Path) -> str:
    """What is about to happen, in words: a security key waits for somebody to touch it."""
    public = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    try:
        touched = read_public(public).startswith("sk-")
    except Failure:
        touched = False
    return "signing the release" + (": touch the security key" if touched else "")


def sign(message: bytes, key: Path) -> str:
    """The armoured signature of a message. Raises Failure sign-key, sign-failed."""
    require_key(key)
    there = sys.stdin is not None and sys.stdin.isatty() and not os.environ.get("CI")
    try:
        # Where nobody sits at a terminal, nobody is to be asked on one.
        done = _ssh_keygen(["-Y", "sign", "-n", sshsig.NAMESPACE, "-f", str(key)], message, session=not there)
    except subprocess.TimeoutExpired:
        raise Failure(
            "sign-failed",
            f"ssh-keygen did not sign within {_TIMEOUT_S:.0f} s",
            found=f"waiting for {key}: a touch of the security key, or a passphrase",
            retry_safe=True,
        ) from None
    if done.returncode != 0:
        raise _refused(key, clean(done.stderr.decode("utf-8", "replace"), 600))
    text = done.stdout.decode("ascii", "replace")
    try:
        sshsig.parse_signature(text)
    except sshsig.Malformed as error:
        raise Failure("sign-failed", f"what ssh-keygen made is no signature that we know: {error}") from None
    return text


def _ssh_keygen(arguments: list[str], message: bytes, *, session: bool) -> subprocess.CompletedProcess[bytes]:
    """Run it; session: without the terminal that we may have. Raises Failure sign-key, TimeoutExpired."""
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments],
            input=message,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=session,
        )
    except FileNotFoundError:
        raise Failure(
            "sign-key",
            "OpenSSH's ssh-keygen, which signs releases, is not installed",
            expected="ssh-keygen of OpenSSH 8.0 or later",
            next="sudo apt install openssh-client",
        ) from None


def _refused(key: Path, said: str) -> Failure:
    low = said.lower()
    if "passphrase" in low:
        return Failure(
            "sign-failed",
            f"the passphrase of {key} was wrong, or nobody could be asked for it",
            found=said,
            retry_safe=True,
            next=f"ssh-add {key}, then the same command",
        )
    if "agent" in low or "no private key found" in low or "private key not found" in low:
        return Failure(
            "sign-failed",
            f"{key}: neither ssh-agent nor a file beside it has the private key, or the agent refused",
            found=said,
            retry_safe=True,
            next=f"ssh-add {key.with_suffix('') if key.suffix == '.pub' else key}",
        )
    if "illegal option" in low or "unknown option" in low:
        return Failure("sign-key", "this ssh-keygen cannot sign", expected="OpenSSH 8.0 or later", found=said)
    return Failure("sign-key", f"{key} does not sign", expected="an SSH key", found=said)


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs: "SHA256:…", and whether it is plain Ed25519, which needs no ssh-keygen to verify."""

    fingerprint: str
    ed25519: bool


def key_of(key: Path) -> Signer:
    """What a key to sign with is, without signing: nobody is asked for a passphrase or a touch.

    Raises Failure sign-key.
    """
    require_key(key)
    done = _ssh_keygen(["-l", "-E", "sha256", "-f", str(key)], b"", session=True)
    words = done.stdout.decode("utf-8", "replace").split()
    if done.returncode != 0 or len(words) < 2:
        raise _refused(key, clean(done.stderr.decode("utf-8", "replace"), 600))
    return Signer(clean(words[1], 60), words[-1] == "(ED25519)")


def signed(release: Release, key: Path, *, sequence: int, runtimes: dict[str, str]) -> Release:
    """The release with a signature over its envelope, which gets this sequence and these runtimes (runner
    module to tree id). Nothing is written. Raises Failure as sign()."""
    envelope = {
        **{k: v for k, v in json.loads(release.envelope_text).items() if k != "runtimes"},
        "sequence": sequence,
        **({"runtimes": runtimes} if runtimes else {}),
    }
    data = canonical(envelope)
    return replace(release, envelope_text=data.decode(), signature=sign(data, key))


def sign_folder(folder: Path, key: Path) -> Release:
    """Sign the release in a folder, anew where it was signed before. Raises Failure as sign(), load()."""
    release = signed(load(folder), key, sequence=int(time.time()), runtimes={})
    assert release.signature is not None
    # Cut in between, the release is unsigned: never does a signature stand beside another envelope.
    (folder / SIGNATURE).unlink(missing_ok=True)
    (folder / "envelope.json").write_bytes(release.envelope_text.encode())
    (folder / SIGNATURE).write_text(release.signature, "ascii")
    return release


def signer(release: Release) -> Signer | None:
    """The key that a release's signature says it is by, None where it is unsigned.

    Raises Failure bad-manifest where the signature is none.
    """
    if release.signature is None:
        return None
    try:
        key = sshsig.parse_signature(release.signature).key
    except sshsig.Malformed as error:
        raise Failure("bad-manifest", f"{release.folder}: the release's signature is none: {error}") from None
    return Signer(key.fingerprint, key.kind == sshsig.ED25519)


def fingerprint(release: Release) -> str | None:
    """The signer's fingerprint, None where it is unsigned. Raises Failure as signer()."""
    found = signer(release)
    return None if found is None else found.fingerprint

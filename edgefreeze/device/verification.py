"""Whether a signature is one of a message: by the machine's ssh-keygen, or Ed25519 by ourselves."""

import os
import shutil
import subprocess
from typing import Optional

from edgefreeze.device import ed25519, files, sshsig
from edgefreeze.device.errors import DeviceError

_TIMEOUT_S = 30.0
_LACKS_Y = (b"unknown option", b"illegal option", b"invalid option")
"""What an ssh-keygen before 8.0 says of -Y."""


def ssh_keygen() -> Optional[str]:
    """Where ssh-keygen is, None where it is not."""
    return shutil.which("ssh-keygen", path=os.environ.get("PATH", "") + ":/usr/bin:/bin:/usr/local/bin")


def require_signed(message: bytes, text: str, folder: str, program: Optional[str]) -> sshsig.Signature:
    """The signature taken apart, if it is one of the message in our namespace. Raises untrusted, store-io.

    folder: ours, where files for ssh-keygen stand for a moment; program: ssh-keygen, None to do without.
    """
    try:
        signature = sshsig.parse_signature(text)
    except sshsig.Malformed as error:
        raise untrusted("the release's signature is none: %s" % error) from None
    if signature.namespace != sshsig.NAMESPACE:
        raise untrusted("the signature is for another purpose", sshsig.NAMESPACE, signature.namespace)
    good = None if program is None else _by_ssh_keygen(program, signature, message, text, folder)
    if good is None:
        good = _by_ourselves(signature, message)
    if not good:
        raise untrusted(
            "the signature is not one of this release: one of the two was changed",
            "a signature of the envelope by %s" % signature.key.fingerprint,
        )
    return signature


def _by_ourselves(signature: sshsig.Signature, message: bytes) -> bool:
    if signature.key.kind != sshsig.ED25519:
        raise untrusted(
            "this device has no ssh-keygen of OpenSSH 8.0 or later, without which only %s keys can be"
            " verified" % sshsig.ED25519,
            "a signature by an %s key, or openssh-client on the device" % sshsig.ED25519,
            signature.key.kind,
        )
    try:
        value = sshsig.ed25519_value(signature)
    except sshsig.Malformed as error:
        raise untrusted("the release's signature is none: %s" % error) from None
    return ed25519.verify(signature.key.point, signature.signed(message), value)


def _by_ssh_keygen(
    program: str, signature: sshsig.Signature, message: bytes, text: str, folder: str
) -> Optional[bool]:
    """ssh-keygen's verdict; None where it is too old to have one, or does not start."""
    scratch = os.path.join(folder, ".check-" + files.random_name())
    signers, envelope_sig = os.path.join(scratch, "signers"), os.path.join(scratch, "sig")
    os.mkdir(scratch, 0o700)
    try:
        # The one key whose signature it claims to be: whether that key is trusted is decided elsewhere.
        _write(signers, "signer %s\n" % signature.key.text)
        _write(envelope_sig, text)
        done = subprocess.run(
            [
                program, "-Y", "verify", "-f", signers, "-I", "signer", "-n", sshsig.NAMESPACE,
                "-s", envelope_sig,
            ],
            input=message,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
            cwd=folder,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    finally:
        files.remove_tree(scratch)
    if done.returncode != 0 and any(words in done.stdout for words in _LACKS_Y):
        return None
    return done.returncode == 0 and done.stdout.startswith(b"Good ")


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write(text)


def untrusted(message: str, expected: Optional[str] = None, found: Optional[str] = None) -> DeviceError:
    """The error of a release that the device does not take because of its signature, or of its lack."""
    return DeviceError("untrusted", message, expected, found)

"""SSH public keys and signatures as text from outside: the format of OpenSSH's PROTOCOL.sshsig.

    armour      BEGIN SSH SIGNATURE, base64, END SSH SIGNATURE
    signature   "SSHSIG", uint32 version 1, string public key, string namespace, string reserved,
                string hash algorithm, string signature (string kind, string value for Ed25519)
    signed      "SSHSIG", string namespace, string reserved, string hash algorithm, string H(message)

What is not exactly of this form is refused: nothing may be left over, nothing may be missing.
"""

import base64
import binascii
import hashlib
import re
import struct
from typing import List, NamedTuple, Tuple

NAMESPACE = "release@edgefreeze"
"""What a release's signature is for: the same key's signatures of mails or commits are none."""
MAX_SIGNATURE = 16 * 1024
MAX_KEY = 8 * 1024
ED25519 = "ssh-ed25519"

_MAGIC = b"SSHSIG"
_PARTS = {
    ED25519: 1,
    "sk-ssh-ed25519@openssh.com": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
    "ssh-rsa": 2,
}
"""Kinds of keys, and how many strings follow the kind's name in one. No certificates."""
KINDS = tuple(_PARTS)
_ARMOUR = re.compile(
    r"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,100}\n)+)-----END SSH SIGNATURE-----\n*"
)
_KEY_LINE = re.compile(r"([a-z0-9@.-]{1,64}) ([A-Za-z0-9+/]{1,8000}={0,2})(?:[ \t]+(.{0,1000}))?")


class Malformed(ValueError):
    """Text that is no SSH key or no SSH signature; says why."""


class PublicKey(NamedTuple):
    """A public key: its kind and its whole blob, as ssh has it in base64."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """ "SHA256:…", as ssh-keygen -l prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii")
        return "SHA256:" + digest.rstrip("=")

    @property
    def text(self) -> str:
        """Kind and base64, as in authorized_keys."""
        return "%s %s" % (self.kind, base64.b64encode(self.blob).decode("ascii"))

    @property
    def point(self) -> bytes:
        """The 32 bytes of an Ed25519 key."""
        return _strings(self.blob, 2)[1]


class Signature(NamedTuple):
    """A signature taken apart; that it is well formed says nothing of whether it is right."""

    key: PublicKey
    namespace: str
    reserved: bytes
    hash_name: str
    blob: bytes

    def signed(self, message: bytes) -> bytes:
        """The bytes that were signed in place of the message."""
        digest = hashlib.new(self.hash_name, message).digest()
        parts = (self.namespace.encode("ascii"), self.reserved, self.hash_name.encode("ascii"), digest)
        return _MAGIC + b"".join(struct.pack("!I", len(part)) + part for part in parts)


def parse_key(line: str) -> Tuple[PublicKey, str]:
    """A line of a .pub file as (key, comment). Raises Malformed."""
    match = _KEY_LINE.fullmatch(line.strip()) if len(line) <= MAX_KEY else None
    if match is None:
        raise Malformed("no public key: expected a kind and base64, such as the one line of a .pub file")
    key = _key(_base64(match[2]))
    if key.kind != match[1]:
        raise Malformed("the line says %s and the key is %s" % (match[1], key.kind))
    return key, (match[3] or "").strip()


def parse_signature(text: str) -> Signature:
    """An armoured signature. Raises Malformed."""
    match = _ARMOUR.fullmatch(text.replace("\r\n", "\n")) if len(text) <= MAX_SIGNATURE else None
    if match is None:
        raise Malformed("no armoured SSH signature")
    data = _base64(match[1].replace("\n", ""))
    if data[:6] != _MAGIC or data[6:10] != struct.pack("!I", 1):
        raise Malformed("no SSH signature of version 1")
    blob, namespace, reserved, hash_name, signature = _strings(data[10:], 5)
    if hash_name not in (b"sha256", b"sha512"):
        raise Malformed("a hash algorithm that SSH signatures do not have")
    if not re.fullmatch(rb"[\x21-\x7e]{1,100}", namespace):
        raise Malformed("a namespace that is no word")
    return Signature(_key(blob), namespace.decode(), reserved, hash_name.decode(), signature)


def ed25519_value(signature: Signature) -> bytes:
    """The 64 bytes of an Ed25519 signature. Raises Malformed."""
    kind, value = _strings(signature.blob, 2)
    if kind != ED25519.encode() or len(value) != 64:
        raise Malformed("no Ed25519 signature inside")
    return value


def _key(blob: bytes) -> PublicKey:
    kind = _first(blob)
    if kind not in _PARTS:
        raise Malformed("a key of kind %s; known are %s" % (ascii(kind[:40]), ", ".join(KINDS)))
    parts = _strings(blob, 1 + _PARTS[kind])
    if kind == ED25519 and len(parts[1]) != 32:
        raise Malformed("an Ed25519 key of %d bytes" % len(parts[1]))
    return PublicKey(kind, blob)


def _first(blob: bytes) -> str:
    if len(blob) < 4:
        raise Malformed("too short for a key")
    return blob[4 : 4 + struct.unpack("!I", blob[:4])[0]].decode("latin-1")


def _strings(data: bytes, count: int) -> List[bytes]:
    """Exactly so many strings of SSH's wire format, and nothing after them."""
    found = []
    for _ in range(count):
        length = struct.unpack("!I", data[:4])[0] if len(data) >= 4 else len(data)
        if len(data) < 4 + length:
            raise Malformed("it ends in the middle")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    if data:
        raise Malformed("%d bytes follow its end" % len(data))
    return found


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("no base64") from None

"""Ed25519 by RFC 8032's own vectors, SSH signatures as ssh-keygen makes them, and what only looks like one."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefreeze.device import ed25519, sshsig, verification
from edgefreeze.device.errors import DeviceError

pytestmark = pytest.mark.process

VECTORS = [  # RFC 8032, section 7.1: public key, message, signature
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_vectors_of_rfc_8032(public: str, message: str, signature: str) -> None:
    key, text, good = (bytes.fromhex(x) for x in (public, message, signature))
    assert ed25519.verify(key, text, good)
    assert not ed25519.verify(key, text + b"!", good)
    for place in (0, 31, 32, 63):
        bad = bytearray(good)
        bad[place] ^= 1
        assert not ed25519.verify(key, text, bytes(bad))
        wrong = bytearray(key)
        wrong[place % 32] ^= 1
        assert not ed25519.verify(bytes(wrong), text, good)
    # The same point with S beyond the order is another spelling of the signature: malleable, so refused.
    s = int.from_bytes(good[32:], "little") + ORDER
    assert not ed25519.verify(key, text, good[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "key",
    [
        (1).to_bytes(32, "little"),  # the neutral point: every S·B would be a signature by it
        (0).to_bytes(32, "little"),  # of order 4
        (2**255 - 20).to_bytes(32, "little"),  # of order 2
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),  # of order 8
        (2**255 - 19).to_bytes(32, "little"),  # y = p: not canonical
        b"\xff" * 32,
        b"",
        b"\x02" * 31,
    ],
)
def test_a_key_with_which_anybody_could_sign_is_none(key: bytes) -> None:
    neutral = (1).to_bytes(32, "little")
    assert not ed25519.verify(key, b"m", neutral + bytes(32))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for kind, *more in (("ed25519",), ("ecdsa", "-b", "384"), ("rsa", "-b", "2048")):
        subprocess.run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                kind,
                *more,
                "-N",
                "",
                "-C",
                f"me the {kind}",
                "-f",
                str(folder / kind),
            ],
            check=True,
        )
    return folder


def sign(key: Path, message: bytes, namespace: str = sshsig.NAMESPACE, *options: str) -> str:
    return subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(key), *options],
        input=message, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip


WAYS = ["ssh-keygen", "own"]


def verify(way: str, message: bytes, text: str, folder: Path) -> sshsig.Signature:
    program = verification.ssh_keygen() if way == "ssh-keygen" else None
    assert program or way == "own"
    found = verification.require_signed(message, text, str(folder), program)
    assert not list(folder.iterdir())  # nothing is left behind
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_a_signature_of_ssh_keygen(keys: Path, tmp_path: Path, way: str, hash_name: str) -> None:
    message = b'{"the":"envelope"}' * 50
    text = sign(keys / "ed25519", message, sshsig.NAMESPACE, "-O", f"hashalg={hash_name}")
    found = verify(way, message, text, tmp_path)
    assert found.hash_name == hash_name
    key, comment = sshsig.parse_key((keys / "ed25519.pub").read_text())
    assert (found.key, comment) == (key, "me the ed25519")
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(keys / "ed25519.pub")], capture_output=True, text=True, check=True
    ).stdout
    assert listed.split()[1] == key.fingerprint
    for bad in (message + b" ", message[:-1], b""):
        with pytest.raises(DeviceError, match="was changed") as caught:
            verify(way, bad, text, tmp_path)
        assert caught.value.code == "untrusted"


@pytest.mark.parametrize("way", WAYS)
def test_a_signature_for_another_purpose(keys: Path, tmp_path: Path, way: str) -> None:
    with pytest.raises(DeviceError, match="another purpose") as caught:
        verify(way, b"m", sign(keys / "ed25519", b"m", "file"), tmp_path)
    assert (caught.value.expected, caught.value.found) == (sshsig.NAMESPACE, "file")


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_kinds_need_ssh_keygen(keys: Path, tmp_path: Path, kind: str) -> None:
    text = sign(keys / kind, b"m")
    verify("ssh-keygen", b"m", text, tmp_path)
    with pytest.raises(DeviceError, match="was changed"):
        verify("ssh-keygen", b"n", text, tmp_path)
    with pytest.raises(DeviceError, match="no ssh-keygen") as caught:
        verify("own", b"m", text, tmp_path)
    assert caught.value.found == sshsig.parse_key((keys / f"{kind}.pub").read_text())[0].kind


@pytest.mark.parametrize("says", ["unknown option -- Y", "illegal option -- Y"])
def test_an_ssh_keygen_that_is_too_old_counts_as_none(keys: Path, tmp_path: Path, says: str) -> None:
    old = tmp_path / "ssh-keygen"
    old.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{says}' >&2\nexit 255\n")
    old.chmod(0o700)
    folder = tmp_path / "trust"
    folder.mkdir()
    text = sign(keys / "ed25519", b"m")
    assert verification.require_signed(b"m", text, str(folder), str(old)).key.kind == sshsig.ED25519
    with pytest.raises(DeviceError, match="was changed"):
        verification.require_signed(b"n", text, str(folder), str(old))
    with pytest.raises(DeviceError, match="no ssh-keygen"):
        verification.require_signed(b"m", sign(keys / "rsa", b"m"), str(folder), str(old))


def test_an_ssh_keygen_that_says_nothing_good_is_believed(keys: Path, tmp_path: Path) -> None:
    silent = tmp_path / "ssh-keygen"
    silent.write_text("#!/bin/sh\ncat >/dev/null\nexit 0\n")
    silent.chmod(0o700)
    with pytest.raises(DeviceError, match="was changed"):
        verification.require_signed(b"m", sign(keys / "ed25519", b"m"), str(tmp_path), str(silent))


# --- what only looks like a signature or a key


@pytest.fixture(scope="module")
def whole(keys: Path) -> bytes:
    """The bytes inside the armour of a good signature of b"m"."""
    return base64.b64decode("".join(sign(keys / "ed25519", b"m").splitlines()[1:-1]))


def armour(data: bytes) -> str:
    return (
        "-----BEGIN SSH SIGNATURE-----\n"
        + base64.encodebytes(data).decode()
        + "-----END SSH SIGNATURE-----\n"
    )


def refused(text: str, folder: Path) -> bool:
    """Whether our own verification refuses it, with the one error that it may raise."""
    try:
        verification.require_signed(b"m", text, str(folder), None)
    except DeviceError as error:
        return error.code == "untrusted"
    return False


def test_every_byte_of_a_signature_counts(whole: bytes, tmp_path: Path) -> None:
    assert not refused(armour(whole), tmp_path)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x40
        assert refused(armour(bytes(changed)), tmp_path), place
    for length in range(len(whole)):
        assert refused(armour(whole[:length]), tmp_path), length
    assert refused(armour(whole + b"\0"), tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=400).map(armour), st.text(max_size=300)))
def test_random_bytes_are_no_signature(tmp_path: Path, text: str) -> None:
    assert refused(text, tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_signature_is_refused(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    changed = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    assert refused(armour(changed), tmp_path) == (changed != whole)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200).map(lambda b: "ssh-rsa " + base64.b64encode(b).decode()),
    )
)
def test_random_text_is_no_key_and_raises_nothing_else(text: str) -> None:
    with pytest.raises(sshsig.Malformed):
        sshsig.parse_key(text)


@pytest.mark.process
def test_keys_of_every_kind_that_the_machine_makes(keys: Path) -> None:
    for file in keys.glob("*.pub"):
        key, comment = sshsig.parse_key(file.read_text())
        assert key.text == " ".join(file.read_text().split()[:2])
        assert comment.startswith("me the ")
    line = (keys / "rsa.pub").read_text()
    for bad in (
        line.replace("ssh-rsa", "ssh-ed25519", 1),
        line.replace(" ", "  ", 1),
        line * 2,
        "from=x " + line,
    ):
        with pytest.raises(sshsig.Malformed):
            sshsig.parse_key(bad)

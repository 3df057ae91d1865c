"""What a dry run says of a signed or unsigned release is what the deployment would say, and it changes nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefreeze.errors import Failure
from edgefreeze.progress import Silent
from edgefreeze.release import signing
from edgefreeze.ship.admission import Trust, require_welcome, welcome
from tests.faults.cases import linking_copy
from tests.faults.world import Site, Variant, World


class Told(Silent):
    """Keeps what was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World.make(tmp_path_factory.mktemp("dry") / "world")
    yield made
    made.close()


@pytest.fixture
def mallory(tmp_path: Path) -> Path:
    key = tmp_path / "mallory"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
    return key


def at(world: World, folder: Path, how: str, *, signed: bool) -> tuple[Site, Told]:
    variant = Variant(signed=signed, helper_there=True)
    shutil.copytree(world.base(variant), folder / "device", symlinks=True, copy_function=linking_copy())
    site, told = Site(world, variant, folder / "device"), Told()
    site.progress = told
    if how == "ssh":
        assert world.server is not None
        world.server.configure(folder)
        site.over_ssh = True
    return site, told


def refused(site: Site, *, sign: bool) -> tuple[object, ...]:
    with pytest.raises(Failure) as caught:
        site.ship(sign=sign)
    f = caught.value
    return f.code, f.exit_status, str(f), f.expected, f.found, f.device_state, f.next, f.retry_safe


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def both(how: str) -> object:
    return pytest.param(how, marks=[pytest.mark.sshd] if how == "ssh" else [])


@pytest.mark.parametrize("how", [both("local"), both("ssh")])
def test_what_the_device_would_refuse_is_said_as_the_deployment_says_it(
    world: World, mallory: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", "none")  # put back after configure()
    site, _ = at(world, tmp_path, how, signed=True)
    site.key = mallory.with_suffix(".pub")
    before = files(site.root)
    said = {}
    for sign in (False, True):
        site.dry_run = True
        said[sign] = refused(site, sign=sign)
        assert files(site.root) == before
    site.dry_run = False
    assert said[False] == refused(site, sign=False)
    assert said[False][:2] == ("untrusted", 6)
    # Without its passphrase this key cannot sign: what the dry run says needs none.
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", str(mallory)], check=True)
    site.key = mallory
    assert said[True] == refused(site, sign=True)
    assert said[True][4] == signing.key_of(mallory).fingerprint


@pytest.mark.process
@pytest.mark.parametrize("how", [both("local"), both("ssh")])
def test_what_the_device_would_take_is_said_with_the_reason(
    world: World, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", "none")
    for signed, sign, words in (
        (False, False, "not signed: nobody is enrolled there"),
        (False, True, "would enrol SHA256:"),
        (True, True, "would take the release: "),
    ):
        folder = tmp_path / f"{signed}-{sign}"
        folder.mkdir()
        site, told = at(world, folder, how, signed=signed)
        site.dry_run, before = True, files(site.root)
        planned = site.ship(sign=sign)
        assert files(site.root) == before
        assert (planned.active, planned.bytes_sent, planned.dry_run) == (world.a.id, 0, True)
        (note,) = [text for text in told.notes if "would" in text]
        assert words in note
        site.dry_run = False
        done = site.ship(sign=sign)
        assert (done.active, done.signer, done.bytes_needed) == (
            world.b.id, planned.signer, planned.bytes_needed,
        )  # fmt: skip


@pytest.mark.parametrize("signer", [None, "SHA256:a", "SHA256:x"])
@pytest.mark.parametrize("policy", ["first-use", "require", "allow-unsigned"])
def test_who_is_refused_has_no_reason_to_be_taken(policy: str, signer: str | None) -> None:
    trust = Trust(policy=policy, signers={} if policy == "first-use" else {"SHA256:a": "alice"}, highest=5)
    taken = policy != "require" or signer == "SHA256:a"
    by = None if signer is None else signing.Signer(signer, ed25519=False)
    if not taken:
        with pytest.raises(Failure, match="signed by a key enrolled"):
            require_welcome(trust, by, "cam1", None)
        return
    require_welcome(trust, by, "cam1", None)
    said = welcome(trust, signer)
    assert ("enrol " in said) == (policy == "first-use" and signer is not None)
    assert ("not signed" in said) == (signer is None)


def test_a_device_without_ssh_keygen_takes_one_kind_of_key() -> None:
    trust = Trust(policy="require", signers={"SHA256:a": "alice"}, highest=5, only="ssh-ed25519")
    require_welcome(trust, signing.Signer("SHA256:a", ed25519=True), "cam1", None)
    with pytest.raises(Failure, match="has no ssh-keygen, without which it verifies ssh-ed25519 keys alone"):
        require_welcome(trust, signing.Signer("SHA256:a", ed25519=False), "cam1", None)


@pytest.mark.parametrize(("kind", "plain"), [("ed25519", True), ("ecdsa", False), ("rsa", False)])
@pytest.mark.process
def test_the_kind_of_a_key_is_known_before_it_signs(kind: str, plain: bool, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-C", "me (ED25519)", "-N", "", "-f", key], check=True)
    found = signing.key_of(key)
    assert found.ed25519 is plain
    assert found.fingerprint.startswith("SHA256:")


@pytest.mark.process
def test_a_fingerprint_of_what_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("no key\n")
    with pytest.raises(Failure) as caught:
        signing.key_of(tmp_path / "none")
    assert (caught.value.code, caught.value.exit_status) == ("sign-key", 3)

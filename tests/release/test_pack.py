"""A release as one file: the same bytes each time, nothing but a release, installed with a ship's checks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefreeze import packing
from edgefreeze.device import pack as packed
from edgefreeze.device import probe
from edgefreeze.device.errors import DeviceError
from edgefreeze.errors import Failure
from edgefreeze.packing import Brought
from edgefreeze.progress import Silent
from edgefreeze.release import manifest, signing
from edgefreeze.release.manifest import Release
from edgefreeze.ship.plan import RuntimePlan
from edgefreeze.types import DeviceFacts

from .conftest import Key, write_release

Install = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def brought(plan: RuntimePlan) -> Brought:
    found = probe.interpreter_facts()
    names = ("machine", "python", "python_executable", "libc", "platform", "bits")
    return Brought(facts=DeviceFacts(**{name: found[name] for name in names}), plans=(plan,))


def pack(
    release: Release, file: Path, key: Key | None = None, brought: Brought | None = None
) -> dict[str, Any]:
    return packing.pack(release, file, key=key.file if key else None, brought=brought, progress=Silent())


def current(root: Path) -> str | None:
    link = root / "apps" / "cam" / "current"
    return link.resolve().name if link.is_symlink() else None


def test_the_same_release_is_the_same_bytes_and_any_tar_can_list_it(release: Release, tmp_path: Path) -> None:
    first, second = tmp_path / "a.pack", tmp_path / "b.pack"
    fields = pack(release, first)
    pack(replace(release, contents=tuple(reversed(release.contents))), second)
    assert first.read_bytes() == second.read_bytes()
    assert (fields["release"], fields["app"], fields["formats"]) == (release.id, "cam", ["tflite"])
    assert (fields["signer"], fields["runtimes"]) == (None, [])
    with tarfile.open(first) as archive:
        members = archive.getmembers()
        assert all(m.isfile() and m.mode == 0o644 and m.mtime == 0 for m in members)
        assert [m.name for m in members][:2] == ["manifest.json", "envelope.json"]
        assert len(members) == 5  # two of the three files are the same content
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".part")]


def test_unpacked_it_is_the_folder_that_was_packed(
    release: Release, folder: Path, alice: Key, brought: Brought, tmp_path: Path
) -> None:
    pack(release, tmp_path / "r.pack", alice, brought)
    out = tmp_path / "out" / "folder"
    assert packing.unpack(tmp_path / "r.pack", out) == {
        "path": str(out), "release": release.id, "signer": alice.fingerprint,
    }  # fmt: skip
    again = manifest.load(out)
    assert again.manifest == release.manifest
    for path in ("model.tflite", "notes/labels.txt", "notes/again.txt", "golden.npz"):
        assert (out / path).read_bytes() == (folder / path).read_bytes()
    with pytest.raises(Failure) as caught:
        packing.unpack(tmp_path / "r.pack", out)
    assert caught.value.code == "config-exists"
    # The signature covers the runtimes: without them it is no good, and says so before a file is written.
    with pytest.raises(Failure) as caught:
        pack(again, tmp_path / "again.pack")
    assert (caught.value.code, caught.value.next) == ("usage", "the same command with --sign KEY")
    pack(again, tmp_path / "again.pack", brought=brought)
    assert (tmp_path / "again.pack").read_bytes() == (tmp_path / "r.pack").read_bytes()


def test_it_is_installed_by_the_helper_alone(
    release: Release, alice: Key, brought: Brought, tmp_path: Path, install: Install
) -> None:
    file, root = tmp_path / "r.pack", tmp_path / "device"
    fields = pack(release, file, alice, brought)
    assert (fields["runtimes"], fields["signer"]) == (["tflite"], alice.fingerprint)
    done = install(file)
    assert done.returncode == 0, done.stderr
    assert f"release {release.id} is active" in done.stdout
    assert "not enrolled here" in done.stdout  # a file that was carried here enrols nobody by itself
    assert current(root) == release.id
    whole = root / "apps" / "cam" / "releases" / release.id
    assert (whole / "model.tflite").read_bytes() == b"2.0"
    assert json.loads((whole / "selftest.json").read_text())["passed"] is True
    assert (whole / "envelope.sig").exists()
    assert install(file, "--app", "cam").returncode == 0  # again changes nothing
    other = install(file, "--app", "door")
    assert (other.returncode, "another app's" in other.stderr) == (3, True)


def test_what_nobody_can_read_does_not_undo_an_install(
    release: Release, brought: Brought, tmp_path: Path, program: Path
) -> None:
    pack(release, tmp_path / "r.pack", None, brought)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-I", program, "install", tmp_path / "r.pack", "--root", tmp_path / "device"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert current(tmp_path / "device") == release.id


def test_the_policy_holds_for_files_too(
    folder: Path,
    alice: Key,
    mallory: Key,
    brought: Brought,
    tmp_path: Path,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "device"
    first = manifest.load(folder)
    pack(first, tmp_path / "1.pack", alice, brought)
    assert "enrolled" in install(tmp_path / "1.pack", "--enrol").stderr
    second = manifest.load(write_release(folder, b"2.00"))
    for key in (None, mallory):
        pack(second, tmp_path / "2.pack", key, brought)
        done = install(tmp_path / "2.pack")
        assert done.returncode == 6
        assert "[untrusted]" in done.stderr
        assert current(root) == first.id
        assert not list((root / "store" / "tmp").glob("*/*"))
    monkeypatch.setattr(packing.time, "time", lambda: 2_000_000_000.0)
    pack(second, tmp_path / "2.pack", alice, brought)
    assert install(tmp_path / "2.pack").returncode == 0
    assert current(root) == second.id
    replayed = install(tmp_path / "1.pack")
    assert (replayed.returncode, "[replayed]" in replayed.stderr) == (6, True)
    assert current(root) == second.id


def test_what_computes_something_else_does_not_become_active(
    folder: Path, brought: Brought, tmp_path: Path, install: Install
) -> None:
    root = tmp_path / "device"
    good = manifest.load(folder)
    pack(good, tmp_path / "good.pack", brought=brought)
    assert install(tmp_path / "good.pack").returncode == 0
    bad = manifest.load(write_release(folder, b"2.5"))
    pack(bad, tmp_path / "bad.pack", brought=brought)
    done = install(tmp_path / "bad.pack")
    assert (done.returncode, "[selftest-failed]" in done.stderr) == (6, True)
    assert current(root) == good.id
    assert not (root / "apps" / "cam" / "releases" / bad.id).exists()


def test_the_application_is_told_as_of_the_release_before(
    folder: Path, brought: Brought, tmp_path: Path, install: Install
) -> None:
    root = tmp_path / "device"
    first = manifest.load(folder)
    pack(first, tmp_path / "1.pack", brought=brought)
    install(tmp_path / "1.pack")
    told = tmp_path / "told"
    plan = {
        "restart": ["/bin/sh", "-c", 'echo "$EDGEFREEZE_RELEASE" >>"$0"', str(told)],
        "restart_timeout_s": 10.0, "health": ["/bin/false"], "health_url": None, "successes": 1,
        "period_s": 0.1, "deadline_s": 0.3,
    }  # fmt: skip
    service = root / "apps" / "cam" / "releases" / first.id / "service.json"
    service.write_text(json.dumps(plan))
    second = manifest.load(write_release(folder, b"2.00"))
    pack(second, tmp_path / "2.pack", brought=brought)
    done = install(tmp_path / "2.pack")
    assert (done.returncode, "[health-failed]" in done.stderr) == (5, True), done.stderr
    assert current(root) == first.id
    assert told.read_text().split() == [second.id, first.id]


def test_without_a_runtime_it_says_what_is_missing(
    release: Release, tmp_path: Path, install: Install, look38: str
) -> None:
    pack(release, tmp_path / "r.pack")
    done = install(tmp_path / "r.pack", python=look38)
    assert done.returncode == 1
    assert "[missing-content]" in done.stderr
    assert "tflite" in done.stderr
    assert "ai-edge-litert or tflite-runtime" in done.stderr
    assert not (tmp_path / "device" / "apps").exists()


def test_the_runtime_that_is_there_runs_the_next_release_too(
    folder: Path,
    alice: Key,
    brought: Brought,
    tmp_path: Path,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack(manifest.load(folder), tmp_path / "1.pack", alice, brought)
    assert install(tmp_path / "1.pack", "--enrol").returncode == 0
    second = manifest.load(write_release(folder, b"2.00"))
    monkeypatch.setattr(packing.time, "time", lambda: 2_000_000_000.0)
    small = pack(second, tmp_path / "2.pack", alice)
    assert small["runtimes"] == []
    done = install(tmp_path / "2.pack")
    assert done.returncode == 0, done.stderr
    bound = tmp_path / "device" / "apps" / "cam" / "releases" / second.id / "binding.json"
    plan = brought.plans[0]
    assert plan.tree
    assert json.loads(bound.read_text())["runtimes"] == {"tflite": {"tree": plan.tree.id}}


def test_runtimes_for_another_python_are_refused(
    release: Release, brought: Brought, tmp_path: Path, install: Install, look38: str
) -> None:
    pack(release, tmp_path / "r.pack", brought=brought)
    done = install(tmp_path / "r.pack", python=look38)
    assert (done.returncode, "another machine or Python" in done.stderr) == (3, True)


@pytest.fixture
def look38() -> str:
    """An interpreter without any package of ours."""
    found = sorted(Path("~/.pyenv/versions").expanduser().glob("3.8.*/bin/python"))
    if not found:
        pytest.skip("no Python 3.8 here")
    return str(found[0])


# --- what only looks like a pack


def read_all(data: bytes) -> None:
    """As install reads it, without installing."""
    reader = packed.Reader(io.BytesIO(data))
    meta = reader.meta()
    for _, size, pieces in reader.contents(packed.wanted(meta)):
        assert sum(map(len, pieces)) == size


def refused(data: bytes) -> str | None:
    """The code with which it is refused; anything else that is raised fails the test."""
    try:
        read_all(data)
    except DeviceError as error:
        return error.code
    return None


CODES = {"bad-pack", "bad-manifest", "digest-mismatch"}


@pytest.fixture
def whole(release: Release, alice: Key, brought: Brought, tmp_path: Path) -> bytes:
    pack(release, tmp_path / "whole.pack", alice, brought)
    return (tmp_path / "whole.pack").read_bytes()


def test_every_byte_of_a_pack_counts(whole: bytes) -> None:
    assert refused(whole) is None
    start = whole.index(b"-----BEGIN SSH")  # a signature is judged by who trusts it
    end = whole.index(b"-----END SSH SIGNATURE-----\n") + 28
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x01
        if not start <= place < end and place % 3 == 0:
            # The envelope and the manifest are told from others by signature and digest.
            code = refused(bytes(changed))
            assert code in CODES or _in_envelope(whole, place) or _says_for_what(whole, place), place
    for length in range(0, len(whole), 101):
        assert refused(whole[:length]) in CODES
    assert refused(whole + b"\0") == "bad-pack"


def _in_envelope(whole: bytes, place: int) -> bool:
    start = whole.index(b"envelope.json")
    return start < place < whole.index(b"envelope.sig")


def _says_for_what(whole: bytes, place: int) -> bool:
    """Whether it is where machine and Python of the runtimes stand: on another they are refused there."""
    return whole.index(b'"machine":"') < place < whole.rindex(b'"runtimes":{"tflite"')


def entry(name: str, data: bytes) -> bytes:
    return packed.header(name, len(data)) + data + bytes(-len(data) % 512)


def meta_entries(whole: bytes) -> bytes:
    return whole[: whole.index(b"content/")]


@pytest.mark.parametrize(
    "name",
    ["content/../../etc/passwd", "/etc/passwd", "content/" + "A" * 64, "content/", "manifest.json", "x", ""],
)
def test_a_name_that_is_none_of_ours(whole: bytes, name: str) -> None:
    assert refused(meta_entries(whole) + entry(name, b"x") + bytes(1024)) == "bad-pack"


def test_links_devices_and_extensions_are_refused(whole: bytes) -> None:
    digest = whole[whole.index(b"content/") :][8:72].decode()
    for kind in (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
        tarfile.XHDTYPE,
        b"L",
        b"\0",
    ):
        info = tarfile.TarInfo(f"content/{digest}")
        info.type, info.linkname, info.mode = kind, "/etc/passwd", 0o644
        assert refused(meta_entries(whole) + info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)) == "bad-pack"


def test_content_that_is_not_wanted_or_twice_or_of_another_size(whole: bytes) -> None:
    stranger = b"not of the release"
    digest = manifest.hashlib.sha256(stranger).hexdigest()
    start = whole.index(b"content/")
    first = whole[start : whole.index(b"content/", start + 1)]
    assert refused(whole[:start] + entry(f"content/{digest}", stranger) + whole[start:]) == "bad-pack"
    assert refused(whole[:start] + first + whole[start:]) == "bad-pack"
    assert refused(whole[:start] + whole[start + len(first) :]) == "bad-pack"
    name = first[:72].decode()
    assert refused(whole[:start] + entry(name, b"x" * 99_999) + whole[start + len(first) :]) == "bad-pack"
    # A size that promises more than there is costs nothing.
    assert refused(whole[:start] + packed.header(name, packed.MAX_CONTENT)) == "bad-pack"
    assert refused(packed.header("manifest.json", packed.MAX_META + 1)) == "bad-pack"
    assert refused(packed.header("manifest.json", packed.MAX_META)) == "bad-pack"


def test_swapped_runtimes_are_refused_though_nothing_signed_was_touched(whole: bytes) -> None:
    start = whole.index(b"runtimes.json")
    end = whole.index(b"content/")
    assert refused(whole[:start] + whole[end:]) == "bad-pack"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_random_bytes_are_no_pack(data: bytes) -> None:
    assert refused(data) in CODES


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_pack_raises_nothing_but_our_error(whole: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 700)))
    piece = data.draw(
        st.one_of(st.binary(max_size=600), st.sampled_from([b"", whole[:512], whole[512:1024]]))
    )
    changed = whole[:start] + piece + whole[end:]
    assert refused(changed) in {*CODES, None}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(max_size=10), c, max_size=4),
        max_leaves=12,
    )
)
def test_any_json_where_the_parts_are_raises_nothing_but_our_error(whole: bytes, value: Any) -> None:
    text = json.dumps(value).encode()
    end = whole.index(b"runtimes.json")
    assert refused(whole[:end] + entry("runtimes.json", text) + whole[whole.index(b"content/") :]) in CODES
    assert refused(entry("manifest.json", text) + entry("envelope.json", text) + bytes(1024)) in CODES


def test_a_damaged_file_leaves_the_device_as_it_was(whole: bytes, tmp_path: Path, install: Install) -> None:
    place = whole.rindex(b"2.0" + bytes(20))
    (tmp_path / "bad.pack").write_bytes(whole[:place] + b"9" + whole[place + 1 :])
    done = install(tmp_path / "bad.pack")
    assert (done.returncode, "[digest-mismatch]" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
    assert current(tmp_path / "device") is None
    (tmp_path / "good.pack").write_bytes(whole)
    assert install(tmp_path / "good.pack").returncode == 0


def test_what_is_no_file_is_refused(tmp_path: Path, install: Install) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none"):
        done = install(path)
        assert done.returncode in (1, 3)
        assert "Traceback" not in done.stderr
    with pytest.raises(Failure) as caught:
        packing.show(tmp_path / "none")
    assert caught.value.code == "bad-pack"


def test_a_wrong_signature_is_seen_on_the_host_too(
    folder: Path, alice: Key, tmp_path: Path, changed_envelope: Callable[..., None]
) -> None:
    signing.sign_folder(folder, alice.file)
    changed_envelope(folder, sequence=99)
    with pytest.raises(Failure) as caught:
        pack(manifest.load(folder), tmp_path / "r.pack")
    assert caught.value.code == "untrusted"


def test_the_helper_file_runs(program: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-I", str(program), "install", "--help"], capture_output=True, text=True, check=True
    )
    assert "--enrol" in said.stdout

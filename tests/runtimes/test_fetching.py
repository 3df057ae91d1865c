"""Rows put together as trees: from the index or a folder, the same bytes again by the lock, and looked through
for what they need of the device."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgefreeze import runtimes
from edgefreeze.errors import Failure
from edgefreeze.runtimes import fetching, wheels
from edgefreeze.runtimes.needs import Needs
from edgefreeze.types import DeviceFacts

PI4 = DeviceFacts(
    machine="aarch64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-aarch64", bits=64,
)  # fmt: skip
ROW = runtimes.Package(
    package="tiny", version=">=1", machine=("aarch64", "armv7l"), python=">=3.8", glibc="2.17",
    unpacked_mb=1, exclude=("tiny/left_out.py", "bin/**"),
)  # fmt: skip
CHOICE = runtimes.Choice(runtime="litert", own=None, package=ROW, requirement=("tiny>=1",))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgefreeze" / "runtimes"


def wheel(folder: Path, version: str = "1.0", tag: str = "py3-none-any", **extra: str) -> Path:
    folder.mkdir(exist_ok=True)
    info = f"tiny-{version}.dist-info"
    files = {
        "tiny/__init__.py": f"VERSION = {version!r}\n",
        "tiny/left_out.py": "",
        f"tiny-{version}.data/platlib/tiny/native.py": "here = True\n",
        f"tiny-{version}.data/scripts/tiny": "#!python\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **extra,
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"tiny-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.process
@pytest.mark.parametrize("machine", ["aarch64", "armv7l"])
def test_a_folder_of_wheels_is_enough_and_the_lock_brings_the_same_again(
    machine: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = tmp_path / "wheels", tmp_path / "edgefreeze.lock"
    wheel(folder)
    facts, sources = replace(PI4, machine=machine), runtimes.Sources(wheels=folder, lock=lock)
    tree = runtimes.fetch(CHOICE, facts, sources)
    assert [f.path for f in tree.files if "dist-info" not in f.path] == ["tiny/__init__.py", "tiny/native.py"]
    assert tree.packages == {"tiny": "1.0"}

    # A newer one appears: the lock says which it was, until it is told to look anew.
    wheel(folder, "1.1")
    shutil.rmtree(cache)
    assert runtimes.fetch(CHOICE, facts, sources) == tree
    newer = runtimes.fetch(CHOICE, facts, replace(sources, upgrade=True))
    assert newer.packages == {"tiny": "1.1"}
    assert newer.id != tree.id
    assert runtimes.fetch(CHOICE, facts, sources) == newer
    (entry,) = json.loads(lock.read_text())["runtimes"]
    assert (entry["pins"][0]["version"], entry["python"]) == ("1.1", "3.11")

    # Other bytes under the same name are refused; uv's own cache still has the right ones.
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    wheel(folder, "1.1", **{"tiny/more.py": "evil = True\n"})
    shutil.rmtree(cache)
    with pytest.raises(Failure) as caught:
        runtimes.fetch(CHOICE, facts, sources)
    assert caught.value.code == "runtime-fetch"


@pytest.mark.process
def test_the_lock_of_the_cache_spares_asking_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "wheels")
    sources = runtimes.Sources(wheels=tmp_path / "wheels")
    tree = runtimes.fetch(CHOICE, PI4, sources)
    monkeypatch.setattr(wheels, "_run", lambda *_: pytest.fail("asked twice"))
    assert runtimes.fetch(CHOICE, PI4) == tree


@pytest.mark.process
def test_a_release_keeps_its_packages_when_the_projects_lock_has_newer_ones(tmp_path: Path) -> None:
    release, other = tmp_path / "release", tmp_path / "other"
    for folder in (release, other):
        folder.mkdir()
    wheel(tmp_path / "wheels")
    project = runtimes.Sources(wheels=tmp_path / "wheels", lock=tmp_path / "edgefreeze.lock")
    first = runtimes.fetch(CHOICE, PI4, replace(project, release=release))
    wheel(tmp_path / "wheels", "1.1")
    newer = runtimes.fetch(CHOICE, PI4, replace(project, upgrade=True))
    assert runtimes.fetch(CHOICE, PI4, replace(project, release=other)) == newer
    assert runtimes.fetch(CHOICE, PI4, replace(project, release=release)) == first != newer
    assert runtimes.fetch(CHOICE, PI4, project) == newer
    assert (release / "edgefreeze.lock").is_file()

    # On a stick that cannot be written the project's lock decides.
    unwritable = replace(project, release=tmp_path / "gone")
    assert runtimes.fetch(CHOICE, PI4, unwritable) == newer


def test_a_lock_that_is_none_is_an_error(tmp_path: Path) -> None:
    lock = tmp_path / "edgefreeze.lock"
    lock.write_text("<<<<<<< ours")
    with pytest.raises(Failure, match="no lock of runtimes") as caught:
        runtimes.fetch(CHOICE, PI4, runtimes.Sources(lock=lock))
    assert str(lock) in (caught.value.next or "")


@pytest.mark.process
def test_the_index_is_asked_where_there_is_no_folder() -> None:
    row = replace_row(package="flatbuffers", exclude=("flatbuffers/flexbuffers.py",))
    choice = runtimes.Choice(runtime="litert", own=None, package=row, requirement=("flatbuffers==25.12.19",))
    tree = runtimes.fetch(choice, PI4)
    paths = [file.path for file in tree.files]
    assert "flatbuffers/__init__.py" in paths
    assert "flatbuffers/flexbuffers.py" not in paths
    assert tree.packages == {"flatbuffers": "25.12.19"}


def replace_row(**changes: object) -> runtimes.Package:
    import msgspec

    return msgspec.structs.replace(ROW, **changes)


@pytest.mark.process
@pytest.mark.parametrize("machine", ["aarch64", "armv7l"])
def test_a_package_that_does_not_exist_is_an_error_in_the_tools_words(machine: str, cache: Path) -> None:
    choice = runtimes.Choice(runtime="litert", own=None, package=ROW, requirement=("ai-edge-litert==0.0.77",))
    with pytest.raises(Failure) as caught:
        runtimes.fetch(choice, replace(PI4, machine=machine))
    assert caught.value.code == "runtime-fetch"
    assert "0.0.77" in (caught.value.found or "")
    assert "--wheels" in (caught.value.next or "")
    assert not cache.exists()


@pytest.mark.parametrize("name", ["../outside.py", "/etc/evil.py", "tiny-1.0.data/purelib/../../evil.py"])
def test_a_wheel_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    file = wheel(tmp_path / "wheels", **{name: "evil = True\n"})
    with pytest.raises(Failure, match="odd name"):
        wheels.unpack(file, tmp_path / "out")
    assert not list(tmp_path.rglob("evil.py"))
    assert not (tmp_path / "outside.py").exists()


def test_pip_is_given_every_tag_that_the_device_takes() -> None:
    tags = wheels.tags("armv7l-manylinux_2_19")
    assert tags == (
        "manylinux_2_19_armv7l", "manylinux_2_18_armv7l", "manylinux_2_17_armv7l", "manylinux2014_armv7l",
        "linux_armv7l",
    )  # fmt: skip


def test_what_uv_resolved_is_read() -> None:
    digest = "a" * 64
    (pin,) = wheels.parse_pins(
        f"numpy==1.26.4 \\\n    --hash=sha256:{digest} \\\n    --hash=sha256:{digest}\n"
    )
    assert (pin.name, pin.version, set(pin.sha256)) == ("numpy", "1.26.4", {digest})
    for nonsense in ("numpy>=1", "numpy==1.26.4"):
        with pytest.raises(Failure, match="makes no sense"):
            wheels.parse_pins(nonsense)


# --- what the libraries need, whatever the tag says


def library(folder: Path, name: str, *options: str, code: str = "") -> Path:
    source = folder / "library.c"
    source.write_text(code or "int answer(void) { return 42; }\n")
    path = folder / name
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-nostartfiles", f"-Wl,-soname,{name}", *options, "-o", path, source],
        check=True,
    )
    return path


@pytest.mark.process
def test_the_needs_of_real_libraries_are_read(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    library(tree, "libown.so.1")
    code = '#include <stdio.h>\nint answer(void); int ask(void) { return puts("") + answer(); }\n'
    library(tree, "module.so", str(tree / "libown.so.1"), code=code)
    (tree / "library.c").unlink()
    (tree / "data.so").write_bytes(b"\x7fELF and then nothing")
    found = fetching.needs(tree, "x86_64")
    assert found.glibc_of == "module.so"
    assert found.glibc == "2.2.5"
    assert found.foreign == ()
    assert fetching.needs(tree, "aarch64").foreign == ("libown.so.1", "module.so")


@pytest.mark.parametrize(
    ("needs", "facts", "message"),
    [
        (Needs(glibc="2.34", glibc_of="a.so", foreign=()), PI4, None),
        (
            Needs(glibc="2.34", glibc_of="a.so", foreign=()),
            replace(PI4, libc="glibc 2.31"),
            "a.so needs a newer C library",
        ),
        (
            Needs(glibc="2.4", glibc_of="a.so", foreign=()),
            replace(PI4, libc="musl 1.2"),
            "a.so needs a newer C library",
        ),
        (Needs(glibc=None, glibc_of=None, foreign=()), replace(PI4, libc="musl 1.2"), None),
        (Needs(glibc=None, glibc_of=None, foreign=("b.so",)), PI4, "another machine"),
    ],
)
def test_a_system_that_is_too_old_is_told_before_anything_is_sent(
    needs: Needs, facts: DeviceFacts, message: str | None
) -> None:
    if message is None:
        fetching.require_system(needs, facts, CHOICE)
        return
    with pytest.raises(Failure, match=message) as caught:
        fetching.require_system(needs, facts, CHOICE)
    assert caught.value.code == "runtime-unavailable"

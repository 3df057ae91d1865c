"""Packages of Debian's in a tree: which ones, from where, and what of them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgefreeze import runtimes
from edgefreeze.errors import Failure
from edgefreeze.runtimes import debian
from edgefreeze.runtimes.facts import Debian

FACTS = Debian(suite={"3.11": "bookworm"}, architecture={"armv7l": "armhf"}, leave=("libc6", "python3"))


def stanza(name: str, depends: str = "", **more: str) -> dict[str, str]:
    return {"Package": name, "Version": "1", "Depends": depends, "SHA256": "0" * 64, **more}


def names(wanted: list[str], *stanzas: dict[str, str], leave: tuple[str, ...] = ("libc6",)) -> list[str]:
    return [s["Package"] for s in debian.closure(wanted, stanzas, leave)]


def test_all_that_a_package_needs_and_no_more() -> None:
    archive = (
        stanza("numpy", "libblas3 | libblas.so.3, libgfortran5 (>= 10), libc6 (>= 2.34)"),
        stanza("libblas3", "libc6", Provides="libblas.so.3"),
        stanza("libgfortran5", "libgcc-s1:any [armhf]"),
        stanza("libgcc-s1", "numpy"),
        stanza("unused"),
    )
    assert names(["numpy"], *archive) == ["libblas3", "libgcc-s1", "libgfortran5", "numpy"]


def test_the_first_way_that_is_there_and_who_provides_it() -> None:
    archive = (stanza("a", "gone | libx | libc6-too"), stanza("x-really", Provides="liby, libx (= 1)"))
    assert names(["a"], *archive) == ["a", "x-really"]


def test_what_the_device_has_is_left_whichever_way_names_it() -> None:
    assert names(["a"], stanza("a", "libc6 | b"), stanza("b")) == ["a"]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Failure, match="libmissing"):
        names(["a"], stanza("a", "libmissing"))


# --- .deb files


def deb(folder: Path, name: str, depends: str, files: dict[str, bytes | str], arch: str = "armhf") -> Path:
    """A package; a text that starts with -> is a symlink."""

    def tarball(entries: dict[str, bytes | str]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:xz") as archive:
            for path, content in entries.items():
                info = tarfile.TarInfo(path)
                if isinstance(content, str):
                    info.type, info.linkname = tarfile.SYMTYPE, content.removeprefix("->")
                    archive.addfile(info)
                else:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    control = (
        f"Package: {name}\nVersion: 1.0-1\nArchitecture: {arch}\nDepends: {depends}\nDescription: none\n"
    )
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": tarball({"./control": control.encode()}),
        "data.tar.xz": tarball(files),
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}_1.0-1_{arch}.deb"
    with path.open("wb") as out:
        out.write(b"!<arch>\n")
        for member, data in members.items():
            out.write(f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
            out.write(data + b"\n" * (len(data) % 2))
    return path


def shared(folder: Path, soname: str) -> bytes:
    source = folder / "library.c"
    source.write_text("int answer(void) { return 42; }\n")
    out = folder / "made.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{soname}", "-o", out, source], check=True
    )
    return out.read_bytes()


def archive(folder: Path | None, tmp_path: Path, mirror: str | None = None) -> debian.Archive:
    return debian.Archive(mirror=mirror, folder=folder, cache=tmp_path / "cache")


@pytest.mark.process
def test_a_folder_of_packages_becomes_modules_and_libraries(tmp_path: Path) -> None:
    folder, library = tmp_path / "debs", shared(tmp_path, "libblas.so.3")
    deb(folder, "libblas3", "libc6", {
        "./usr/lib/arm-linux-gnueabihf/blas/libblas.so.3.11.0": library,
        "./usr/lib/arm-linux-gnueabihf/blas/libblas.so.3": "->libblas.so.3.11.0",
        "./usr/share/doc/libblas3/copyright": b"",
    })  # fmt: skip
    deb(folder, "python3-numpy", "libblas3, python3 (>= 3.11)", {
        "./usr/lib/python3/dist-packages/numpy/__init__.py": b"here = True\n",
        "./usr/lib/python3/dist-packages/numpy/again.py": "->__init__.py",
        "./usr/bin/f2py": b"",
    })  # fmt: skip
    deb(folder, "python3-numpy-of-others", "", {}, arch="amd64")
    pins = debian.resolve(["python3-numpy"], "3.11", "armv7l", FACTS, archive(folder, tmp_path))
    assert [(p.name, p.version, p.debian) for p in pins] == [
        ("libblas3", "1.0-1", True), ("python3-numpy", "1.0-1", True),
    ]  # fmt: skip
    out = tmp_path / "tree"
    debian.install(pins, "3.11", "armv7l", FACTS, archive(folder, tmp_path), out)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "_libraries/libblas.so.3", "numpy/__init__.py", "numpy/again.py",
    ]  # fmt: skip
    assert (out / "_libraries/libblas.so.3").read_bytes() == library

    (folder / "libblas3_1.0-1_armhf.deb").unlink()
    with pytest.raises(Failure, match="lacks the package libblas3"):
        debian.install(pins, "3.11", "armv7l", FACTS, archive(folder, tmp_path), out)


@pytest.mark.parametrize(
    "files",
    [
        {"./usr/lib/python3/dist-packages/../../../../evil": b"evil"},
        {"./usr/lib/python3/dist-packages/evil": "->/etc/passwd"},
        {"./usr/lib/python3/dist-packages/evil": "->../../../../../etc/passwd"},
        {"./usr/lib/python3/dist-packages/evil": "->evil"},
    ],
)
def test_nothing_leads_out_of_a_tree(files: dict[str, bytes | str], tmp_path: Path) -> None:
    package = deb(tmp_path / "debs", "bad", "", files)
    debian.unpack(package, tmp_path / "tree")
    assert not list(tmp_path.rglob("evil"))


def test_a_package_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "debs").mkdir()
    for content in (b"", b"!<arch>\n", b"PK\x03\x04"):
        (tmp_path / "debs" / "bad_1_armhf.deb").write_bytes(content)
        with pytest.raises(Failure, match="no package of Debian's"):
            debian.resolve(["bad"], "3.11", "armv7l", FACTS, archive(tmp_path / "debs", tmp_path))


# --- a mirror


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A signed archive as a function from address to bytes, with one package."""
    import hashlib
    import lzma

    folder = tmp_path / "pool"
    package = deb(folder, "python3-numpy", "libc6", {
        "./usr/lib/python3/dist-packages/numpy/__init__.py": b"here = True\n",
    })  # fmt: skip
    data = package.read_bytes()
    listed = lzma.compress(
        f"Package: python3-numpy\nVersion: 1.0-1\nDepends: libc6\nFilename: pool/numpy.deb\n"
        f"SHA256: {hashlib.sha256(data).hexdigest()}\n".encode()
    )
    release = (
        "Suite: bookworm\nSHA256:\n "
        f"{hashlib.sha256(listed).hexdigest()} {len(listed)} main/binary-armhf/Packages.xz\n"
    )
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run(
        [*gpg, "--quick-generate-key", "archive@test", "ed25519", "sign"], check=True, capture_output=True
    )
    exported = subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout
    (tmp_path / "keyring.gpg").write_bytes(exported)
    signed = subprocess.run(
        [*gpg, "--clearsign"], input=release.encode(), check=True, capture_output=True
    ).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    content = {
        "http://mirror.test/debian/dists/bookworm/InRelease": signed,
        "http://mirror.test/debian/dists/bookworm/main/binary-armhf/Packages.xz": listed,
        "http://mirror.test/debian/pool/numpy.deb": data,
    }
    monkeypatch.setattr(debian, "_get", lambda address: content[address])
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "keyring.gpg")
    return content


@pytest.mark.process
def test_from_a_mirror_signed_listed_and_hashed(mirror: dict[str, bytes], tmp_path: Path) -> None:
    there = archive(None, tmp_path, "http://mirror.test/debian/")
    pins = debian.resolve(["python3-numpy"], "3.11", "armv7l", FACTS, there)
    debian.install(pins, "3.11", "armv7l", FACTS, there, tmp_path / "tree")
    assert (tmp_path / "tree/numpy/__init__.py").exists()
    # The package stays in the cache, should the mirror have another by then.
    mirror["http://mirror.test/debian/pool/numpy.deb"] = b"another"
    debian.install(pins, "3.11", "armv7l", FACTS, there, tmp_path / "tree2")
    assert (tmp_path / "tree2/numpy/__init__.py").exists()


@pytest.mark.process
@pytest.mark.parametrize("part", ["InRelease", "Packages.xz", "numpy.deb"])
def test_what_a_mirror_changed_is_refused(part: str, mirror: dict[str, bytes], tmp_path: Path) -> None:
    (address,) = [a for a in mirror if a.endswith(part)]
    mirror[address] = mirror[address].replace(b"bookworm", b"evilworm") if part == "InRelease" else b"changed"
    there = archive(None, tmp_path, "http://mirror.test/debian")

    def run() -> None:
        pins = debian.resolve(["python3-numpy"], "3.11", "armv7l", FACTS, there)
        debian.install(pins, "3.11", "armv7l", FACTS, there, tmp_path / "tree")

    with pytest.raises(Failure) as caught:
        run()
    assert caught.value.code == "runtime-fetch"
    assert not (tmp_path / "tree").exists()


@pytest.mark.process
def test_without_debians_keys_nothing_is_believed(
    mirror: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "nothing.gpg")
    with pytest.raises(Failure, match="cannot be checked here") as caught:
        debian.resolve(
            ["python3-numpy"], "3.11", "armv7l", FACTS, archive(None, tmp_path, "http://mirror.test/debian")
        )
    assert "debian-archive-keyring" in (caught.value.next or "")


def test_a_python_that_no_suite_has_is_told() -> None:
    with pytest.raises(Failure, match=r"no release of Debian has packages for Python 3\.12"):
        debian.resolve(
            ["python3-numpy"],
            "3.12",
            "armv7l",
            FACTS,
            debian.Archive(mirror="http://mirror.test/debian", folder=None, cache=Path("unused")),
        )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources.list", "# none\ndeb [signed-by=/k.gpg] https://mirror.test/debian bookworm main\n"),
        ("sources.list.d/debian.sources", "Types: deb\nURIs: https://mirror.test/debian\nSuites: bookworm\n"),
    ],
)
def test_the_mirror_is_this_machines_own(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "a.sources").write_text("URIs: https://others.test/docker\n")
    assert debian.apt_mirror(tmp_path) is None
    (tmp_path / name).write_text(text)
    assert debian.apt_mirror(tmp_path) == "https://mirror.test/debian"


def test_the_suites_are_those_of_the_pythons_in_the_table() -> None:
    facts = runtimes.table().debian
    rows = [row for row in runtimes.table().packages("litert") if row.debian]
    assert {row.python.removeprefix("==").removesuffix(".*") for row in rows} <= set(facts.suite)
    assert {machine for row in rows for machine in row.machine} <= set(facts.architecture)

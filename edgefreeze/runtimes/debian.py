"""Packages of Debian's, for machines for which the index has no wheels: NumPy on armv7l, say. Resolved from
the archive's own lists, whose signature is checked with Debian's keys, and unpacked as plain files."""

from __future__ import annotations

import fnmatch
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.device.protocol import is_safe_path
from edgefreeze.errors import Failure
from edgefreeze.runtimes import needs
from edgefreeze.runtimes.facts import Debian
from edgefreeze.runtimes.lock import Pin
from edgefreeze.text import clean

LIBRARIES = "_libraries"
"""Folder of a tree for shared libraries that are no Python modules; the runner loads them first."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TIMEOUT_S = 120
_MODULES = re.compile(r"usr/lib/python3(?:\.\d+)?/dist-packages/(.+)")
_SHARED = re.compile(r"(?:usr/)?lib/[a-z0-9_-]+/(?:.+/)?(lib[^/]+\.so(?:\.[^/]+)?)")

Stanza = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Where Debian's packages come from."""

    mirror: str | None
    folder: Path | None
    """Of .deb files: nothing is asked of a mirror."""
    cache: Path


def resolve(
    names: Sequence[str], python: str, machine: str, facts: Debian, archive: Archive
) -> tuple[Pin, ...]:
    """Packages and all that they need, exactly. Raises Failure runtime-unavailable, runtime-fetch."""
    if archive.folder is not None:
        stanzas = _of_folder(archive.folder, facts.architecture.get(machine, ""))
    else:
        stanzas = _of_mirror(_suite(python, facts), facts.architecture[machine], archive)
    return tuple(
        Pin(name=s["Package"], version=s["Version"], sha256=(s["SHA256"],), debian=True)
        for s in closure(names, stanzas, facts.leave)
    )


def _suite(python: str, facts: Debian) -> str:
    suite = facts.suite.get(python)
    if suite is None:
        raise Failure(
            "runtime-unavailable",
            f"no release of Debian has packages for Python {python}",
            expected=", ".join(f"Python {p} ({s})" for p, s in sorted(facts.suite.items())),
            found=f"Python {python}",
            device_state="not touched",
        )
    return suite


def closure(names: Sequence[str], stanzas: Iterable[Stanza], leave: Sequence[str]) -> list[Stanza]:
    """The packages named and all they depend on, but those whose name matches a pattern of `leave`; of
    several ways the first that is there. Pure. Raises Failure runtime-fetch where something is missing."""
    by_name: dict[str, Stanza] = {}
    providers: dict[str, str] = {}
    for known in stanzas:
        by_name.setdefault(known["Package"], known)
        for provided in re.split(r"\s*,\s*", known.get("Provides", "")):
            providers.setdefault(provided.split(" ")[0].split(":")[0], known["Package"])
    found: dict[str, Stanza] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in found or any(fnmatch.fnmatchcase(name, pattern) for pattern in leave):
            continue
        stanza = by_name.get(name) or by_name.get(providers.get(name, ""))
        if stanza is None:
            raise Failure(
                "runtime-fetch", f"Debian's package {clean(name, 80)} is not there", found="nothing"
            )
        found[name] = stanza
        waiting += _dependencies(stanza, by_name, providers, leave)
    return sorted({s["Package"]: s for s in found.values()}.values(), key=lambda s: str(s["Package"]))


def _dependencies(
    stanza: Stanza, by_name: Mapping[str, Stanza], providers: Mapping[str, str], leave: Sequence[str]
) -> list[str]:
    chosen = []
    for field in ("Pre-Depends", "Depends"):
        for group in filter(None, re.split(r"\s*,\s*", stanza.get(field, "").strip())):
            ways = [re.split(r"[\s:(\[]", way.strip())[0] for way in group.split("|")]
            here = [w for w in ways if w in by_name or w in providers]
            left = any(fnmatch.fnmatchcase(way, pattern) for way in ways for pattern in leave)
            if not left:
                chosen.append(here[0] if here else ways[0])
    return chosen


def install(
    pins: Sequence[Pin], python: str, machine: str, facts: Debian, archive: Archive, out: Path
) -> None:
    """Unpack packages into a tree: Python modules at its top, shared libraries into LIBRARIES by the name
    that others ask for. Raises Failure runtime-fetch where a file is not what the pin says."""
    wanted = {pin.sha256[0]: pin for pin in pins}
    if archive.folder is not None:
        files = {digest: f for f in sorted(archive.folder.glob("*.deb")) if (digest := _digest(f)) in wanted}
        lacking = [pin.name for digest, pin in wanted.items() if digest not in files]
        if lacking:
            raise Failure(
                "runtime-fetch",
                f"{archive.folder} lacks the package {lacking[0]} that the lock names",
                expected=", ".join(f"{p.name} {p.version}" for p in pins),
                device_state="not touched",
            )
    else:
        stanzas = _of_mirror(_suite(python, facts), facts.architecture[machine], archive)
        paths = {s["SHA256"]: s["Filename"] for s in stanzas}
        files = {digest: _package(pin, digest, paths, archive) for digest, pin in wanted.items()}
    for digest in wanted:
        unpack(files[digest], out)


def unpack(package: Path, out: Path) -> None:
    """One .deb's Python modules and shared libraries. Raises Failure runtime-fetch where it is no package."""
    from debian.arfile import ArError
    from debian.debfile import DebError, DebFile

    try:
        with DebFile(filename=str(package)) as deb:
            archive: tarfile.TarFile = deb.data.tgz()
            members = {os.path.normpath(m.name): m for m in archive.getmembers()}
            for name in sorted(members):
                where = _place(name)
                source = _resolved(name, members) if where else None
                if where is None or source is None:
                    continue
                if not is_safe_path(where):
                    raise Failure(
                        "runtime-fetch", f"{package.name} holds a file with an odd name: {clean(where, 80)}"
                    )
                content = archive.extractfile(source)
                assert content is not None
                target = out / where
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
                if target.parent.name == LIBRARIES:
                    _by_soname(target)
    except (ArError, DebError, tarfile.TarError, OSError, EOFError) as error:
        raise Failure(
            "runtime-fetch", f"{package.name} is no package of Debian's: {clean(str(error), 200)}"
        ) from None


def _place(name: str) -> str | None:
    module, shared = _MODULES.fullmatch(name), _SHARED.fullmatch(name)
    if module:
        return module[1]
    return f"{LIBRARIES}/{shared[1]}" if shared else None


def _resolved(name: str, members: Mapping[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The regular file that a member is or leads to within its package."""
    for _ in range(10):
        member = members.get(name)
        if member is None or member.isreg():
            return member
        if not member.issym():
            return None
        target = member.linkname
        name = os.path.normpath(
            target.lstrip("/") if target.startswith("/") else os.path.join(os.path.dirname(name), target)  # noqa: PTH118, PTH120
        )
    return None


def _by_soname(file: Path) -> None:
    """Keep a library under the one name that others ask for."""
    library = needs.read(file, file.name)
    if library is None:
        file.unlink()
    elif library.soname and library.soname != file.name:
        file.replace(file.with_name(library.soname))


def _of_folder(folder: Path, architecture: str) -> list[Stanza]:
    from debian.arfile import ArError
    from debian.debfile import DebError, DebFile

    stanzas: list[Stanza] = []
    for file in sorted(folder.glob("*.deb")):
        try:
            with DebFile(filename=str(file)) as deb:
                control = dict(deb.debcontrol())
        except (ArError, DebError, OSError) as error:
            raise Failure(
                "runtime-fetch", f"{file} is no package of Debian's: {clean(str(error), 200)}"
            ) from None
        if control.get("Architecture") in (architecture, "all"):
            stanzas.append({**control, "SHA256": _digest(file), "Filename": file.name})
    return stanzas


def _of_mirror(suite: str, architecture: str, archive: Archive) -> list[Stanza]:
    from debian.deb822 import Packages, Release

    mirror = archive.mirror or apt_mirror()
    if mirror is None:
        raise Failure(
            "runtime-fetch",
            "packages of Debian's are needed, and no mirror is known",
            expected='debian_mirror = "https://…" in edgefreeze.toml, or one that apt uses here',
            device_state="not touched",
            next="or without a network: --wheels DIR, a folder that holds the .deb files",
        )
    base = f"{mirror.rstrip('/')}/dists/{suite}/"
    release = Release(_signed(_get(base + "InRelease"), suite))
    name = f"main/binary-{architecture}/Packages.xz"
    digest = next((row["sha256"] for row in release["SHA256"] if row["name"] == name), None)
    if digest is None:
        raise Failure("runtime-fetch", f"Debian's {suite} has no packages for {architecture}")
    kept = archive.cache / f"Packages-{suite}-{architecture}-{digest[:16]}.xz"
    if not kept.exists() or _digest(kept) != digest:
        data = _get(base + name)
        _require_digest(data, digest, name)
        archive.cache.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
    import lzma

    with lzma.open(kept) as text:
        return [dict(stanza) for stanza in Packages.iter_paragraphs(text, use_apt_pkg=False)]


def _package(pin: Pin, digest: str, paths: Mapping[str, str], archive: Archive) -> Path:
    kept = archive.cache / f"{digest}.deb"
    if kept.exists() and _digest(kept) == digest:
        return kept
    mirror = archive.mirror or apt_mirror()
    if digest not in paths or mirror is None:
        raise Failure(
            "runtime-fetch",
            f"the mirror has another {pin.name} than the lock names ({pin.version})",
            expected=digest,
            device_state="not touched",
            next="edgefreeze prepare --upgrade, or --wheels DIR with the old file",
        )
    data = _get(f"{mirror.rstrip('/')}/{paths[digest]}")
    _require_digest(data, digest, pin.name)
    archive.cache.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(kept)
    return kept


def apt_mirror(root: Path = Path("/etc/apt")) -> str | None:
    """The mirror that this machine's own apt uses for Debian; None where it has none."""
    files = [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        pattern = r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)" if file.suffix == ".list" else r"^URIs:\s*(\S+)"
        for address in re.findall(pattern, text, re.MULTILINE):
            if re.fullmatch(r"https?://\S+/debian/?", address):
                return str(address)
    return None


def _signed(text: bytes, suite: str) -> str:
    """The signed part of an InRelease file. Raises Failure runtime-fetch where it is not Debian's."""
    gpgv = shutil.which("gpgv")
    if gpgv is None or not KEYRING.exists():
        raise Failure(
            "runtime-fetch",
            f"Debian's signature on {suite} cannot be checked here",
            expected=f"gpgv, and {KEYRING}",
            found="no gpgv" if gpgv is None else "no keyring",
            device_state="not touched",
            next="install gpgv and debian-archive-keyring; or --wheels DIR with the .deb files",
        )
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as scratch:
        signed, plain = Path(scratch, "InRelease"), Path(scratch, "Release")
        signed.write_bytes(text)
        done = subprocess.run(
            [gpgv, "--status-fd", "1", "--keyring", str(KEYRING), "--output", str(plain), str(signed)],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        # A suite is signed by several keys, of which a keyring may lack the newest.
        if " VALIDSIG " not in done.stdout or " BADSIG " in done.stdout or not plain.exists():
            raise Failure(
                "runtime-fetch",
                f"the list of Debian's {suite} has no valid signature of Debian's",
                found=clean(done.stderr, 300),
                device_state="not touched",
            )
        return plain.read_text()


def _get(address: str) -> bytes:
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise Failure("config-value", f"{clean(address, 200)} is no mirror", expected="http:// or https://")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the scheme is checked
            data: bytes = answer.read()
    except (http.client.HTTPException, OSError) as error:  # an answer that breaks off is no OSError
        raise Failure(
            "runtime-fetch",
            f"{clean(address, 200)} cannot be fetched: {clean(str(error), 200)}",
            device_state="not touched",
            retry_safe=True,
        ) from None
    return data


def _require_digest(data: bytes, digest: str, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise Failure(
            "runtime-fetch", f"{what} is not the file that its list names", expected=digest, found=found
        )


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Device facts in, packages out: what a runtime is made of on a given interpreter, put together on the
host as plain files, so that the device needs no pip, no network and no root.

Choosing is pure; fetching runs uv, and keeps what it made.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from edgefreeze import toml
from edgefreeze.device.protocol import canonical, is_safe_path
from edgefreeze.errors import Failure
from edgefreeze.inventory import cache_root
from edgefreeze.text import clean
from edgefreeze.types import DeviceFacts

_GLIBC_TAGS = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
"""The manylinux_2_N platforms that uv can resolve for."""
_FETCH_TIMEOUT_S = 1800


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of runtimes.toml."""

    package: str
    version: str
    machine: tuple[str, ...]
    python: str
    glibc: str
    unpacked_mb: int
    extra: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """runtimes.toml."""

    own: dict[str, str]
    format: dict[str, str]
    runner: dict[str, str]
    tensorflow: tuple[Package, ...]
    litert: tuple[Package, ...]
    onnxruntime: tuple[Package, ...]

    def packages(self, runtime: str) -> tuple[Package, ...]:
        """The rows of a runtime, first that fits first."""
        rows: tuple[Package, ...] = getattr(self, runtime)
        return rows

    def of_format(self, name: str) -> str:
        """The runtime ("tensorflow", "litert", "onnxruntime") that a format needs on a device."""
        return self.runner[self.format[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a runtime is on a device: the interpreter's own package, or a row to ship."""

    runtime: str
    own: str | None
    """Version of the package that the interpreter already has; then nothing is shipped."""
    package: Package | None
    requirement: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """A file of a runtime's tree."""

    path: str
    sha256: str
    bytes: int
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A runtime put together in a folder of the host. `id` is the digest of the canonical listing."""

    id: str
    runtime: str
    folder: Path
    files: tuple[TreeFile, ...]
    packages: dict[str, str]

    @property
    def bytes(self) -> int:
        """What it weighs unpacked."""
        return sum(file.bytes for file in self.files)

    def listing(self) -> list[list[Any]]:
        """As the device's `tree` operation takes it."""
        return [[f.path, f.sha256, f.bytes, f.executable] for f in self.files]


@functools.cache
def table() -> Table:
    """The packages' facts."""
    return toml.read(Path(__file__).parent / "runtimes.toml", Table)


def choose(runtime: str, facts: DeviceFacts, narrow: str | None = None, known: Table | None = None) -> Choice:
    """What `runtime` ("tensorflow", "litert", "onnxruntime") is on a device. Pure.

    narrow: the target's version rule. Raises Failure runtime-unavailable, saying why nothing fits.
    """
    known = known or table()
    rows = known.packages(runtime)
    rule = _rule(narrow)
    own_rule = _rule(known.own[runtime]) & rule
    for name in dict.fromkeys(
        ["tensorflow", "tensorflow-cpu"] if runtime == "tensorflow" else [r.package for r in rows]
    ):
        version = facts.packages.get(name)
        if version and _fits(version, own_rule):
            return Choice(runtime=runtime, own=f"{name} {version}", package=None)
    reasons = []
    for row in rows:
        why = _unfit(row, facts, narrow)
        if why is None:
            version = ",".join(part for part in (row.version, narrow) if part)
            return Choice(
                runtime=runtime, own=None, package=row, requirement=(f"{row.package}{version}", *row.extra)
            )
        reasons.append(f"{row.package} {row.version}: {why}")
    raise Failure(
        "runtime-unavailable",
        f"no package of {runtime} fits the device's interpreter",
        expected="; ".join(reasons),
        found=f"Python {facts.python}, {facts.machine}, {facts.libc}",
        next="leave its formats out with --format, or set python = … to another interpreter of the device",
    )


def _unfit(row: Package, facts: DeviceFacts, narrow: str | None) -> str | None:
    """Why a row does not fit a device, or None."""
    if facts.machine not in row.machine:
        return f"is for {', '.join(row.machine)}"
    if not _fits(facts.python, _rule(row.python)):
        return f"needs Python {row.python}"
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", facts.libc)
    if not found:
        return f"needs glibc {row.glibc}"
    if (int(found[1]), int(found[2])) < tuple(int(p) for p in row.glibc.split(".")):
        return f"needs glibc {row.glibc}"
    if narrow and not _overlaps(row.version, narrow):
        return f"the target asks for {narrow}"
    return None


def _overlaps(one: str, other: str) -> bool:
    """Whether two version rules can hold together, judged at the versions that they name."""
    both = _rule(one) & _rule(other)
    named = re.findall(r"\d+(?:\.\d+)*", f"{one},{other}")
    return any(_fits(version, both) for name in named for version in (name, name + ".0", name + ".1"))


def _rule(text: str | None) -> SpecifierSet:
    try:
        return SpecifierSet(text or "")
    except InvalidSpecifier:
        raise Failure(
            "config-value", f"'{text}' is no version rule", expected="such as >=2.16,<2.22"
        ) from None


def _fits(version: str, rule: SpecifierSet) -> bool:
    try:
        return rule.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def platform_tag(facts: DeviceFacts) -> str:
    """The platform for which uv resolves: 'aarch64-manylinux_2_36'. Pure."""
    found = re.fullmatch(r"glibc 2\.(\d+).*", facts.libc)
    minor = int(found[1]) if found else 17
    return f"{facts.machine}-manylinux_2_{max((t for t in _GLIBC_TAGS if t <= minor), default=17)}"


def fetch(choice: Choice, facts: DeviceFacts) -> Tree:
    """Put a chosen package and all that it needs together in a folder, or find it there from before.

    Raises Failure runtime-fetch with uv's own words.
    """
    assert choice.package is not None
    python = ".".join(facts.python.split(".")[:2])
    platform = platform_tag(facts)
    key = hashlib.sha256(
        canonical([list(choice.requirement), list(choice.package.exclude), python, platform, 1])
    ).hexdigest()[:24]
    home = cache_root() / "runtimes"
    folder = home / f"{choice.runtime}-{python}-{platform}-{key}"
    listing = folder / "listing.json"
    if not listing.exists():
        home.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="making-", dir=home))
        try:
            _install(choice, python, platform, made / "tree")
            _strip(made / "tree", choice.package.exclude)
            packages = _versions(made / "tree")
            content = {"files": [msgspec.to_builtins(f) for f in _list(made / "tree")], "packages": packages}
            (made / "listing.json").write_bytes(canonical(content))
            # Lost race: somebody else made the same one meanwhile; theirs is as good.
            with contextlib.suppress(OSError):
                os.rename(made, folder)  # noqa: PTH104 - must fail onto a full folder, as rename(2) does
        finally:
            shutil.rmtree(made, ignore_errors=True)
    stored = json.loads(listing.read_bytes())
    files = tuple(TreeFile(**entry) for entry in stored["files"])
    tree = Tree(
        id="", runtime=choice.runtime, folder=folder / "tree", files=files, packages=stored["packages"]
    )
    return Tree(
        id=hashlib.sha256(canonical(tree.listing())).hexdigest(),
        runtime=choice.runtime,
        folder=tree.folder,
        files=files,
        packages=tree.packages,
    )


def _install(choice: Choice, python: str, platform: str, folder: Path) -> None:
    import uv

    command = [
        uv.find_uv_bin(), "pip", "install", "--quiet", "--target", str(folder),
        "--python-platform", platform, "--python-version", python, "--only-binary", ":all:",
        "--no-compile", *choice.requirement,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_FETCH_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Failure(
            "runtime-fetch",
            f"fetching {choice.requirement[0]} took more than {_FETCH_TIMEOUT_S // 60} minutes",
            retry_safe=True,
        ) from None
    if done.returncode != 0:
        raise Failure(
            "runtime-fetch",
            f"{' '.join(choice.requirement)} cannot be put together for Python {python} on {platform}",
            found=clean(done.stderr, 1500),
            device_state="not touched",
            retry_safe=True,
        )


def _strip(folder: Path, patterns: tuple[str, ...]) -> None:
    """Remove what inference does not need. Patterns are of paths below the folder; ** spans folders."""
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink() or any(_matches(relative, pattern) for pattern in patterns):
            path.unlink()


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/") and _matches(path, pattern[3:]):
        return True
    return fnmatch.fnmatchcase(path, pattern.replace("**", "*"))


def _versions(folder: Path) -> dict[str, str]:
    """Names and versions of the packages in a tree, from their .dist-info folders."""
    found = {}
    for info in folder.glob("*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        found[name.lower().replace("_", "-")] = version
    return dict(sorted(found.items()))


def _list(folder: Path) -> list[TreeFile]:
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder).as_posix()
        if relative == ".lock" or "/__pycache__/" in f"/{relative}" or relative.endswith("/direct_url.json"):
            continue
        if not is_safe_path(relative):
            raise Failure("runtime-fetch", f"a package holds a file with an odd name: {clean(relative, 80)}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        info = path.stat()
        files.append(
            TreeFile(path=relative, sha256=digest, bytes=info.st_size, executable=bool(info.st_mode & 0o100))
        )
    return sorted(files, key=lambda f: f.path)

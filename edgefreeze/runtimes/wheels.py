"""Wheels from the user's package index or a folder of theirs: resolved to exact files, fetched, unpacked.

uv resolves and unpacks. It knows no armv7l; there pip downloads, which takes the platform's tags literally.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from edgefreeze.device.protocol import is_safe_path
from edgefreeze.errors import Failure
from edgefreeze.runtimes.lock import Pin
from edgefreeze.text import clean

TIMEOUT_S = 1800
_GLIBC_MINORS = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
"""The manylinux_2_N platforms that uv can resolve for."""
_LEGACY = {"manylinux2014": 17}


def platform(machine: str, glibc_minor: int) -> str:
    """The platform to resolve for, "aarch64-manylinux_2_36". Pure."""
    if machine == "armv7l":
        return f"{machine}-manylinux_2_{glibc_minor}"
    return f"{machine}-manylinux_2_{max((t for t in _GLIBC_MINORS if t <= glibc_minor), default=17)}"


def tags(name: str) -> tuple[str, ...]:
    """All of pip's platform tags that a platform takes: pip matches only those it is given. Pure."""
    machine, _, newest = name.partition("-manylinux_2_")
    numbered = [f"manylinux_2_{minor}_{machine}" for minor in range(int(newest), 16, -1)]
    return (*numbered, *(f"{legacy}_{machine}" for legacy in _LEGACY), f"linux_{machine}")


def resolve(requirement: Sequence[str], python: str, where: str, folder: Path | None) -> tuple[Pin, ...]:
    """The exact packages that a requirement means now. folder: of wheels, instead of the index.

    Raises Failure runtime-fetch with the tool's own words.
    """
    if where.startswith("armv7l"):
        with tempfile.TemporaryDirectory(prefix="edgefreeze-") as scratch:
            return tuple(_pin(file) for file in _download(requirement, python, where, folder, Path(scratch)))
    command = [
        _uv(), "pip", "compile", "-", "--quiet", "--python-platform", where, "--python-version", python,
        "--only-binary", ":all:", "--generate-hashes", "--no-header", "--no-annotate", *_offline(folder),
    ]  # fmt: skip
    text = _run(command, " ".join(requirement), python, where, "\n".join(requirement))
    return parse_pins(text)


def parse_pins(text: str) -> tuple[Pin, ...]:
    """`uv pip compile --generate-hashes` as pins. Pure. Raises Failure runtime-fetch."""
    pins = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith(("#", "--")):
            continue
        found = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line)
        digests = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
        if not found or not digests:
            raise Failure("runtime-fetch", f"uv's answer makes no sense: {clean(line, 200)}")
        pins.append(Pin(name=found[1], version=found[2], sha256=tuple(sorted(digests))))
    return tuple(sorted(pins, key=lambda pin: pin.name))


def install(pins: Sequence[Pin], python: str, where: str, folder: Path | None, out: Path) -> None:
    """Unpack exactly these packages into `out`. Raises Failure runtime-fetch."""
    asked = [f"{pin.name}=={pin.version}" for pin in pins]
    if not asked:
        return
    if where.startswith("armv7l"):
        allowed = {canonicalize_name(pin.name): pin.sha256 for pin in pins}
        with tempfile.TemporaryDirectory(prefix="edgefreeze-") as scratch:
            for file in _download(asked, python, where, folder, Path(scratch)):
                pin = _pin(file)
                if pin.sha256[0] not in allowed.get(canonicalize_name(pin.name), ()):
                    raise Failure(
                        "runtime-fetch",
                        f"{file.name} is not the file that the lock names",
                        expected=", ".join(allowed.get(canonicalize_name(pin.name), ())) or "no such package",
                        found=pin.sha256[0],
                        device_state="not touched",
                    )
                unpack(file, out)
        return
    lines = "".join(
        f"{name} " + " ".join(f"--hash=sha256:{digest}" for digest in pin.sha256) + "\n"
        for name, pin in zip(asked, pins, strict=True)
    )
    command = [
        _uv(), "pip", "install", "--quiet", "--target", str(out), "--python-platform", where,
        "--python-version", python, "--only-binary", ":all:", "--no-compile", "--no-deps", "--require-hashes",
        "-r", "-", *_offline(folder),
    ]  # fmt: skip
    _run(command, asked[0], python, where, lines)


def unpack(wheel: Path, out: Path) -> None:
    """A wheel's files, as an installer lays them out for `import`: no scripts, no headers.

    Raises Failure runtime-fetch where a name in it leads elsewhere.
    """
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            path = entry.filename
            data = re.match(r"[^/]+\.data/(\w+)/", path)
            if data:
                if data[1] not in ("purelib", "platlib"):
                    continue
                path = path[data.end() :]
            if not is_safe_path(path):
                raise Failure(
                    "runtime-fetch", f"{wheel.name} holds a file with an odd name: {clean(path, 80)}"
                )
            target = out / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("wb") as file:
                while part := source.read(1 << 20):
                    file.write(part)


def _download(
    requirement: Sequence[str], python: str, where: str, folder: Path | None, out: Path
) -> list[Path]:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--implementation", "cp", "--python-version", python, "--abi", f"cp{python.replace('.', '')}",
        "--abi", "abi3", "--abi", "none",
        *(f"--platform={tag}" for tag in tags(where)), "--dest", str(out), *_offline(folder), *requirement,
    ]  # fmt: skip
    _run(command, requirement[0], python, where, "")
    return sorted(out.glob("*.whl"))


def _pin(wheel: Path) -> Pin:
    name, version, _, _ = parse_wheel_filename(wheel.name)
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Pin(name=name, version=str(version), sha256=(digest,))


def _offline(folder: Path | None) -> list[str]:
    return ["--no-index", "--find-links", str(folder.resolve())] if folder else []


def _uv() -> str:
    import uv

    return str(uv.find_uv_bin())


def _run(command: list[str], what: str, python: str, where: str, stdin: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, input=stdin
        )
    except subprocess.TimeoutExpired:
        raise Failure(
            "runtime-fetch", f"fetching {what} took more than {TIMEOUT_S // 60} minutes", retry_safe=True
        ) from None
    if done.returncode != 0:
        raise Failure(
            "runtime-fetch",
            f"{what} cannot be put together for Python {python} on {where}",
            found=clean(done.stderr, 1500),
            device_state="not touched",
            retry_safe=True,
            next="without a network: --wheels DIR, a folder that holds the packages",
        )
    return done.stdout

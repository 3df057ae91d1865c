"""The boards that the lab can be. A further one is one line in MODELS."""

from __future__ import annotations

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One CPU architecture under the four names that the tools have for it."""

    debian: str
    machine: str
    """As the board's own `uname -m` says it."""
    docker: str
    qemu: str
    """As in qemu's binfmt entry, qemu-<name>."""

    @property
    def emulated(self) -> bool:
        """Whether this machine's CPU is another one, so that programs run under qemu."""
        return platform.machine() != self.machine


AMD64 = Architecture("amd64", "x86_64", "linux/amd64", "x86_64")
ARM64 = Architecture("arm64", "aarch64", "linux/arm64", "aarch64")
ARMHF = Architecture("armhf", "armv7l", "linux/arm/v7", "arm")


@dataclass(frozen=True)
class Model:
    """A kind of board: an architecture, a Debian release, what it says of its CPU, what it has installed."""

    architecture: Architecture
    suite: str
    cpuinfo: str | None = None
    """A file beside docker/lab, mounted over /proc/cpuinfo where the board is emulated: it would be the
    host's, and with an x86 one the TFLite runtimes hang or crash in their CPU detection."""
    packages: tuple[str, ...] = ()
    """Debian packages beside BASE_PACKAGES."""

    @property
    def base(self) -> str:
        """The tag of the Debian base that boards of this kind share, "bookworm-arm64"."""
        return "-".join((self.suite, self.architecture.debian, *self.packages))


BASE_PACKAGES = ("openssh-server", "python3")

MODELS = {
    "x86": Model(AMD64, "bookworm"),
    "pi4": Model(ARM64, "bookworm", "pi4-cpuinfo.txt"),
    "pi4-bullseye": Model(ARM64, "bullseye", "pi4-cpuinfo.txt"),  # Python 3.9, glibc 2.31
    "pi4-trixie": Model(ARM64, "trixie", "pi4-cpuinfo.txt"),  # Python 3.13, glibc 2.41
    "pi4-32bit": Model(ARMHF, "bookworm", "pi4-32bit-cpuinfo.txt"),
    "pi4-32bit-bullseye": Model(ARMHF, "bullseye", "pi4-32bit-cpuinfo.txt"),
    "pi4-32bit-trixie": Model(ARMHF, "trixie", "pi4-32bit-cpuinfo.txt"),
}
DEFAULT = ("x86", "pi4")

"""A board's packages on its CPU model, with no board: user-mode emulation of a system's files in a folder.

Each runtime is run twice: on the target's CPU model, and, as a control, on the emulator's own, which has all
instructions that it knows. What dies of an illegal instruction on the first alone would die on the board;
what dies on both may be the emulator's fault. Needs QEMU's user-mode emulator, and neither root nor its
registration with the kernel.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec

from edgefreeze import runtimes
from edgefreeze.device import readings
from edgefreeze.device.child import Runner
from edgefreeze.device.errors import DeviceError
from edgefreeze.doctor import emulation
from edgefreeze.doctor.case import Finding
from edgefreeze.doctor.emulation import Attempt, Emulated
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.runtimes import Choice
from edgefreeze.ship import proof
from edgefreeze.targets import Target
from edgefreeze.text import clean
from edgefreeze.transport import pyz
from edgefreeze.types import DeviceFacts

PROGRAMS = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
"""QEMU's user-mode emulators by architecture; Debian's static builds have -static behind the name."""
CONTROL = "max"
"""QEMU's model of a CPU with all that it can emulate."""
CORES = 4
_TIMEOUT_S = 300.0


class Board:
    """The interpreter of a system's files, on two models of its CPU. `exact` and `control` are programs that
    take Python's arguments."""

    def __init__(self, target: Target, sysroot: Path, folder: Path) -> None:
        """Raises Failure usage, config-value where the target, the emulator or the files will not do."""
        machine = next((m for m in target.match.machine if m in PROGRAMS), None)
        if machine is None or target.emulate.cpu is None:
            raise Failure(
                "usage",
                f"target '{target.name}' names no CPU model to emulate",
                expected="[emulate] with cpu = …, of a target for " + " or ".join(PROGRAMS),
            )
        self.emulator = _emulator(PROGRAMS[machine])
        python = sysroot / "usr/bin/python3"
        if not python.exists():
            raise Failure(
                "config-value",
                f"--sysroot {sysroot}: there is no usr/bin/python3 in it",
                expected="the files of a system as the board's, with python3",
                next="mmdebstrap --architectures=arm64 --variant=apt --include=python3 bookworm DIR",
            )
        self._prefix = _prefix(sysroot, target, folder / "prefix")
        self.program = folder / "helper.pyz"
        self.program.write_bytes(pyz.build()[0])
        self.cpu = target.emulate.cpu
        self.exact = self._interpreter(folder / "exact", self.cpu, python.resolve())
        self.control = self._interpreter(folder / "control", CONTROL, python.resolve())

    def _interpreter(self, script: Path, cpu: str, python: Path) -> Path:
        words = [self.emulator, "-cpu", cpu, "-L", str(self._prefix), str(python)]
        # What dies of an illegal instruction would leave a core dump of the emulator behind.
        script.write_text(f'#!/bin/sh\nulimit -c 0\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
        script.chmod(0o700)
        return script

    def facts(self) -> DeviceFacts:
        """What the helper finds of the interpreter. Raises Failure config-value where it does not run."""
        done = subprocess.run(
            [str(self.exact), "-I", str(self.program), "facts"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        try:
            found = {**json.loads(done.stdout), "packages": {}, "emulated": True}
            return msgspec.convert(found, DeviceFacts, strict=True)
        except (ValueError, msgspec.ValidationError):
            raise Failure(
                "config-value",
                f"the python3 of --sysroot does not run on {self.cpu} under {self.emulator}",
                expected="Python 3.8 or later, with its libraries",
                found=clean(done.stderr.decode("utf-8", "replace"), 400) or f"exit status {done.returncode}",
            ) from None


def doctor(
    target: Target, sysroot: Path, progress: Progress, sources: runtimes.Sources | None = None
) -> tuple[Finding, ...]:
    """Findings of a target's runtimes under emulation; their packages come from `sources`, as a board's do.
    Raises Failure as Board() does, runtime-fetch."""
    with tempfile.TemporaryDirectory(prefix="edgefreeze-emulate-") as scratch:
        board = Board(target, sysroot.resolve(), Path(scratch))
        progress.step("probe", f"starting the emulated {board.cpu}")
        facts = board.facts()
        known = runtimes.table()
        needed = dict.fromkeys(known.of_format(f.format) for f in target.formats if f.format in known.format)
        seen = []
        for name in needed:
            try:
                choice = runtimes.choose(name, facts, target.runtimes.get(name))  # type: ignore[call-overload]
            except Failure as failure:
                seen.append(Emulated(runtime=name, package=None, reason=failure.expected or failure.message))
                continue
            seen.append(run(board, choice, facts, progress, sources))
        return emulation.findings(board.cpu, facts, tuple(seen))


def run(
    board: Board,
    choice: Choice,
    facts: DeviceFacts,
    progress: Progress,
    sources: runtimes.Sources | None = None,
) -> Emulated:
    """A runtime's packages on both models of the CPU. Raises Failure runtime-fetch."""
    tiny = proof.models()[choice.runtime]
    progress.step("runtime", f"putting {choice.requirement[0]} together")
    tree = runtimes.fetch(choice, facts, sources)
    assert choice.package is not None
    package = f"{choice.package.package} {tree.packages.get(choice.package.package, '')}".strip()
    progress.step("selftest", f"running {package} on {board.cpu}")
    exact = attempt(board.exact, board.program, tiny, tree.folder)
    progress.step("selftest", f"running {package} on the control")
    control = attempt(board.control, board.program, tiny, tree.folder)
    return Emulated(runtime=choice.runtime, package=package, exact=exact, control=control)


def attempt(python: Path, program: Path, tiny: proof.TinyModel, packages: Path) -> Attempt:
    """One inference of the tiny model by an interpreter with these packages."""
    request = {
        "artifact": tiny.artifact,
        "path": str(tiny.file),
        "golden": None,
        "threads": 1,
        "sys_paths": [str(packages)],
        "pycache": str(program.parent / "pycache"),
    }
    try:
        with Runner(str(python), str(program), 1, _TIMEOUT_S) as runner:
            runner.call("load", request, _TIMEOUT_S)
            wrong = tiny.wrong(runner.infer(tiny.asked(), _TIMEOUT_S)[1])
    except DeviceError as error:
        return Attempt(ok=False, said=clean(str(error.found or error), 200))
    return Attempt(ok=wrong is None, said=wrong or "")


def _emulator(name: str) -> str:
    for candidate in (f"{name}-static", name):
        found = shutil.which(candidate)
        if found:
            return found
    raise Failure(
        "config-value",
        f"{name}, the emulator, is not installed",
        expected=f"{name}-static or {name} on the PATH",
        next="sudo apt install qemu-user-static",
    )


def _prefix(sysroot: Path, target: Target, folder: Path) -> Path:
    """A folder in which the emulated program finds the sysroot's files first, and beside them a
    /proc/cpuinfo of the board's: emulators before QEMU 8.1 would show it this machine's."""
    (folder / "proc").mkdir(parents=True)
    for entry in sysroot.iterdir():
        if entry.name not in ("proc", "sys", "dev", "tmp", "run", "home", "root"):
            (folder / entry.name).symlink_to(entry)
    own = sysroot / "proc" / "cpuinfo"
    text = own.read_text(encoding="utf-8") if own.is_file() else cpuinfo(target)
    (folder / "proc" / "cpuinfo").write_text(text, encoding="utf-8")
    return folder


def cpuinfo(target: Target) -> str:
    """/proc/cpuinfo of the target's CPU: its cores' part, and the features that the target expects. Pure."""
    part = next((p for p in map(readings.arm_part, target.match.cpu) if p), "0xd03")
    core = (
        f"Features\t: {' '.join(target.match.features)}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 0\n"
    )
    return "\n".join(f"processor\t: {number}\n{core}" for number in range(CORES))

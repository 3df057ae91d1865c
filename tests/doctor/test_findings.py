"""Every finding of the doctor's, word by word: golden/findings.txt has a block for each case of CASES.

EDGEFREEZE_REWRITE_GOLDEN=1 writes that file anew, to be read before it is committed.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgefreeze.doctor import (
    clock,
    disk,
    emulation,
    heat,
    identity,
    interpreter,
    memory,
    network,
    pace,
    runtimes,
)  # fmt: skip
from edgefreeze.doctor.case import Case, Finding, Link, Policy, Process, Release
from edgefreeze.doctor.emulation import Attempt, Emulated
from edgefreeze.doctor.examine import judge
from edgefreeze.errors import Failure

from .conftest import LINK, LITERT, MOUNTS, TENSORFLOW, well

GOLDEN = Path(__file__).parent / "golden" / "findings.txt"
ROOMS: tuple[ModuleType, ...] = (
    network, identity, interpreter, memory, disk, clock, heat, pace, runtimes, emulation,
)  # fmt: skip
ORIN = {
    "power_mode": "NV Power Mode: MAXN\n0\n",
    "clocks": "SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Developer Kit\n"
    "cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=960000 IdleStates: WFI=1\n"
    "cpu1:  Online=0 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=960000 IdleStates: WFI=1\n",
}
PINNED = "cpu0: Online=1 Governor=schedutil MinFreq=1510400 MaxFreq=1510400 CurrentFreq=1510400 IdleStates: WFI=1\n"
CAPPED = Policy(cpus="0 1", governor="ondemand", now_khz=600_000, max_khz=1_000_000, able_khz=1_800_000)
NO_PYTHON = Failure(
    "no-python",
    "cam1: no Python 3 on the device",
    found="sh: 1: python3: not found",
    next="sudo apt install python3-minimal, on the device",
)
NO_KEY = Failure(
    "host-key-unknown",
    "cam1: its host key is not known",
    found="ssh-ed25519 SHA256:abc",
    next="ssh cam1 true",
)
SILENT = Failure("unreachable", "cam1: cannot reach 192.0.2.17 port 22", found="no answer within 15 s")
LOST = Failure("helper-no-greeting", "cam1: the device ended the session before the helper had started")


def root_on(options: str, kind: str = "ext4") -> dict[str, str]:
    return {"mounts": f"/dev/mmcblk0p2 / {kind} {options} 0 0\n"}


def link(**changes: Any) -> Link:
    return replace(LINK, **changes)


def emulated(seen: Emulated) -> Finding:
    return emulation.emulated("cortex-a72", seen)


CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    # the way
    "this machine": (network.findings, link(local=True)),
    "reached, known, direct, quick and quiet": (network.findings, LINK),
    "known, but nobody said as what": (network.host_key, link(known=None)),
    "through a jump": (network.jump, link(jump=True)),
    "latency not measured": (network.latency, link(round_trips_ms=())),
    "slow": (network.latency, link(round_trips_ms=(180.0, 210.0, 900.0))),
    "very slow": (network.latency, link(round_trips_ms=(1800.0, 2100.0))),
    "a login that prints": (network.banner, link(noise="Welcome to cam1!\nLast login: today")),
    "unreachable": (network.findings, link(failure=SILENT)),
    "a host key that is not known": (network.findings, link(failure=NO_KEY)),
    "no Python": (network.findings, link(failure=NO_PYTHON, echo="edgefreeze-42")),
    "a forced command": (network.findings, link(failure=LOST, echo="This account is for backups only.")),
    "a forced command that prints nothing": (network.findings, link(failure=LOST, echo="")),
    "no greeting, but commands run": (network.findings, link(failure=LOST, echo="edgefreeze-42")),
    # identity
    "the board that is expected": (identity.findings, well()),
    "another architecture": (
        identity.architecture,
        well(facts={"machine": "armv7l", "bits": 32}, health={"uname": "armv7l"}, others=("pi-32",)),
    ),
    "a 32-bit system under a 64-bit kernel": (
        identity.architecture,
        well(facts={"machine": "armv7l", "bits": 32}, others=("pi-32",)),
    ),
    "a 32-bit system under a 64-bit kernel, as the target has it": (
        identity.architecture,
        well(target="pi-32", facts={"machine": "armv7l", "bits": 32}),
    ),
    "an architecture without a target": (
        identity.architecture,
        well(facts={"machine": "riscv64"}, health={"uname": None}, others=()),
    ),
    "another board": (identity.board, well(facts={"board": "Radxa ROCK 5B"})),
    "a board without a name": (identity.board, well(facts={"board": None})),
    "another CPU": (identity.cpu, well(facts={"cpu_model": "Cortex-A53"})),
    "a CPU that says nothing": (identity.cpu, well(facts={"cpu_model": None})),
    "a system with its maker's release": (
        identity.system,
        well(texts={"maker_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic"}),
    ),
    "an unknown system": (identity.system, well(facts={"os": None, "kernel": None})),
    "an emulator": (identity.findings, well(facts={"emulated": True})),
    # interpreter
    "python, libc, CPU and pages as they should be": (interpreter.findings, well()),
    "an older Python than the target expects": (interpreter.python, well(facts={"python": "3.8.10"})),
    "an older glibc than the target expects": (interpreter.libc, well(facts={"libc": "glibc 2.27"})),
    "musl": (interpreter.libc, well(facts={"libc": "musl 1.2.4"})),
    "a CPU that does not say its features": (interpreter.cpu_features, well(facts={"cpu_features": ()})),
    "a CPU without a feature that the target expects": (
        interpreter.cpu_features,
        well(facts={"cpu_features": ("asimd", "fp")}),
    ),
    "a CPU without what the packages are compiled for": (
        interpreter.cpu_features,
        well(
            target="x86",
            facts={"machine": "x86_64", "cpu_features": ("sse4_1", "sse4_2")},
            runtimes=(replace(TENSORFLOW, first=True), replace(LITERT, first=False)),
        ),
    ),
    "pages of 16 KiB": (interpreter.page_size, well(health={"page_bytes": 16384})),
    "large pages elsewhere": (
        interpreter.page_size,
        well(target="pi-32", facts={"machine": "armv7l"}, health={"page_bytes": 65536}),
    ),
    "pages of an unknown size": (interpreter.page_size, well(health={"page_bytes": None})),
    # memory
    "enough memory": (memory.findings, well()),
    "memory that the device does not tell": (
        memory.findings,
        well(facts={"ram_available_bytes": None, "swap_used_bytes": None}),
    ),
    "too little memory for TensorFlow": (memory.ram, well(facts={"ram_available_bytes": 400_000_000})),
    "too little memory ever": (
        memory.ram,
        well(
            facts={"ram_bytes": 460_000_000, "ram_available_bytes": 300_000_000},
            runtimes=(replace(TENSORFLOW, first=True),),
        ),
    ),
    "less memory than the target lets a model take": (
        memory.ram,
        well(target="jetson-nano", facts={"ram_available_bytes": 1_500_000_000}),
    ),
    "swap in use": (memory.swap, well(facts={"swap_used_bytes": 300_000_000})),
    # disk
    "room, files and a good file system": (disk.findings, well()),
    "what the device does not tell of its disk": (
        disk.findings,
        well(facts={"disk_free_bytes": None, "disk_free_inodes": None}, texts={"df": ""}),
    ),
    "a full card": (disk.space, well(facts={"disk_free_bytes": 90_000_000})),
    "room for the preferred format only": (disk.space, well(facts={"disk_free_bytes": 900_000_000})),
    "no inodes": (disk.inodes, well(facts={"disk_free_inodes": 700})),
    "inodes for the preferred format only": (disk.inodes, well(facts={"disk_free_inodes": 9000})),
    "read-only": (disk.mount, well(texts=root_on("ro,noatime"))),
    "another user's folder": (disk.mount, well(health={"writable": False})),
    "noexec": (disk.mount, well(texts=root_on("rw,nosuid,noexec"))),
    "no barriers": (disk.mount, well(texts=root_on("rw,nobarrier"))),
    "barriers off by number": (disk.mount, well(texts=root_on("rw,barrier=0"))),
    "a FAT file system": (disk.mount, well(texts=root_on("rw", "vfat"))),
    "a file system in memory": (disk.mount, well(texts=root_on("rw", "tmpfs"))),
    "an overlay": (disk.mount, well(texts=root_on("rw,upperdir=/up", "overlay"))),
    "a network file system": (disk.mount, well(texts=root_on("rw", "nfs4"))),
    "the last mount at a place counts": (disk.mount, well(texts={"mounts": MOUNTS + "x / ext4 ro 0 0\n"})),
    # clock
    "the right time": (clock.clock, well()),
    "a time that the device does not tell": (clock.clock, well(health={"now": None})),
    "half an hour behind": (clock.clock, well(health={"now": 998_200.0})),
    "hours ahead": (clock.clock, well(health={"now": 1_020_001.0})),
    "years behind": (clock.clock, well(health={"now": 0.0})),
    # heat
    "cool and never throttled": (heat.findings, well()),
    "hot": (heat.temperature, well(health={"zones": {"cpu-thermal": 79.4, "gpu": 70.0}})),
    "a temperature without a sensor's name": (heat.temperature, well(health={"zones": {}})),
    "no temperature": (heat.temperature, well(health={"zones": {}}, facts={"temperature_c": None})),
    "under-voltage now": (heat.throttling, well(texts={"throttled": "throttled=0x50005"})),
    "under-voltage since boot": (heat.throttling, well(texts={"throttled": "throttled=0x50000"})),
    "too hot now": (heat.throttling, well(texts={"throttled": "throttled=0xe0008"})),
    "a firmware that may not be asked": (
        heat.throttling,
        well(
            texts={
                "throttled": "Can't open device file: /dev/vcio\nTry creating a device file with: sudo mknod\n"
            }
        ),
    ),
    "a board that says nothing of throttling": (heat.findings, well(texts={"throttled": ""})),
    # pace
    "the advised governor at full clock and no load": (pace.findings, well()),
    "another governor": (pace.governor, well(health={"policies": (CAPPED,)})),
    "a governor of the facts alone": (
        pace.governor,
        well(health={"policies": ()}, facts={"governor": "powersave"}),
    ),
    "no governor": (pace.governor, well(health={"policies": ()}, facts={"governor": None})),
    "a capped frequency": (pace.frequency, well(health={"policies": (CAPPED,)})),
    "a frequency of the facts alone": (pace.frequency, well(health={"policies": ()})),
    "no frequency": (pace.frequency, well(health={"policies": ()}, facts={"cpu_mhz": None})),
    "others at work": (
        pace.load,
        well(facts={"load_1m": 3.2}, health={"busiest": (Process(pid=812, name="motion", cores=2.4),)}),
    ),
    "others that have just begun": (
        pace.load,
        well(
            health={
                "busiest": (Process(pid=9, name="apt", cores=2.5), Process(pid=10, name="dpkg", cores=1.0))
            }
        ),
    ),
    "a load that is nobody's": (pace.load, well(facts={"load_1m": 7.0})),
    "no load average": (pace.load, well(facts={"load_1m": None})),
    "a power mode that holds back": (
        lambda case: pace.power(case),
        well(target="jetson-orin", texts={**ORIN, "power_mode": "NV Power Mode: 7W\n1\n"}),
    ),
    "the best power mode and clocks that are held": (
        lambda case: pace.power(case),
        well(target="jetson-orin", texts={**ORIN, "clocks": PINNED}),
    ),
    "a GPU at rest": (
        lambda case: pace.power(case),
        well(
            target="jetson-orin",
            texts={"activity": "RAM 1/2MB GR3D_FREQ 3%@[305,305] VDD_IN 5832mW/5852mW\n"},
        ),
    ),
    "a GPU that others use": (
        lambda case: pace.power(case),
        well(target="jetson-nano", texts={"activity": "RAM 1/2MB CPU [1%@102] GR3D_FREQ 98%\n"}),
    ),
    # runtimes
    "runtimes that would be brought": (runtimes.findings, well()),
    "no runtime for the preferred format": (
        runtimes.runtime,
        replace(LITERT, bring=None, reason="tflite-runtime ==2.14.0: needs Python >=3.9,<3.12"),
    ),
    "no runtime for another format": (
        runtimes.runtime,
        replace(TENSORFLOW, bring=None, reason="tensorflow ==2.21.*: is for aarch64"),
    ),
    "a runtime of the device that infers": (
        runtimes.runtime,
        replace(LITERT, bring=None, own="ai-edge-litert 2.3.0", inferred=True),
    ),
    "a runtime of the device that was not tried": (
        runtimes.runtime,
        replace(LITERT, bring=None, own="ai-edge-litert 2.3.0"),
    ),
    "a runtime of the device that does not infer": (
        runtimes.runtime,
        replace(
            LITERT, bring=None, own="tflite-runtime 2.14.0", inferred=False, error="SystemError: NumPy 2"
        ),
    ),
    "another runtime of the device that does not infer": (
        runtimes.runtime,
        replace(TENSORFLOW, bring=None, own="tensorflow 2.21.0", inferred=False),
    ),
    "a release that computes what it should": (
        runtimes.release,
        Release(app="doorbell", release="3f2a9c" * 10, passed=("tflite", "frozen_pb"), failed={}),
    ),
    "a release with nothing to test": (
        runtimes.release,
        Release(app="doorbell", release="3f2a9c" * 10, passed=(), failed={}),
    ),
    # emulation
    "a runtime that runs on the board's CPU model": (
        lambda seen: emulation.findings("cortex-a72", well().facts, (seen,)),
        Emulated(
            runtime="litert", package="ai-edge-litert 2.3.0", exact=Attempt(ok=True), control=Attempt(ok=True)
        ),
    ),
    "a runtime with an instruction that the CPU has not": (
        emulated,
        Emulated(
            runtime="onnxruntime",
            package="onnxruntime 1.21.0",
            exact=Attempt(ok=False, said="SIGILL"),
            control=Attempt(ok=True),
        ),
    ),
    "a runtime that dies of something else on the model alone": (
        emulated,
        Emulated(
            runtime="onnxruntime",
            package="onnxruntime 1.28.0",
            exact=Attempt(ok=False, said="SIGSEGV"),
            control=Attempt(ok=True),
        ),
    ),
    "a runtime that the emulator cannot run": (
        emulated,
        Emulated(
            runtime="onnxruntime",
            package="onnxruntime 1.28.0",
            exact=Attempt(ok=False, said="SIGILL"),
            control=Attempt(ok=False, said="SIGSEGV"),
        ),
    ),
    "a control that fails alone": (
        emulated,
        Emulated(
            runtime="litert",
            package="ai-edge-litert 2.3.0",
            exact=Attempt(ok=True),
            control=Attempt(ok=False, said="SIGSEGV"),
        ),
    ),
    "no package to emulate": (
        emulated,
        Emulated(runtime="onnxruntime", package=None, reason="onnxruntime >=1.22: needs Python >=3.11"),
    ),
    "a release that does not compute any more": (
        runtimes.release,
        Release(app="doorbell", release="3f2a9c" * 10, passed=(), failed={"tflite": "SIGILL"}),
    ),
}


def said(found: Any) -> str:
    findings = found if isinstance(found, tuple) else (found,)
    lines = []
    for finding in findings:
        assert isinstance(finding, Finding)
        lines.append(f"{finding.level}  {finding.name}: {finding.found}")
        if finding.fix:
            lines.append(f"    do: {finding.fix}")
    return "\n".join(lines)


def golden() -> dict[str, str]:
    if os.environ.get("EDGEFREEZE_REWRITE_GOLDEN"):
        text = "The findings of tests/doctor/test_findings.py, case by case.\n"
        text += "".join(f"\n== {name}\n{said(check(case))}\n" for name, (check, case) in CASES.items())
        GOLDEN.write_text(text, encoding="utf-8")
    blocks = GOLDEN.read_text(encoding="utf-8").split("\n== ")
    return {head: body.strip("\n") for head, _, body in (b.partition("\n") for b in blocks[1:])}


@pytest.mark.parametrize("name", CASES)
def test_word_by_word(name: str) -> None:
    check, case = CASES[name]
    assert said(check(case)) == golden()[name]


def test_the_golden_file_has_no_other_cases() -> None:
    assert list(golden()) == list(CASES)


def test_a_runtime_of_which_no_figures_are_known_stops_no_doctor() -> None:
    engine = replace(LITERT, name="tensorrt", formats=("tensorrt",), first=False)
    case = well(runtimes=(LITERT, engine))
    assert {f.level for f in (*memory.findings(case), *disk.findings(case))} == {"fine"}


def test_every_finding_in_the_code_has_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[tuple[str, int]] = set()
    for room in ROOMS:
        calls = [
            (node.lineno, node.end_lineno or node.lineno)
            for node in ast.walk(ast.parse(Path(str(room.__file__)).read_text()))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
        ]
        assert calls

        def note(calls: list[tuple[int, int]] = calls, room: ModuleType = room, **fields: Any) -> Finding:
            line = sys._getframe(1).f_lineno
            made.update((room.__name__, first) for first, last in calls if first <= line <= last)
            return Finding(**fields)

        monkeypatch.setattr(room, "Finding", note)
    for check, case in CASES.values():
        # Functions look their Finding up in their room, so that the noting one is called.
        check(case)
    every = {
        (room.__name__, node.lineno)
        for room in ROOMS
        for node in ast.walk(ast.parse(Path(str(room.__file__)).read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    }
    assert sorted(every - made) == []


def test_a_board_in_good_order_has_nothing_but_fine_lines(healthy: Case) -> None:
    found = judge(healthy)
    assert {f.level for f in found} == {"fine"}
    assert len({f.name for f in found}) == len(found) > 20


def test_what_needs_doing_says_what_to_do() -> None:
    for check, case in CASES.values():
        found = check(case)
        for finding in found if isinstance(found, tuple) else (found,):
            assert (finding.fix is None) == (finding.level == "fine"), finding
            assert "\n" not in finding.found + (finding.fix or ""), finding

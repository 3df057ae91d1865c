"""A board that is well, to make ill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgefreeze import targets
from edgefreeze.doctor.case import Case, Health, Link, Policy, Runtime
from edgefreeze.types import DeviceFacts

MOUNTS = "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\nproc /proc proc rw 0 0\n"
DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 30358896 5 29 1% /\n"

FACTS = DeviceFacts(
    machine="aarch64",
    python="3.11.2",
    python_executable="/usr/bin/python3",
    libc="glibc 2.36",
    platform="linux-aarch64",
    bits=64,
    cpu_model="Cortex-A72",
    cpu_features=("asimd", "cpuid", "crc32", "evtstrm", "fp"),
    cpu_count=4,
    ram_bytes=3_900_000_000,
    ram_available_bytes=3_200_000_000,
    disk_free_bytes=20_000_000_000,
    disk_free_inodes=900_000,
    board="Raspberry Pi 4 Model B Rev 1.4",
    os="Debian GNU/Linux 12 (bookworm)",
    kernel="6.6.51+rpt-rpi-v8",
    governor="performance",
    cpu_mhz=1800.0,
    temperature_c=51.1,
    load_1m=0.1,
    swap_used_bytes=0,
)
HEALTH = Health(
    texts={"mounts": MOUNTS, "df": DF, "throttled": "throttled=0x0\n"},
    policies=(
        Policy(
            cpus="0 1 2 3", governor="performance", now_khz=1_800_000, max_khz=1_800_000, able_khz=1_800_000
        ),
    ),
    zones={"cpu-thermal": 51.1},
    now=1_000_000.5,
    uname="aarch64",
    page_bytes=4096,
    user=1000,
    root="/home/pi/.edgefreeze",
)
LINK = Link(
    destination="cam1",
    address="pi@192.0.2.17 port 22",
    known="ssh-ed25519 in /home/you/.ssh/known_hosts",
    round_trips_ms=(3.1, 2.9, 4.0),
)
LITERT = Runtime(name="litert", formats=("tflite",), first=True, bring="ai-edge-litert>=2.2", unpacked_mb=100)
TENSORFLOW = Runtime(
    name="tensorflow",
    formats=("frozen_pb", "saved_model"),
    first=False,
    bring="tensorflow==2.21.*",
    unpacked_mb=1500,
)


def well(
    *,
    facts: dict[str, Any] | None = None,
    health: dict[str, Any] | None = None,
    texts: dict[str, str] | None = None,
    target: str = "pi4",
    **more: Any,
) -> Case:
    """A board in good order but for what is said here; texts are added to its health's."""
    seen = replace(HEALTH, **(health or {}))
    seen = replace(seen, texts={**seen.texts, **(texts or {})})
    usual: dict[str, Any] = {
        "link": LINK,
        "asked_at": 1_000_000.0,
        "answered_at": 1_000_001.0,
        "others": ("generic-arm64", "pi4"),
        "runtimes": (LITERT, TENSORFLOW),
    }
    return Case(
        target=targets.load(target),
        facts=replace(FACTS, **(facts or {})),
        health=seen,
        **{**usual, **more},
    )


@pytest.fixture
def healthy() -> Case:
    """A board with nothing wrong."""
    return well()

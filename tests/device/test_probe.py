import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.device import probe, readings
from edgefreeze.types import DeviceFacts

PI4 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

processor\t: 1
Features\t: fp asimd evtstrm crc32 cpuid

Revision\t: c03112
Serial\t\t: 10000000abcdef01
Model\t\t: Raspberry Pi 4 Model B Rev 1.2
"""
PI3_32BIT = """processor\t: 0
model name\t: ARMv7 Processor rev 4 (v7l)
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32
CPU implementer\t: 0x41
CPU part\t: 0xd03
"""
X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 7763 64-Core Processor
flags\t\t: fpu vme avx avx2
processor\t: 1
"""
APPLE = "processor\t: 0\nCPU implementer\t: 0x61\nCPU part\t: 0x022\n"


def test_cpuinfo_of_a_pi_4() -> None:
    found = readings.parse_cpuinfo(PI4)
    assert found["cpu_model"] == "Cortex-A72"
    assert found["cpu_count"] == 2
    assert "asimd" in found["cpu_features"]
    assert found["board"] == "Raspberry Pi 4 Model B Rev 1.2"


@pytest.mark.parametrize(
    ("text", "model", "count"),
    [
        (PI3_32BIT, "Cortex-A53", 1),
        (X86, "AMD EPYC 7763 64-Core Processor", 2),
        (APPLE, "CPU implementer 0x61 part 0x022", 1),
        ("", None, 1),
    ],
)
def test_cpuinfo(text: str, model: str | None, count: int) -> None:
    found = readings.parse_cpuinfo(text)
    assert (found["cpu_model"], found["cpu_count"]) == (model, count)


def test_memory_is_told_in_bytes() -> None:
    text = (
        "MemTotal:  3884376 kB\nMemFree: 100 kB\nMemAvailable:  3000000 kB\n"
        "SwapTotal: 200 kB\nSwapFree: 50 kB\n"
    )
    assert readings.parse_meminfo(text) == {
        "ram_bytes": 3884376 * 1024,
        "ram_available_bytes": 3000000 * 1024,
        "swap_used_bytes": 150 * 1024,
    }
    old = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 10 kB\nCached: 200 kB\n"
    assert readings.parse_meminfo(old)["ram_available_bytes"] == 310 * 1024
    assert readings.parse_meminfo("") == {
        "ram_bytes": None,
        "ram_available_bytes": None,
        "swap_used_bytes": None,
    }


def test_a_process_has_its_size_and_its_peak_in_bytes() -> None:
    assert readings.parse_status_sizes("VmHWM:\t  200 kB\nVmRSS:\t  100 kB\n") == {
        "rss_bytes": 102400,
        "peak_bytes": 204800,
    }
    assert readings.parse_status_sizes("VmRSS: 1 kB\n")["peak_bytes"] == 1024


def test_the_system_has_its_pretty_name() -> None:
    assert readings.parse_os_release('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME=x\n') == (
        "Debian GNU/Linux 12 (bookworm)"
    )
    assert readings.parse_os_release("NAME='Alpine Linux'\n") == "Alpine Linux"
    assert readings.parse_os_release("nothing") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("throttled=0x0\n", ""),
        ("throttled=0x50005\n", "under-voltage, throttled, under-voltage since boot, throttled since boot"),
        (
            "throttled=0xe0000",
            "frequency capped since boot, throttled since boot, soft temperature limit since boot",
        ),
        ("VCHI initialization failed\n", None),
        ("", None),
    ],
)
def test_throttled(text: str, words: str | None) -> None:
    assert readings.parse_throttled(text) == words


@pytest.mark.parametrize(
    ("platform", "bits", "machine"),
    [
        ("linux-x86_64", 64, "x86_64"),
        ("linux-aarch64", 64, "aarch64"),
        ("linux-aarch64", 32, "armv7l"),
        ("linux-armv8l", 32, "armv7l"),
        ("linux-armv7l", 32, "armv7l"),
        ("linux-armv6l", 32, "armv6l"),
        ("linux-x86_64", 32, "i686"),
        ("macosx-14.0-arm64", 64, "aarch64"),
    ],
)
def test_machine_is_the_interpreters(platform: str, bits: int, machine: str) -> None:
    assert readings.abi_machine(platform, bits) == machine


NO_SIGNS: dict[str, str | None] = {
    "kernel_arch": None,
    "cpu_modalias": None,
    "thread_exe": None,
    "thread_maps": None,
    "cpuinfo": None,
}
REAL_PI = NO_SIGNS | {
    "kernel_arch": "aarch64\n",
    "cpu_modalias": "cpu:type:aarch64:feature:,0000",
    "thread_exe": "/usr/bin/python3.11",
    "cpuinfo": PI4,
}


@pytest.mark.parametrize(
    "sign",
    [
        {"kernel_arch": "x86_64"},
        {"cpu_modalias": "cpu:type:x86,ven0002fam0019mod0011:feature:,0000"},
        {"thread_exe": "/usr/bin/qemu-aarch64-static"},
        {"thread_maps": "7f8156a00000-7f8156c28000 r--p 0 fe:00 2 /usr/bin/qemu-aarch64-static\n7ff r--p x"},
        {"cpuinfo": X86},
    ],
    ids=lambda sign: next(iter(sign)),
)
def test_any_one_sign_gives_an_emulator_away(sign: dict[str, str]) -> None:
    assert readings.is_emulated("aarch64", REAL_PI | sign)
    assert readings.is_emulated("aarch64", NO_SIGNS | sign)


def test_what_is_no_emulation() -> None:
    assert not readings.is_emulated("aarch64", REAL_PI)
    assert not readings.is_emulated("armv7l", REAL_PI)  # a 32-bit system on a 64-bit kernel
    assert not readings.is_emulated("aarch64", NO_SIGNS)
    x86 = NO_SIGNS | {"kernel_arch": "x86_64", "cpu_modalias": "cpu:type:x86,ven0000", "cpuinfo": X86}
    assert not readings.is_emulated("x86_64", x86)
    assert not readings.is_emulated("i686", x86)
    assert not readings.is_emulated("riscv64", NO_SIGNS | {"kernel_arch": "riscv64"})
    assert readings.is_emulated("x86_64", NO_SIGNS | {"kernel_arch": "aarch64"})


@given(st.text())
def test_parsers_take_any_text(text: str) -> None:
    readings.parse_cpuinfo(text)
    readings.parse_meminfo(text)
    readings.parse_os_release(text)
    readings.parse_throttled(text)
    readings.is_emulated("aarch64", dict.fromkeys(NO_SIGNS, text))


def test_facts_of_this_machine_are_device_facts(tmp_path: Any) -> None:
    facts = probe.device_facts(str(tmp_path))
    found = msgspec.convert(facts, DeviceFacts, strict=True)
    assert set(facts) == set(DeviceFacts.__dataclass_fields__)
    assert found.machine == os.uname().machine
    assert found.packages["numpy"]
    assert found.cpu_count >= 1
    assert found.ram_bytes
    assert found.disk_free_bytes

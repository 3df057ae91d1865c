"""What real devices said, as it was published, and what the parsers make of it.

KIND/NAME.txt: the first line says where the text was found (a repository on GitHub, its path and commit);
the rest is the text, as it stands there. What is expected was written down by reading it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.device import readings, tegra, trtexec

HERE = Path(__file__).parent
GIB = 1024**3


def cpu(
    model: str | None, count: int, board: str | None = None, has: str = "", lacks: str = ""
) -> dict[str, Any]:
    return {
        "model": model,
        "count": count,
        "board": board,
        "has": set(has.split()),
        "lacks": set(lacks.split()),
    }


def root(device: str, total: int, free: int, rows: int) -> dict[str, Any]:
    """Sizes in KiB, as they stand in the text."""
    return {"device": device, "bytes": total * 1024, "free_bytes": free * 1024, "rows": rows}


def clocks(
    machine: str, governor: str, khz: tuple[int, int], gpu_hz: tuple[int, int, int], **more: Any
) -> dict[str, Any]:
    return {"machine": machine, "governor": governor, "khz": khz, "gpu_hz": gpu_hz, **more}


def activity(
    ram: tuple[int, int],
    swap: tuple[int | None, int | None],
    cpus: list[str],
    gpu: tuple[int | None, list[int]],
    hottest: tuple[str, float] | None,
    power: tuple[str, int] | None,
    rails: int,
) -> dict[str, Any]:
    return {
        "ram": ram, "swap": swap, "cpus": cpus, "gpu": gpu, "hottest": hottest, "power": power, "rails": rails,
    }  # fmt: skip


def built(
    version: str | None,
    passed: bool | None,
    device: str | None,
    seconds: float | None = None,
    reasons: tuple[str, ...] = (),
) -> dict[str, Any]:
    return {"version": version, "passed": passed, "device": device, "seconds": seconds, "reasons": reasons}


ADA = "NVIDIA RTX 6000 Ada Generation"

EXPECTED: dict[str, Any] = {
    "cpuinfo/allwinner-d1-riscv-without-a-model": cpu("thead,c906", 1),
    "cpuinfo/ampere-one": cpu("CPU implementer 0xc0 part 0xac4", 1, has="asimd i8mm bf16", lacks="sve"),
    "cpuinfo/beagleboard-without-numbers": cpu("Cortex-A8", 1, has="neon vfpv3", lacks="vfpv4"),
    "cpuinfo/core2-without-avx": cpu(
        "Intel(R) Core(TM)2 Duo CPU     P8700  @ 2.53GHz", 1, has="ssse3 sse2", lacks="avx sse4_1"
    ),
    "cpuinfo/feroceon-armv5": cpu("CPU implementer 0x56 part 0x131", 1, has="edsp", lacks="vfp neon"),
    "cpuinfo/graviton-a72": cpu("Cortex-A72", 1, has="asimd aes", lacks="atomics"),
    "cpuinfo/graviton2-neoverse-n1": cpu("Neoverse-N1", 1, has="atomics asimddp", lacks="i8mm"),
    "cpuinfo/jh7110-riscv-harts-out-of-order": cpu("sifive,u74-mc", 4),
    "cpuinfo/msm7201a-armv6": cpu("ARM1136", 1, has="java", lacks="vfp"),
    "cpuinfo/msm8956-one-part-for-six-cores": cpu("Cortex-A53", 6, has="asimd crc32"),
    "cpuinfo/neoverse-v3ae": cpu("Neoverse-V3AE", 1, has="asimddp sve2 i8mm bf16"),
    "cpuinfo/odroid-xu4-big-little": cpu("Cortex-A7 + Cortex-A15", 8, has="neon vfpv4", lacks="crc32"),
    "cpuinfo/orin-nx": cpu("Cortex-A78AE", 6, has="atomics asimdhp asimddp", lacks="sve"),
    "cpuinfo/pandaboard-features-after-the-cores": cpu("Cortex-A9", 2, has="neon vfpv3", lacks="vfpv4"),
    "cpuinfo/phytium-two-unknown-parts": cpu(
        "CPU implementer 0x70 part 0x303 + CPU implementer 0x70 part 0x664", 4, has="asimd sha3"
    ),
    "cpuinfo/pi-zero": cpu("ARM1176", 1, "Raspberry Pi Zero Rev 1.3", has="vfp", lacks="neon"),
    "cpuinfo/pi1-armv6": cpu("ARM1176", 1, has="vfp", lacks="neon"),
    "cpuinfo/pi3-32bit": cpu("Cortex-A53", 4, has="neon vfpv4 crc32", lacks="asimd"),
    "cpuinfo/pi3-32bit-with-model": cpu("Cortex-A53", 4, "Raspberry Pi 3 Model B Rev 1.2", has="neon"),
    "cpuinfo/pi4-64bit": cpu(
        "Cortex-A72", 4, "Raspberry Pi 4 Model B Rev 1.1", has="asimd crc32", lacks="aes"
    ),
    "cpuinfo/pi5": cpu("Cortex-A76", 4, "Raspberry Pi 5 Model B Rev 1.0", has="asimdhp asimddp atomics"),
    "cpuinfo/pine64-a53": cpu("Cortex-A53", 4, has="asimd aes"),
    "cpuinfo/riscv-spacemit-x60": cpu("Spacemit(R) X60", 1),
    "cpuinfo/rk3399-two-clusters": cpu("Cortex-A53 + Cortex-A72", 6, has="asimd", lacks="cpuid"),
    "cpuinfo/xavier-carmel": cpu("Carmel", 6, has="atomics asimdhp", lacks="asimddp"),
    "os-release/alpine": "Alpine Linux v3.23",
    "os-release/amazon-linux-2": "Amazon Linux 2",
    "os-release/arch-linux-arm-without-version": "Arch Linux ARM",
    "os-release/buildroot-bare-name": "Buildroot 2019.02.9",
    "os-release/debian-testing-without-version": "Debian GNU/Linux stretch/sid",
    "os-release/debian13": "Debian GNU/Linux 13 (trixie)",
    "os-release/devuan": "Devuan GNU/Linux 5 (daedalus)",
    "os-release/fedora42": "Fedora Linux 42 (Forty Two)",
    "os-release/openwrt": "OpenWrt 22.03.4",
    "os-release/raspbian12": "Raspbian GNU/Linux 12 (bookworm)",
    "os-release/sle-micro": "SUSE Linux Enterprise Micro 5.1",
    "os-release/ubios": "UbiOS 1.12.24.4315",
    "os-release/ubuntu24": "Ubuntu 24.04.3 LTS",
    "os-release/wind-river-unquoted": "Wind River Linux 7.0.0.2",
    "df/human-sizes-of-an-lvm-root": root("/dev/mapper/centos-root", 17 << 20, 16 << 20, 7),
    "df/kib-of-an-lvm-root": root("/dev/mapper/centos-root", 17811456, 16005876, 7),
    "df/pi4-under-ubuntu": {
        "device": "/dev/mmcblk0p2",
        "bytes": 15 * GIB,
        "free_bytes": round(3.3 * GIB),
        "rows": 7,
    },
    "df/pi5-root-twice": {
        "device": "/dev/mmcblk0p2",
        "bytes": 117 * GIB,
        "free_bytes": 105 * GIB,
        "rows": 2,
    },
    "df/posix-with-types-and-a-long-name": root("/dev/mapper/VolGroup00-LogVol00", 6030784, 4571556, 3),
    "df/snaps-that-are-always-full": root("/dev/sda2", 20508240, 13695408, 18),
    "meminfo/vm-with-4-gb": {
        "ram_bytes": 3997272 * 1024,
        "ram_available_bytes": 3386876 * 1024,
        "swap_used_bytes": 0,
    },
    "model/pi3b": "Raspberry Pi 3 Model B Rev 1.2",
    "model/pi3b-plus": "Raspberry Pi 3 Model B Plus Rev 1.3",
    "model/pi5": "Raspberry Pi 5 Model B Rev 1.1",
    "throttled/pi5-once-low": ([], ["under-voltage", "throttled"]),
    "nv_tegra_release/r32-tx2": {
        "l4t": "32.5.1",
        "board": "t186ref",
        "date": "Fri Feb 19 16:50:29 UTC 2021",
    },
    "nvpmodel/orin-nano-15w": {"name": "15W", "id": 0},
    "jetson-clocks/nano-default": clocks(
        "jetson-nano",
        "schedutil",
        (102000, 1428000),
        (76800000, 921600000, 153600000),
        cpus=4,
        pinned=False,
        mode="MAXN",
        emc_now=1600000000,
    ),
    "jetson-clocks/orin-nano-from-a-snap": clocks(
        "NVIDIA Jetson Orin Nano Developer Kit",
        "ondemand",
        (729600, 1510400),
        (306000000, 624750000, 306000000),
        cpus=6,
        pinned=False,
        mode=None,
        emc_now=665600000,
    ),
    "jetson-clocks/tx1-l4t28-gonvernor": clocks(
        "jetson_tx1",
        "interactive",
        (1734000, 1734000),
        (998400000, 998400000, 998400000),
        cpus=4,
        pinned=True,
        mode=None,
        emc_now=1600000000,
    ),
    "tegrastats/agx-orin-busy": activity(
        (4162, 62841),
        (0, 31421),
        [
            "38@2201",
            "35@2201",
            "41@2201",
            "41@2201",
            "34@2201",
            "34@2201",
            "28@2201",
            "64@2201",
            "45@2035",
            "33@2035",
            "34@2035",
            "30@2035",
        ],
        (0, [305, 305]),
        ("tj", 49.937),
        ("VIN_SYS_5V0", 5024),
        4,
    ),
    "tegrastats/agx-orin-encoding": activity(
        (18207, 62841),
        (86, 31420),
        [
            "14@2188",
            "5@2112",
            "8@2035",
            "14@2201",
            "46@1267",
            "47@1267",
            "2@1267",
            "10@1267",
            "4@1036",
            "5@1036",
            "6@1036",
            "10@1036",
        ],
        (0, [0, 0]),
        ("cpu", 52.562),
        ("VDD_GPU_SOC", 2412),
        3,
    ),
    "tegrastats/agx-thor-idle": activity(
        (4208, 125773),
        (0, 2048),
        [f"{n}@972" for n in (1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 3, 0, 0, 1)],
        (None, [0, 0, 0]),
        ("tj", 34.5),
        ("VDD_CPU_SOC_MSS", 4165),
        3,
    ),
    "tegrastats/agx-xavier-rails-without-vdd": activity(
        (1903, 15692),
        (None, None),
        [f"{n}@1190" for n in (1, 1, 2, 0, 0, 0, 0, 0)],
        (0, []),
        ("PMIC", 100.0),
        ("SYS5V", 1889),
        6,
    ),
    "tegrastats/tx1-iram-and-no-swap": activity(
        (1179, 3983),
        (None, None),
        ["1@102", "4@102", "0@102", "0@102"],
        (0, [76]),
        ("PMIC", 100.0),
        ("VDD_IN", 2532),
        3,
    ),
    "tegrastats/tx1-l4t28-one-clock-for-all": activity(
        (3468, 3983), (873, 8192), ["17@408", "13@408", "29@408", "5@408"], (3, [76]), None, None, 0
    ),
    "tegrastats/tx2-five-cores-off": activity(
        (1345, 7829),
        (0, 512),
        ["2@345", "off", "off", "off", "off", "off"],
        (0, [114]),
        ("PMIC", 100.0),
        ("VDD_GPU", 400),
        6,
    ),
    "tegrastats/tx2-idle-with-wifi-rail": activity(
        (1404, 7860),
        (0, 3930),
        ["0@345", "0@960", "0@960", "0@345", "0@345", "0@345"],
        (0, []),
        ("PMIC", 100.0),
        ("VDD_4V0_WIFI", 0),
        6,
    ),
    "trtexec/7-without-a-version": built(None, True, None),
    "trtexec/8.5-no-format-of-a-plugin": built(
        "8.5.10",
        False,
        None,
        reasons=(
            "Error Code 9: Internal Error (/SCA_IndexRebatch_TRT: could not find any supported formats consistent"
            " with input/output data types)",
            "Error Code 2: Internal Error (Assertion engine != nullptr failed. )",
            "Engine could not be created from network",
        ),
    ),
    "trtexec/10.6-help": built("10.6.0", None, None),
    "trtexec/10.16-build-alone": built("10.16.0", True, ADA, 2.84511),
    "trtexec/10.16-profile": built("10.16.0", True, ADA),
    "trtexec/orin-8.4-aborts": built(
        "8.4.10", None, "Orin", reasons=('Assertion `0 && "Unsupported type"\' failed',)
    ),
    "tegrastats/tx2-with-rails": activity(
        (1873, 3830),
        (None, None),
        ["8@2016", "26@2034", "24@2035", "7@2026", "7@2034", "6@2034"],
        (0, [114]),
        ("PMIC", 50.0),
        ("VDD_IN", 2930),
        5,
    ),
}


def files() -> dict[str, Path]:
    return {f"{file.parent.name}/{file.stem}": file for file in sorted(HERE.glob("*/*.txt"))}


def text_of(name: str) -> str:
    return files()[name].read_text(encoding="utf-8").partition("\n")[2]


def check_cpuinfo(text: str, expected: dict[str, Any]) -> None:
    found = readings.parse_cpuinfo(text)
    features = set(found["cpu_features"])
    assert (found["cpu_model"], found["cpu_count"]) == (expected["model"], expected["count"])
    assert found["board"] == expected["board"]
    assert expected["has"] <= features
    assert not expected["lacks"] & features


def check_df(text: str, expected: dict[str, Any]) -> None:
    rows = readings.parse_df(text)
    found = next(row for row in rows if row["mount"] == "/")
    assert len(rows) == expected["rows"]
    assert {key: found[key] for key in ("device", "bytes", "free_bytes")} == {
        key: expected[key] for key in ("device", "bytes", "free_bytes")
    }


def check_clocks(text: str, expected: dict[str, Any]) -> None:
    found = tegra.parse_clocks(text)
    assert found is not None
    assert (found["machine"], found["mode"], found["pinned"]) == (
        expected["machine"],
        expected["mode"],
        expected["pinned"],
    )
    assert [entry["cpu"] for entry in found["cpus"]] == list(range(expected["cpus"]))
    for entry in found["cpus"]:
        assert entry["online"]
        assert (entry["governor"], (entry["min"], entry["max"])) == (expected["governor"], expected["khz"])
    assert (found["gpu"]["min"], found["gpu"]["max"], found["gpu"]["now"]) == expected["gpu_hz"]
    assert found["emc"]["now"] == expected["emc_now"]


def check_activity(text: str, expected: dict[str, Any]) -> None:
    found = tegra.parse_activity(text)
    assert found is not None
    assert (found["ram_used_mb"], found["ram_total_mb"]) == expected["ram"]
    assert (found["swap_used_mb"], found["swap_total_mb"]) == expected["swap"]
    assert [f"{c['load']}@{c['mhz']}" if c else "off" for c in found["cpus"]] == expected["cpus"]
    assert (found["gpu_load"], found["gpu_mhz"]) == expected["gpu"]
    degrees = found["temperatures"]
    assert (max(degrees.items(), key=lambda t: t[1]) if degrees else None) == expected["hottest"]
    assert len(found["power_mw"]) == expected["rails"]
    if expected["power"]:
        name, milliwatts = expected["power"]
        assert found["power_mw"][name] == milliwatts


def equals(parse: Callable[[str], Any]) -> Callable[[str, Any], None]:
    def check(text: str, expected: Any) -> None:
        assert parse(text) == expected

    return check


def throttled(text: str) -> tuple[list[str], list[str]]:
    bits = readings.throttled_bits(text)
    assert bits is not None
    return readings.throttled_words(bits)


def check_trtexec(text: str, expected: dict[str, Any]) -> None:
    assert {
        "version": trtexec.parse_version(text),
        "passed": trtexec.parse_passed(text),
        "device": trtexec.parse_device(text),
        "seconds": trtexec.parse_build_seconds(text),
        "reasons": tuple(trtexec.parse_reasons(text)),
    } == expected
    # The banner says the same as the log's own line, where there are both.
    banner = text.splitlines()[0]
    assert trtexec.parse_version(banner) in (expected["version"], None)


CHECKS: dict[str, Callable[[str, Any], None]] = {
    "cpuinfo": check_cpuinfo,
    "os-release": equals(readings.parse_os_release),
    "df": check_df,
    "meminfo": equals(readings.parse_meminfo),
    "model": equals(lambda text: text.strip("\x00\n ")),  # as device/probe.py reads a file
    "throttled": equals(throttled),
    "nv_tegra_release": equals(tegra.parse_tegra_release),
    "nvpmodel": equals(tegra.parse_power_mode),
    "jetson-clocks": check_clocks,
    "tegrastats": check_activity,
    "trtexec": check_trtexec,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_it_says_is_read(name: str) -> None:
    CHECKS[name.split("/")[0]](text_of(name), EXPECTED[name])


def test_every_text_has_a_case_and_says_where_it_was_published() -> None:
    assert set(files()) == set(EXPECTED)
    assert len(EXPECTED) >= 60
    for name, file in files().items():
        first = file.read_text(encoding="utf-8").split("\n")[0]
        assert re.match(r"published: github\.com/[\w.-]+/[\w.-]+ \S+", first), name


def test_no_two_are_the_same() -> None:
    texts = [" ".join(re.sub(r"(?m)^(Serial|Revision).*$", "", text_of(name)).split()) for name in EXPECTED]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_parser_minds_the_text_of_another(name: str) -> None:
    text = text_of(name)
    readings.parse_cpuinfo(text)
    readings.parse_meminfo(text)
    readings.parse_mounts(text)
    for parse, kinds in (
        (readings.parse_df, {"df"}),
        (readings.throttled_bits, {"throttled"}),
        (tegra.parse_tegra_release, {"nv_tegra_release"}),
        (tegra.parse_power_mode, {"nvpmodel", "jetson-clocks"}),
        (tegra.parse_clocks, {"jetson-clocks"}),
        (tegra.parse_activity, {"tegrastats"}),
        (trtexec.parse_version, {"trtexec"}),
        (trtexec.parse_passed, {"trtexec"}),
        (trtexec.parse_reasons, {"trtexec"}),
    ):
        if name.split("/")[0] not in kinds:
            assert not parse(text), (name, parse)

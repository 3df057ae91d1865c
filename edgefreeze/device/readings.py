"""What boards say of themselves, as facts: pure functions of captured text, for the device and for the host.

What is not to be had is None or left out: text of a board that nobody has seen is the usual case. What only
one maker's boards say is read in device/tegra.py.
"""

import os
import re
from typing import Any, Dict, List, Optional, Set, Tuple

_THROTTLE_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_ARM_CORES = {
    "0x926": "ARM926",
    "0xb36": "ARM1136",
    "0xb76": "ARM1176",
    "0xc05": "Cortex-A5",
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0d": "Cortex-A12",
    "0xc0e": "Cortex-A17",
    "0xc0f": "Cortex-A15",
    "0xd02": "Cortex-A34",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd0e": "Cortex-A76AE",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse-N2",
    "0xd4b": "Cortex-A78C",
    "0xd4d": "Cortex-A715",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd83": "Neoverse-V3AE",
    "0xd84": "Neoverse-V3",
}
"""MIDR's part numbers of Arm's own cores, as Linux has them in arch/arm64/include/asm/cputype.h."""
_OTHER_CORES = {("0x4e", "0x003"): "Denver 2", ("0x4e", "0x004"): "Carmel"}
"""Of other implementers (0x4e: NVIDIA)."""


def arm_core(implementer: str, part: str) -> str:
    """The name of an Arm core from its numbers in /proc/cpuinfo."""
    maker, number = implementer.lower(), part.lower()
    if maker in ("0x41", "") and number in _ARM_CORES:
        return _ARM_CORES[number]
    known = _OTHER_CORES.get((maker, number))
    return known or "CPU implementer %s part %s" % (implementer or "unknown", part)


def arm_part(core: str) -> Optional[str]:
    """The part number in /proc/cpuinfo of one of Arm's own cores; None of another."""
    return next((number for number, name in _ARM_CORES.items() if name == core), None)


def abi_machine(platform_tag: str, bits: int) -> str:
    """The machine that programs are built for, from sysconfig.get_platform() and the size of a pointer.

    A 32-bit Python on a 64-bit kernel says "linux-aarch64" and is armv7l.
    """
    machine = platform_tag.rpartition("-")[2].lower()
    machine = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}.get(machine, machine)
    if bits == 32:
        machine = {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
    return machine


def parse_cpuinfo(text: str) -> Dict[str, Any]:
    """/proc/cpuinfo as {"cpu_model", "cpu_features", "cpu_count", "board"}.

    Cores of several kinds are all named, in their order: "Cortex-A55 + Cortex-A76". The features are those
    that every core has.
    """
    fields: Dict[str, str] = {}
    cores: List[str] = []
    features: Optional[Set[str]] = None
    implementer = ""
    count = 0
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = key.strip(), value.strip()
        count += key == "processor" and value.isdigit()
        if value:
            fields.setdefault(key, value)
        if key == "CPU implementer":
            implementer = value
        elif key == "CPU part":
            cores.append(arm_core(implementer, value))
        elif key in ("Features", "flags"):
            features = set(value.split()) if features is None else features & set(value.split())
    # Beside a part a model name says no more than "ARMv7 Processor".
    model = " + ".join(dict.fromkeys(cores)) if cores else fields.get("model name") or fields.get("uarch")
    return {
        "cpu_model": model,
        "cpu_features": sorted(features or ()),
        "cpu_count": max(count, 1),
        "board": fields.get("Model"),
    }


def parse_sizes(text: str) -> Dict[str, int]:
    """Lines "Name:  123 kB" (/proc/meminfo, /proc/self/status) as bytes."""
    found = {}
    for name, kilobytes in re.findall(r"^([\w()]+):\s+(\d{1,15}) kB\s*$", text, re.MULTILINE):
        found[name] = int(kilobytes) * 1024
    return found


def parse_meminfo(text: str) -> Dict[str, Optional[int]]:
    """/proc/meminfo as {"ram_bytes", "ram_available_bytes", "swap_used_bytes"}.

    Kernels before 3.14 say nothing of what is available: what is free and cached comes close.
    """
    sizes = parse_sizes(text)
    available = sizes.get("MemAvailable")
    if available is None and "MemFree" in sizes:
        available = sizes["MemFree"] + sizes.get("Buffers", 0) + sizes.get("Cached", 0)
    swap = None
    if "SwapTotal" in sizes and "SwapFree" in sizes:
        swap = sizes["SwapTotal"] - sizes["SwapFree"]
    return {"ram_bytes": sizes.get("MemTotal"), "ram_available_bytes": available, "swap_used_bytes": swap}


def parse_status_sizes(text: str) -> Dict[str, int]:
    """/proc/self/status as {"rss_bytes", "peak_bytes"}."""
    sizes = parse_sizes(text)
    rss = sizes.get("VmRSS", 0)
    return {"rss_bytes": rss, "peak_bytes": max(sizes.get("VmHWM", 0), rss)}


def parse_os_release(text: str) -> Optional[str]:
    """The system's name from /etc/os-release."""
    fields = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields[key.strip()] = value.strip().strip("\"'")
    return fields.get("PRETTY_NAME") or fields.get("NAME") or None


def parse_df(text: str) -> List[Dict[str, Any]]:
    """`df`'s rows as [{"device", "bytes", "used_bytes", "free_bytes", "mount"}].

    Plain numbers are KiB (`df -k`), those with a letter as `df -h` has them, rounded. A device's long name
    may stand on a line of its own, and a column with the file system's type between.
    """
    rows = []
    carried = ""
    for line in text.splitlines():
        row = ("%s %s" % (carried, line)).strip()
        match = _DF_ROW.match(row)
        carried = row if match is None and len(row.split()) == 1 else ""
        if match:
            device, total, used, free, mount = match.groups()
            rows.append(
                {
                    "device": device,
                    "bytes": _df_bytes(total),
                    "used_bytes": _df_bytes(used),
                    "free_bytes": _df_bytes(free),
                    "mount": mount,
                }
            )
    return rows


_DF_SIZE = r"(-?\d+(?:\.\d+)?[BKMGTP]?i?)"
_DF_ROW = re.compile(r"(\S+)\s+(?:[a-z][\w.]*\s+)?" + r"\s+".join([_DF_SIZE] * 3) + r"\s+(?:\d+%|-)\s+(/.*)$")
_DF_UNITS = {"B": 1, "": 1024, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "P": 1024**5}


def _df_bytes(size: str) -> int:
    number = size.rstrip("BKMGTPi")
    return round(float(number) * _DF_UNITS[size[len(number) :].rstrip("i")])


def parse_mounts(text: str) -> List[Dict[str, Any]]:
    """/proc/mounts as [{"device", "mount", "type", "options"}], in their order: of several at one place the
    last is the one that is seen."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) >= 4:
            device, mount, kind, options = (_unescaped(field) for field in fields[:4])
            found.append({"device": device, "mount": mount, "type": kind, "options": options.split(",")})
    return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def throttled_bits(text: str) -> Optional[int]:
    """The number in `vcgencmd get_throttled`, None where it is no such output."""
    match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", text)
    return None if match is None else int(match.group(1), 16)


def parse_throttled(text: str) -> Optional[str]:
    """`vcgencmd get_throttled` in words: "" for none, None where it is no such output."""
    bits = throttled_bits(text)
    if bits is None:
        return None
    now, past = throttled_words(bits)
    return ", ".join([*now, *(name + " since boot" for name in past)])


def throttled_words(bits: int) -> Tuple[List[str], List[str]]:
    """(what is so now, what has been so since boot) of the number of `vcgencmd get_throttled`."""
    now = [name for bit, name in _THROTTLE_BITS.items() if bits >> bit & 1]
    return now, [name for bit, name in _THROTTLE_BITS.items() if bits >> (bit + 16) & 1]


def is_emulated(machine: str, signs: Dict[str, Optional[str]]) -> bool:
    """Whether this runs under user-mode emulation, by any of the signs that give it away.

    machine: what the interpreter was built for. signs, None where there is none:
    kernel_arch   /proc/sys/kernel/arch (Linux 6.1 and later): the kernel's own word
    cpu_modalias  /sys/devices/system/cpu/modalias: "cpu:type:x86,ven0000..."
    thread_exe    where /proc/thread-self/exe leads: the emulator hides itself in /proc/self only
    thread_maps   /proc/thread-self/maps, for the same reason
    cpuinfo       /proc/cpuinfo, which emulators before QEMU 8.1 show as the host's
    """
    family = _family(machine)
    exe = os.path.basename(signs.get("thread_exe") or "")
    if exe.startswith("qemu-") or re.search(
        r"/qemu-[a-z0-9_]+(-static)?$", signs.get("thread_maps") or "", re.M
    ):
        return True
    if family is None:
        return False
    kernel = _family((signs.get("kernel_arch") or "").strip())
    modalias = re.match(r"cpu:type:(\w+)", signs.get("cpu_modalias") or "")
    cpu = _family(modalias.group(1)) if modalias else None
    cpuinfo = signs.get("cpuinfo") or ""
    shown = "x86" if re.search(r"^vendor_id\s*:", cpuinfo, re.M) else None
    return any(other is not None and other != family for other in (kernel, cpu, shown))


def _family(machine: str) -> Optional[str]:
    if machine in ("x86_64", "x86", "i386", "i686"):
        return "x86"
    if machine.startswith(("arm", "aarch64")):
        return "arm"
    return None

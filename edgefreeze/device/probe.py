"""What kind of device this is: pure parsers of captured text, and a thin reader that captures it.

The facts are the fields of edgefreeze.types.DeviceFacts. Whatever cannot be found is None: a probe that
fails on a strange board is worse than one that knows less.
"""

import glob
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from typing import Any, Dict, List, Optional, Tuple

PACKAGES = (
    "ai-edge-litert",
    "numpy",
    "onnxruntime",
    "tensorflow",
    "tensorflow-cpu",
    "tflite-runtime",
)
_THROTTLE_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_SENSOR_TIMEOUT_S = 2.0

# --- pure


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
    """/proc/cpuinfo as {"cpu_model", "cpu_features", "cpu_count", "board"}."""
    fields: Dict[str, str] = {}
    count = 0
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = key.strip(), value.strip()
        count += key == "processor"
        if value:
            fields.setdefault(key, value)
    model = fields.get("model name")
    if "CPU part" in fields:  # beside it a model name says no more than "ARMv7 Processor"
        model = _arm_core(fields.get("CPU implementer", ""), fields["CPU part"])
    features = fields.get("Features") or fields.get("flags") or ""
    return {
        "cpu_model": model,
        "cpu_features": sorted(set(features.split())),
        "cpu_count": max(count, 1),
        "board": fields.get("Model"),
    }


def _arm_core(implementer: str, part: str) -> str:
    cores = {
        "0xb76": "ARM1176",
        "0xc07": "Cortex-A7",
        "0xc08": "Cortex-A8",
        "0xc09": "Cortex-A9",
        "0xc0f": "Cortex-A15",
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
        "0xd40": "Neoverse-V1",
        "0xd41": "Cortex-A78",
        "0xd42": "Cortex-A78AE",
        "0xd49": "Neoverse-N2",
    }
    if implementer.lower() in ("0x41", "") and part.lower() in cores:
        return cores[part.lower()]
    return "CPU implementer %s part %s" % (implementer or "unknown", part)


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


def parse_throttled(text: str) -> Optional[str]:
    """`vcgencmd get_throttled` in words: "" for none, None where it is no such output."""
    match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", text)
    if match is None:
        return None
    bits = int(match.group(1), 16)
    now = [name for bit, name in _THROTTLE_BITS.items() if bits >> bit & 1]
    past = [name + " since boot" for bit, name in _THROTTLE_BITS.items() if bits >> (bit + 16) & 1]
    return ", ".join(now + past)


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


# --- reading


def read_text(path: str, limit: int = 1 << 20) -> Optional[str]:
    """A small file's text without the NUL that device-tree files end with, None where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(limit).decode("utf-8", "replace").strip("\x00\n ")
    except OSError:
        return None


def _link(path: str) -> Optional[str]:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _ask(*command: str) -> Optional[str]:
    """A program's output, None where it is missing, fails or takes longer than 2 s."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SENSOR_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace")


def _libc() -> str:
    name, version = platform.libc_ver()
    if name:
        return "%s %s" % (name, version)
    for loader in sorted(glob.glob("/lib/ld-musl-*.so.1")):
        match = re.search(r"Version (\S+)", _ask(loader) or "")
        return "musl %s" % (match.group(1) if match else "of unknown version")
    return "unknown"


def _packages() -> Dict[str, str]:
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except Exception:  # noqa: S112 - a broken installation is as good as none
            continue
    return found


def interpreter_facts() -> Dict[str, Any]:
    """Facts about the Python that runs this: its ABI and its packages."""
    bits = 8 * struct.calcsize("P")
    return {
        "machine": abi_machine(sysconfig.get_platform(), bits),
        "python": platform.python_version(),
        "python_executable": sys.executable,
        "libc": _libc(),
        "platform": sysconfig.get_platform(),
        "bits": bits,
        "packages": _packages(),
    }


def environment(root: str = "") -> Dict[str, Any]:
    """What may change while measuring: governor, clock, temperature, throttling, load, memory.

    root: a folder of captured files, for tests; "" reads the device's own."""
    frequency = root + "/sys/devices/system/cpu/cpu0/cpufreq/"
    kilohertz = read_text(frequency + "scaling_cur_freq") or ""
    throttled = _ask("vcgencmd", "get_throttled")
    memory = parse_meminfo(read_text(root + "/proc/meminfo") or "")
    return {
        "governor": read_text(frequency + "scaling_governor"),
        "cpu_mhz": int(kilohertz) / 1000 if kilohertz.isdigit() else None,
        "temperature_c": _temperature(root),
        "throttled": None if throttled is None else parse_throttled(throttled),
        "load_1m": os.getloadavg()[0],
        "ram_available_bytes": memory["ram_available_bytes"],
        "swap_used_bytes": memory["swap_used_bytes"],
    }


def _temperature(root: str) -> Optional[float]:
    """The hottest plausible thermal zone, in degrees Celsius."""
    degrees: List[float] = []
    for path in glob.glob(root + "/sys/class/thermal/thermal_zone*/temp"):
        text = read_text(path) or ""
        if re.fullmatch(r"-?\d{1,7}", text) and -40_000 <= int(text) <= 150_000:
            degrees.append(int(text) / 1000)
    return max(degrees, default=None)


def _disk(root: str) -> Tuple[Optional[int], Optional[int]]:
    try:
        found = os.statvfs(root)
    except OSError:
        return None, None
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None


def emulation_signs() -> Dict[str, Optional[str]]:
    """The texts that is_emulated() judges."""
    return {
        "kernel_arch": read_text("/proc/sys/kernel/arch"),
        "cpu_modalias": read_text("/sys/devices/system/cpu/modalias", 4096),
        "thread_exe": _link("/proc/thread-self/exe"),
        "thread_maps": read_text("/proc/thread-self/maps"),
        "cpuinfo": read_text("/proc/cpuinfo"),
    }


def device_facts(root: str, interpreter: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """All facts, with those of another interpreter (interpreter_facts() run in it) where one is given."""
    facts: Dict[str, Any] = dict(interpreter or interpreter_facts())
    cpu = parse_cpuinfo(read_text("/proc/cpuinfo") or "")
    board = read_text("/proc/device-tree/model") or cpu["board"]
    facts.update(cpu, board=board or read_text("/sys/class/dmi/id/product_name") or None)
    facts.update(parse_meminfo(read_text("/proc/meminfo") or ""))
    facts.update(environment())
    facts["disk_free_bytes"], facts["disk_free_inodes"] = _disk(root)
    facts["os"] = parse_os_release(read_text("/etc/os-release") or "")
    facts["kernel"] = platform.release()
    facts["hostname"] = platform.node() or None
    facts["emulated"] = is_emulated(facts["machine"], emulation_signs())
    return facts

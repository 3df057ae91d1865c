"""What a device is and how it fares: a thin reader that captures text (device/readings.py makes facts of it).

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

from edgefreeze.device.readings import (
    abi_machine,
    is_emulated,
    parse_cpuinfo,
    parse_meminfo,
    parse_os_release,
    parse_throttled,
)

PACKAGES = (
    "ai-edge-litert",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorflow",
    "tensorflow-cpu",
    "tflite-runtime",
)
_SENSOR_TIMEOUT_S = 2.0


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


def device_facts(
    root: str, interpreter: Optional[Dict[str, Any]] = None, programs: Optional[Dict[str, str]] = None
) -> Dict[str, Any]:
    """All facts, with those of another interpreter (interpreter_facts() run in it) where one is given.

    programs: those of the board's own that run models, with their versions (engines.programs()).
    """
    facts: Dict[str, Any] = dict(interpreter or interpreter_facts())
    cpu = parse_cpuinfo(read_text("/proc/cpuinfo") or "")
    board = read_text("/proc/device-tree/model") or cpu["board"]
    facts.update(cpu, board=board or read_text("/sys/class/dmi/id/product_name") or None)
    facts.update(parse_meminfo(read_text("/proc/meminfo") or ""))
    facts.update(environment())
    facts["disk_free_bytes"], facts["disk_free_inodes"] = _disk(root)
    facts["os"] = parse_os_release(read_text("/etc/os-release") or "")
    facts["kernel"] = platform.release()
    facts["cpus"] = sorted(os.sched_getaffinity(0))
    facts["hostname"] = platform.node() or None
    facts["programs"] = dict(programs or {})
    facts["emulated"] = is_emulated(facts["machine"], emulation_signs())
    return facts

"""How a device fares, for the doctor: texts as its files and programs give them, and some numbers.

The device collects and the host judges: parsers are pure and shared (device/readings.py, device/tegra.py).
Every program has a deadline, its output a limit; what is not there is left out.
"""

import glob
import os
import platform
import select
import shutil
import signal
import subprocess
import time
from typing import Any, Dict, List, Optional, Tuple

from edgefreeze.device.probe import read_text

LIMIT = 64 * 1024
DEADLINE_S = 3.0
_SAMPLE_S = 0.3
_BUSIEST = 3
_FILES = {"mounts": "/proc/mounts", "maker_release": "/etc/nv_tegra_release"}
_PROGRAMS: Dict[str, Tuple[str, ...]] = {
    "throttled": ("vcgencmd", "get_throttled"),
    "power_mode": ("nvpmodel", "-q"),
    "clocks": ("jetson_clocks", "--show"),
    "activity": ("tegrastats", "--interval", "500"),
}
_ENDLESS = ("activity",)
"""Programs that go on until they are stopped: their first line is all that is wanted."""
_PLACES = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin:/opt/vc/bin"
"""Where such programs are though a login that runs no shell does not look there."""


def collect(root: str) -> Dict[str, Any]:
    """{"texts", "policies", "zones", "busiest", "now", "uname", "page_bytes", "user", "root", "writable"}.

    texts: by name, what files and programs said. policies: the CPU clusters' governors and frequencies in
    kHz. zones: thermal zones in degrees Celsius. busiest: processes that take more than a tenth of a core.
    """
    texts = {name: read_text(path, LIMIT) for name, path in _FILES.items()}
    commands = {**_PROGRAMS, "df": ("df", "-P", "-k", root)}
    texts.update({name: ask(command, name in _ENDLESS) for name, command in commands.items()})
    return {
        "texts": {name: text for name, text in texts.items() if text},
        "policies": _policies(),
        "zones": _zones(),
        "busiest": _busiest(),
        "now": time.time(),
        "uname": platform.machine(),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "user": os.geteuid(),
        "root": root,
        "writable": os.access(root, os.W_OK | os.X_OK),
    }


def ask(command: Tuple[str, ...], endless: bool = False, deadline_s: float = DEADLINE_S) -> Optional[str]:
    """What a program prints, at most LIMIT bytes of it; None where there is no such program or it prints
    nothing in time. endless: stop it after its first line."""
    path = shutil.which(command[0], path=os.environ.get("PATH", "") + ":" + _PLACES)
    if path is None:
        return None
    try:
        process = subprocess.Popen(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
    except OSError:
        return None
    assert process.stdout is not None
    try:
        said = _read(process.stdout.fileno(), endless, time.monotonic() + deadline_s)
    finally:
        _end(process)
    return said.decode("utf-8", "replace") or None


def _read(fd: int, endless: bool, deadline: float) -> bytes:
    said = b""
    while len(said) < LIMIT and not (endless and b"\n" in said):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            break
        part = os.read(fd, 4096)
        if not part:
            break
        said += part
    return said[:LIMIT]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it with all that it started, and collect it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or is another user's (setuid): then it ends with its pipe
    if process.stdout is not None:
        process.stdout.close()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        pass


def _number(path: str) -> Optional[int]:
    text = read_text(path, 64) or ""
    return int(text) if text.lstrip("-").isdigit() else None


def _policies() -> List[Dict[str, Any]]:
    found = []
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpufreq/policy*"))[:64]:
        found.append(
            {
                "cpus": read_text(folder + "/related_cpus", 1024) or "",
                "governor": read_text(folder + "/scaling_governor", 64),
                "now_khz": _number(folder + "/scaling_cur_freq"),
                "max_khz": _number(folder + "/scaling_max_freq"),
                "able_khz": _number(folder + "/cpuinfo_max_freq"),
            }
        )
    return found


def _zones() -> Dict[str, float]:
    found = {}
    for folder in sorted(glob.glob("/sys/class/thermal/thermal_zone*"))[:64]:
        degrees = _number(folder + "/temp")
        if degrees is not None and -40_000 <= degrees <= 150_000:
            name = read_text(folder + "/type", 64) or os.path.basename(folder)
            found[name] = degrees / 1000
    return found


def _busiest() -> List[Dict[str, Any]]:
    """[{"pid", "name", "cores"}] of the processes that take the most processor time just now, but for us."""
    before = _times()
    start = time.monotonic()
    time.sleep(_SAMPLE_S)
    after, seconds = _times(), time.monotonic() - start
    ticks = os.sysconf("SC_CLK_TCK")
    found = []
    for pid, (name, used) in after.items():
        if pid in before and pid != os.getpid():
            cores = (used - before[pid][1]) / ticks / seconds
            if cores > 0.1:
                found.append({"pid": pid, "name": name, "cores": round(cores, 2)})
    return sorted(found, key=lambda entry: -float(str(entry["cores"])))[:_BUSIEST]


def _times() -> Dict[int, Tuple[str, int]]:
    """Name and processor time in ticks of every process that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        text = read_text("/proc/%s/stat" % name, 4096) or ""
        before, _, rest = text.rpartition(")")
        fields = rest.split()
        if len(fields) > 13 and fields[11].isdigit() and fields[12].isdigit():
            found[int(name)] = (before.partition("(")[2][:40], int(fields[11]) + int(fields[12]))
    return found

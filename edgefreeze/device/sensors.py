"""What the board was doing while something was measured, beyond what the probe tells of it once.

Everything is read from files below `root` ("" on a device; a folder of captured files in a test), and
whatever is not there is None. Times are cumulative seconds, so that two readings tell what happened between.
"""

import glob
import os
import re
from typing import Any, Dict, List, Optional, Tuple

from edgefreeze.device import probe

_CGROUP = "/sys/fs/cgroup"
_INPUT_RAIL = "VDD_IN"
"""How a Jetson's INA3221 labels the channel that measures the whole board."""


def environment(root: str = "") -> Dict[str, Any]:
    """probe.environment(), and

    busy_s        all processors' time at work since boot, summed (not idle, not waiting for disks)
    cpu_mhz_min   the slowest processor's clock
    quota_cpus    processors that the control group may use at once; None: as many as there are
    starved_s     how long the control group was held back for having used up its quota
    power_w       what the board takes, where a sensor of it (INA, hwmon) can be read
    power_mode    the mode that a board with several says it is in
    """
    found = probe.environment(root)
    quota, starved = _quota(root)
    found.update(
        busy_s=_busy(probe.read_text(root + "/proc/stat") or ""),
        cpu_mhz_min=_slowest(root),
        quota_cpus=quota,
        starved_s=starved,
        power_w=_power(root),
        power_mode=probe.read_text(root + "/var/lib/nvpmodel/status", 200),
    )
    return found


def cpu_time(pid: int) -> float:
    """Seconds of processor time that a process has used so far, its threads together and the children that it
    has waited for, such as trtexec; 0 where it is gone."""
    text = probe.read_text("/proc/%d/stat" % pid) or ""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 15:
        return 0.0
    # utime, stime, cutime, cstime
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _busy(stat: str) -> Optional[float]:
    match = re.match(r"cpu\s+([\d ]+)", stat)
    if match is None:
        return None
    ticks = [int(field) for field in match.group(1).split()[:8]]
    if len(ticks) < 4:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")


def _slowest(root: str) -> Optional[float]:
    clocks = []
    for path in glob.glob(root + "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"):
        text = probe.read_text(path, 40) or ""
        if text.isdigit():
            clocks.append(int(text) / 1000)
    return min(clocks, default=None)


def _quota(root: str) -> Tuple[Optional[float], Optional[float]]:
    """(processors, seconds held back) of this process's control group, of whichever version."""
    for folder in _groups(root):
        stat = probe.read_text(folder + "/cpu.stat", 4096)
        if stat is None:
            continue
        usec = re.search(r"^throttled_usec (\d+)$", stat, re.M)
        nsec = re.search(r"^throttled_time (\d+)$", stat, re.M)
        starved = int(usec.group(1)) / 1e6 if usec else int(nsec.group(1)) / 1e9 if nsec else None
        return _share(folder), starved
    return None, None


def _groups(root: str) -> List[str]:
    """Folders in which the control group's processor limits may stand, the nearest first."""
    text = probe.read_text(root + "/proc/self/cgroup", 8192) or ""
    folders = []
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and ".." not in parts[2]:
            if parts[1] == "":
                folders.append(root + _CGROUP + parts[2].rstrip("/"))
            elif "cpu" in parts[1].split(","):
                folders += [root + _CGROUP + "/" + name + parts[2].rstrip("/") for name in ("cpu", parts[1])]
    # In a container the group's own path often is not there, and the mount's root is the container's.
    return [*folders, root + _CGROUP, root + _CGROUP + "/cpu"]


def _share(folder: str) -> Optional[float]:
    match = re.match(r"(\d+) (\d+)", probe.read_text(folder + "/cpu.max", 100) or "")
    if match is None:
        quota = probe.read_text(folder + "/cpu.cfs_quota_us", 40) or ""
        period = probe.read_text(folder + "/cpu.cfs_period_us", 40) or ""
        match = re.match(r"(\d+) (\d+)", "%s %s" % (quota, period))
    return int(match.group(1)) / int(match.group(2)) if match and int(match.group(2)) else None


def _power(root: str) -> Optional[float]:
    """Watts: the sum of what the power sensors say, in microwatts, or of current times voltage where one says
    no more (an INA3221). Where a rail is the board's input, the others are parts of it and do not count."""
    watts = []
    for folder in glob.glob(root + "/sys/class/hwmon/hwmon*"):
        rails = _rails(folder)
        if any(name == _INPUT_RAIL for name, _ in rails):
            return sum(watt for name, watt in rails if name == _INPUT_RAIL)
        watts += [watt for _, watt in rails]
    return sum(watts) if watts else None


def _rails(folder: str) -> List[Tuple[str, float]]:
    """(name, watts) of each channel of a sensor."""
    rails = []
    for path in sorted(glob.glob(folder + "/power*_input")):
        text = probe.read_text(path, 40) or ""
        if text.isdigit():
            rails.append((_label(path), int(text) / 1e6))
    if rails:
        return rails
    for path in sorted(glob.glob(folder + "/curr[1-3]_input")):  # an INA3221's in4 on are of its shunts
        amps = probe.read_text(path, 40) or ""
        volts_path = os.path.join(folder, os.path.basename(path).replace("curr", "in"))
        volts = probe.read_text(volts_path, 40) or ""
        if amps.isdigit() and volts.isdigit():
            rails.append((_label(volts_path), int(amps) * int(volts) / 1e6))
    return rails


def _label(path: str) -> str:
    return (probe.read_text(path[: -len("_input")] + "_label", 40) or "").strip().upper()

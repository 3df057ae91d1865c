"""What NVIDIA's boards say of themselves: nvpmodel, jetson_clocks, tegrastats, /etc/nv_tegra_release. Pure.

The forms are those of published logs from L4T 28 to 38 (tests/captured). Frequencies are in the unit in which
they are printed: kHz for CPUs, Hz for GPU and memory, MHz in tegrastats.
"""

import re
from typing import Any, Dict, List, Optional

_LEAST_C, _MOST_C = -40.0, 150.0
"""A sensor that is off says -256 or so."""


def parse_tegra_release(text: str) -> Optional[Dict[str, str]]:
    """/etc/nv_tegra_release as {"l4t": "36.4.3", "board", "date"} (the last two where they are said)."""
    match = re.search(r"#\s*R(\d+) \(release\), REVISION: ([\d.]+)", text)
    if match is None:
        return None
    found = {"l4t": "%s.%s" % match.groups()}
    for key in ("BOARD", "DATE"):
        said = re.search(r"\b%s: ([^,\n]+)" % key, text)
        if said:
            found[key.lower()] = said.group(1).strip()
    return found


def parse_power_mode(text: str) -> Optional[Dict[str, Any]]:
    """`nvpmodel -q` as {"name": "MAXN", "id": 0}; `id` is None where it does not say. None: no mode is set,
    or it is no such output."""
    match = re.search(r"NV Power Mode:[ \t]*(\S+)[ \t]*(?:\r?\n[ \t]*(\d+)\b)?", text)
    if match is None:
        return None
    name, number = match.groups()
    return {"name": name, "id": None if number is None else int(number)}


def parse_clocks(text: str) -> Optional[Dict[str, Any]]:
    """`jetson_clocks --show` as {"machine", "cpus", "gpu", "emc", "mode", "pinned"}; None where it is none.

    cpus: [{"cpu", "online", "governor", "min", "max", "now"}], gpu and emc: {"min", "max", "now"} or None.
    pinned: whether every CPU that is on, and the GPU, is held at one frequency.
    """
    cpus: List[Dict[str, Any]] = []
    units: Dict[str, Dict[str, int]] = {}
    for line in text.splitlines():
        match = re.match(r"\s*(cpu\d+|GPU|EMC):?\s.*?MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", line)
        if match is None:
            continue
        name = match.group(1)
        least, most, now = (int(number) for number in match.group(2, 3, 4))
        limits = {"min": least, "max": most, "now": now}
        if not name.startswith("cpu"):
            units[name] = limits
            continue
        online = re.search(r"Online=(\d)", line)
        governor = re.search(r"Gon?vernor=(\S+)", line)  # L4T 28 spells it so
        cpus.append(
            {
                "cpu": int(name[3:]),
                "online": online is None or online.group(1) == "1",
                "governor": governor.group(1) if governor else None,
                **limits,
            }
        )
    if not cpus:
        return None
    machine = re.search(r"Machine:[ \t]*(.*\S)", text)
    gpu = units.get("GPU")
    held = [*(cpu for cpu in cpus if cpu["online"]), *([gpu] if gpu else [])]
    mode = parse_power_mode(text)
    return {
        "machine": machine.group(1) if machine else None,
        "cpus": cpus,
        "gpu": gpu,
        "emc": units.get("EMC"),
        "mode": mode["name"] if mode else None,
        "pinned": all(entry["min"] == entry["max"] for entry in held),
    }


def parse_activity(text: str) -> Optional[Dict[str, Any]]:
    """One line of `tegrastats`, the first in the text that is one; None where none is.

    {"ram_used_mb", "ram_total_mb", "swap_used_mb", "swap_total_mb", "cpus", "gpu_load", "gpu_mhz",
    "temperatures", "power_mw"}: for each CPU {"load" (percent), "mhz"}, or None where it is off; gpu_mhz has
    one for each cluster; temperatures are degrees Celsius by sensor; power_mw is now, by rail.
    """
    line = next((one for one in text.splitlines() if re.search(r"\bRAM \d+/\d+MB", one)), None)
    if line is None:
        return None
    ram = re.search(r"\bRAM (\d+)/(\d+)MB", line)
    swap = re.search(r"\bSWAP (\d+)/(\d+)MB", line)
    gpu = re.search(r"\bGR3D(?:_FREQ)? (?:(\d+)%)?(?:@(\[[\d,]*\]|\d+))?", line)
    assert ram is not None
    degrees = {
        name: float(value)
        for name, value in re.findall(r"([\w-]+)@(-?\d+(?:\.\d+)?)C\b", line)
        if _LEAST_C <= float(value) <= _MOST_C
    }
    return {
        "ram_used_mb": int(ram.group(1)),
        "ram_total_mb": int(ram.group(2)),
        "swap_used_mb": int(swap.group(1)) if swap else None,
        "swap_total_mb": int(swap.group(2)) if swap else None,
        "cpus": _cpus(line),
        "gpu_load": int(gpu.group(1)) if gpu and gpu.group(1) else None,
        "gpu_mhz": [int(n) for n in re.findall(r"\d+", gpu.group(2) or "")] if gpu else [],
        "temperatures": degrees,
        "power_mw": _power(line),
    }


def _cpus(line: str) -> List[Optional[Dict[str, Optional[int]]]]:
    match = re.search(r"\b(?:CPU|cpu) \[([^\]]*)\](?:@(\d+))?", line)
    if match is None:
        return []
    found: List[Optional[Dict[str, Optional[int]]]] = []
    for word in match.group(1).split(","):
        load = re.match(r"(\d+)%(?:@(\d+))?$", word.strip())
        if load is None:
            found.append(None)
            continue
        clock = load.group(2) or match.group(2)
        found.append({"load": int(load.group(1)), "mhz": int(clock) if clock else None})
    return found


def _power(line: str) -> Dict[str, int]:
    """Rails: "VDD_IN 5832mW/5852mW" (L4T 35 on), "VDD_IN 2545/2547" and "CPU 216/216" (before)."""
    rails = re.findall(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?= |$)", line)
    return {name: int(now) for name, now, _ in rails}

"""What the scripts of this folder share: facts of the machine, and where raw results are kept."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """What the figures depend on: CPU, cores, system, Python, load. Names of hosts and users stay out."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return {
        "machine": platform.machine(),
        "cpu": fields.get("model name") or fields.get("CPU part") or "unknown",
        "cpus": os.cpu_count(),
        "virtual": "hypervisor" in fields.get("flags", "").split(),
        "system": platform.system() + " " + platform.release(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def in_words(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    kind = "virtual " if facts["virtual"] else ""
    return (
        f"{kind}{facts['machine']}, {facts['cpu']}, {facts['cpus']} CPUs, {facts['system']},"
        f" Python {facts['python']}, load {facts['load_1m']:.2f} at the start"
    )


def today(name: str) -> Path:
    """The file of a bench's results of this day."""
    return RESULTS / f"{name}-{time.strftime('%Y%m%d', time.gmtime())}.json"


def keep(name: str, facts: dict[str, Any], content: dict[str, Any]) -> Path:
    """Write results/<name>-<date>.json: machine and raw samples. A later run of the day replaces it."""
    RESULTS.mkdir(exist_ok=True)
    file = today(name)
    whole = {"schema": 1, "bench": name, "machine": facts, **content}
    file.write_text(json.dumps(whole, separators=(",", ":")) + "\n")
    return file

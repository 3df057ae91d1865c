"""How long the command line takes to answer, against an interpreter that does nothing.

    python bench/startup.py [ROUNDS]        default: 31

Each round runs every command once, in drawn order, in a process of its own. Prints medians, and whether each
is at most LIMIT_S; exit status 1 where one is not. Raw seconds go to bench/results/.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import in_words, keep, machine

LIMIT_S = 0.25
SEED = 1
TOOL = Path(sys.executable).with_name("edgefreeze")
BASELINE = "python -c pass"
COMMANDS = {
    BASELINE: [sys.executable, "-c", "pass"],
    "edgefreeze --help": [str(TOOL), "--help"],
    "edgefreeze targets list": [str(TOOL), "targets", "list"],
}


def measure(rounds: int, folder: str) -> dict[str, list[float]]:
    """Wall seconds of each command, by round. The first round, which warms the caches, is not kept."""
    draw = random.Random(SEED)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name in draw.sample(list(COMMANDS), len(COMMANDS)):
            started = time.perf_counter()
            subprocess.run(COMMANDS[name], cwd=folder, stdout=subprocess.DEVNULL, check=True)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def main(rounds: int) -> int:
    facts = machine()
    print(in_words(facts))
    with tempfile.TemporaryDirectory() as folder:  # no edgefreeze.toml there
        seconds = measure(rounds, folder)
    slow = False
    for name, values in seconds.items():
        median = statistics.median(values)
        verdict = ""
        if name != BASELINE:
            slow |= median > LIMIT_S
            verdict = f"  {'at most' if median <= LIMIT_S else 'MORE THAN'} {LIMIT_S} s"
        slowest = max(values) * 1000
        print(f"{name:<26} median {median * 1000:6.1f} ms, slowest of {rounds} {slowest:6.1f}{verdict}")
    file = keep("startup", facts, {"limit_s": LIMIT_S, "seed": SEED, "seconds": seconds})
    print(f"raw: {file.relative_to(Path(__file__).resolve().parents[1])}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 31))

"""The gate on branches: each pure module's branches, and its lines, are run by the pure modules' tests.

python -m tests.pure.branches [MODULE…]      exits with 1 where a module is below LEAST
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.pure import modules

LEAST = 95.0
"""Percent of the branches, and of the lines, of every module on its own."""


def measure(wanted: list[str]) -> dict[str, dict[str, Any]]:
    """coverage.py's `summary` and what is missing, by module. Raises SystemExit where a test fails."""
    files = sorted({str(file) for module in wanted for file in modules.tests(module)})
    include = ",".join(str(modules.source(module)) for module in wanted)
    with tempfile.TemporaryDirectory(prefix="edgefreeze-branches-") as folder:
        data, report = Path(folder, "data"), Path(folder, "report.json")
        coverage = [sys.executable, "-m", "coverage"]
        ran = subprocess.run(
            [*coverage, "run", "--branch", f"--data-file={data}", f"--include={include}", "-m", "pytest", "-q", "-m", "not slow and not process",
             "-p", "no:cacheprovider", *files],
            cwd=modules.ROOT, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise SystemExit(ran.returncode)
        subprocess.run(
            [*coverage, "json", "-q", f"--data-file={data}", "-o", str(report)], cwd=modules.ROOT, check=True
        )
        found = {
            Path(file).resolve(): facts for file, facts in json.loads(report.read_text())["files"].items()
        }
    return {module: found[modules.source(module).resolve()] for module in wanted}


def shares(facts: dict[str, Any]) -> tuple[float, float]:
    """(percent of the branches, percent of the lines); what has none lacks none."""
    summary = facts["summary"]

    def percent(covered: int, of: int) -> float:
        return 100.0 * covered / of if of else 100.0

    return (
        percent(summary["covered_branches"], summary["num_branches"]),
        percent(summary["covered_lines"], summary["num_statements"]),
    )


def main() -> int:
    """The command line; 0 where every module has LEAST of both."""
    found = measure(modules.matching(sys.argv[1:]))
    low = 0
    print(f"{'module':26s} branches    lines  missing")
    for module, facts in found.items():
        branches, lines = shares(facts)
        low += min(branches, lines) < LEAST
        missing = [f"{a}→{'end' if b < 0 else b}" for a, b in facts["missing_branches"]]
        print(f"{module:26s} {branches:6.1f} % {lines:6.1f} %  {' '.join(missing)}")
    if low:
        print(f"{low} of {len(found)} modules are below {LEAST:g} %")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())

"""The modules that decide and do nothing else, each with the tests that state its rules: the one list that
the gate on branches (branches.py) and the mutants (mutants.py) go by. Those tests take seconds altogether:
they start no process and reach no device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TESTS: Mapping[str, tuple[str, ...]] = {
    # Figures and what they show
    "benchmark/statistics": ("benchmark/test_statistics",),
    "benchmark/quality": ("benchmark/test_quality",),
    "benchmark/plan": ("benchmark/test_plan",),
    "benchmark/gates": ("benchmark/test_gates",),
    "benchmark/choice": ("benchmark/test_choice",),
    "benchmark/comparing": ("benchmark/test_comparing",),
    # Whether two things compute the same
    "device/parity": ("device/test_parity",),
    # What a release is, on either side
    "device/manifest": ("device/test_manifest",),
    "device/checks": ("device/test_checks",),
    "release/manifest": ("release/test_manifest",),
    # What has to be brought, and which packages
    "ship/plan": ("ship/test_plan",),
    "runtimes/choosing": ("runtimes/test_choosing",),
    # What a board is, and what can be asked for
    "targets": ("test_targets", "test_formats"),
    "inheritance": ("test_targets",),
    "formats": ("test_formats",),
    # What went wrong
    "errors": ("test_errors",),
    "device/errors": ("device/test_errors",),
}
"""Below edgefreeze/ and below tests/, without `.py`."""


def source(module: str) -> Path:
    """A module's file."""
    return ROOT / "edgefreeze" / f"{module}.py"


def tests(module: str) -> tuple[Path, ...]:
    """The files of its tests."""
    return tuple(ROOT / "tests" / f"{name}.py" for name in TESTS[module])


def matching(wanted: list[str]) -> list[str]:
    """The modules of these names ("parity", "device/errors"); all where none is named. Raises SystemExit."""
    for name in wanted:
        if not any(_is(module, name) for module in TESTS):
            raise SystemExit(f"no pure module {name}; there are {', '.join(TESTS)}")
    return [module for module in TESTS if not wanted or any(_is(module, name) for name in wanted)]


def _is(module: str, name: str) -> bool:
    return module == name or module.endswith("/" + name)

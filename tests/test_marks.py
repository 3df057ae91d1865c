"""What starts a process says so, by its fixtures or by a mark: `make test-fast` can leave it out."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import subprocess
import sys

import pytest


def run():
    subprocess.run([sys.executable, "-c", ""], check=True)


@pytest.fixture
def start():
    return run


@pytest.fixture
def lab_x86():
    pass


def test_silent():
    run()


@pytest.mark.process
def test_marked():
    run()


def test_by_its_fixture(start):
    start()


def test_with_a_board(lab_x86):
    pass


def test_none():
    pass
"""
MARKS = "[pytest]\nmarkers =\n" + "".join(f"    {name}\n" for name in ("process", "alone", "lab"))


@pytest.mark.process
def test_a_process_without_a_mark_is_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makeini(MARKS)
    pytester.makepyfile(TESTS)
    # In a process of its own: a hook that looks for processes cannot be taken away again.
    result = pytester.runpytest_subprocess("-p", "tests.marks", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*starts *, and is not marked `process`*"])
    for marks, count in (("process", 2), ("alone", 1), ("not process and not alone", 2)):
        found = pytester.runpytest_subprocess(
            "-p", "tests.marks", "-p", "no:cacheprovider", "-m", marks, "--co"
        )
        found.stdout.fnmatch_lines([f"*{count}/5 tests collected*"])

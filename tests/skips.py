"""Every reason for which a test may be skipped: the one list. A plugin of pytest's: a test that is skipped for
a reason which is not here fails, and so does one, under CI=true, for a reason that holds at a desk only."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A reason. `text`: what pytest is told, "{}" for what changes; `lost`: what is not tested then;
    `cure`: what makes the test run; `in_ci`: whether it may be skipped in CI too, and why it may."""

    text: str
    lost: str
    cure: str
    in_ci: str | None = None

    def fits(self, reason: str) -> bool:
        """Whether a skip's reason is this one."""
        return re.fullmatch(".+".join(map(re.escape, self.text.split("{}"))), reason, re.DOTALL) is not None


SKIPS = (
    Skip(
        text="EDGEFREEZE_MODELS is not set",
        lost="models that others published, whole",
        cure="EDGEFREEZE_MODELS=FOLDER",
        in_ci="the models are not ours to publish; CI takes them where it is given them",
    ),
    Skip(
        text="no board {} is up ({}): docker/lab up {}",
        lost="all that is done to a board over SSH",
        cure="docker/lab up x86 pi4",
    ),
    Skip(
        text="openssh-server is not installed",
        lost="what a real OpenSSH answers",
        cure="apt install openssh-server",
    ),
    Skip(
        text="no Python {} here",
        lost="that the helper runs on the oldest interpreters of boards",
        cure="pyenv install 3.8 3.9",
        in_ci="Debian has one Python; the boards of the lab bring another",
    ),
    Skip(
        text="no Chromium: apt install chromium",
        lost="the report, drawn and printed",
        cure="apt install chromium",
        in_ci="CI installs it where the system has it",
    ),
    Skip(
        text="the shell {} is not installed",
        lost="completion of commands in that shell",
        cure="apt install zsh fish",
        in_ci="CI installs them where the system has them",
    ),
    Skip(
        text="systemd-analyze is not installed",
        lost="the unit that recovers at boot, before systemd's own eyes",
        cure="apt install systemd",
        in_ci="containers have no systemd",
    ),
    Skip(
        text="this kernel has no Landlock",
        lost="that a model in the worker cannot write elsewhere",
        cure="a kernel from 5.13 on, with Landlock",
        in_ci="it is the machine's kernel",
    ),
    Skip(
        text="this system allows no network namespaces",
        lost="that a model in the worker reaches nobody",
        cure="unprivileged user namespaces",
        in_ci="containers forbid them",
    ),
    Skip(
        text="no control group can be made here: {}",
        lost="that a CPU quota is noticed in a measurement",
        cure="root, and a cgroup file system that can be written",
        in_ci="containers forbid it",
    ),
    Skip(
        text="no git checkout",
        lost="that no file names what it should not",
        cure="run it in a checkout, not in an unpacked archive",
    ),
)


def refusal(reason: str, *, in_ci: bool) -> str | None:
    """Why a test may not be skipped for this reason; None where it may."""
    fitting = [skip for skip in SKIPS if skip.fits(reason)]
    if not fitting:
        return f"skipped, and tests/skips.py has no such reason: {reason}"
    if in_ci and all(skip.in_ci is None for skip in fitting):
        return f"skipped in CI, where it must run: {reason} (cure: {fitting[0].cure})"
    return None


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    found = refusal(told.removeprefix("Skipped: "), in_ci=os.environ.get("CI") == "true")
    if found is not None:
        report.outcome = "failed"
        report.longrepr = found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test or fixture that skips."""
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself."""
    report = yield
    _judge(report)
    return report

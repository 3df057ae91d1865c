"""Device facts in, a row of runtimes.toml out, or the exact reason why none fits. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from edgefreeze.errors import Failure
from edgefreeze.runtimes.facts import Package, Table, table
from edgefreeze.targets import named_rule
from edgefreeze.types import DeviceFacts

_OTHER_NAMES = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "onnxruntime": ("onnxruntime-gpu",)}
"""Packages of a runtime that are taken where the interpreter has them, the preferred first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a runtime is on a device: the interpreter's own package, or a row to ship."""

    runtime: str
    own: str | None
    """Version of the package that the interpreter already has; then nothing is shipped."""
    package: Package | None
    requirement: tuple[str, ...] = ()
    program: str | None = None
    """The board's own program that runs it, with its version: "trtexec 10.3.0"."""

    @property
    def here(self) -> str:
        """What of it the device has already: "trtexec 10.3.0 with numpy 1.26.4"."""
        return " with ".join(part for part in (self.program, self.own) if part)


def choose(runtime: str, facts: DeviceFacts, narrow: str | None = None, known: Table | None = None) -> Choice:
    """What `runtime` ("tensorflow", "litert", "onnxruntime") is on a device. Pure.

    narrow: the target's version rule, of one package where it names one. Raises Failure runtime-unavailable,
    saying why nothing fits.
    """
    known = known or table()
    program = _program(known.program.get(runtime), facts)
    rows = known.packages(runtime)
    wanted, narrow = named_rule(narrow)
    own_rule = _rule(known.own[runtime]) & _rule(narrow)
    for name in dict.fromkeys([*_OTHER_NAMES.get(runtime, ()), *(r.package for r in rows)]):
        version = facts.packages.get(name) if wanted in (None, name) else None
        if version and _fits(version, own_rule):
            return Choice(runtime=runtime, own=f"{name} {version}", package=None, program=program)
    reasons = []
    for row in rows:
        why = _unfit(row, facts, narrow) if wanted in (None, row.package) else f"the target asks for {wanted}"
        if why is None:
            version = ",".join(part for part in (row.version, narrow) if part)
            return Choice(
                runtime=runtime,
                own=None,
                package=row,
                requirement=(f"{row.package}{version}", *row.extra),
                program=program,
            )
        reasons.append(f"{row.package} {row.version}: {why}")
    raise Failure(
        "runtime-unavailable",
        f"no package of {runtime} fits the device's interpreter",
        expected="; ".join(reasons),
        found=f"Python {facts.python}, {facts.machine}, {facts.libc}",
        next="leave its formats out with --format, or set python = … to another interpreter of the device",
    )


def _program(name: str | None, facts: DeviceFacts) -> str | None:
    if name is None:
        return None
    if name not in facts.programs:
        raise Failure(
            "runtime-unavailable",
            f"the device has no {name} that starts",
            expected=f"{name}, which comes with the board's system",
            found="none on its PATH or in the usual places",
            next="leave its formats out with --format, or install it on the device (JetPack: tensorrt)",
        )
    return f"{name} {facts.programs[name]}".strip()


def _unfit(row: Package, facts: DeviceFacts, narrow: str) -> str | None:
    """Why a row does not fit a device, or None."""
    if facts.machine not in row.machine:
        return f"is for {', '.join(row.machine)}"
    if not _fits(facts.python, _rule(row.python)):
        return f"needs Python {row.python}"
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", facts.libc)
    if not found:
        return f"needs glibc {row.glibc}"
    if (int(found[1]), int(found[2])) < tuple(int(p) for p in row.glibc.split(".")):
        return f"needs glibc {row.glibc}"
    if narrow and not _overlaps(row.version, narrow):
        return f"the target asks for {narrow}"
    return None


def _overlaps(one: str, other: str) -> bool:
    """Whether two version rules can hold together, judged at the versions that they name."""
    both = _rule(one) & _rule(other)
    named = re.findall(r"\d+(?:\.\d+)*", f"{one},{other}")
    return any(_fits(version, both) for name in named for version in (name, name + ".0", name + ".1"))


def _rule(text: str | None) -> SpecifierSet:
    try:
        return SpecifierSet(text or "")
    except InvalidSpecifier:
        raise Failure(
            "config-value", f"'{text}' is no version rule", expected="such as >=2.16,<2.22"
        ) from None


def _fits(version: str, rule: SpecifierSet) -> bool:
    try:
        return rule.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False

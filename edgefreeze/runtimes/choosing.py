"""Device facts in, a row of runtimes.toml out, or the exact reason why none fits. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from edgefreeze.errors import Failure
from edgefreeze.runtimes.facts import Package, Table, table
from edgefreeze.types import DeviceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a runtime is on a device: the interpreter's own package, or a row to ship."""

    runtime: str
    own: str | None
    """Version of the package that the interpreter already has; then nothing is shipped."""
    package: Package | None
    requirement: tuple[str, ...] = ()


def choose(runtime: str, facts: DeviceFacts, narrow: str | None = None, known: Table | None = None) -> Choice:
    """What `runtime` ("tensorflow", "litert", "onnxruntime") is on a device. Pure.

    narrow: the target's version rule. Raises Failure runtime-unavailable, saying why nothing fits.
    """
    known = known or table()
    rows = known.packages(runtime)
    rule = _rule(narrow)
    own_rule = _rule(known.own[runtime]) & rule
    for name in dict.fromkeys(
        ["tensorflow", "tensorflow-cpu"] if runtime == "tensorflow" else [r.package for r in rows]
    ):
        version = facts.packages.get(name)
        if version and _fits(version, own_rule):
            return Choice(runtime=runtime, own=f"{name} {version}", package=None)
    reasons = []
    for row in rows:
        why = _unfit(row, facts, narrow)
        if why is None:
            version = ",".join(part for part in (row.version, narrow) if part)
            return Choice(
                runtime=runtime, own=None, package=row, requirement=(f"{row.package}{version}", *row.extra)
            )
        reasons.append(f"{row.package} {row.version}: {why}")
    raise Failure(
        "runtime-unavailable",
        f"no package of {runtime} fits the device's interpreter",
        expected="; ".join(reasons),
        found=f"Python {facts.python}, {facts.machine}, {facts.libc}",
        next="leave its formats out with --format, or set python = … to another interpreter of the device",
    )


def _unfit(row: Package, facts: DeviceFacts, narrow: str | None) -> str | None:
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

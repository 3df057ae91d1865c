"""What two runs under emulation say: one on the target's CPU model, one on the emulator's own."""

from __future__ import annotations

from dataclasses import dataclass

from edgefreeze.doctor.case import Finding
from edgefreeze.text import clean
from edgefreeze.types import DeviceFacts

ILLEGAL = "SIGILL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Whether a tiny model ran there and computed what it should; otherwise what was said."""

    ok: bool
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """A runtime under emulation: its package, and both attempts; or `reason`: why there is no package."""

    runtime: str
    package: str | None
    reason: str | None = None
    exact: Attempt | None = None
    control: Attempt | None = None


def findings(cpu: str, facts: DeviceFacts, seen: tuple[Emulated, ...]) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    python, libc = clean(facts.python, 40), clean(facts.libc, 40)
    head = Finding(
        name="emulation",
        level="fine",
        found=f"{cpu}, Python {python}, {libc}: this shows what runs, not how fast",
    )
    return (head, *(emulated(cpu, runtime) for runtime in seen))


def emulated(cpu: str, seen: Emulated) -> Finding:
    """One runtime: on which of the two models it runs. Only an illegal instruction that the control does not
    meet is the CPU's; any other death may be the emulator's."""
    name = f"emulated-{seen.runtime}"
    if seen.package is None or seen.exact is None or seen.control is None:
        return Finding(
            name=name,
            level="warning",
            found=f"none fits: {clean(seen.reason or 'no reason given', 500)}",
            fix="leave its formats out with --format",
        )
    here, there = clean(seen.exact.said, 200), clean(seen.control.said, 200)
    if seen.exact.ok and seen.control.ok:
        return Finding(name=name, level="fine", found=f"{seen.package} infers on {cpu}, and on the control")
    if seen.exact.ok:
        return Finding(
            name=name,
            level="fine",
            found=f"{seen.package} infers on {cpu}; not on the control ({there}): the emulator's own fault",
        )
    if not seen.control.ok:
        return Finding(
            name=name,
            level="warning",
            found=f"{seen.package} does not infer on {cpu} ({here}), nor on the control ({there}):"
            " the emulator's fault or the package's, and not the CPU's",
            fix="edgefreeze doctor on a board tells which",
        )
    if ILLEGAL in seen.exact.said:
        return Finding(
            name=name,
            level="failure",
            found=f"{seen.package} dies on {cpu} of an instruction that it has not, and runs on the control",
            fix=f'[runtimes] {seen.runtime} = "!={seen.package.rpartition(" ")[2]}" in the target',
        )
    return Finding(
        name=name,
        level="warning",
        found=f"{seen.package} does not infer on {cpu} ({here}), and does on the control: no illegal"
        " instruction, so perhaps the emulator's fault",
        fix="edgefreeze doctor on a board tells",
    )

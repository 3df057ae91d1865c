"""Is it the board that the target describes?"""

from __future__ import annotations

from edgefreeze.device import readings, tegra
from edgefreeze.doctor.case import Case, Finding


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    found = [architecture(case), board(case), cpu(case), system(case)]
    if case.facts.emulated:
        found.append(emulation())
    return tuple(found)


def architecture(case: Case) -> Finding:
    """Of the interpreter, which is what counts; the kernel may be another's."""
    facts, uname = case.facts, case.health.uname
    said = f"{facts.machine}, {facts.bits} bit"
    under = None if uname is None else readings.abi_machine(f"linux-{uname}", 64)
    if under not in (None, facts.machine):
        said += f", under a kernel of another kind: uname says {uname}"
    wrong = next((d for d in case.target.differences(facts) if d.fatal), None)
    if wrong is None:
        return Finding(name="architecture", level="fine", found=said)
    wanted = " or ".join(case.target.match.machine)
    fix = f"--target {' or '.join(case.others)}" if case.others else "edgefreeze targets new"
    if under in case.target.match.machine:
        fix += f", or a system for {wanted} on the board"
    return Finding(
        name="architecture",
        level="failure",
        found=f"{said}; target '{case.target.name}' is for {wanted}",
        fix=fix,
    )


def board(case: Case) -> Finding:
    """The board's own name."""
    other = _difference(case, "board")
    seen = case.facts.board
    if other:
        return Finding(
            name="board",
            level="warning",
            found=other,
            fix="edgefreeze targets list: choose the board's target",
        )
    return Finding(name="board", level="fine", found=seen or "it does not say its name")


def cpu(case: Case) -> Finding:
    """The CPU's model."""
    other = _difference(case, "cpu")
    facts = case.facts
    count = f"{facts.cpu_count} × {facts.cpu_model or 'a CPU of a kind that is not known here'}"
    if other:
        return Finding(
            name="cpu", level="warning", found=other, fix="edgefreeze targets list: choose the board's target"
        )
    return Finding(name="cpu", level="fine", found=count)


def system(case: Case) -> Finding:
    """Operating system and kernel; for a board that has one, its maker's release."""
    facts = case.facts
    parts = [facts.os or "unknown", f"kernel {facts.kernel}" if facts.kernel else None]
    release = tegra.parse_tegra_release(case.health.texts.get("maker_release", ""))
    if release:
        parts.append(f"L4T {release['l4t']}")
    return Finding(name="system", level="fine", found=", ".join(p for p in parts if p))


def emulation() -> Finding:
    """An emulator shows whether it runs, not how fast."""
    return Finding(
        name="emulation",
        level="warning",
        found="this runs under user-mode emulation: no latency from it is a device's",
        fix="measure on the board itself",
    )


def _difference(case: Case, what: str) -> str | None:
    return next((d.text for d in case.target.differences(case.facts) if d.what == what), None)

"""The runtimes that the target's formats need, and what is deployed there: does each infer?"""

from __future__ import annotations

from edgefreeze.doctor.case import Case, Finding, Release, Runtime
from edgefreeze.text import clean, short


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    return (*(runtime(r) for r in case.runtimes), *(release(r) for r in case.releases))


def runtime(seen: Runtime) -> Finding:
    """One runtime: there and infers, or would be brought, or there is none."""
    name, formats = f"runtime-{seen.name}", ", ".join(seen.formats)
    if seen.reason is not None:
        return Finding(
            name=name,
            level="failure" if seen.first else "warning",
            found=f"none fits ({clean(seen.reason, 500)}), so no {formats}",
            fix="leave its formats out with --format, or python = … with a runtime of the board's own",
        )
    if seen.own is None:
        return Finding(
            name=name,
            level="fine",
            found=f"none of the device's own; for {formats} {seen.bring} is brought where it is not there yet"
            f" (about {seen.unpacked_mb} MB)",
        )
    if seen.inferred is None:
        return Finding(name=name, level="fine", found=f"{seen.own} of the device, for {formats}; not tried")
    if seen.inferred:
        return Finding(
            name=name, level="fine", found=f"{seen.own} of the device infers (a tiny model, for {formats})"
        )
    return Finding(
        name=name,
        level="failure" if seen.first else "warning",
        found=f"{seen.own} of the device does not infer: {clean(seen.error or 'no reason given', 400)}",
        fix="repair or remove that package on the device: without it edgefreeze brings one that fits",
    )


def release(seen: Release) -> Finding:
    """An app's active release, on its own golden inputs."""
    said = f"release {short(seen.release)}"
    if not seen.failed and seen.passed:
        return Finding(
            name=f"app-{seen.app}",
            level="fine",
            found=f"{said} computes what it should: {', '.join(seen.passed)}",
        )
    if not seen.failed:
        return Finding(
            name=f"app-{seen.app}",
            level="warning",
            found=f"{said} has nothing that could be tested",
            fix="deploy it anew, with --samples",
        )
    wrong = "; ".join(f"{name}: {clean(error, 200)}" for name, error in seen.failed.items())
    return Finding(
        name=f"app-{seen.app}",
        level="failure",
        found=f"{said} does not pass its self-test any more: {wrong}",
        fix="edgefreeze deploy, or edgefreeze rollback",
    )

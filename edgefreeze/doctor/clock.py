"""Is the device's clock right?"""

from __future__ import annotations

from edgefreeze.doctor.case import Case, Finding
from edgefreeze.text import duration

OFF_S = 30.0


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    return (clock(case),)


def clock(case: Case) -> Finding:
    """Beside this machine's. The device was asked between two instants of ours: only what lies outside of
    them is certainly wrong."""
    now = case.health.now
    if now is None:
        return Finding(name="clock", level="fine", found="the device does not say")
    off = max(case.asked_at - now, now - case.answered_at, 0.0)
    if off < OFF_S:
        return Finding(name="clock", level="fine", found="as this machine's")
    way = "behind" if now < case.asked_at else "ahead of"
    return Finding(
        name="clock",
        level="warning",
        found=f"{_long(off)} {way} this machine's: its logs have wrong times, and TLS may fail there",
        fix="sudo timedatectl set-ntp true, on the device",
    )


def _long(seconds: float) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 2 * 3600 else duration(seconds)

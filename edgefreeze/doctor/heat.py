"""Does the board hold itself back: temperature, and what it says of throttling?"""

from __future__ import annotations

from edgefreeze.device import readings
from edgefreeze.doctor.case import Case, Finding
from edgefreeze.text import clean


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    throttled = throttling(case)
    return (temperature(case), throttled) if throttled else (temperature(case),)


def temperature(case: Case) -> Finding:
    """The hottest sensor against what the target's board stands."""
    if case.health.zones:
        name, degrees = max(case.health.zones.items(), key=lambda zone: zone[1])
        said = f"{degrees:.1f} °C ({name})"
    elif case.facts.temperature_c is not None:
        degrees, said = case.facts.temperature_c, f"{case.facts.temperature_c:.1f} °C"
    else:
        return Finding(name="temperature", level="fine", found="the device does not say")
    most = case.target.advice.max_temperature_c
    if degrees < most:
        return Finding(name="temperature", level="fine", found=said)
    return Finding(
        name="temperature",
        level="warning",
        found=f"{said}; from {most:g} °C on such a board soon slows itself down",
        fix="a heat sink or a fan; let it cool before you measure",
    )


def _unasked(text: str) -> Finding:
    """The program is there, and said something else: mostly that its device file may not be opened."""
    return Finding(
        name="throttling",
        level="warning",
        found=f"the firmware cannot be asked: '{clean(' '.join(text.split()), 120)}'",
        fix="sudo usermod -aG video $USER, on the device, and log in again",
    )


def throttling(case: Case) -> Finding | None:
    """What the board's firmware says of now and of the time since boot; None where it says nothing."""
    text = case.health.texts.get("throttled", "")
    bits = readings.throttled_bits(text)
    if bits is None:
        return _unasked(text) if text.strip() else None
    now, past = readings.throttled_words(bits)
    if not now and not past:
        return Finding(name="throttling", level="fine", found="none since boot")
    said = ", ".join([*(f"{word} now" for word in now), *(f"{word} since boot" for word in past)])
    power = "under-voltage" in now + past
    fix = (
        "a power supply and a cable that hold the voltage under load"
        if power
        else "a heat sink or a fan; it clears at the next boot"
    )
    # A card that is written to while the voltage is too low can be damaged.
    level = "failure" if "under-voltage" in now else "warning"
    return Finding(name="throttling", level=level, found=f"{said} (0x{bits:x})", fix=fix)  # type: ignore[arg-type]

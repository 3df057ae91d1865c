"""Will it run as fast as it can: governor, frequency, other load, power mode, clocks?"""

from __future__ import annotations

from edgefreeze.device import tegra
from edgefreeze.doctor.case import Case, Finding
from edgefreeze.text import clean

BUSY = 0.5
"""Of all cores: more than this is no place to measure."""


def findings(case: Case) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    return tuple(f for f in (governor(case), frequency(case), load(case), *power(case)) if f)


def governor(case: Case) -> Finding:
    """Against the target's advice."""
    known = [p.governor for p in case.health.policies] if case.health.policies else [case.facts.governor]
    seen = ", ".join(dict.fromkeys(clean(g, 40) for g in known if g))
    if not seen:
        return Finding(name="governor", level="fine", found="the device does not say")
    wanted = case.target.advice.governor
    if wanted is None or seen == wanted:
        return Finding(name="governor", level="fine", found=seen)
    return Finding(
        name="governor",
        level="warning",
        found=f"{seen}; target '{case.target.name}' advises {wanted} to measure and to run with",
        fix=f"echo {wanted} | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    )


def frequency(case: Case) -> Finding:
    """Whether somebody capped the clock below what the CPU is able to."""
    clocks = [p for p in case.health.policies if p.max_khz and p.able_khz]
    if not clocks:
        mhz = case.facts.cpu_mhz
        return Finding(
            name="frequency", level="fine", found=f"{mhz:.0f} MHz" if mhz else "the device does not say"
        )
    said = ", ".join(f"{(p.now_khz or 0) / 1000:.0f} of {(p.able_khz or 0) / 1000:.0f} MHz" for p in clocks)
    capped = [p for p in clocks if (p.max_khz or 0) < 0.99 * (p.able_khz or 0)]
    if not capped:
        return Finding(name="frequency", level="fine", found=said)
    most = ", ".join(f"{(p.max_khz or 0) / 1000:.0f}" for p in capped)
    return Finding(
        name="frequency",
        level="warning",
        found=f"{said}, held at no more than {most} MHz",
        fix="see who sets scaling_max_freq: a power mode, a thermal daemon, a service of your own",
    )


def load(case: Case) -> Finding:
    """Others that work there."""
    average, cores = case.facts.load_1m, case.facts.cpu_count
    if average is None:
        return Finding(name="load", level="fine", found="the device does not say")
    said = f"{average:.2f} on {cores} cores"
    busy = ", ".join(f"{clean(p.name, 40)} ({p.pid}) {p.cores:.1f} cores" for p in case.health.busiest)
    working = sum(p.cores for p in case.health.busiest)
    if average <= BUSY * cores and working <= BUSY * cores:
        return Finding(name="load", level="fine", found=said)
    return Finding(
        name="load",
        level="warning",
        found=f"{said}: others work there" + (f": {busy}" if busy else ""),
        fix="measure when it is quiet, or stop them for that time",
    )


def power(case: Case) -> tuple[Finding, ...]:
    """The power mode and the clocks of a board that has such."""
    texts, advice = case.health.texts, case.target.advice
    found = []
    mode = tegra.parse_power_mode(texts.get("power_mode", ""))
    if mode is not None:
        name = clean(mode["name"], 40)
        if advice.power_modes and name not in advice.power_modes:
            found.append(
                Finding(
                    name="power-mode",
                    level="warning",
                    found=f"{name}; the board gives its best in {' or '.join(advice.power_modes)}",
                    fix=advice.power_mode_command,
                )
            )
        else:
            found.append(Finding(name="power-mode", level="fine", found=name))
    gpu = activity(case)
    if gpu is not None:
        found.append(gpu)
    clocks = tegra.parse_clocks(texts.get("clocks", ""))
    if clocks is not None:
        off = [str(cpu["cpu"]) for cpu in clocks["cpus"] if not cpu["online"]]
        if off:
            found.append(
                Finding(
                    name="cores",
                    level="warning",
                    found=f"off: CPU {', '.join(off)}",
                    fix=advice.power_mode_command,
                )
            )
        if clocks["pinned"]:
            found.append(Finding(name="clocks", level="fine", found="held at one frequency"))
        else:
            found.append(
                Finding(
                    name="clocks",
                    level="warning",
                    found="they float: two measurements may differ by the clock alone",
                    fix=advice.clocks_command,
                )
            )
    return tuple(found)


def activity(case: Case) -> Finding | None:
    """Who else uses the GPU; None of a board that does not tell."""
    seen = tegra.parse_activity(case.health.texts.get("activity", ""))
    if seen is None or seen["gpu_load"] is None:
        return None
    watts = max(seen["power_mw"].values(), default=0) / 1000
    said = f"{seen['gpu_load']} % busy" + (f", the largest rail at {watts:.1f} W" if watts else "")
    if seen["gpu_load"] <= 100 * BUSY:
        return Finding(name="gpu", level="fine", found=said)
    return Finding(
        name="gpu",
        level="warning",
        found=f"{said}: others use it",
        fix="measure when it is quiet, or stop them for that time",
    )

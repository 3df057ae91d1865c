"""The way to the device: reached, known, quick, quiet."""

from __future__ import annotations

import statistics

from edgefreeze.doctor.case import Finding, Link
from edgefreeze.errors import CODES
from edgefreeze.text import clean

SLOW_MS = 150.0
"""Round trips above this make a deployment feel slow; it needs a few dozen of them."""
VERY_SLOW_MS = 1000.0
ECHO = "edgefreeze-42"
"""What `echo edgefreeze-$((6*7))` prints in any POSIX shell, and a forced command does not."""


def findings(link: Link) -> tuple[Finding, ...]:
    """All of this room. Pure."""
    if link.local:
        return (Finding(name="ssh", level="fine", found="not needed: the device is this machine"),)
    if link.failure is not None:
        return unreached(link)
    return (
        Finding(name="ssh", level="fine", found=f"{link.destination} is {link.address}"),
        host_key(link),
        jump(link),
        latency(link),
        banner(link),
        forced_command(link),
        sftp(),
    )


def unreached(link: Link) -> tuple[Finding, ...]:
    """Why there is no connection, and what to do. What a forced command does is told apart from a device that
    has no Python."""
    assert link.failure is not None
    failure = link.failure
    if link.echo is not None and link.echo != ECHO:
        return (forced_command(link),)
    said = f"{failure.message}" + (f" ({failure.found})" if failure.found else "")
    fix = failure.next or CODES[failure.code].cure
    name = "host-key" if failure.code.startswith("host-key") else "ssh"
    if failure.code in ("no-python", "old-python"):
        name = "python"
    return (Finding(name=name, level="failure", found=_line(said, 600), fix=_line(fix, 300)),)


def host_key(link: Link) -> Finding:
    """It is known, or there were no connection."""
    return Finding(name="host-key", level="fine", found=f"known: {link.known}" if link.known else "known")


def jump(link: Link) -> Finding:
    """Through another host, or straight."""
    found = "through another host, as ~/.ssh/config says" if link.jump else "none: reached directly"
    return Finding(name="jump", level="fine", found=found)


def latency(link: Link) -> Finding:
    """The median of some round trips."""
    if not link.round_trips_ms:
        return Finding(name="latency", level="fine", found="not measured")
    middle = statistics.median(link.round_trips_ms)
    found = f"{middle:.1f} ms a round trip (at most {max(link.round_trips_ms):.1f} ms)"
    if middle < SLOW_MS:
        return Finding(name="latency", level="fine", found=found)
    fix = "expect a slow deployment; --limit-rate leaves room on the line for others"
    if middle >= VERY_SLOW_MS:
        fix = "a deployment goes on where it broke off: run it again where the line drops"
    return Finding(name="latency", level="warning", found=found, fix=fix)


def banner(link: Link) -> Finding:
    """What the login prints on stdout, in front of what programs say to each other there."""
    if not link.noise:
        return Finding(name="banner", level="fine", found="the login prints nothing on stdout")
    return Finding(
        name="banner",
        level="warning",
        found=f"the login prints on stdout: '{_line(link.noise, 80)}'; edgefreeze skips it, scp does not",
        fix="print such things in ~/.bashrc for interactive shells only: [[ $- == *i* ]] || return",
    )


def forced_command(link: Link) -> Finding:
    """Whether the device runs what it is asked to run."""
    if link.echo is None or link.echo == ECHO:
        return Finding(name="forced-command", level="fine", found="none: the device runs what it is asked to")
    return Finding(
        name="forced-command",
        level="failure",
        found="the device ran something else than it was asked to"
        + (f": '{_line(link.echo, 120)}'" if link.echo.strip() else ", and it printed nothing"),
        fix='a key without command="…" in its line of ~/.ssh/authorized_keys, or a user whose shell is one',
    )


def sftp() -> Finding:
    """Not a check: a question that people ask."""
    return Finding(name="sftp", level="fine", found="not needed: all goes over one exec channel")


def _line(text: str, limit: int) -> str:
    return clean(" ".join(text.split()), limit)

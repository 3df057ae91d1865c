"""Collects what the checks judge, and has them judge it. The device is looked at, not changed: a tiny model
that is tried there goes again with the connection."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from edgefreeze import operate, runtimes
from edgefreeze.doctor import clock, disk, heat, identity, interpreter, memory, network, pace
from edgefreeze.doctor import runtimes as runtime_checks
from edgefreeze.doctor.case import Case, Finding, Health, Link, Process, Release, Runtime
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.progress import Progress
from edgefreeze.ship import proof, session
from edgefreeze.ship.plan import RuntimePlan
from edgefreeze.targets import Format, Target
from edgefreeze.text import clean
from edgefreeze.transport import host_keys, ssh_config
from edgefreeze.transport.client import Helper, connect
from edgefreeze.types import DeviceFacts

Ask = Callable[[str], str | None]
ROOMS: tuple[Callable[[Case], tuple[Finding, ...]], ...] = (
    lambda case: network.findings(case.link),
    identity.findings,
    interpreter.findings,
    memory.findings,
    disk.findings,
    clock.findings,
    heat.findings,
    pace.findings,
    runtime_checks.findings,
)
_PINGS = 7
_ECHO_S = 20
_TEXT = 64 * 1024


def doctor(
    target: Target, device: Device, known: tuple[Target, ...], progress: Progress, ask: Ask
) -> tuple[Finding, ...]:
    """All findings of a device, in the order of the rooms. What cannot be reached is a finding, too.

    known: all targets, for advice on which fits. Raises Failure only for a mistake on this machine, and
    where the connection breaks on the way.
    """
    progress.step("connect", f"connecting to {device.name}")
    link = Link(destination=device.name, address=device.host or device.name)
    try:
        link = _way(device)
        helper = connect(device, ask)
    except Failure as failure:
        if failure.code == "ssh-missing":
            raise
        return network.unreached(replace(link, failure=failure, echo=_echo(device, failure)))
    with helper:
        return judge(collect(helper, target, link, known, progress))


def judge(case: Case) -> tuple[Finding, ...]:
    """What all rooms say of a case. Pure."""
    return tuple(finding for room in ROOMS for finding in room(case))


def collect(
    helper: Helper, target: Target, link: Link, known: tuple[Target, ...], progress: Progress
) -> Case:
    """Ask the device all that the rooms want to know. Raises Failure as asking does."""
    link = replace(link, noise=helper.greeting.noise, round_trips_ms=() if link.local else _pings(helper))
    progress.step("probe", "looking at the device")
    facts = session.probe(helper)
    asked_at = time.time()
    answer = helper.request("health")
    answered_at = time.time()
    case = Case(
        target=target,
        link=link,
        facts=facts,
        health=health(answer, helper.where),
        asked_at=asked_at,
        answered_at=answered_at,
        others=tuple(t.name for t in known if facts.machine in t.match.machine),
    )
    if facts.machine not in target.match.machine:
        return case
    return replace(
        case, runtimes=_runtimes(helper, target, facts, progress), releases=_releases(helper, progress)
    )


def health(answer: dict[str, Any], where: str) -> Health:
    """The device's answer, checked and cleaned. Raises Failure protocol. Pure."""
    try:
        found = msgspec.convert(answer, Health, strict=True)
    except msgspec.ValidationError as error:
        raise Failure(
            "protocol", f"{where}: its health's answer makes no sense: {clean(str(error), 200)}"
        ) from None
    return replace(
        found,
        texts={
            name: "\n".join(clean(line) for line in text[:_TEXT].splitlines())
            for name, text in found.texts.items()
        },
        zones={clean(name, 60): degrees for name, degrees in list(found.zones.items())[:64]},
        busiest=tuple(Process(pid=p.pid, name=clean(p.name, 60), cores=p.cores) for p in found.busiest[:10]),
        root=clean(found.root, 1024),
    )


# --- the way


def _way(device: Device) -> Link:
    if device.transport == "local":
        return Link(destination=device.name, address="this machine", local=True)
    assert device.host is not None
    host = ssh_config.resolve(device.host)
    live = [entry for entry in host_keys.load(host) if not entry.revoked]
    kinds = ", ".join(dict.fromkeys(entry.kind for entry in live))
    return Link(
        destination=device.name,
        address=f"{host.user}@{host.hostname} port {host.port}",
        jump=host.proxy is not None,
        known=f"{kinds} in {live[0].file}" if live else None,
    )


def _pings(helper: Helper) -> tuple[float, ...]:
    found = []
    for _ in range(_PINGS):
        start = time.perf_counter()
        helper.request("ping")
        found.append((time.perf_counter() - start) * 1000)
    return tuple(found)


def _echo(device: Device, failure: Failure) -> str | None:
    """What a plain command prints there, where the helper did not start though the login went well."""
    if failure.code not in ("helper-no-greeting", "no-python", "device-silent") or device.host is None:
        return None
    host, port = ssh_config.split_port(device.host)
    where = [*ssh_config.config_arguments(), *(["-p", str(port)] if port else []), "--", host]
    command = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *where, "echo edgefreeze-$((6*7))"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ECHO_S, check=False
        )
        # 255 is ssh's own: it could not log in without asking, which says nothing of the device.
        if done.returncode != 255:
            lines = clean(done.stdout[-1000:].decode("utf-8", "replace"), 300).split()
            return network.ECHO if network.ECHO in lines else " ".join(lines)
    return None


# --- runtimes


def _runtimes(helper: Helper, target: Target, facts: DeviceFacts, progress: Progress) -> tuple[Runtime, ...]:
    table = runtimes.table()
    needed: dict[str, list[Format]] = {}
    for entry in target.formats:
        if entry.format in table.format:
            needed.setdefault(table.of_format(entry.format), []).append(entry)
    first = next(iter(needed), None)
    found = []
    for name, entries in needed.items():
        seen = Runtime(name=name, formats=tuple(e.key for e in entries), first=name == first)
        try:
            choice = runtimes.choose(name, facts, target.runtimes.get(name))  # type: ignore[call-overload]
        except Failure as failure:
            found.append(replace(seen, reason=failure.expected or failure.message))
            continue
        if choice.package is not None:
            found.append(
                replace(seen, bring=" ".join(choice.requirement), unpacked_mb=choice.package.unpacked_mb)
            )
            continue
        progress.step("runtime", f"trying {choice.here} on the device")
        proved = proof.prove(helper, facts, RuntimePlan(choice=choice, tree=None), progress)
        found.append(replace(seen, own=choice.here, inferred=proved.ok, error=proved.reason))
    return tuple(found)


def _releases(helper: Helper, progress: Progress) -> tuple[Release, ...]:
    found = []
    for entry in operate.entries(helper, helper.request("status"), "apps"):
        app, active = entry.get("app"), entry.get("active")
        if not isinstance(app, str) or not isinstance(active, str):
            continue
        progress.step("selftest", f"testing what {clean(app, 64)} runs")
        try:
            tests, _ = session.tested(helper, app, active, threads=1)
        except Failure as failure:
            found.append(_release(app, active, (), {"self-test": failure.message}))
            continue
        passed = tuple(clean(t.key, 60) for t in tests if t.ok)
        failed = {clean(t.key, 60): t.error or "it computes something else" for t in tests if not t.ok}
        found.append(_release(app, active, passed, failed))
    return tuple(found)


def _release(app: str, active: str, passed: tuple[str, ...], failed: dict[str, str]) -> Release:
    return Release(app=clean(app, 64), release=clean(active, 64), passed=passed, failed=failed)

"""Runtimes on a device before the day in the field: put together, brought, proved by an inference there, and
kept, so that a deployment has only its model to send."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgefreeze import runtimes
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.progress import Progress
from edgefreeze.ship import proof, provision, session
from edgefreeze.ship.plan import RuntimePlan
from edgefreeze.targets import Format, Target
from edgefreeze.text import short
from edgefreeze.transport.client import Helper, connect
from edgefreeze.types import DeviceFacts

Ask = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One runtime on the device."""

    runtime: str
    formats: tuple[str, ...]
    """What it runs of the target's."""
    packages: dict[str, str]
    """Name to version; of the interpreter's own one."""
    own: bool
    """The device's interpreter has it already."""
    tree: str | None
    bytes: int
    bytes_sent: int
    ok: bool | None
    """It inferred there; None: it was not tried."""
    seconds: float | None
    reason: str | None
    """Why it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What a device has now."""

    device: str
    target: str
    emulated: bool
    runtimes: tuple[Prepared, ...]
    dry_run: bool
    seconds: float

    @property
    def bytes_sent(self) -> int:
        """Payload."""
        return sum(r.bytes_sent for r in self.runtimes)


def formats_of(target: Target, wanted: tuple[str, ...], *, no_tf: bool) -> tuple[Format, ...]:
    """The formats to prepare for: those named, or the target's. Pure. Raises Failure format-unknown."""
    table = runtimes.table()
    known = tuple(Format.of(name) for name in wanted) or target.formats
    left = tuple(f for f in known if not (no_tf and table.of_format(f.format) == "tensorflow"))
    if not left:
        raise Failure(
            "format-unknown",
            f"nothing is left of the formats of target '{target.name}'",
            expected="a format that runs without TensorFlow",
            found=", ".join(f.key for f in known),
        )
    return left


def prepare(
    target: Target,
    device: Device,
    formats: tuple[Format, ...],
    sources: runtimes.Sources,
    progress: Progress,
    ask: Ask,
    *,
    dry_run: bool = False,
    rate: int | None = None,
) -> Preparation:
    """Prepare a device. rate: bytes a second at most.

    Raises Failure device-mismatch, runtime-unavailable, runtime-fetch, disk-space, and runtime-failed where a
    runtime is there and does not infer.
    """
    started = time.monotonic()
    progress.step("connect", f"connecting to {device.name}")
    with connect(device, ask, session.FIRST) as helper:
        progress.step("probe", "looking at the device")
        facts = session.probe(helper)
        for warning in session.require_board(target, facts, device.name):
            progress.note(f"{device.name}: {warning}")
        choices = provision.choose(formats, target, facts, progress)
        plans = [provision.plan(choice, facts, progress, sources) for choice in choices.values()]
        found = []
        for plan in plans:
            done = _described(plan, formats)
            found.append(
                replace(done, bytes_sent=sum(c.bytes for c in provision.lacking(helper, plan)))
                if dry_run
                else _prepare(helper, facts, plan, done, target, progress, rate)
            )
    return Preparation(
        device=device.name,
        target=target.name,
        emulated=facts.emulated,
        runtimes=tuple(found),
        dry_run=dry_run,
        seconds=time.monotonic() - started,
    )


def _described(plan: RuntimePlan, formats: tuple[Format, ...]) -> Prepared:
    name = plan.choice.runtime
    own = plan.choice.own
    return Prepared(
        runtime=name,
        formats=tuple(f.key for f in formats if runtimes.table().of_format(f.format) == name),
        packages=plan.tree.packages if plan.tree else dict([own.split(" ", 1)] if own else []),
        own=plan.tree is None,
        tree=plan.tree.id if plan.tree else None,
        bytes=plan.tree.bytes if plan.tree else 0,
        bytes_sent=0,
        ok=None,
        seconds=None,
        reason=None,
    )


def _prepare(
    helper: Helper,
    facts: DeviceFacts,
    plan: RuntimePlan,
    done: Prepared,
    target: Target,
    progress: Progress,
    rate: int | None,
) -> Prepared:
    sent = provision.bring(helper, plan, facts, target, progress, rate)
    proved = proof.prove(helper, facts, plan, progress)
    if not proved.ok:
        raise Failure(
            "runtime-failed",
            f"{helper.where}: {done.runtime} is there and does not infer",
            expected="an inference of a tiny model",
            found=proved.reason,
            device_state=helper.state_sentence(),
            retry_safe=True,
            next="edgefreeze doctor, or leave its formats out with --format",
        )
    if plan.tree is not None:
        helper.request("prepare", {"runtime": done.runtime, "id": plan.tree.id})
        progress.note(f"{done.runtime}: tree {short(plan.tree.id)} stays there until another is prepared")
    return replace(done, bytes_sent=sent, ok=True, seconds=proved.seconds)

"""Duels on a connected device: driven, kept as their samples come, collected where an earlier run was cut."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Any

import edgefreeze
from edgefreeze.benchmark import store
from edgefreeze.benchmark.events import Block, Operation, operations
from edgefreeze.benchmark.plan import DuelPlan, Effort, Entrant, duel
from edgefreeze.benchmark.result import About, Collector, DuelResult, merged
from edgefreeze.device.protocol import RUN
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.targets import Bench
from edgefreeze.text import ranges, short
from edgefreeze.transport.client import Helper
from edgefreeze.types import DeviceFacts

PROFILED_CALLS = 20
_LOST = ("helper-died", "device-silent")


def require_cpus(effort: Effort, defaults: Bench, facts: DeviceFacts, where: str) -> None:
    """Raise Failure no-cpu where the device has not the processors that contestants are to be held to."""
    wanted = effort.cpus or defaults.cpus
    if not set(wanted) <= set(facts.cpus):
        lacking = set(wanted) - set(facts.cpus)
        raise Failure(
            "no-cpu",
            f"{where}: its user's processes cannot run on processor {ranges(lacking)}",
            expected=f"of {ranges(facts.cpus)}",
            found=ranges(wanted),
            device_state="probed only; unchanged",
        )


def measure(
    helper: Helper,
    entrants: tuple[Entrant, ...],
    about: About,
    defaults: Bench,
    progress: Progress,
    *,
    effort: Effort | None = None,
) -> DuelResult:
    """The duel of the entrants on the device, one for each number of threads; stored on this machine.

    A contestant's failure is a result. Raises Failure locked (somebody measures there), and what the
    transport raises: what had been measured by then is stored, and said in `next`.
    """
    effort = effort or Effort()
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found = []
    about = replace(about, started=started, version=edgefreeze.__version__)
    for threads in effort.threads or (defaults.threads,):
        plan = duel(entrants, defaults, seed=secrets.randbelow(2**31), effort=effort, threads=threads)
        found.append(_race(helper, plan, replace(about, run=secrets.token_hex(8)), progress))
    result = merged(found)
    store.keep(result, store.place(result))
    for part in found:
        store.place(part).with_suffix(".part").unlink(missing_ok=True)
        helper.request("bench_forget", {"run": part.run})
    return result


def _race(helper: Helper, plan: DuelPlan, about: About, progress: Progress) -> DuelResult:
    text = "measuring " + ", ".join(plan.contestants) + " on the device"
    progress.step("bench", text + (f", {plan.threads} threads" if plan.threads > 1 else ""), len(plan.order))
    collector = Collector(plan=plan)
    stream = store.Stream(store.place(about), plan, about)

    def on_event(event: dict[str, Any]) -> None:
        stream.event(event)
        collector.add(event)
        if event.get("kind") == "block":
            progress.advance(1)

    args = {
        "app": about.app,
        "release": about.release,
        "plan": plan.as_args(),
        "run": about.run,
        "about": store.head(plan, about),
    }
    try:
        answer = helper.request("bench", args, on_event=on_event)
        stream.event({"kind": "end"})
        return collector.result(about, parity=answer.get("checks"))
    except Failure as failure:
        if not any(isinstance(e, Block) for e in collector.events):
            stream.path.unlink(missing_ok=True)
        elif not failure.next:
            failure.next = f"edgefreeze results show {about.run}"
        raise
    finally:
        stream.close()


def collect(helper: Helper, device: str, progress: Progress) -> list[DuelResult]:
    """Take what runs that were cut have left on the device, store it here and remove it there.

    Raises Failure bad-result where nothing can be stored here: the device keeps it then; and what the
    transport raises where the connection is lost.
    """
    found = []
    runs = helper.request("bench_left").get("runs")
    for entry in runs if isinstance(runs, list) else []:
        run = entry.get("run") if isinstance(entry, dict) else None
        if not isinstance(run, str) or RUN.fullmatch(run) is None:
            continue
        try:
            blob = helper.request("bench_read", {"run": run}).get("blob")
            journal = blob if isinstance(blob, bytes) else b""
            result = store.recovered(journal, f"run {run}", device=device, run=run)
        except Failure as failure:
            if failure.code in _LOST:
                raise
            # It would hinder whoever measures there next, today and ever after.
            helper.request("bench_forget", {"run": run})
            progress.note(f"{device}: run {run[:8]} cannot be read and is thrown away: {failure.message}")
            continue
        path = store.place(result)
        if not path.exists():
            store.keep(result, path)
            found.append(result)
            samples = sum(len(c.samples) for c in result.contestants)
            progress.note(
                f"{device} had {samples} samples of a run that was cut ({result.started}, release"
                f" {short(result.release)}): edgefreeze results show {run}"
            )
        helper.request("bench_forget", {"run": run})
    return found


def profile(
    helper: Helper,
    entrants: tuple[Entrant, ...],
    about: About,
    threads: int,
    progress: Progress,
    *,
    cpus: tuple[int, ...] = (),
) -> dict[str, list[Operation]]:
    """How long each operation of each contestant takes, where its runtime tells; see device/runtimes."""
    found: dict[str, list[Operation]] = {}
    for entrant in entrants:
        progress.step("profile", f"profiling {entrant.name}")
        args = {
            "app": about.app,
            "release": about.release,
            "format": entrant.artifact,
            "threads": threads,
            "calls": PROFILED_CALLS,
            "cpus": list(cpus),
        }
        try:
            told = helper.request("profile", args).get("operations")
            found[entrant.name] = operations(told)
        except Failure as failure:
            progress.note(f"{entrant.name} has no profile: {failure.message}")
    return found

"""Measuring artifacts against each other on the device: contestants side by side, driven one at a time.

Every raw sample goes out as an event, and into a file on the device; nothing is judged here but outputs.
Events, beside "heartbeat"; times are of CLOCK_MONOTONIC, `at_ns` since the duel began:

    environment  when ("before", "during", "after"), at_ns, own_s (processor time of helper and contestants),
                 and what sensors.environment() tells
    cold         contestant, format, precision, version, device ("gpu", "cpu"), spawn_ns, import_ns, load_ns,
                 first_ns, disk_bytes (read from the disk until then, as files were not in the system's
                 cache), rss_bytes, peak_bytes, pss_bytes, bytes (the artifact's size on disk), cpus (on which
                 its threads may run)
    warmup       contestant, samples_ns, stable (see _warm_up)
    block        contestant, block, samples_ns, lead_ns (of calls before it that do not count), at_ns, cpu_ns,
                 preempted, missed, rss_bytes, peak_bytes, pss_bytes; partial: its process ended before it was
                 over
    failed       contestant, reason, code: it is out of the race, which goes on
"""

import os
import time
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from edgefreeze.device import checks, manifest, probe, readings, sensors
from edgefreeze.device.child import Runner
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.journal import Journal
from edgefreeze.device.measure import Bench, Event
from edgefreeze.device.protocol import BLOCK_S, WAIT_S

NEXT_NEEDS = 1.2
"""A further contestant is loaded beside the others only where this times the largest peak is available."""
_COLD = ("version", "device", "import_ns", "load_ns", "rss_bytes", "peak_bytes")
CHUNK_SAMPLES, CHUNK_S = 5, 0.1
"""Warm-up goes in chunks: so many calls, or so long."""
STABLE_CHUNKS, STABLE_WITHIN = 3, 0.05
"""It is over when the medians of so many chunks in a row lie within this of each other."""

check_plan = checks.record(
    {
        "contestants": checks.list_of(
            checks.record(
                {"artifact": checks.text(130)},
                {"release": checks.digest, "xnnpack": checks.flag},
                closed=True,
            ),
            20,
            least=1,
        ),
        "order": checks.list_of(checks.integer(0, 19), 100_000),
    },
    {
        "threads": checks.integer(1, 256),
        "starts": checks.list_of(checks.integer(0, 19), 2000),
        "long_start_s": checks.optional(checks.number(0, 86_400)),
        "cpus": checks.list_of(checks.integer(0, 4095), 4096),
        "batch": checks.optional(checks.integer(1, 65_536)),
        "rate_hz": checks.optional(checks.number(0.001, 100_000)),
        "block_samples": checks.integer(1, 50_000),
        "block_seconds": checks.number(0, BLOCK_S[1]),
        "max_block_seconds": checks.number(*BLOCK_S),
        "warmup": checks.record(
            {"samples": checks.integer(0, 1_000_000), "seconds": checks.number(0, 3600)}, closed=True
        ),
        "fresh": checks.one_of("auto", "always", "never"),
        "timeout_s": checks.number(*WAIT_S),
    },
    closed=True,
)
_DEFAULTS: Dict[str, Any] = {
    "threads": 1,
    "starts": [],
    "long_start_s": None,
    "cpus": [],
    "batch": None,
    "rate_hz": None,
    "block_samples": 20,
    "block_seconds": 0.2,
    "max_block_seconds": 5.0,
    "warmup": {"samples": 5, "seconds": 0.5},
    "fresh": "auto",
    "timeout_s": 120.0,
}
Find = Callable[[Optional[str]], Bench]
"""The bench of a release, of the one that is measured where none is named."""


class Duel:
    """One run of a plan (check_plan describes it; `order` names contestants by index, one block each, and
    `starts` cold starts: each contestant once where it is empty)."""

    def __init__(
        self,
        find: Find,
        plan: Dict[str, Any],
        event: Event,
        journal: Optional[Journal] = None,
        sense: Callable[[], Dict[str, Any]] = sensors.environment,
    ) -> None:
        """Raises no-artifact, no-cpu, no-release, protocol."""
        self._plan = dict(_DEFAULTS, **plan)
        require_cpus(self._plan["cpus"])
        self._tell = event
        self._journal = journal
        self._sense = sense
        self._contestants = [_contestant(find, entry) for entry in self._plan["contestants"]]
        everyone = range(len(self._contestants))
        for index in self._plan["order"]:
            if index not in everyone:
                raise DeviceError("protocol", "the order names a contestant that there is not", found=index)
        self._starts = self._plan["starts"] or list(everyone)
        if set(self._starts) != set(everyone):
            raise DeviceError("protocol", "the starts are not those of the contestants", found=self._starts)
        self._fresh = self._plan["fresh"] == "always"
        self._runners: Dict[int, Runner] = {}
        self._checks: Dict[int, Dict[str, Any]] = {}
        self._failed: Dict[int, str] = {}
        self._peak = 0
        self._began = time.perf_counter_ns()

    def run(self) -> Dict[str, Any]:
        """Run it; the samples go out as events.

        Returns {"fresh": whether each block had a process of its own, "failed": {contestant: reason},
        "checks": {contestant: parity.compare}}.
        """
        try:
            self._environment("before")
            self._start_side_by_side()
            for block, index in enumerate(self._plan["order"]):
                if index in self._failed:
                    continue
                self._guarded(index, partial(self._block, index, block))
                self._environment("during")
            self._environment("after")
        finally:
            self._close_all()
        return {
            "fresh": self._fresh,
            "failed": {str(index): reason for index, reason in self._failed.items()},
            "checks": {str(index): parity for index, parity in self._checks.items()},
        }

    def _event(self, event: Dict[str, Any]) -> None:
        """On disk first: the host may be gone."""
        if self._journal is not None:
            self._journal.event(event)
        self._tell(event)

    def _start_side_by_side(self) -> None:
        """The cold starts. Of each contestant the last one stays, beside the others. Where each block has a
        process of its own, each has a cold start anyway."""
        for number, index in enumerate(self._starts):
            if self._fresh:
                return
            if index in self._runners or index in self._failed:
                continue
            if self._plan["fresh"] == "auto" and not self._fits():
                self._close_all()
                self._fresh = True
                return
            last = index not in self._starts[number + 1 :]
            self._guarded(index, partial(self._begin, index, last))

    def _fits(self) -> bool:
        """Whether the memory holds one more, judging by the largest so far."""
        available = readings.parse_meminfo(probe.read_text("/proc/meminfo") or "")["ram_available_bytes"]
        return available is None or available >= NEXT_NEEDS * self._peak

    def _begin(self, index: int, last: bool) -> None:
        """A cold start; one that takes too long to be repeated is the last one."""
        longest = self._plan["long_start_s"]
        runner, seconds = self._cold(index)
        if last or (longest is not None and seconds > longest):
            self._runners[index] = self._prepared(runner, index)
        else:
            runner.close()

    def _guarded(self, index: int, step: Callable[[], None]) -> None:
        """Do a step; a contestant that fails in it is out, and says why."""
        try:
            step()
        except DeviceError as error:
            self._failed[index] = error.message
            runner = self._runners.pop(index, None)
            if runner is not None:
                runner.close()
            failed = {"kind": "failed", "contestant": index, "reason": error.message, "code": error.code}
            self._event(failed)

    def _cold(self, index: int) -> Tuple[Runner, float]:
        """A runner that has made its first inference, and the seconds that this took."""
        plan, (bench, artifact) = self._plan, self._contestants[index]
        timeout = plan["timeout_s"]
        runner = bench.start(artifact, plan["threads"], plan["cpus"])
        try:
            cold = bench.load(runner, artifact, plan["threads"], timeout, plan["batch"])
            first = runner.call("first", {}, timeout)
            self._peak = max(self._peak, cold["peak_bytes"])
            told = {key: cold[key] for key in _COLD}
            told.update(
                kind="cold",
                contestant=index,
                format=artifact["format"],
                precision=artifact["precision"],
                spawn_ns=runner.spawn_ns,
                first_ns=first["first_ns"],
                disk_bytes=first["disk_bytes"],
                cpus=first["cpus"],
                pss_bytes=cold["pss_bytes"],
                bytes=_weight(bench.manifest, artifact["path"]),
            )
            self._event(told)
        except BaseException:
            runner.close()
            raise
        return runner, sum(told[key] for key in ("spawn_ns", "import_ns", "load_ns", "first_ns")) / 1e9

    def _prepared(self, runner: Runner, index: int) -> Runner:
        """The runner, checked (once a contestant) and warm; closed where it fails."""
        try:
            if index not in self._checks:
                self._check(runner, index)
            self._warm_up(runner, index)
        except BaseException:
            runner.close()
            raise
        return runner

    def _check(self, runner: Runner, index: int) -> None:
        parity = runner.call("check", {}, self._plan["timeout_s"])
        self._checks[index] = parity
        if not parity["ok"]:
            reasons = ["%s: %s" % (o["name"], o["reason"]) for o in parity["outputs"] if o["reason"]]
            raise DeviceError("selftest-failed", "its outputs are wrong: " + "; ".join(reasons))

    def _warm_up(self, runner: Runner, index: int) -> None:
        """Chunk after chunk until STABLE_CHUNKS of them agree and the plan's samples are reached, for the
        plan's seconds at most, but always so many chunks."""
        warmup = self._plan["warmup"]
        if not warmup["samples"] and not warmup["seconds"]:
            return
        from statistics import median  # not at the top: a helper that measures nothing starts without it

        samples: List[int] = []
        middles: List[float] = []
        stable = False
        until = time.monotonic() + warmup["seconds"]
        while not stable or len(samples) < warmup["samples"]:
            if len(middles) >= STABLE_CHUNKS and time.monotonic() >= until:
                break
            chunk = self._time(runner, CHUNK_SAMPLES, 0.0, CHUNK_S)
            if chunk["wrong"] is not None:
                raise DeviceError("selftest-failed", chunk["wrong"])
            samples += chunk["samples_ns"]
            middles.append(median(chunk["samples_ns"]))
            last = middles[-STABLE_CHUNKS:]
            stable = len(last) == STABLE_CHUNKS and max(last) <= min(last) * (1 + STABLE_WITHIN)
        self._event({"kind": "warmup", "contestant": index, "samples_ns": samples, "stable": stable})

    def _block(self, index: int, block: int) -> None:
        runner: Optional[Runner] = self._prepared(self._cold(index)[0], index) if self._fresh else None
        plan = self._plan
        spool = self._journal.begin(index, block) if self._journal is not None else None
        try:
            timed = runner or self._runners[index]
            most = max(plan["max_block_seconds"], plan["block_seconds"])
            result = self._time(timed, plan["block_samples"], plan["block_seconds"], most, spool)
        except DeviceError:
            samples = self._journal.cut() if self._journal is not None else None
            if samples:
                cut = {"kind": "block", "contestant": index, "block": block, "samples_ns": samples}
                self._event(dict(cut, partial=True))
            raise
        finally:
            if runner is not None:
                runner.close()
        self._peak = max(self._peak, result["peak_bytes"])
        wrong = result.pop("wrong")
        result["at_ns"] = result.pop("start_ns") - self._began
        self._event(dict(result, kind="block", contestant=index, block=block))
        if wrong is not None:
            raise DeviceError("selftest-failed", wrong)

    def _time(
        self, runner: Runner, samples: int, seconds: float, most: float, spool: Optional[str] = None
    ) -> Dict[str, Any]:
        args = {
            "samples": samples,
            "min_s": seconds,
            "max_s": most,
            "rate_hz": self._plan["rate_hz"],
            "spool": spool,
        }
        return runner.call("block", args, self._plan["timeout_s"] + most)

    def _environment(self, when: str) -> None:
        own = sum(os.times()[:4]) + sum(sensors.cpu_time(r.pid) for r in self._runners.values())
        at = time.perf_counter_ns() - self._began
        self._event(dict(self._sense(), kind="environment", when=when, at_ns=at, own_s=own))

    def _close_all(self) -> None:
        runners: List[Runner] = list(self._runners.values())
        self._runners.clear()
        for runner in runners:
            runner.close()


def require_cpus(wanted: Sequence[int]) -> None:
    """Raise no-cpu where one of these processors is not there, or not allowed to this process."""
    allowed = sorted(os.sched_getaffinity(0))
    if not set(wanted) <= set(allowed):
        raise DeviceError("no-cpu", "there is no such processor for this user", allowed, list(wanted))


def _contestant(find: Find, entry: Dict[str, Any]) -> Tuple[Bench, Dict[str, Any]]:
    bench = find(entry.get("release"))
    artifact = manifest.find_artifact(bench.manifest, entry["artifact"])
    return bench, dict(artifact, xnnpack=entry.get("xnnpack", True))


def _weight(parsed: Dict[str, Any], path: str) -> int:
    """Bytes of an artifact's files on disk."""
    mine = (f["bytes"] for f in parsed["files"] if f["path"] == path or f["path"].startswith(path + "/"))
    return sum(mine)

"""Measuring artifacts against each other on the device: contestants side by side, driven one at a time.

Every raw sample goes out as an event; nothing is judged here. Events, beside "heartbeat":

    environment  when ("before", "during", "after"), governor, cpu_mhz, temperature_c, throttled, load_1m, …
    cold         contestant, format, precision, version, spawn_ns, import_ns, load_ns, first_ns, rss_bytes
    block        contestant, block, samples_ns, rss_bytes, peak_bytes
    failed       contestant, reason, code: it is out of the race, which goes on

Warm-up samples and the check against the golden outputs are in the result.
"""

from functools import partial
from typing import Any, Callable, Dict, List, Optional

from edgefreeze.device import checks, manifest, probe, readings
from edgefreeze.device.child import Runner
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.measure import Bench, Event

NEXT_NEEDS = 1.2
"""A further contestant is loaded beside the others only where this times the largest peak is available."""

check_plan = checks.record(
    {
        "contestants": checks.list_of(checks.text(130), 20, least=1),
        "order": checks.list_of(checks.integer(0, 19), 100_000),
    },
    {
        "threads": checks.integer(1, 256),
        "block_samples": checks.integer(1, 1_000_000),
        "block_seconds": checks.number(0, 3600),
        "max_block_seconds": checks.number(0.001, 3600),
        "warmup": checks.record(
            {"samples": checks.integer(0, 1_000_000), "seconds": checks.number(0, 3600)}, closed=True
        ),
        "fresh": checks.one_of("auto", "always", "never"),
        "timeout_s": checks.number(0.001, 86_400),
    },
    closed=True,
)
_DEFAULTS: Dict[str, Any] = {
    "threads": 1,
    "block_samples": 20,
    "block_seconds": 0.2,
    "max_block_seconds": 5.0,
    "warmup": {"samples": 5, "seconds": 0.5},
    "fresh": "auto",
    "timeout_s": 120.0,
}


class Duel:
    """One run of a plan (check_plan describes it; `order` names contestants by index, one block each)."""

    def __init__(self, bench: Bench, plan: Dict[str, Any], event: Event) -> None:
        """Raises no-artifact, protocol."""
        self._bench = bench
        self._plan = dict(_DEFAULTS, **plan)
        self._event = event
        self._artifacts = [manifest.find_artifact(bench.manifest, name) for name in self._plan["contestants"]]
        for index in self._plan["order"]:
            if index >= len(self._artifacts):
                raise DeviceError("protocol", "the order names a contestant that there is not", found=index)
        self._fresh = self._plan["fresh"] == "always"
        self._runners: Dict[int, Runner] = {}
        self._checks: Dict[int, Dict[str, Any]] = {}
        self._failed: Dict[int, str] = {}
        self._warmups: List[Dict[str, Any]] = []
        self._peak = 0

    def run(self) -> Dict[str, Any]:
        """Run it; the samples go out as events.

        Returns {"fresh": whether each block had a process of its own, "failed": {contestant: reason},
        "checks": {contestant: parity.compare}, "warmups": [{"contestant", "samples_ns"}]}.
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
            "warmups": self._warmups,
        }

    def _start_side_by_side(self) -> None:
        for index in range(len(self._artifacts)):
            if self._fresh:
                return
            if self._plan["fresh"] == "auto" and not self._fits():
                self._close_all()
                self._fresh = True
                return
            self._guarded(index, partial(self._keep, index))

    def _fits(self) -> bool:
        """Whether the memory holds one more, judging by the largest so far."""
        available = readings.parse_meminfo(probe.read_text("/proc/meminfo") or "")["ram_available_bytes"]
        return available is None or available >= NEXT_NEEDS * self._peak

    def _keep(self, index: int) -> None:
        self._runners[index] = self._ready(index)

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

    def _ready(self, index: int) -> Runner:
        """A runner that is loaded, checked (once a contestant) and warm."""
        plan, artifact = self._plan, self._artifacts[index]
        timeout = plan["timeout_s"]
        runner = self._bench.start(artifact, plan["threads"])
        try:
            cold = self._bench.load(runner, artifact, plan["threads"], timeout)
            first = runner.call("first", {}, timeout)
            self._peak = max(self._peak, cold["peak_bytes"])
            self._event(
                {
                    "kind": "cold",
                    "contestant": index,
                    "format": artifact["format"],
                    "precision": artifact["precision"],
                    "version": cold["version"],
                    "spawn_ns": runner.spawn_ns,
                    "import_ns": cold["import_ns"],
                    "load_ns": cold["load_ns"],
                    "first_ns": first["first_ns"],
                    "rss_bytes": cold["rss_bytes"],
                }
            )
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
        warmup = self._plan["warmup"]
        if warmup["samples"] or warmup["seconds"]:
            result = self._time(runner, max(1, warmup["samples"]), warmup["seconds"])
            self._warmups.append({"contestant": index, "samples_ns": result["samples_ns"]})

    def _block(self, index: int, block: int) -> None:
        runner: Optional[Runner] = self._ready(index) if self._fresh else None
        try:
            timed = runner or self._runners[index]
            result = self._time(timed, self._plan["block_samples"], self._plan["block_seconds"])
        finally:
            if runner is not None:
                runner.close()
        self._peak = max(self._peak, result["peak_bytes"])
        self._event(dict(result, kind="block", contestant=index, block=block))

    def _time(self, runner: Runner, samples: int, seconds: float) -> Dict[str, Any]:
        most = max(self._plan["max_block_seconds"], seconds)
        args = {"samples": samples, "min_s": seconds, "max_s": most}
        return runner.call("block", args, self._plan["timeout_s"] + most)

    def _environment(self, when: str) -> None:
        self._event(dict(probe.environment(), kind="environment", when=when))

    def _close_all(self) -> None:
        runners: List[Runner] = list(self._runners.values())
        self._runners.clear()
        for runner in runners:
            runner.close()

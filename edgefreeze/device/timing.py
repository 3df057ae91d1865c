"""Timing calls, one after another: the loop that every latency comes from.

A sample is one whole call, by the monotonic clock (CLOCK_MONOTONIC, which all processes of a board share).
What is done with its result (keeping it, to be compared with the golden one) is not part of it.
"""

import mmap
import resource
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

Call = Callable[[], Dict[str, Any]]
_clock = time.perf_counter_ns


class Spool:
    """Samples in a file that survives this process: 8 bytes each, zero where there is none yet.

    Its pages are touched beforehand: a page fault between two calls makes the second 60 microseconds longer.
    """

    def __init__(self, path: str, count: int) -> None:
        with open(path, "w+b") as stream:
            stream.truncate(8 * count)
            self._map = mmap.mmap(stream.fileno(), 8 * count)
        self.view = memoryview(self._map).cast("q")
        for first in range(0, count, mmap.PAGESIZE // 8):
            self.view[first] = 0

    def close(self) -> None:
        """Give the file back."""
        self.view.release()
        self._map.close()


class Stretch:
    """How long to time: at least `samples` and `least_s`, at most `most_s` and MOST_SAMPLES; one call each
    1/rate_hz seconds where a rate is given (one that takes longer than that delays the next, and is
    counted)."""

    def __init__(self, samples: int, least_s: float, most_s: float, rate_hz: Optional[float] = None) -> None:
        self.samples = samples
        self.least_ns, self.most_ns = int(least_s * 1e9), int(most_s * 1e9)
        self.period_ns = int(1e9 / rate_hz) if rate_hz else 0


MOST_SAMPLES = 50_000
"""In one stretch, however short the calls are: samples are kept, sent and stored one by one."""
LEAD_CALLS, LEAD_NS = 5, 20_000_000
"""Before a block: so many calls that do not count, or as many as fit into this time. Other contestants ran
meanwhile, and what is measured is the steady state, not how a cache fills; long calls fill it themselves."""


def lead(calls: Sequence[Call], turn: int, usual_ns: int) -> List[int]:
    """Make the calls before a block, none where one usually takes longer than they may; their times."""
    until = _clock() + LEAD_NS
    made: List[int] = []
    while len(made) < LEAD_CALLS and usual_ns < LEAD_NS and _clock() < until:
        before = _clock()
        calls[(turn + len(made)) % len(calls)]()
        made.append(_clock() - before)
    return made


def timed(
    calls: Sequence[Call], turn: int, stretch: Stretch, spool: Optional[Spool] = None
) -> Dict[str, Any]:
    """Time the calls in turn, beginning with calls[turn].

    {"samples_ns", "start_ns", "cpu_ns": processor time of this process meanwhile, "preempted": how often it
    was taken off a processor, "missed": calls that did not begin in time, "turn": the next call's,
    "outputs": the last result of each call, None where it was not called}.
    """
    samples: List[int] = []
    outputs: List[Any] = [None] * len(calls)
    kept = spool.view if spool is not None else None
    room = len(kept) if kept is not None else 0
    wanted, least, most, period = stretch.samples, stretch.least_ns, stretch.most_ns, stretch.period_ns
    count = len(calls)
    missed = done = 0
    before_all = resource.getrusage(resource.RUSAGE_SELF)
    cpu = time.process_time_ns()
    start = now = due = _clock()
    while not done or ((done < wanted or now - start < least) and now - start < most and done < MOST_SAMPLES):
        if period:
            missed += _wait(due, done)
            due = max(due, _clock() - period) + period
        call = calls[turn]
        before = _clock()
        result = call()
        now = _clock()
        samples.append(now - before)
        if done < room:
            kept[done] = now - before  # type: ignore[index]
        outputs[turn] = result
        turn = (turn + 1) % count
        done += 1
    after_all = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "samples_ns": samples,
        "start_ns": start,
        "cpu_ns": time.process_time_ns() - cpu,
        "preempted": after_all.ru_nivcsw - before_all.ru_nivcsw,
        "missed": missed,
        "turn": turn,
        "outputs": outputs,
    }


def _wait(due: int, done: int) -> int:
    """Sleep until a call is due; 1 where that was long ago, so that the rate is not kept."""
    late = _clock() - due
    if late < 0:
        time.sleep(-late / 1e9)
        return 0
    return int(bool(done) and late > 1_000_000)

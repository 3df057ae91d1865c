"""What a device says while it measures. It comes from outside: an event that does not fit is an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from edgefreeze.errors import Failure
from edgefreeze.text import clean

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a device can have counted: JSON has larger numbers, which no float can hold."""


class Cold(msgspec.Struct, frozen=True, tag_field="kind", tag="cold", kw_only=True):
    """A contestant's start: process, import of the runtime, loading, first inference; nanoseconds."""

    contestant: Count
    spawn_ns: Count
    import_ns: Count
    load_ns: Count
    first_ns: Count
    version: str | None = None
    device: str | None = None
    """Where the runtime computes, by its own word: "gpu", "cpu"."""
    disk_bytes: Count | None = None
    rss_bytes: Count | None = None
    peak_bytes: Count | None = None
    pss_bytes: Count | None = None
    bytes: Count | None = None
    cpus: list[Count] | None = None


class Warmup(msgspec.Struct, frozen=True, tag_field="kind", tag="warmup", kw_only=True):
    """Calls before those that count."""

    contestant: Count
    samples_ns: list[Count]
    stable: bool = True


class Block(msgspec.Struct, frozen=True, tag_field="kind", tag="block", kw_only=True):
    """One block of one contestant."""

    contestant: Count
    block: Count
    samples_ns: list[Count]
    at_ns: Count | None = None
    cpu_ns: Count | None = None
    preempted: Count = 0
    missed: Count = 0
    lead_ns: list[Count] = []
    rss_bytes: Count | None = None
    peak_bytes: Count | None = None
    pss_bytes: Count | None = None
    partial: bool = False


class Environment(msgspec.Struct, frozen=True, tag_field="kind", tag="environment", kw_only=True):
    """What the board was doing."""

    when: str
    at_ns: Count | None = None
    governor: str | None = None
    cpu_mhz: float | None = None
    cpu_mhz_min: float | None = None
    temperature_c: float | None = None
    throttled: str | None = None
    load_1m: float | None = None
    busy_s: float | None = None
    own_s: float | None = None
    ram_available_bytes: Count | None = None
    swap_used_bytes: Count | None = None
    quota_cpus: float | None = None
    starved_s: float | None = None
    power_w: float | None = None
    power_mode: str | None = None


class Failed(msgspec.Struct, frozen=True, tag_field="kind", tag="failed", kw_only=True):
    """A contestant that timed out, crashed, was killed or computed something wrong: a result."""

    contestant: Count
    reason: str
    code: str | None = None


Event = Cold | Warmup | Block | Environment | Failed
SILENT = {"head", "begin", "end"}
"""Lines of a device's journal that say nothing of the measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation of a contestant, as its runtime's profiler tells."""

    name: str
    type: str
    """What it computes: "Conv"; "" where the profiler does not tell."""
    ns: Annotated[float, msgspec.Meta(ge=0, le=1e15)]
    """Nanoseconds, the mean of a call of the model."""


MOST_OPERATIONS = 5000


def operations(told: object) -> list[Operation]:
    """A profile, cleaned; of a longer one the first MOST_OPERATIONS. Raises Failure protocol."""
    try:
        known = msgspec.convert(told, list[Operation], strict=True)
    except msgspec.ValidationError as error:
        raise Failure(
            "protocol", f"the device sent a profile that is none: {clean(str(error), 200)}"
        ) from None
    return [
        Operation(name=clean(o.name, 1000), type=clean(o.type, 200), ns=o.ns) for o in known[:MOST_OPERATIONS]
    ]


def parse(event: dict[str, Any], contestants: int) -> Event:
    """Check one event. Raises Failure protocol."""
    try:
        known: Event = msgspec.convert(event, Event, strict=True)
        if not 0 <= getattr(known, "contestant", 0) < contestants:
            raise msgspec.ValidationError("a contestant that there is not")
        samples = [*known.samples_ns] if isinstance(known, (Block, Warmup)) else []
        samples += known.lead_ns if isinstance(known, Block) else []
        if samples and not 0 < min(samples) <= max(samples) < 10**13:
            raise msgspec.ValidationError("a latency that is none")
    except msgspec.ValidationError as error:
        raise Failure(
            "protocol", f"the device sent a measurement that is none: {clean(str(error), 200)}"
        ) from None
    if isinstance(known, Environment):
        texts = {
            k: v and clean(v, 200) for k, v in msgspec.structs.asdict(known).items() if isinstance(v, str)
        }
        known = msgspec.structs.replace(known, **texts)
    return known

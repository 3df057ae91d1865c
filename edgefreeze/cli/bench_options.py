"""Options of measuring that several commands share, and the values they become."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import click

from edgefreeze.cli.options import counts

Command = Callable[..., Any]


def _cpus(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """A list as Linux writes it: "2,3", "0-3", "0-1,4"."""
    found: list[int] = []
    for part in value.split(",") if value is not None else ():
        ends = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if first > last or last > 4095:
            raise click.BadParameter(f"{value!r} is no list of processors, such as 2,3 or 0-3", ctx, param)
        found += range(first, last + 1)
    return tuple(sorted(set(found)))


def _percent(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        found = float(value.strip().removesuffix("%"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1000:
        raise click.BadParameter(f"{value!r} is no percentage, such as 5%", ctx, param)
    return found


_EFFORT = (
    click.option(
        "--threads", metavar="N,…", callback=counts(256),
        help="A duel for each number of threads. Default: the target's.",
    ),
    click.option(
        "--cpus", metavar="N,…", callback=_cpus,
        help="Hold every contestant to these processors: 2,3 or 0-3. Default: the target's, or all.",
    ),
    click.option(
        "--fixed-rate", "rate_hz", metavar="HZ", type=click.FloatRange(0.001, 100_000),
        help="So many calls a second, as a camera asks for, instead of one after the other.",
    ),
    click.option(
        "--min-samples", type=click.IntRange(1, 1_000_000),
        help="Samples of each contestant. Default: the target's.",
    ),
    click.option(
        "--min-seconds", type=click.FloatRange(0, 3600), default=0.0,
        help="Seconds in steady state, for each contestant, at least.",
    ),
    click.option(
        "--max-seconds", type=click.FloatRange(0.02, 3600),
        help="Seconds for each contestant at most, even with too few samples. Default: the target's.",
    ),
    click.option(
        "--cold-starts", metavar="N", type=click.IntRange(1, 100),
        help="Cold starts of each contestant. Default: 3; 1 in deploy without a gate on start, and where one"
        " takes longer than 5 s.",
    ),
)  # fmt: skip
_GATES = (
    click.option(
        "--require", "required", metavar="GATE", multiple=True,
        help="What must be shown: 'p95<40ms', 'rss<300MB', 'accuracy_drop<0.5%', 'speedup(a,b)>=1.1'.",
    ),
    click.option(
        "--max-regress", metavar="PERCENT", callback=_percent,
        help="How much slower it may be than what is active there; both are measured.",
    ),
    click.option(
        "--allow-emulated", is_flag=True, help="Let an emulated device's figures decide (for trying out)."
    ),
)  # fmt: skip


def effort_options(function: Command) -> Command:
    """How long and how is measured; the command gets plan.Effort, as `effort`."""

    @functools.wraps(function)
    def call(
        *args: Any,
        threads: tuple[int, ...],
        cpus: tuple[int, ...],
        rate_hz: float | None,
        min_samples: int | None,
        min_seconds: float,
        max_seconds: float | None,
        cold_starts: int | None,
        **kwargs: Any,
    ) -> Any:
        from edgefreeze.benchmark.plan import Effort

        effort: Effort = Effort(
            threads=threads,
            cpus=cpus,
            rate_hz=rate_hz,
            min_samples=min_samples,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            cold_starts=cold_starts,
        )
        return function(*args, effort=effort, **kwargs)

    return _with(_EFFORT, call)


def gate_options(function: Command) -> Command:
    """--require, --max-regress, --allow-emulated; the command gets `gates` and `allow_emulated`."""

    @functools.wraps(function)
    def call(*args: Any, required: tuple[str, ...], max_regress: float | None, **kwargs: Any) -> Any:
        from edgefreeze.benchmark import gates

        wanted: list[gates.Gate] = [gates.parse(text) for text in required]
        if max_regress is not None:
            wanted.append(gates.regression(max_regress))
        return function(*args, gates=tuple(wanted), **kwargs)

    return _with(_GATES, call)


def _with(wanted: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    for option in reversed(wanted):
        command = option(command)
    return command

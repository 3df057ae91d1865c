"""Text that came from outside, made fit for a terminal; and figures made fit for a person."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[PX^_\]].*?(?:\x1b\\|\x07)|[@-Z\\-_])", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str, limit: int = 2000) -> str:
    """Text from a device, a model or a log without terminal escapes, control characters and
    direction overrides, at most `limit` characters."""
    text = _CONTROL.sub("", _ESCAPES.sub("", text)).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def size(count: float) -> str:
    """Bytes for a person, decimal units: 1_500_000 is '1.5 MB'."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def duration(seconds: float) -> str:
    """A time for a person: '0.42 s', '3 min 05 s'."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as Linux lists processors: 0, 1, 2, 5 is '0-2,5'."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def short(release: str | None) -> str:
    """A release's id as people say it: its first 12 digits."""
    return release[:12] if release else "none"

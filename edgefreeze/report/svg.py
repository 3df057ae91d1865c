"""Plots as inline SVG: pure functions of numbers. Colours are the page's CSS classes, so that light, dark and
print have their own; every plot has a title and a description for those who do not see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
_RIGHT = 16


def _left(names: Sequence[str]) -> float:
    """Room for names, also in the larger type of a phone."""
    return min(260.0, 20.0 + 10.5 * max(map(len, names), default=0))


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between low and high, about so many."""
    if not math.isfinite(low) or not math.isfinite(high) or high <= low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= raw), 10 * power)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Scale:
    """A number to a place."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value, within the plot."""
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.5
        return round(self.start + (self.end - self.start) * min(max(share, 0.0), 1.0), 2)


def _svg(height: int, title: str, description: str, inner: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" preserveAspectRatio="xMidYMid meet">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>" + "".join(inner) + "</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    marks = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{marks}>{escape(text)}</text>'


def _axis(scale: Scale, y: float, top: float, unit: str) -> list[str]:
    parts = []
    for tick in ticks(scale.low, scale.high):
        x = scale(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{y}"/>')
        parts.append(_text(x, y + 15, f"{tick:g}", "middle", "tick"))
    return [*parts, _text(scale.end, y + 30, unit, "end", "tick")]


def distributions(rows: Sequence[tuple[str, Sequence[float]]], unit: str) -> str:
    """For each (name, positive values) a density of the values (a kernel of Silverman's width), its quartiles
    and its median. The axis ends at the 99th percentile of the slowest, so that single outliers do not
    squeeze it, and is logarithmic where the medians lie far apart."""
    rows = [(name, sorted(values)) for name, values in rows if values]
    if not rows:
        return ""
    middles = [values[len(values) // 2] for _, values in rows]
    far = max(middles) > 6 * min(middles)
    told = "; ".join(f"{name}: median {m:.4g} {unit}" for (name, _), m in zip(rows, middles, strict=True))
    if far:
        rows = [(name, [math.log10(v) for v in values]) for name, values in rows]
    low = min(values[0] for _, values in rows)
    high = max(values[min(len(values) - 1, int(0.99 * len(values)))] for _, values in rows)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    left = _left([name for name, _ in rows])
    scale = Scale(low - margin if far else max(0.0, low - margin), high + margin, left, WIDTH - _RIGHT)
    row, top = 46, 6
    bottom = top + row * len(rows)
    parts = _log_axis(scale, bottom, top, unit) if far else _axis(scale, bottom, top, unit)
    for number, (name, values) in enumerate(rows):
        y = top + row * (number + 1) - 10
        colour = f"c{number % 8}"
        parts.append(_text(left - 8, y - 6, name, "end"))
        parts.append(f'<path class="area {colour}" d="{_density(values, scale, y, row - 14)}"/>')
        quarter, half, three = (values[int(q * (len(values) - 1))] for q in (0.25, 0.5, 0.75))
        parts.append(
            f'<line class="box {colour}" x1="{scale(quarter)}" x2="{scale(three)}"'
            f' y1="{y + 4}" y2="{y + 4}"/>'
        )
        x = scale(half)
        parts.append(f'<line class="median" x1="{x}" x2="{x}" y1="{y - 4}" y2="{y + 8}"/>')
    return _svg(bottom + 36, "Distributions of the latencies", told, parts)


def _log_axis(scale: Scale, y: float, top: float, unit: str) -> list[str]:
    """As _axis, of common logarithms."""
    parts = []
    for power in range(math.floor(scale.low), math.ceil(scale.high) + 1):
        for digit in (1, 2, 5):
            at = power + math.log10(digit)
            if scale.low <= at <= scale.high and (digit == 1 or scale.high - scale.low < 2.5):
                x = scale(at)
                parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{y}"/>')
                parts.append(_text(x, y + 15, f"{digit * 10.0**power:g}", "middle", "tick"))
    return [*parts, _text(scale.end, y + 30, unit + ", logarithmic", "end", "tick")]


def _density(values: Sequence[float], scale: Scale, y: float, height: float) -> str:
    count = len(values)
    mean = sum(values) / count
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / count)
    spread = (values[int(0.75 * (count - 1))] - values[int(0.25 * (count - 1))]) / 1.34
    width = 0.9 * (min(deviation, spread) or deviation) * count**-0.2
    width = max(width, (scale.high - scale.low) / 400)
    thinned = values[:: max(1, count // 400)]
    points = []
    for step in range(161):
        at = scale.low + (scale.high - scale.low) * step / 160
        mass = sum(math.exp(-0.5 * ((v - at) / width) ** 2) for v in thinned if abs(v - at) < 4 * width)
        points.append((scale(at), mass))
    top = max(m for _, m in points) or 1.0
    line = " ".join(f"L{x} {round(y - height * m / top, 2)}" for x, m in points)
    return f"M{scale.start} {y} {line} L{scale.end} {y} Z"


@dataclass(frozen=True, slots=True)
class Series:
    """Values over seconds."""

    name: str
    points: Sequence[tuple[float, float]]


def lines(series: Sequence[Series], unit: str, title: str, height: int = 190) -> str:
    """Values over time, a line each; nothing where there are none."""
    series = [s for s in series if s.points]
    if not series:
        return ""
    times = [t for s in series for t, _ in s.points]
    values = [v for s in series for _, v in s.points]
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    left, top, bottom = 64, 10, height - 40
    x = Scale(min(times), max(times), left, WIDTH - _RIGHT)
    y = Scale(max(0.0, low - margin) if low >= 0 else low - margin, high + margin, bottom, top)
    parts = []
    for tick in ticks(y.low, y.high, 4):
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(_text(left - 6, y(tick) + 4, f"{tick:g}", "end", "tick"))
    for tick in ticks(x.low, x.high, 6):
        parts.append(_text(x(tick), bottom + 15, f"{tick:g}", "middle", "tick"))
    parts.append(_text(WIDTH - _RIGHT, bottom + 30, "seconds", "end", "tick"))
    parts.append(_text(left, bottom + 30, unit, "start", "tick"))
    for number, one in enumerate(series):
        path = " ".join(f"{'L' if i else 'M'}{x(t)} {y(v)}" for i, (t, v) in enumerate(one.points))
        parts.append(f'<path class="line c{number % 8}" d="{path}"/>')
        if len(one.points) < 200:
            parts += [
                f'<circle class="dot c{number % 8}" cx="{x(t)}" cy="{y(v)}" r="2"/>' for t, v in one.points
            ]
    told = "; ".join(
        f"{s.name}: {min(v for _, v in s.points):.4g} to {max(v for _, v in s.points):.4g} {unit}"
        for s in series
    )
    return _svg(height, title, told, parts)


def bars(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], unit: str, title: str) -> str:
    """For each row its parts, one after the other, and their sum."""
    rows = [(name, parts) for name, parts in rows if parts]
    if not rows:
        return ""
    high = max(sum(v for _, v in parts) for _, parts in rows) or 1.0
    left = _left([name for name, _ in rows])
    scale = Scale(0.0, high * 1.15, left, WIDTH - _RIGHT)
    row, top = 30, 6
    bottom = top + row * len(rows)
    drawn = _axis(scale, bottom, top, unit)
    for number, (name, parts) in enumerate(rows):
        y = top + row * number + 5
        drawn.append(_text(left - 8, y + 14, name, "end"))
        at = 0.0
        for place, (what, value) in enumerate(parts):
            x, end = scale(at), scale(at + value)
            drawn.append(
                f'<rect class="bar c{place % 8}" x="{x}" y="{y}" width="{round(end - x, 2)}" height="18">'
                f"<title>{escape(what)}: {value:.4g} {unit}</title></rect>"
            )
            at += value
        drawn.append(_text(scale(at) + 5, y + 14, f"{at:.4g}", "start", "tick"))
    told = "; ".join(f"{name}: {sum(v for _, v in parts):.4g} {unit}" for name, parts in rows)
    return _svg(bottom + 36, title, told, drawn)


def key(names: Sequence[str]) -> str:
    """Which colour is whose."""
    items = "".join(f'<li><i class="c{i % 8}"></i>{escape(name)}</li>' for i, name in enumerate(names))
    return f'<ul class="key">{items}</ul>'

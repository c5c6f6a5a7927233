"""Charts of a report as SVG. Colours come from the style sheet of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from api.report.formats import number, percent, short, ticks

_WIDTH = 960
_LEFT, _RIGHT = 62, 14
_MONTHS_FEW = 14
_BINS = 31


@dataclass(frozen=True, slots=True)
class Frame:
    """The drawing area of a chart with an axis of days."""

    days: Sequence[date]
    low: float
    high: float
    top: float
    bottom: float

    def x(self, at: int) -> float:
        """Returns the place of the day with this number in the list."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / max(len(self.days) - 1, 1)

    def y(self, value: float) -> float:
        """Returns the place of a value."""
        span = self.high - self.low or 1.0
        return self.bottom - (self.bottom - self.top) * (value - self.low) / span

    def line(self, values: Sequence[float]) -> str:
        """Returns the path of a line."""
        points = (f"{self.x(at):.1f} {self.y(value):.1f}" for at, value in enumerate(values))
        return "M" + "L".join(points)

    def area(self, values: Sequence[float], base: float) -> str:
        """Returns the path of the area between a line and a value."""
        at = self.y(base)
        return f"{self.line(values)}L{self.x(len(values) - 1):.1f} {at:.1f}L{self.x(0):.1f} {at:.1f}Z"

    def grid(self, text: Callable[[float], str], count: int) -> str:
        """Returns the horizontal lines with their labels."""
        parts = []
        for value in ticks(self.low, self.high, count):
            at = self.y(value)
            css = "zero" if abs(value) < 1e-12 else "grid"  # noqa: PLR2004 - rounding
            parts.append(
                f'<line class="{css}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
            parts.append(f'<text class="end" x="{_LEFT - 8}" y="{at + 3.5:.1f}">{text(value)}</text>')
        return "".join(parts)

    def months(self, y: float) -> str:
        """Returns the labels of the time axis: months, days of a short range, years of a long one."""
        marks = [
            (at, day) for at, day in enumerate(self.days) if at and (day.month != self.days[at - 1].month)
        ]
        parts = []
        if len(marks) < 2:  # noqa: PLR2004 - one label is not an axis
            step = max(len(self.days) // 6, 1)
            marks = [(at, self.days[at]) for at in range(0, len(self.days), step)]
            labels = [f"{day:%d %b}".lstrip("0") for _, day in marks]
        elif len(marks) > _MONTHS_FEW:
            step = max(round(len(marks) / 8), 1)
            step = next((width for width in (3, 6, 12) if width >= step), 12)
            marks = [(at, day) for at, day in marks if (day.month - 1) % step == 0]
            labels = [f"{day:%b %Y}" for _, day in marks]
        else:
            labels = [
                f"{day:%b %Y}" if day.month == 1 or not at else f"{day:%b}"
                for at, (_, day) in enumerate(marks)
            ]
        for (at, _), label in zip(marks, labels, strict=True):
            x = self.x(at)
            anchor = "end" if x > _WIDTH - 50 else "start" if x < _LEFT + 20 else "middle"
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self.top}" y2="{self.bottom}"/>')
            parts.append(f'<text class="{anchor}" x="{x:.1f}" y="{y}">{label}</text>')
        return "".join(parts)


def curve_chart(
    days: Sequence[date], curve: Sequence[float], falls: Sequence[float], *, relative: bool
) -> str:
    """Returns the curve above its drawdowns; ``falls`` are not positive."""
    low, high = min(*curve, 0.0), max(*curve, 0.0)
    margin = (high - low) * 0.06 or 1.0
    label = percent if relative else short

    def text(value: float) -> str:
        return percent(value, 1 if abs(high - low) < 0.2 else 0) if label is percent else short(value)  # noqa: PLR2004 - 20 %

    upper = Frame(days, low - margin, high + margin, 8, 230)
    deepest = min(*falls, -1e-12)
    lower = Frame(days, deepest * 1.1, 0.0, 262, 346)

    def fall_text(value: float) -> str:
        return percent(value, 1 if deepest > -0.05 else 0) if relative else short(value)  # noqa: PLR2004 - 5 %

    return (
        f'<svg viewBox="0 0 {_WIDTH} 372" role="img" aria-label="Result and drawdown by day">'
        f"{upper.months(366)}{upper.grid(text, 5)}"
        f'<path class="band" d="{upper.area(curve, 0.0)}"/><path class="line" d="{upper.line(curve)}"/>'
        f'<text class="caption" x="{_LEFT}" y="254">Drawdown</text>{lower.grid(fall_text, 2)}'
        f'<path class="fall" d="{lower.area(falls, 0.0)}"/></svg>'
    )


def histogram(values: Sequence[float], unit: str, mean: float | None) -> str:
    """Returns the distribution of values, with the mean; losses and gains differ in colour."""
    height, bottom = 220, 190
    ordered = sorted(values)
    low, high = ordered[int(len(ordered) * 0.005)], ordered[min(int(len(ordered) * 0.995), len(ordered) - 1)]
    step = _bin_width(low, high)
    first, last = math.floor(low / step), math.floor(high / step)
    counts = dict.fromkeys(range(first, last + 1), 0)
    for value in values:
        counts[min(max(math.floor(value / step), first), last)] += 1
    most = max(counts.values())
    width = (_WIDTH - _LEFT - _RIGHT) / len(counts)
    digits = max(
        0, -math.floor(math.log10(step)) + (1 if step * 10 ** -math.floor(math.log10(step)) % 1 else 0)
    )
    parts = []
    for value in ticks(0, most, 4):
        at = bottom - (bottom - 12) * value / most
        if value == int(value):
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
            parts.append(f'<text class="end" x="{_LEFT - 8}" y="{at + 3.5:.1f}">{value:,.0f}</text>')
    for place, (at, count) in enumerate(counts.items()):
        tall = (bottom - 12) * count / most
        x = _LEFT + place * width
        css = "loss" if at < 0 else "gain"
        edges = f"{number(at * step, digits)} to {number((at + 1) * step, digits)} {unit}"
        more = (
            " and less"
            if at == first and ordered[0] < low
            else " and more"
            if at == last and ordered[-1] > high
            else ""
        )
        parts.append(
            f'<rect class="{css}" x="{x + 1:.1f}" y="{bottom - tall:.1f}" width="{max(width - 2, 1):.1f}"'
            f' height="{tall:.1f}"><title>{escape(edges + more)}: {count:,}</title></rect>'
        )
    for value in ticks(first * step, (last + 1) * step, 10):
        x = _LEFT + (value / step - first) * width
        parts.append(f'<text class="middle" x="{x:.1f}" y="{bottom + 16}">{short(round(value, 10))}</text>')
    if mean is not None and first * step <= mean <= (last + 1) * step:
        x = _LEFT + (mean / step - first) * width
        anchor = "end" if x > _WIDTH - 120 else "start"
        offset = -5 if anchor == "end" else 5
        parts.append(f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}"/>')
        parts.append(
            f'<text class="{anchor} strong" x="{x + offset:.1f}" y="13">mean {number(mean, 2)} {unit}</text>'
        )
    parts.append(f'<line class="zero" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Distribution of results in {unit}">'
        f"{''.join(parts)}</svg>"
    )


def _bin_width(low: float, high: float) -> float:
    raw = (high - low) / _BINS
    if raw <= 0:
        return max(abs(high), 1.0) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))

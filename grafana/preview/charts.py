"""Lines, areas and bars over time, and what all panels with a time axis share: axes, legend, marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from grafana.preview.canvas import FAINT, Box, Canvas, colour
from grafana.preview.fields import Shown
from grafana.preview.units import shown
from grafana.reader.dashboard import Panel
from grafana.reader.frame import Type
from grafana.reader.intervals import TimeRange
from grafana.reader.reduce import TITLES, reduce_values
from grafana.reader.view import Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_ROW, SMALL = 20, 11
_COLUMN = 84
_MOST_ROWS = 4
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_LEFT, BOTTOM = 58, 22
_SCALED = ("s", "bytes", "decbytes", "Bps", "short")
"""Units whose labels get a prefix, and decimals with it."""
_MANY, _MOST_DECIMALS = 20, 8


def series_panel(
    canvas: Canvas,
    box: Box,
    panel: Panel,
    frames: Sequence[Sequence[Shown]],
    time_range: TimeRange,
    marks: Sequence[Mark],
) -> None:
    """Lines, areas and stacked bars over time, with a legend below."""
    series = [(times_of(fields), one) for fields in frames for one in values_of(fields)]
    area = legend(canvas, box, panel, [one for _, one in series])
    axes = time_axes(canvas, area, time_range)
    by_name = {one.name: np.array(one.field.values, dtype=float) for _, one in series}
    below: dict[int, Any] = {}
    for times, one in series:
        at, values = seconds(times), np.array(one.field.values, dtype=float)
        if one.custom.get("stacking", {}).get("mode") == "normal":
            base = np.array([below.get(time, 0.0) for time in times])
            top = base + np.nan_to_num(values)
            below.update(zip(times, top, strict=True))
            _stacked(axes, at, base, top, one)
        else:
            _line(axes, at, values, by_name.get(str(one.custom.get("fillBelowTo"))), one)
    first = series[0][1] if series else None
    if first is not None:
        _limits(axes, first)
        _thresholds(axes, first)
        format_values(axes.yaxis, first.config.unit)
    draw_marks(axes, marks, time_range)


def values_of(fields: Sequence[Shown]) -> list[Shown]:
    """The fields of numbers."""
    return [one for one in fields if one.field.type is Type.NUMBER]


def times_of(fields: Sequence[Shown]) -> list[int]:
    """The times of a frame."""
    return next((one.field.values for one in fields if one.field.type is Type.TIME), [])


def seconds(times: Sequence[int]) -> Any:  # noqa: ANN401 - an array
    """Milliseconds as seconds."""
    return np.array(times, dtype=float) / 1000


def _line(axes: Axes, at: Any, values: Any, low: Any, one: Shown) -> None:  # noqa: ANN401 - arrays
    width, fill = float(one.custom.get("lineWidth", 1)), float(one.custom.get("fillOpacity", 0)) / 100
    steps = {"stepAfter": "steps-post", "stepBefore": "steps-pre"}
    style = steps.get(str(one.custom.get("lineInterpolation")), "default")
    is_dashed = one.custom.get("lineStyle", {}).get("fill") == "dash"
    if one.custom.get("drawStyle") == "bars":
        gap = float(np.min(np.diff(at))) if len(at) > 1 else 1.0
        axes.bar(at, values, width=gap * 0.8, color=one.line_colour, alpha=max(fill, 0.3))
        return
    is_points = one.custom.get("drawStyle") == "points"
    if width and not is_points:
        axes.plot(
            at,
            values,
            color=one.line_colour,
            linewidth=width * 0.9,
            drawstyle=style,
            linestyle="--" if is_dashed else "-",
        )
    if len(at) == 1 or is_points:
        size = float(one.custom.get("pointSize", 5)) * 0.7
        axes.plot(at, values, "o", color=one.line_colour, markersize=size, markeredgewidth=0)
    if low is not None and len(low) == len(values):
        axes.fill_between(at, low, values, color=one.line_colour, alpha=fill, linewidth=0)
    elif fill and one.custom.get("fillBelowTo") is None:
        axes.fill_between(at, 0, values, color=one.line_colour, alpha=fill, linewidth=0)


def _stacked(axes: Axes, at: Any, base: Any, top: Any, one: Shown) -> None:  # noqa: ANN401 - arrays
    fill = max(float(one.custom.get("fillOpacity", 0)) / 100, 0.15)
    if one.custom.get("drawStyle") == "bars":
        gap = float(np.min(np.diff(at))) if len(at) > 1 else 1.0
        axes.bar(at, top - base, width=gap * 0.85, bottom=base, color=one.line_colour, alpha=fill)
        return
    axes.fill_between(at, base, top, color=one.line_colour, alpha=fill, linewidth=0)
    axes.plot(at, top, color=one.line_colour, linewidth=0.9)


def _limits(axes: Axes, one: Shown) -> None:
    low, high = axes.get_ylim()
    least = one.config.min if one.config.min is not None else one.custom.get("axisSoftMin")
    most = one.config.max if one.config.max is not None else one.custom.get("axisSoftMax")
    if one.custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
        return
    if low == high:
        low, high = low - 1, high + 1
    axes.set_ylim(low if least is None else least, max(high, most) if most is not None else high)
    if least is not None and axes.get_ylim()[1] <= least:
        axes.set_ylim(least, least + 1)


def _thresholds(axes: Axes, one: Shown) -> None:
    mode = one.custom.get("thresholdsStyle", {}).get("mode", "off")
    if mode == "off" or one.config.thresholds is None:
        return
    low, high = axes.get_ylim()
    for step in one.config.thresholds.steps:
        if step.value is not None and low <= step.value <= high:
            axes.axhline(step.value, color=colour(step.color), linewidth=1, linestyle=(0, (6, 4)))


def time_axes(canvas: Canvas, box: Box, time_range: TimeRange, left: float = _LEFT) -> Axes:
    """A chart with the time range below it; ``left`` is the room for the labels of the other axis."""
    axes = canvas.axes(box.inside(left, 6, 12, BOTTOM))
    start, end = time_range.from_ms / 1000, time_range.to_ms / 1000
    axes.set_xlim(start, end)
    wanted = (end - start) / max(box.w / 110, 2)
    step = next((one for one in _TICKS if one >= wanted), _TICKS[-1])
    ticks = np.arange(-(-start // step) * step, end, step)
    axes.set_xticks(ticks)
    form = "%H:%M:%S" if step < 60 else "%H:%M" if end - start <= 2 * 86400 else "%m-%d"  # noqa: PLR2004 - seconds
    axes.set_xticklabels([datetime.fromtimestamp(float(tick), UTC).strftime(form) for tick in ticks])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=max(int(box.h / 45), 2)))
    return axes


def format_values(axis: Axis, unit: str | None) -> None:
    """Labels with the decimals that tell ticks apart, and steps of powers of two for bytes."""
    if unit == "bytes":
        low, high = axis.get_view_interval()
        axis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(max(high - low, 1) / 5))))

    def text(value: float, _: object) -> str:
        ticks = axis.get_ticklocs()
        step = float(ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
        step *= 100 if unit == "percentunit" else 1
        decimals = next((n for n in range(_MOST_DECIMALS) if _is_whole(step * 10**n)), _MOST_DECIMALS)
        return shown(round(value, 12), unit, None if unit in _SCALED else decimals)

    axis.set_major_formatter(FuncFormatter(text))


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6 * max(abs(value), 1)


def draw_marks(axes: Axes, marks: Sequence[Mark], time_range: TimeRange) -> None:
    """Dashed lines with a triangle at the time axis; spans are shaded."""
    low, _ = axes.get_ylim()
    for mark in marks:
        fill = colour(mark.annotation.icon_color)
        at = mark.time_ms / 1000
        alpha = 0.45 if len(marks) > _MANY else 0.8
        axes.axvline(at, color=fill, linewidth=0.6, linestyle=(0, (3, 3)), alpha=alpha)
        axes.plot([at], [low], marker="^", color=fill, markersize=4, clip_on=False)
        if mark.end_ms:
            axes.axvspan(at, min(mark.end_ms, time_range.to_ms) / 1000, color=fill, alpha=0.08)


def legend(canvas: Canvas, box: Box, panel: Panel, series: Sequence[Shown]) -> Box:
    """Draws the legend; returns the area that is left for the chart."""
    options = panel.options.get("legend", {})
    named = [one for one in series if not one.custom.get("hideFrom", {}).get("legend")]
    if not options.get("showLegend", True) or not named:
        return box
    if options.get("displayMode") == "table" or options.get("placement") == "right":
        return _legend_table(canvas, box, options, named)
    x, y = box.x + 10, box.y + box.h - 10
    lines: list[list[tuple[float, Shown]]] = [[]]
    for one in named:
        width = canvas.measure(one.name, SMALL) + 34
        if x + width > box.x + box.w and lines[-1]:
            lines.append([])
            x = box.x + 10
        lines[-1].append((x, one))
        x += width
    lines = lines[:_MOST_ROWS]
    for number, line in enumerate(lines):
        at = y - (len(lines) - 1 - number) * 17
        for left, one in line:
            canvas.rectangle(Box(left, at - 2, 12, 4), one.line_colour)
            canvas.text(left + 17, at, one.name, SMALL, within=box.x + box.w - left - 20)
    return box.inside(0, 0, 0, 8 + 17 * len(lines))


def _legend_table(canvas: Canvas, box: Box, options: Mapping[str, Any], named: Sequence[Shown]) -> Box:
    """A row for each series below or right of the chart; returns the area that is left."""
    calculations = options.get("calcs", [])
    if options.get("placement") == "right":
        longest = max(canvas.measure(one.name, SMALL) for one in named)
        width = min(longest + 44 + _COLUMN * len(calculations), box.w * 0.5)
        place, left = Box(box.x + box.w - width, box.y, width, box.h), box.inside(0, 0, width, 0)
    else:
        rows = max(min(len(named), int(box.h * 0.4 / _ROW)), 1)
        height = _ROW * (rows + 1) + 6
        place, left = Box(box.x, box.y + box.h - height, box.w, height), box.inside(0, 0, 0, height)
    right = place.x + place.w - 12
    for number, how in enumerate(reversed(calculations)):
        title = TITLES.get(how, how.capitalize())
        canvas.text(right - number * _COLUMN, place.y + 10, title, 10, FAINT, align="right")
    shown = named[: max(int((place.h - 6) / _ROW) - 1, 1)]
    rest = f"  ({len(shown)} of {len(named)})" if len(shown) < len(named) else ""
    canvas.text(place.x + 10, place.y + 10, f"Name{rest}", 10, FAINT)
    for row, one in enumerate(shown, start=1):
        y = place.y + _ROW * row + 10
        canvas.rectangle(Box(place.x + 10, y - 2, 12, 4), one.line_colour)
        canvas.text(place.x + 28, y, one.name, SMALL, within=place.w - 44 - _COLUMN * len(calculations))
        for number, how in enumerate(reversed(calculations)):
            value = one.text(reduce_values(one.field.values, how))
            canvas.text(right - number * _COLUMN, y, value, SMALL, align="right", within=_COLUMN - 6)
    return left

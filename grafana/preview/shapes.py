"""Candles, states, heat maps and histograms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from grafana.preview.canvas import FAINT, PANEL, TEXT, Box, Canvas, colour
from grafana.preview.charts import (
    BOTTOM,
    SMALL,
    draw_marks,
    format_values,
    legend,
    seconds,
    time_axes,
    times_of,
    values_of,
)
from grafana.preview.fields import Shown
from grafana.preview.units import shown
from grafana.reader.dashboard import Panel
from grafana.reader.frame import Type
from grafana.reader.intervals import TimeRange
from grafana.reader.view import Mark


def candles(
    canvas: Canvas,
    box: Box,
    panel: Panel,
    frames: Sequence[Sequence[Shown]],
    time_range: TimeRange,
    marks: Sequence[Mark],
) -> None:
    """Bars of open, high, low and close; the volume at the foot, other fields as lines."""
    names = {"open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"}
    names |= panel.options.get("fields", {})
    fields = {one.field.name: one for frame in frames for one in frame}
    at = seconds(times_of(list(fields.values())))
    values = {
        key: np.array(fields[name].field.values, dtype=float) for key, name in names.items() if name in fields
    }
    others = [
        one for name, one in fields.items() if one.field.type is Type.NUMBER and name not in names.values()
    ]
    area = legend(
        canvas, box, panel, [*others, *(fields[names[key]] for key in ("volume",) if names[key] in fields)]
    )
    axes = time_axes(canvas, area, time_range, 70)
    width = float(np.min(np.diff(at))) if len(at) > 1 else 1.0
    colours = panel.options.get("colors", {"up": "green", "down": "red"})
    rising = values["close"] >= values["open"]
    paint = [colour(colours["up"] if one else colours["down"]) for one in rising]
    axes.vlines(at, values["low"], values["high"], colors=paint, linewidth=1)
    low = np.minimum(values["open"], values["close"])
    height = np.maximum(np.abs(values["close"] - values["open"]), 1e-12)
    axes.bar(at, height, width=width * 0.7, bottom=low, color=paint)
    for one in others:
        axes.plot(at, np.array(one.field.values, dtype=float), color=one.line_colour, linewidth=1)
    bottom, top = float(np.nanmin(values["low"])), float(np.nanmax(values["high"]))
    margin = (top - bottom) * 0.05 or 1.0
    axes.set_ylim(bottom - (top - bottom) * 0.3 - margin, top + margin)
    format_values(axes.yaxis, panel.field_config.defaults.unit)
    if "volume" in values:
        foot = axes.twinx()
        foot.set_axis_off()
        foot.bar(at, values["volume"], width=width * 0.7, color=paint, alpha=0.45)
        foot.set_ylim(0, (float(np.nanmax(values["volume"])) or 1.0) * 4.5)
        foot.set_xlim(axes.get_xlim())
    draw_marks(axes, marks, time_range)


def states(
    canvas: Canvas,
    box: Box,
    panel: Panel,
    frames: Sequence[Sequence[Shown]],
    time_range: TimeRange,
    marks: Sequence[Mark],
) -> None:
    """A row for each field; a state lasts until the next value."""
    rows = [(times_of(fields), one) for fields in frames for one in fields if one.field.type is not Type.TIME]
    used = {
        one.text(value): one.colour_of(value)
        for _, one in rows
        for value in one.field.values
        if value is not None
    }
    area = box.inside(0, 0, 0, 20)
    x = box.x + 10.0
    for text, fill in used.items():
        canvas.rectangle(Box(x, box.y + box.h - 13, 12, 8), fill)
        x += canvas.text(x + 17, box.y + box.h - 9, text, SMALL) + 34
    longest = max((canvas.measure(one.name, SMALL) for _, one in rows), default=0)
    left = min(longest + 24, box.w * 0.25)
    axes = time_axes(canvas, area, time_range, left)
    axes.grid(visible=False, axis="y")
    height = float(panel.options.get("rowHeight", 0.9))
    for number, (times, one) in enumerate(rows):
        ends = [
            *times[1:],
            min(time_range.to_ms, 2 * times[-1] - times[-2] if len(times) > 1 else time_range.to_ms),
        ]
        for start, end, value in zip(times, ends, one.field.values, strict=True):
            if value is not None:
                axes.broken_barh(
                    [(start / 1000, (end - start) / 1000)],
                    (number - height / 2, height),
                    facecolors=one.colour_of(value),
                )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([canvas.cut(one.name, SMALL, left - 14) for _, one in rows])
    axes.tick_params(axis="y", colors=TEXT)
    draw_marks(axes, marks, time_range)


def heat(
    canvas: Canvas,
    box: Box,
    panel: Panel,
    frames: Sequence[Sequence[Shown]],
    time_range: TimeRange,
    marks: Sequence[Mark],
) -> None:
    """Buckets over time, the darker the more; a scale at the foot."""
    fields = [one for frame in frames for one in frame]
    times = times_of(fields)
    buckets = [one for one in fields if one.field.type is Type.NUMBER]
    counts = np.array([[value or 0.0 for value in one.field.values] for one in buckets])
    unit = panel.options.get("yAxis", {}).get("unit")
    area = box.inside(0, 0, 0, 26)
    axes = time_axes(canvas, area, time_range, 70)
    axes.grid(visible=False)
    at = seconds(times)
    step = float(np.median(np.diff(at))) if len(at) > 1 else 1.0
    least = float(panel.options.get("filterValues", {}).get("le", 1e-9))
    scheme = LinearSegmentedColormap.from_list("heat", _scheme(panel))
    most = float(counts.max()) or 1.0
    shades = np.ma.masked_less_equal((counts / most) ** 0.5, (least / most) ** 0.5)
    edges = np.append(at - step, at[-1])
    axes.pcolormesh(
        edges,
        np.arange(len(buckets) + 1),
        shades,
        cmap=scheme,
        vmin=0,
        vmax=1,
        edgecolors=PANEL,
        linewidth=0.3,
    )
    names = [
        shown(float(one.field.name), unit) if _is_number(one.field.name) else one.field.name
        for one in buckets
    ]
    every = max(1, -(-len(names) * 16 // int(max(area.h, 1))))
    axes.set_yticks([number + 1 for number in range(0, len(names), every)])
    axes.set_yticklabels(names[::every])
    _scale(canvas, Box(box.x + 70, box.y + box.h - 16, min(box.w * 0.4, 240), 6), scheme, most)
    del marks


def _scheme(panel: Panel) -> list[Any]:
    """The colours of a scheme on a dark page: from the panel's colour upward."""
    name = str(panel.options.get("color", {}).get("scheme", "Oranges"))
    known = mpl.colormaps[name] if name in mpl.colormaps else mpl.colormaps["Oranges"]
    is_reversed = not panel.options.get("color", {}).get("reverse")
    return [known(1 - x if is_reversed else x) for x in np.linspace(0.0, 0.95, 12)]


def _scale(canvas: Canvas, box: Box, scheme: Callable[[float], Any], most: float) -> None:
    parts = 40
    for number, part in enumerate(box.columns(parts)):
        canvas.rectangle(part, scheme(number / (parts - 1)))
    canvas.text(box.x, box.y + 13, "0", 9, FAINT)
    canvas.text(box.x + box.w, box.y + 13, f"{most:,.0f}", 9, FAINT, align="right")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text not in ("+Inf", "inf")


def bar_groups(canvas: Canvas, box: Box, panel: Panel, frames: Sequence[Sequence[Shown]]) -> None:
    """A group of bars for each row, with a bar for each number."""
    fields = [one for frame in frames for one in frame]
    names = next((one.field.values for one in fields if one.field.type is Type.STRING), [])
    series = [one for one in fields if one.field.type is Type.NUMBER]
    area = legend(canvas, box, panel, series)
    if not names:
        canvas.text(box.x + box.w / 2, box.y + box.h / 2, "No data", 14, FAINT, align="center")
        return
    axes = canvas.axes(area.inside(58, 6, 12, BOTTOM))
    width = 0.8 / max(len(series), 1)
    for number, one in enumerate(series):
        values = np.array(one.field.values, dtype=float)
        at = np.arange(len(names)) - 0.4 + width * (number + 0.5)
        axes.bar(at, np.nan_to_num(values), width=width * 0.95, color=one.line_colour, alpha=0.8)
    axes.set_xticks(range(len(names)))
    axes.set_xticklabels([canvas.cut(str(name), SMALL, area.w / len(names) - 10) for name in names])
    format_values(axes.yaxis, panel.field_config.defaults.unit)


def histogram(
    canvas: Canvas,
    box: Box,
    panel: Panel,
    frames: Sequence[Sequence[Shown]],
    time_range: TimeRange,
    marks: Sequence[Mark],
) -> None:
    """How often which value occurs."""
    series = [one for fields in frames for one in values_of(fields)]
    area = legend(canvas, box, panel, series)
    axes = canvas.axes(area.inside(48, 6, 12, BOTTOM))
    known = [value for one in series for value in one.field.values if value is not None]
    bins = np.histogram_bin_edges(known, bins=int(panel.options.get("bucketCount", 30)))
    for one in series:
        values = [value for value in one.field.values if value is not None]
        axes.hist(values, bins=bins.tolist(), color=one.line_colour, alpha=0.6, edgecolor=one.line_colour)
    format_values(axes.xaxis, panel.field_config.defaults.unit)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    del time_range, marks

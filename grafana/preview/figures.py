"""Panels without a time axis: figures, bars, tables and texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from grafana.preview.canvas import BORDER, FAINT, LINK, TEXT, Box, Canvas
from grafana.preview.fields import Shown
from grafana.reader.dashboard import Panel
from grafana.reader.frame import Type
from grafana.reader.reduce import reduce_values

_ROW, _SMALL = 26, 12
_LARGEST = 46.0


def stat(canvas: Canvas, box: Box, panel: Panel, frames: Sequence[Sequence[Shown]]) -> None:
    """A large figure for each series, with its course behind it."""
    options = panel.options
    figures = _reduced(panel, frames)
    if not figures:
        _no_data(canvas, box)
        return
    is_wide = box.w >= box.h
    for part, (one, value) in zip(
        box.columns(len(figures), 6) if is_wide else box.rows(len(figures), 6), figures, strict=True
    ):
        fill = one.colour_of(value)
        is_filled = str(options.get("colorMode", "value")).startswith("background") and fill != TEXT
        if is_filled:
            canvas.rectangle(part, fill, radius=3)
        has_name = options.get("textMode") in ("value_and_name", "name") or (
            options.get("textMode", "auto") == "auto" and len(figures) > 1
        )
        text = one.text(value)
        has_course = options.get("graphMode") == "area" and len(one.field.values) > 1
        size = min(_LARGEST, part.h * (0.38 if has_name or has_course else 0.5))
        while size > 12 and canvas.measure(text, size, bold=True) > part.w - 16:  # noqa: PLR2004 - smallest
            size -= 1
        if has_course:
            _course(canvas, part, one, "white" if is_filled else fill)
        ink = "#ffffff" if is_filled else fill
        middle = part.y + part.h * (0.38 if has_course else 0.5) + (10 if has_name else 0)
        canvas.text(part.x + part.w / 2, middle, text, size, ink, align="center", bold=True)
        if has_name:
            canvas.text(
                part.x + part.w / 2,
                middle - size * 0.95,
                one.name,
                min(13, part.h * 0.2),
                "#ffffff" if is_filled else TEXT,
                align="center",
                within=part.w - 10,
            )


def _reduced(panel: Panel, frames: Sequence[Sequence[Shown]]) -> list[tuple[Shown, object]]:
    """The figures of a panel: one of each field, or one of each row."""
    options = panel.options.get("reduceOptions", {})
    wanted = str(options.get("fields", ""))
    fields = [
        one
        for frame in frames
        for one in frame
        if (one.field.type is Type.NUMBER if not wanted else re.search(wanted.strip("/"), one.name))
    ]
    if options.get("values"):
        return [(one, value) for one in fields for value in one.field.values]
    how = (options.get("calcs") or ["lastNotNull"])[0]
    return [(one, reduce_values(one.field.values, how)) for one in fields]


def _course(canvas: Canvas, box: Box, one: Shown, fill: str) -> None:
    axes = canvas.axes(Box(box.x, box.y + box.h * 0.68, box.w, box.h * 0.32), bare=True)
    values = np.array(one.field.values, dtype=float)
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if not np.isnan(values).all() else (0, 1)
    at = np.arange(len(values))
    axes.fill_between(at, low, values, color=fill, alpha=0.15, linewidth=0)
    axes.plot(at, values, color=fill, linewidth=1)
    axes.set_xlim(0, len(values) - 1)
    axes.set_ylim(low - (high - low) * 0.05, high + (high - low or 1) * 0.15)


def _no_data(canvas: Canvas, box: Box) -> None:
    canvas.text(box.x + box.w / 2, box.y + box.h / 2, "No data", 14, FAINT, align="center")


def bar_gauge(canvas: Canvas, box: Box, panel: Panel, frames: Sequence[Sequence[Shown]]) -> None:
    """A bar for each thing, on a common scale."""
    figures = _named_figures(panel, frames)
    if not figures:
        _no_data(canvas, box)
        return
    values = [value for _, _, value in figures if isinstance(value, int | float)]
    low = panel.field_config.defaults.min or 0.0
    high = panel.field_config.defaults.max or max([*values, 1e-12])
    shown = figures[: max(int(box.h / 22), 1)]
    width = max(canvas.measure(name, _SMALL) for name, _, _ in shown)
    name_width = min(width + 14, box.w * 0.4)
    value_width = max(canvas.measure(one.text(value), _SMALL, bold=True) for _, one, value in shown) + 14
    for row, (name, one, value) in zip(box.inside(10, 4, 10, 6).rows(len(shown), 5), shown, strict=True):
        bar = row.inside(name_width, max((row.h - 34) / 2, 0), value_width, max((row.h - 34) / 2, 0))
        canvas.text(row.x, row.y + row.h / 2, name, _SMALL, within=name_width - 8)
        canvas.rectangle(bar, "#22252b")
        number = float(value) if isinstance(value, int | float) else low
        share = min(max((number - low) / ((high - low) or 1), 0), 1)
        fill = one.colour_of(value)
        canvas.rectangle(Box(bar.x, bar.y, bar.w * share, bar.h), fill)
        canvas.text(row.x + row.w, row.y + row.h / 2, one.text(value), _SMALL, fill, align="right", bold=True)


def _named_figures(panel: Panel, frames: Sequence[Sequence[Shown]]) -> list[tuple[str, Shown, object]]:
    if not panel.options.get("reduceOptions", {}).get("values"):
        return [(one.name, one, value) for one, value in _reduced(panel, frames)]
    result: list[tuple[str, Shown, object]] = []
    for frame in frames:
        texts = [one for one in frame if one.field.type is Type.STRING]
        for one in (one for one in frame if one.field.type is Type.NUMBER):
            for row, value in enumerate(one.field.values):
                name = " ".join(str(text.field.values[row]) for text in texts)
                result.append((name or one.name, one, value))
    return result


def table(canvas: Canvas, box: Box, panel: Panel, frames: Sequence[Sequence[Shown]]) -> None:
    """Rows and columns, as many rows as there is room for."""
    columns = [one for frame in frames[:1] for one in frame if not one.custom.get("hidden")]
    if not columns or not columns[0].field.values:
        _no_data(canvas, box)
        return
    order = list(range(len(columns[0].field.values)))
    for sort in panel.options.get("sortBy", []):
        by = next((one for one in columns if one.name == sort["displayName"]), None)
        if by is not None:
            values = by.field.values
            order.sort(
                key=lambda row: (values[row] is not None, values[row] or 0), reverse=bool(sort.get("desc"))
            )
    rows = order[: max(int((box.h - _ROW) / _ROW), 0)]
    widths = _widths(canvas, box.w, columns, rows)
    x = box.x
    for one, width in zip(columns, widths, strict=True):
        is_number = one.field.type is Type.NUMBER
        edge = x + width - 10 if is_number else x + 10
        align = "right" if is_number else "left"
        canvas.text(edge, box.y + _ROW / 2, one.name, _SMALL, FAINT, align=align, within=width - 14)
        for number, row in enumerate(rows):
            value = one.field.values[row]
            fill = TEXT
            if one.custom.get("cellOptions", {}).get("type") == "color-text":
                fill = one.colour_of(value)
            elif one.config.links:
                fill = LINK
            y = box.y + _ROW * (number + 1.5)
            canvas.text(edge, y, one.text(value), _SMALL, fill, align=align, within=width - 14)
        x += width
    for number in range(len(rows) + 1):
        canvas.rectangle(Box(box.x, box.y + _ROW * (number + 1), box.w, 1), BORDER)


def _widths(canvas: Canvas, total: float, columns: Sequence[Shown], rows: Sequence[int]) -> list[float]:
    """Columns without a width share the room by what their texts need; in Grafana, equally."""
    wanted = []
    for one in columns:
        texts = [one.name, *(one.text(one.field.values[row]) for row in rows[:12])]
        wanted.append(
            float(one.custom.get("width") or max(canvas.measure(text, _SMALL) for text in texts) + 26)
        )
    scale = total / sum(wanted)
    return [width * scale for width in wanted]


def text(canvas: Canvas, box: Box, content: str) -> None:
    """Markdown, without its marks."""
    for number, line in enumerate(content.splitlines()):
        plain = re.sub(r"[*_`#]|\[([^\]]*)\]\([^)]*\)", r"\1", line)
        canvas.text(box.x + 12, box.y + 14 + 20 * number, plain, 13, within=box.w - 24)

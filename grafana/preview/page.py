"""One dashboard as one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from grafana.preview import charts, figures, shapes
from grafana.preview.canvas import BORDER, FAINT, PANEL, TEXT, Box, Canvas
from grafana.preview.fields import Shown, shown_fields
from grafana.reader.dashboard import GridPos, Panel
from grafana.reader.frame import QueryError, points
from grafana.reader.intervals import TimeRange
from grafana.reader.layout import Placed, placed
from grafana.reader.view import COLUMNS, Mark, View

NO_DATA = "no data"
WIDTH = 1600
_UNIT_W = (WIDTH - 16) / COLUMNS
_UNIT_H = 32
_GAP, _HEAD, _TITLE = 7, 74, 28

_Timed = Callable[
    [Canvas, Box, Panel, Sequence[Sequence[Shown]], TimeRange, Sequence[Mark]],
    None,
]
_TIMED: dict[str, _Timed] = {
    "timeseries": charts.series_panel,
    "candlestick": shapes.candles,
    "state-timeline": shapes.states,
    "heatmap": shapes.heat,
    "histogram": shapes.histogram,
}
_PLAIN = {
    "stat": figures.stat,
    "bargauge": figures.bar_gauge,
    "barchart": shapes.bar_groups,
    "table": figures.table,
}


def draw(view: View, path: Path, most: int = 1) -> list[str]:
    """Draws a dashboard into a file; returns the queries that failed and the panels that are empty.

    Of the values that something is repeated for, the first ``most`` are drawn.
    """
    panels = placed(view, most)
    rows = max(one.place.y + one.place.h for one in panels)
    canvas = Canvas(WIDTH, _HEAD + rows * _UNIT_H + 8)
    _head(canvas, view)
    problems = []
    for one in panels:
        problem = _panel(canvas, one)
        if problem:
            problems.append(f"{view.dashboard.title}: {one.panel.name}: {problem}")
    canvas.save(path)
    return problems


def _head(canvas: Canvas, view: View) -> None:
    canvas.text(18, 20, view.dashboard.title, 17, bold=True)
    start, end = (
        datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        for ms in (view.time_range.from_ms, view.time_range.to_ms)
    )
    canvas.text(WIDTH - 18, 20, f"{start}  to  {end} UTC", 12, FAINT, align="right")
    x = 18.0
    for variable in view.dashboard.templating.items:
        value = view.values[variable.name]
        label, text = variable.label or variable.name, value.text or " + ".join(value.items())
        width = canvas.text(x, 52, label, 12, TEXT)
        box = Box(x + width + 8, 40, min(canvas.measure(text, 12), 240) + 20, 24)
        canvas.rectangle(box, PANEL, BORDER, radius=2)
        canvas.text(box.x + 10, 52, text, 12, within=244)
        x = box.x + box.w + 16


def _box(place: GridPos) -> Box:
    return Box(
        8 + place.x * _UNIT_W + _GAP / 2,
        _HEAD + place.y * _UNIT_H,
        place.w * _UNIT_W - _GAP,
        place.h * _UNIT_H - _GAP,
    )


def _panel(canvas: Canvas, one: Placed) -> str:
    """Draws one panel; returns what is wrong with it."""
    box, panel = _box(one.place), one.panel
    title = one.view.text(panel.title)
    if panel.type == "row":
        canvas.text(box.x + 6, box.y + 14, "▾  " + title, 15, bold=True)
        return ""
    canvas.rectangle(box, PANEL, BORDER, radius=2)
    canvas.text(box.x + 10, box.y + 15, title, 13, within=box.w - 20)
    inside = box.inside(0, _TITLE, 0, 4)
    if panel.type == "text":
        figures.text(canvas, inside, one.view.text(str(panel.options.get("content", ""))))
        return ""
    try:
        frames = one.view.frames(panel)
        _content(canvas, inside, one, frames_of=shown_fields(one.view, panel, frames))
    except QueryError as error:
        first = f"error: {error}".splitlines()[0]
        canvas.text(inside.x + 10, inside.y + 20, first, 12, "#F2495C", within=inside.w - 20)
        return str(error)
    return "" if points(frames) else NO_DATA


def _content(canvas: Canvas, box: Box, one: Placed, frames_of: list[list[Shown]]) -> None:
    kind = one.panel.type
    if kind in _PLAIN:
        _PLAIN[kind](canvas, box, one.panel, frames_of)
        return
    if kind not in _TIMED:
        raise QueryError(f"panels of the type {kind} are not drawn")
    if not any(fields and fields[0].field.values for fields in frames_of):
        canvas.text(box.x + box.w / 2, box.y + box.h / 2, "No data", 14, FAINT, align="center")
        return
    marks = [
        mark
        for annotation in one.view.dashboard.annotations.items
        if annotation.enable and not annotation.built_in
        for mark in one.view.marks(annotation)
    ]
    _TIMED[kind](canvas, box, one.panel, frames_of, one.view.range_of(one.panel), marks)

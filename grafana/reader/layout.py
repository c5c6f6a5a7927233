"""Where panels stand on the grid, once rows and panels are repeated for the values of a variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from grafana.reader.dashboard import GridPos, Panel
from grafana.reader.view import COLUMNS, View

_MOST_PER_ROW = 4


@dataclass(frozen=True)
class Placed:
    """A panel at its place, with the values that it sees; rows are included as headings."""

    panel: Panel
    view: View
    place: GridPos


def placed(view: View, most: int | None = None) -> list[Placed]:
    """All panels of a dashboard; of the values that something is repeated for, the first ``most``."""
    result: list[Placed] = []
    shift = 0
    for heading, members in _sections(view.dashboard.panels):
        views = [view]
        if heading is not None and heading.repeat:
            views = [view.with_value(heading.repeat, one) for one in _values(view, heading.repeat, most)]
        top = min((one.grid_pos.y for one in (heading, *members) if one is not None), default=0)
        for number, own in enumerate(views):
            section = [] if heading is None else [Placed(heading, own, heading.grid_pos)]
            section += [found for panel in members for found in _repeated(panel, own, most)]
            height = max(one.place.y + one.place.h for one in section) - top
            down = shift + number * height
            result += [
                Placed(one.panel, one.view, replace(one.place, y=one.place.y + down)) for one in section
            ]
        shift += (len(views) - 1) * height
    return result


def _sections(panels: Sequence[Panel]) -> Iterator[tuple[Panel | None, list[Panel]]]:
    """Each row with its panels; those above the first row have none."""
    heading: Panel | None = None
    members: list[Panel] = []
    for panel in panels:
        if panel.type != "row":
            members.append(panel)
            continue
        if heading is not None or members:
            yield heading, members
        heading, members = panel, list(panel.panels)
    if heading is not None or members:
        yield heading, members


def _repeated(panel: Panel, view: View, most: int | None) -> Iterator[Placed]:
    if not panel.repeat:
        yield Placed(panel, view, panel.grid_pos)
        return
    values = _values(view, panel.repeat, most)
    place = panel.grid_pos
    per_row = 1 if panel.repeat_direction == "v" else panel.max_per_row or _MOST_PER_ROW
    width = place.w if per_row == 1 else COLUMNS // min(per_row, len(values))
    for number, one in enumerate(values):
        down, right = divmod(number, per_row)
        at = replace(place, x=place.x if per_row == 1 else right * width, y=place.y + down * place.h, w=width)
        yield Placed(panel, view.with_value(panel.repeat, one), at)


def _values(view: View, name: str, most: int | None) -> tuple[str, ...]:
    return view.values[name].items()[:most]

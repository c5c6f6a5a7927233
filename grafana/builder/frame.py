"""The frame of a dashboard: grid, variables, annotations and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder.panels import LINK_TIME, PanelBuilder

WIDTH = 24
TAG = "decahertz"
SCHEMA_VERSION = 41
"""Of Grafana 11.6; newer versions read it."""


@dataclass(frozen=True, slots=True)
class Line:
    """Panels next to each other, each with its width; together at most 24 wide."""

    height: int
    panels: Sequence[tuple[int, PanelBuilder | Sequence[tuple[int, PanelBuilder]]]]
    """A panel, or panels on top of each other with their heights."""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under a heading; with ``repeat`` once for each chosen value of a variable."""

    title: str
    lines: Sequence[Line]
    repeat: str = ""


def uid_of(name: str) -> str:
    """The fixed uid of a dashboard."""
    return f"decahertz-{name}"


def address(name: str, *variables: str, **values: str) -> str:
    """Address of a dashboard with the same time range, the named variables, and values of variables."""
    parts = [LINK_TIME, *(f"${{{variable}:queryparam}}" for variable in variables)]
    parts += [f"var-{variable}={value}" for variable, value in values.items()]
    return f"/d/{uid_of(name)}?{'&'.join(parts)}"


def field(name: str) -> str:
    """The value of another column in the row of a link."""
    return f'${{__data.fields["{name}"]:percentencode}}'


def label(name: str) -> str:
    """The value of a label of the series of a link."""
    return f"${{__field.labels.{name}:percentencode}}"


def dashboard(
    name: str,
    title: str,
    description: str,
    variables: Sequence[Builder[model.VariableModel]],
    annotations: Sequence[Builder[model.AnnotationQuery]],
    content: Sequence[Line | Section],
) -> model.Dashboard:
    """A dashboard with all defaults; its panels have ids in their order."""
    others = build.DashboardLink("Decahertz").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    builder = build.Dashboard(f"Decahertz / {title}").uid(uid_of(name)).description(description).tags([TAG])
    builder = builder.time("now-15m", "now").refresh("5s").timezone("browser").editable()
    builder = builder.tooltip(model.DashboardCursorSync.CROSSHAIR)
    builder = builder.variables(list(variables)).annotations(list(annotations))
    builder = builder.link(
        others.as_dropdown(as_dropdown=True).include_vars(include_vars=True).keep_time(keep_time=True)
    )
    result = builder.build()
    result.schema_version = SCHEMA_VERSION
    result.panels = _placed(content)
    for shown in (*(result.links or ()), *(result.annotations.list_val or () if result.annotations else ())):
        shown.placement = None  # next to the variables; the builders put them into a menu
    return result


def _placed(content: Sequence[Line | Section]) -> list[model.Panel | model.RowPanel]:
    placed: list[model.Panel | model.RowPanel] = []
    top = 0
    for part in content:
        if isinstance(part, Section):
            grid = model.GridPos(x=0, y=top, w=WIDTH, h=1)
            placed.append(
                model.RowPanel(title=part.title, grid_pos=grid, repeat=part.repeat or None, panels=[])
            )
            top += 1
        for line in part.lines if isinstance(part, Section) else (part,):
            placed += _placed_line(line, top)
            top += line.height
    for number, panel in enumerate(placed, start=1):
        panel.id_val = number
    return placed


def _placed_line(line: Line, top: int) -> list[model.Panel]:
    placed = []
    left = 0
    for width, content in line.panels:
        column = content if isinstance(content, Sequence) else ((line.height, content),)
        y = top
        for height, panel in column:
            built = panel.build()
            built.grid_pos = model.GridPos(x=left, y=y, w=width, h=height)
            placed.append(built)
            y += height
        if y > top + line.height:
            raise ValueError(f"a column at {left} is higher than its line of {line.height}")
        left += width
    if left > WIDTH:
        raise ValueError(f"a line is {left} wide, more than {WIDTH}")
    return placed

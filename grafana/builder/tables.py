"""Tables: columns with units, colours and links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder import style
from grafana.builder.panels import About, Link, described
from grafana.builder.queries import Query
from grafana.builder.style import Display

_LEAST_WIDTH = 60
"""Of columns without a width of their own: by default Grafana scrolls rather than go below 150."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How a column of a table looks."""

    display: Display | None = None
    title: str = ""
    mapping: model.ValueMap | None = None
    colours: build.ThresholdsConfig | None = None
    link: str = ""
    link_title: str = ""
    width: int = 0
    hidden: bool = False

    def colour_properties(self) -> list[model.DynamicConfigValue]:
        """The override of the thresholds alone, for panels that are not tables."""
        assert self.colours is not None  # noqa: S101 - the caller's mistake
        return [model.DynamicConfigValue(id_val="thresholds", value=self.colours.build())]

    def properties(self) -> list[model.DynamicConfigValue]:
        """The overrides of the column."""
        found: dict[str, object] = {}
        if self.title:
            found["displayName"] = self.title
        if self.display:
            found["unit"] = self.display.unit
            found["decimals"] = self.display.decimals
        if self.mapping:
            found["mappings"] = [self.mapping]
        if self.colours:
            found["thresholds"] = self.colours.build()
        if self.mapping:
            found["custom.filterable"] = True
        if self.mapping or self.colours:
            found["custom.cellOptions"] = {"type": "color-text"}
        if self.link:
            found["links"] = [Link(self.link_title, self.link).build()]
        if self.hidden:
            found["custom.hidden"] = True
        if self.width:
            found["custom.width"] = self.width
        return [
            model.DynamicConfigValue(id_val=name, value=value)
            for name, value in found.items()
            if value is not None
        ]


def rows(about: About, query: Query, cells: Mapping[str, Cell], *, sort: str = "") -> table.Panel:
    """A table; ``cells`` by the names of the columns. Columns of numbers need a display of their own."""
    panel = described(table.Panel(), about, style.NAME, [query])
    panel = panel.cell_height(common_model.TableCellHeight.SM).min_width(_LEAST_WIDTH)
    panel = panel.thresholds(style.no_colour()).no_value("-")
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=True)])
    for name, cell in cells.items():
        panel = panel.override_by_name(name, cell.properties())
    return panel

"""Panels with the project's defaults: one question each, no decoration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    candlestick,
    common,
    heatmap,
    histogram,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import candlestick as candlestick_model
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model

from decahertz.metric import Unit
from grafana.builder import style
from grafana.builder.queries import POSTGRES, Query
from grafana.builder.style import Display

PanelBuilder = (
    timeseries.Panel
    | stat.Panel
    | table.Panel
    | statetimeline.Panel
    | heatmap.Panel
    | candlestick.Panel
    | bargauge.Panel
    | barchart.Panel
    | histogram.Panel
)
_P = TypeVar(
    "_P",
    timeseries.Panel,
    stat.Panel,
    table.Panel,
    statetimeline.Panel,
    heatmap.Panel,
    candlestick.Panel,
    bargauge.Panel,
    barchart.Panel,
    histogram.Panel,
)
_MOST_POINTS = 800
"""Points of a line: on a wide screen a day would otherwise be read from the tier of 1 s."""
LINK_TIME = "${__url_time_range}"
_LEAST_TOPS = {"percentunit": 0.01, "locale": 1.0, "short": 1.0, "suffix:/s": 1.0, "s": 0.001}
"""By unit: the least end of an axis from zero. By default Grafana ends it at 100 if all values are zero."""


@dataclass(frozen=True, slots=True)
class About:
    """Title and description, and the dashboard that answers the next question."""

    title: str
    description: str
    link: str = ""
    """Address of the dashboard with the details."""
    link_title: str = ""


def described(panel: _P, about: About, display: Display, queries: Sequence[Query]) -> _P:
    """The panel with its title, description, unit and queries."""
    panel = panel.title(about.title).description(about.description).unit(display.unit)
    panel = panel.datasource(queries[0].datasource)
    if display.decimals is not None:
        panel = panel.decimals(display.decimals)
    for query in queries:
        panel = panel.with_target(query)
    if about.link:
        panel = panel.data_links([Link(about.link_title, about.link)])
    return panel


class _DataLink(model.DashboardLink):
    """A link of a value; it has fewer fields than the link of a dashboard."""

    def to_json(self) -> dict[str, object]:
        """The link as Grafana stores it."""
        return {"title": self.title, "url": self.url}


@dataclass(frozen=True)
class Link(Builder[model.DashboardLink]):
    """A link of a value."""

    title: str
    url: str

    def build(self) -> model.DashboardLink:
        """The link itself."""
        return _DataLink(title=self.title, url=self.url)


def _legend(calculations: Sequence[str]) -> common.VizLegendOptions:
    """Names below the chart, or a table next to it."""
    placement = common_model.LegendPlacement.RIGHT if calculations else common_model.LegendPlacement.BOTTOM
    legend = common.VizLegendOptions().show_legend(show_legend=True)
    legend = legend.placement(placement).calcs(list(calculations))
    mode = common_model.LegendDisplayMode.TABLE if calculations else common_model.LegendDisplayMode.LIST
    return legend.display_mode(mode)


def _tooltip() -> common.VizTooltipOptions:
    tooltip = common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI)
    return tooltip.sort(common_model.SortOrder.DESCENDING)


def lines(
    about: About,
    display: Display,
    *queries: Query,
    name: str = "",
    calculations: Sequence[str] = (),
    fill: int = 0,
    minimum: float | None = None,
    maximum: float | None = None,
    stacked: bool = False,
) -> timeseries.Panel:
    """Lines over time. Queries sort by key, so that a key has the same colour in all charts."""
    colour = build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC)
    panel = described(timeseries.Panel(), about, display, queries)
    panel = panel.line_width(1).fill_opacity(fill).show_points(common_model.VisibilityMode.NEVER)
    panel = panel.color_scheme(colour).legend(_legend(calculations)).tooltip(_tooltip())
    panel = panel.line_interpolation(common_model.LineInterpolation.LINEAR)
    if queries[0].datasource is POSTGRES:
        panel = panel.max_data_points(_MOST_POINTS)
    if name:
        panel = panel.display_name(name)
    if minimum is not None:
        panel = panel.min(minimum)
    if maximum is not None:
        panel = panel.max(maximum)
    elif minimum == 0 and display.unit in _LEAST_TOPS:
        panel = panel.axis_soft_max(_LEAST_TOPS[display.unit])
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL))
    return panel


def bars(about: About, display: Display, *queries: Query, name: str = "") -> timeseries.Panel:
    """Stacked bars over time, for counts in each step."""
    panel = lines(about, display, *queries, name=name, fill=70, minimum=0, stacked=True)
    return panel.draw_style(common_model.GraphDrawStyle.BARS).line_width(0)


def _reduced(calculation: str, *, each_row: bool = False) -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs([calculation]).values(each_row).fields("")


def figure(
    about: About,
    display: Display,
    *queries: Query,
    colours: build.ThresholdsConfig | None = None,
    mappings: Sequence[model.ValueMap] = (),
    trend: bool = True,
    background: bool = False,
    name: str = "",
) -> stat.Panel:
    """One large figure: the newest value, with its course behind it."""
    colour = (
        common_model.BigValueColorMode.BACKGROUND_SOLID
        if background
        else common_model.BigValueColorMode.VALUE
    )
    panel = described(stat.Panel(), about, display, queries).reduce_options(_reduced("lastNotNull"))
    panel = panel.thresholds(colours or style.no_colour()).mappings(list(mappings))
    panel = panel.color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    panel = panel.color_mode(colour).justify_mode(common_model.BigValueJustifyMode.CENTER)
    panel = panel.graph_mode(
        common_model.BigValueGraphMode.AREA if trend else common_model.BigValueGraphMode.NONE
    )
    if name:
        panel = panel.display_name(name).text_mode(common_model.BigValueTextMode.VALUE_AND_NAME)
    else:
        panel = panel.text_mode(common_model.BigValueTextMode.VALUE)
    return panel


def timeline(
    about: About, query: Query, mappings: Sequence[model.ValueMap], *, name: str = ""
) -> statetimeline.Panel:
    """States over time, one row for each thing."""
    panel = described(statetimeline.Panel(), about, style.PLAIN, [query])
    panel = panel.mappings(list(mappings)).show_value(common_model.VisibilityMode.NEVER)
    panel = panel.row_height(0.8).fill_opacity(85).line_width(0).merge_values(merge_values=True)
    # By thresholds Grafana would colour numbers by these alone, and leave out the mappings.
    panel = panel.color_scheme(build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    panel = panel.thresholds(style.no_colour()).legend(_legend(())).tooltip(_tooltip())
    return panel.display_name(name) if name else panel


def heat(about: About, display: Display, query: Query) -> heatmap.Panel:
    """Distribution of a latency over time, from the buckets of a histogram."""
    colour = heat_colour()
    panel = described(heatmap.Panel(), about, style.COUNT, [query])
    axis = heatmap.YAxisConfig().unit(display.unit).axis_placement(common_model.AxisPlacement.LEFT)
    panel = panel.calculate(calculate=False).color(colour).y_axis(axis)
    tooltip = heatmap.HeatmapTooltip().mode(common_model.TooltipDisplayMode.SINGLE)
    return panel.cell_gap(1).tooltip(tooltip.y_histogram(y_histogram=True)).show_legend()


def heat_colour() -> heatmap.HeatmapColorOptions:
    """One colour for all heat maps."""
    colour = heatmap.HeatmapColorOptions().mode(heatmap_model.HeatmapColorMode.SCHEME).scheme("Blues")
    return colour.steps(64).exponent(0.5)


def price_bars(about: About, query: Query) -> candlestick.Panel:
    """Open, high, low and close with volume."""
    panel = described(candlestick.Panel(), about, style.display_of(Unit.PRICE), [query])
    fields = (
        candlestick.CandlestickFieldMap().open("open").high("high").low("low").close("close").volume("volume")
    )
    colours = candlestick.CandlestickColors().up(style.UP).down(style.DOWN).flat(style.NEUTRAL)
    panel = panel.mode(candlestick_model.VizDisplayMode.CANDLES_VOLUME).fields(fields).colors(colours)
    panel = panel.color_strategy(candlestick_model.ColorStrategy.OPEN_CLOSE)
    panel = panel.include_all_fields(include_all_fields=True).max_data_points(120)
    return panel.legend(_legend(())).tooltip(_tooltip())


def gauges(
    about: About,
    display: Display,
    query: Query,
    *,
    colours: build.ThresholdsConfig,
    name: str = "",
    maximum: float | None = None,
) -> bargauge.Panel:
    """The newest value of each thing as a bar, for the comparison of things.

    Without ``name`` the query yields a table with one row for each thing: its name in ``metric``, and its
    value.
    """
    panel = described(bargauge.Panel(), about, display, [query])
    panel = panel.reduce_options(_reduced("lastNotNull", each_row=not name))
    panel = (
        panel.thresholds(colours)
        .display_name(name or "${__data.fields.metric}")  # a single bar would have no name
        .min(0)
        .orientation(common_model.VizOrientation.HORIZONTAL)
    )
    panel = panel.display_mode(common_model.BarGaugeDisplayMode.BASIC).show_unfilled(show_unfilled=True)
    panel = panel.color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    if not name:
        panel = panel.override_by_name(*_named("metric"))
    return panel.max(maximum) if maximum is not None else panel


def _named(column: str) -> tuple[str, list[model.DynamicConfigValue]]:
    """Override: a column of texts in a panel with the unit of a number."""
    return column, [model.DynamicConfigValue(id_val="unit", value=style.NAME.unit)]


def grouped(about: About, display: Display, query: Query, *, category: str) -> barchart.Panel:
    """A group of bars for each row, named by the column ``category``, with a bar for each number."""
    panel = described(barchart.Panel(), about, display, [query]).x_field(category)
    panel = panel.orientation(common_model.VizOrientation.VERTICAL).fill_opacity(80).line_width(0)
    panel = panel.group_width(0.8).bar_width(0.95).show_value(common_model.VisibilityMode.NEVER)
    panel = panel.override_by_name(*_named(category))
    return panel.legend(_legend(())).tooltip(_tooltip())


def distribution(about: About, display: Display, query: Query, *, name: str) -> histogram.Panel:
    """How often which value occurs. Decimals would be those of the number of values, too."""
    panel = described(histogram.Panel(), about, Display(display.unit), [query]).fill_opacity(60).line_width(1)
    panel = panel.legend(_legend(())).combine(combine=False).display_name(name)
    return panel.color_scheme(build.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(style.BUY))

"""The builder of the dashboards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from grafana_foundation_sdk.models.dashboard import Panel

from decahertz.metric import Unit
from grafana.builder import style
from grafana.builder.declared import UndeclaredError, alert, metric, threshold
from grafana.builder.files import dashboard_files
from grafana.builder.frame import Line, Section, address, dashboard
from grafana.builder.panels import About, PanelBuilder, figure, gauges, grouped
from grafana.builder.queries import chosen, matching, prom, sql
from grafana.builder.tables import Cell, rows
from tests.grafana.conftest import DASHBOARDS


def test_the_committed_files_are_those_that_the_builder_makes() -> None:
    made = {path.name: text for path, text in dashboard_files()}
    committed = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()}
    assert committed == made, "run scripts/derive.py"


@pytest.mark.parametrize("collector", ["market", "gone"])
def test_a_metric_that_is_not_declared_stops_the_build(collector: str) -> None:
    with pytest.raises(UndeclaredError, match=f"{collector}.gone is not a declared metric"):
        metric(collector, "gone")


@pytest.mark.parametrize("name", ["Gone", "DeadMansSwitch"])
def test_an_alert_without_a_threshold_stops_the_build(name: str) -> None:
    with pytest.raises(UndeclaredError, match=f"{name} is not an alert with a threshold"):
        threshold(name)


def test_an_alert_that_does_not_exist_stops_the_build() -> None:
    with pytest.raises(UndeclaredError, match="Gone is not an alert"):
        alert("Gone")


def test_families_and_units_follow_from_the_declaration() -> None:
    assert metric("market", "mid").family == "decahertz_market_mid_price"
    assert metric("market", "gaps").family == "decahertz_market_gaps_total"
    assert metric("execution", "slippage_arrival_bps").display == style.display_of(Unit.BASIS_POINTS)
    assert all(style.display_of(unit).unit for unit in Unit)


def test_panels_are_placed_from_left_to_right_and_below_each_other() -> None:
    content: list[Line | Section] = [
        Line(4, [(8, _figure()), (16, [(1, _figure()), (3, _figure())])]),
        Section("S", [Line(2, [(24, _figure())])]),
    ]
    placed = dashboard("x", "X", "About.", [], [], content).panels or []
    grids = [panel.grid_pos for panel in placed]
    found = [(grid.x, grid.y, grid.w, grid.h) for grid in grids if grid]
    assert found == [(0, 0, 8, 4), (8, 0, 16, 1), (8, 1, 16, 3), (0, 4, 24, 1), (0, 5, 24, 2)]
    assert [panel.id_val for panel in placed] == [1, 2, 3, 4, 5]


def test_panels_that_do_not_fit_stop_the_build() -> None:
    wide = Line(4, [(20, _figure()), (5, _figure())])
    high = Line(4, [(8, [(3, _figure()), (2, _figure())])])
    for line, message in ((wide, "25 wide, more than 24"), (high, "higher than its line of 4")):
        with pytest.raises(ValueError, match=message):
            dashboard("x", "X", "About.", [], [], [line])


def test_queries_take_the_chosen_values_of_variables() -> None:
    assert chosen("venue") == "venue = ANY (ARRAY[${venue:sqlstring}]::text[])"
    assert matching("venue", state="a|b") == '{venue=~"$venue", state=~"a|b"}'
    expected = "/d/decahertz-market?${__url_time_range}&${recorder:queryparam}&var-venue=sim"
    assert address("market", "recorder", venue="sim") == expected


def test_a_dashboard_has_a_folder_of_files_that_grafana_reads() -> None:
    for path, text in dashboard_files():
        assert path.parent == Path("grafana/dashboards")
        assert json.loads(text)["uid"] == f"decahertz-{path.stem}"


def _figure() -> PanelBuilder:
    return figure(About("T", "D."), style.COUNT, prom("up"))


def test_a_name_that_looks_like_a_number_stays_a_name() -> None:
    """Grafana formats such a text by the unit of its column, in the cell and in its link."""
    about = About("A", "About.", "", "")
    query = sql("SELECT order_id, price FROM orders", table=True)
    table = rows(about, query, {"order_id": Cell(title="Order"), "price": Cell(style.COUNT)}).build()
    assert table.field_config is not None
    assert table.field_config.defaults.unit == "string"
    assert _units(table) == {"price": "locale"}
    assert _units(gauges(about, style.COUNT, query, colours=style.rising(1)).build()) == {"metric": "string"}
    assert _units(grouped(about, style.COUNT, query, category="strategy").build()) == {"strategy": "string"}


def _units(panel: Panel) -> dict[str, object]:
    """The units of the columns that have one of their own."""
    assert panel.field_config is not None
    return {
        str(override.matcher.options): one.value
        for override in panel.field_config.overrides
        for one in override.properties
        if one.id_val == "unit"
    }

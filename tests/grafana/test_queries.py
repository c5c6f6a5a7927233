"""Every query of every dashboard, as Grafana runs it, against one run: it answers, and plausibly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace
from PIL import Image

from grafana.preview.page import WIDTH, draw
from grafana.reader.dashboard import Dashboard, GridPos, Panel, PrometheusTarget, SqlTarget
from grafana.reader.frame import Frame, QueryError, Type, points
from grafana.reader.intervals import TimeRange
from grafana.reader.layout import placed
from grafana.reader.view import ALL, View
from tests.grafana.conftest import DASHBOARDS
from tests.grafana.links import addresses, target_of
from tests.grafana.lint import is_sql, queries_of, relations_in
from tests.grafana.run import ODD_INSTRUMENTS, VENUE, Run, running_for_grafana

pytestmark = pytest.mark.timeout(150)

MAY_BE_EMPTY: Mapping[tuple[str, str], str] = {
    ("feeds", "Incidents of feeds"): "the synthetic market has none",
    ("control", "News feeds"): "the demo reads none",
    ("control", "Lateness of signals"): "no generator has made a signal",
    ("feeds", "From venue to cycle"): "nothing synchronises the clock of a test machine",
    ("system", "Clock"): "nothing synchronises the clock of a test machine",
    ("market", "Volatility"): "the first instrument has one quote, and no return",
    ("market", "Realised volatility"): "the first instrument has one quote, and no return",
    ("market", "Mid, micro-price, VWAP and fills"): "nobody has traded the first instrument yet",
    ("recorder", "WebSocket readers"): "no reader is closed, so there is no reason to count by",
    ("recorder", "Losses and retries"): "nothing is dropped, so there is no reason to count by",
}
"""Panels and annotations whose queries find nothing in a short run, with the reason."""
BOUNDS = {
    "percentunit": (-10.0, 100.0),
    "percent": (-1000.0, 10_000.0),
    "s": (-5.0, 1e7),
    "bytes": (0.0, 1e15),
    "decbytes": (0.0, 1e15),
    "Bps": (0.0, 1e12),
    "short": (-1e12, 1e12),
}
"""Values of a unit that a run of a minute can have."""
_LARGEST = 1e15
FOLLOWED = {
    "overview.json": 12,
    "feeds.json": 2,
    "market.json": 1,
    "strategy.json": 4,
    "execution.json": 4,
    "risk.json": 2,
    "orders.json": 8,
}
"""The least number of different addresses that links have; the other dashboards have no links of values."""
NAMES = [path.name for path in sorted(DASHBOARDS.glob("*.json"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all dashboards."""
    with running_for_grafana(tmp_path_factory.mktemp("g")) as started:
        yield started


@pytest.mark.parametrize("name", NAMES)
def test_every_query_of_a_dashboard_answers(name: str, dashboards: dict[str, Dashboard], run: Run) -> None:
    dashboard = dashboards[name]
    view = View(dashboard, run.sources, run.range_of(dashboard))
    found = [f"variable {name}: no options" for name, options in view.options.items() if not options]
    for one in placed(view, most=2):
        if one.panel.type not in ("row", "text"):
            found += _of_panel(one.panel, one.view)
    everything = {
        variable.name: ALL if variable.include_all else list(view.options[variable.name])
        for variable in dashboard.templating.items
        if variable.multi
    }
    view = View(dashboard, run.sources, run.range_of(dashboard), everything)
    for annotation in dashboard.annotations.items:
        if not annotation.built_in and not view.marks(annotation):
            found += _unless_allowed(dashboard, annotation.name, f"annotation {annotation.name}: no marks")
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_break_no_query(name: str, dashboards: dict[str, Dashboard], run: Run) -> None:
    dashboard = dashboards[name]
    chosen = {"instrument": list(ODD_INSTRUMENTS), "venue": [VENUE]}
    known = {variable.name for variable in dashboard.templating.items}
    selections = {key: value for key, value in chosen.items() if key in known}
    view = View(dashboard, run.sources, run.range_of(dashboard), selections)
    for one in placed(view):
        for target in one.view.targets(one.panel):
            one.view.run(one.panel, target)
    for annotation in dashboard.annotations.items:
        if not annotation.built_in:
            view.marks(annotation)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_each_variable_takes_one_value_and_several(
    name: str, number: int, dashboards: dict[str, Dashboard], run: Run
) -> None:
    dashboard = dashboards[name]
    options = View(dashboard, run.sources, run.range_of(dashboard)).options
    multiple = {variable.name for variable in dashboard.templating.items if variable.multi}
    chosen = {key: found[:number] for key, found in options.items() if key in multiple}
    view = View(dashboard, run.sources, run.range_of(dashboard), chosen)
    assert all(view.values[key].selected == tuple(found) for key, found in chosen.items())
    for one in placed(view, most=1):
        for target in one.view.targets(one.panel):
            one.view.run(one.panel, target)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_opens_the_data_that_it_is_about(
    name: str, dashboards: dict[str, Dashboard], run: Run
) -> None:
    by_uid = {one.uid: one for one in dashboards.values()}
    view = View(dashboards[name], run.sources, run.range_of(dashboards[name]))
    followed: set[str] = set()
    for one in placed(view, most=2):
        found = [] if one.panel.type in ("row", "text") else list(addresses(one.panel, one.view))
        assert all("$" not in address.replace("$__all", "") for _, address in found), found
        followed |= {address for _, address in found if address.startswith("/d/")}
        pages = {urlsplit(address).path for title, address in found if title == "Tear sheet"}
        assert pages <= {f"/api/v1/report/{one}" for one in view.options.get("strategy", [])}
    for address in sorted(followed):
        target = target_of(address)
        there = View(by_uid[target.uid], run.sources, target.time_range, target.selections)
        assert target.time_range.from_ms <= target.time_range.to_ms <= view.time_range.to_ms, address
        for variable, chosen in target.selections.items():
            if variable == "order":
                assert _orders_of(there) == set(chosen), address
            else:
                assert set(chosen) <= {*there.options[variable], ALL}, address
    assert len(followed) >= FOLLOWED.get(name, 0)


def _orders_of(view: View) -> set[str]:
    """The orders in the tables of a dashboard."""
    frames = [found for one in view.dashboard.panels if one.type == "table" for found in view.frames(one)]
    columns = [column for found in frames for column in found.fields if column.name == "order_id"]
    return {str(value) for column in columns for value in column.values}


@pytest.mark.parametrize("name", NAMES)
def test_every_relation_exists(name: str, dashboards: dict[str, Dashboard], run: Run) -> None:
    postgres = run.sources.postgres(run.sources.provisioned["decahertz-postgres"])
    (readable,) = postgres.rows(
        "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p', 'v')"
        " AND relnamespace = current_schema()::regnamespace AND has_table_privilege(oid, 'SELECT')"
    ).fields
    for where, text in queries_of(dashboards[name]):
        if is_sql(text):
            assert relations_in(text) <= set(readable.values), where


def test_every_type_of_panel_is_drawn(dashboards: dict[str, Dashboard], run: Run, tmp_path: Path) -> None:
    drawn: set[str] = set()
    for name, dashboard in dashboards.items():
        first = {one.type: one for one in reversed(list(dashboard.all_panels())) if one.type not in drawn}
        if not first:
            continue
        drawn |= first.keys()
        places = [GridPos(h=8, w=8, x=n % 3 * 8, y=n // 3 * 8) for n in range(len(first))]
        panels = [replace(panel, grid_pos=place) for panel, place in zip(first.values(), places, strict=True)]
        view = View(replace(dashboard, panels=panels), run.sources, run.range_of(dashboard))
        path = tmp_path / name.replace(".json", ".png")
        assert draw(view, path) == []
        with Image.open(path) as image:
            assert image.width == WIDTH
        assert 5_000 < path.stat().st_size < 200_000
    assert {"timeseries", "stat", "table"} <= drawn


def _of_panel(panel: Panel, view: View) -> Iterator[str]:
    for target in view.targets(panel):
        where = f"{panel.name} {target.ref_id}"
        try:
            frames = view.run(panel, target)
        except QueryError as error:
            yield f"{where}: {error}"
            continue
        if not points(frames):
            yield from _unless_allowed(view.dashboard, panel.title, f"{where}: no data")
        elif wrong := _wrong(panel, target, frames, view.range_of(panel)):
            yield f"{where}: {wrong}"
        yield from (f"{where}: the column {name} of numbers has no unit" for name in _bare(panel, frames))
    try:
        if not points(view.frames(panel)):
            yield from _unless_allowed(view.dashboard, panel.title, f"{panel.name}: nothing is left to draw")
    except QueryError as error:
        yield f"{panel.name}: {error}"


def _bare(panel: Panel, frames: list[Frame]) -> set[str]:
    """Columns of numbers in a table that have the unit of texts."""
    if panel.type != "table":
        return set()
    settings = panel.field_config.overrides
    own = {one.matcher.options for one in settings if any(found.id == "unit" for found in one.properties)}
    return {field.name for frame in frames for field in frame.fields if field.type is Type.NUMBER} - own


def _unless_allowed(dashboard: Dashboard, title: str, text: str) -> list[str]:
    return [] if (dashboard.uid.removeprefix("decahertz-"), title) in MAY_BE_EMPTY else [text]


def _wrong(
    panel: Panel, target: SqlTarget | PrometheusTarget, frames: list[Frame], time_range: TimeRange
) -> str:
    """Returns the reason why an answer is implausible; empty if it is plausible."""
    for frame in frames:
        if target.format == "time_series" and (frame.time is None or not frame.numbers()):
            return "no time or no numbers"
        if target.format == "time_series" and frame.time is not None:
            # A bucket may begin before the range, and an instant query looks at its end.
            early, late = time_range.from_ms - 3_600_000, time_range.to_ms + 1_000
            if not all(early <= at <= late for at in frame.time.values):
                return "times out of range"
        for one in frame.numbers():
            low, high = BOUNDS.get(panel.field_config.defaults.unit or "", (-_LARGEST, _LARGEST))
            known = [value for value in one.values if value is not None]
            if not all(math.isfinite(value) for value in known):
                return f"{one.name}: not finite"
            if target.format == "time_series" and not all(low <= value <= high for value in known):
                return f"{one.name}: {min(known)} to {max(known)}, not within {low} to {high}"
    return _wrong_bars(frames) if panel.type == "candlestick" else ""


def _wrong_bars(frames: list[Frame]) -> str:
    for frame in frames:
        columns = {one.name: one for one in frame.fields}
        if not {"open", "high", "low", "close"} <= columns.keys() or frame.time is None:
            return "bars need time, open, high, low and close"
        for opened, high, low, closed in zip(
            *(columns[name].values for name in ("open", "high", "low", "close")), strict=True
        ):
            if not low <= min(opened, closed) <= max(opened, closed) <= high:
                return f"a bar opens at {opened}, closes at {closed}, and is between {low} and {high}"
    return ""


def test_the_run_has_what_dashboards_are_about(run: Run) -> None:
    """Otherwise an empty answer would say nothing about a query."""
    postgres = run.sources.postgres(run.sources.provisioned["decahertz-postgres"])
    for table in ("fills", "trades", "orders", "signals", "risks", "regimes", "news", "logs", "alerts"):
        assert postgres.rows(f"SELECT 1 FROM {table} LIMIT 1").rows == 1, table  # noqa: S608 - constants
    times = postgres.rows("SELECT time FROM market_history WHERE tier = 'raw' LIMIT 1").fields[0]
    assert times.type is Type.TIME
    with pytest.raises(QueryError, match=r"permission denied|read-only"):
        postgres.rows("DELETE FROM fills RETURNING 1")

"""The reader of dashboards expands variables and macros and chooses steps as Grafana does."""

from __future__ import annotations

from pathlib import Path

import pytest

from grafana.reader.dashboard import Dashboard, DataSourceRef, GridPos, Panel, PrometheusTarget, TimeSpan
from grafana.reader.frame import Field, Frame, QueryError, Type, display_name, long_to_wide
from grafana.reader.interpolation import Value, interpolate, promql_format, sql_format
from grafana.reader.intervals import TimeRange, format_interval, parse_interval, resolve, rounded, step_of
from grafana.reader.layout import placed
from grafana.reader.postgres import expand_macros
from grafana.reader.prometheus import PrometheusSource
from grafana.reader.provisioning import Provisioning, ProvisioningError, read_dashboards
from grafana.reader.view import Sources, View

START_MS = 1_523_556_000_000  # 2018-04-12T18:00:00Z
RANGE = TimeRange(START_MS, START_MS + 300_000)
ODD = ("EUR/USD", "it's", "a.b|c")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("$__time(t)", 't AS "time"'),
        ("$__timeEpoch(t)", 'extract(epoch from t) as "time"'),
        ("$__timeFilter(t)", "t BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z'"),
        ("$__timeFrom()", "'2018-04-12T18:00:00Z'"),
        ("$__timeTo()", "'2018-04-12T18:05:00Z'"),
        ("$__timeGroup(t , '5m')", "floor(extract(epoch from t)/300)*300"),
        ("$__timeGroup(t,'12d')", "floor(extract(epoch from t)/1036800)*1036800"),
        ("$__timeGroup(t,'5m'), v", 'floor(extract(epoch from t)/300)*300 AS "time", v'),
        ("$__timeGroup(t,'5m') as time, v", "floor(extract(epoch from t)/300)*300 as time, v"),
        ("$__timeGroupAlias(t,'20ms')", 'floor(extract(epoch from t)/0.02)*0.02 AS "time"'),
        ("$__unixEpochFilter(t)", "t >= 1523556000 AND t <= 1523556300"),
        ("$__unixEpochNanoFilter(t)", "t >= 1523556000000000000 AND t <= 1523556300000000000"),
        ("$__unixEpochGroup(t+a,'5m')", "floor((t+a)/300)*300"),
        ("$__unixEpochFrom() $__unixEpochTo()", "1523556000 1523556300"),
    ],
)
def test_macros_of_postgresql(sql: str, expected: str) -> None:
    assert expand_macros(sql, RANGE, timescale=False) == expected


def test_a_group_is_a_time_bucket_where_the_source_says_timescale() -> None:
    assert expand_macros("$__timeGroup(t,'20ms')", RANGE, timescale=True) == "time_bucket('0.020s',t)"


@pytest.mark.parametrize("sql", ["$__timeGrup(t, '5m')", "$__timeGroup(t)", "$__timeGroup(t, 'soon')"])
def test_a_wrong_macro_is_an_error(sql: str) -> None:
    with pytest.raises(QueryError, match=r"\$__timeGr"):
        expand_macros(sql, RANGE, timescale=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$many", "{EUR/USD,it's,a.b|c}"),
        ("[[many:csv]]", "EUR/USD,it's,a.b|c"),
        ("${many:pipe}", "EUR/USD|it's|a.b|c"),
        ("${many:sqlstring}", "'EUR/USD','it''s','a.b|c'"),
        ("${many:regex}", r"(EUR\/USD|it's|a\.b\|c)"),
        ("${many:queryparam}", "var-many=EUR%2FUSD&var-many=it%27s&var-many=a.b%7Cc"),
        ("${one:sqlstring}", "'it''s'"),
        ("${all:regex} ${all:sqlstring} $all", ".+ .+ .+"),
        ("${all:text}", "All"),
        ("$__from ${__to:date:seconds}", f"{START_MS} {START_MS // 1000 + 300}"),
        ("$none ${none:csv} [[none]]", "$none ${none:csv} [[none]]"),
        ("${__url_time_range}", f"from={START_MS}&to={START_MS + 300_000}"),
    ],
)
def test_formats_of_variables(text: str, expected: str) -> None:
    values = {
        "many": Value("many", ODD, multi=True),
        "one": Value("one", "it's"),
        "all": Value("all", ODD, include_all=True, custom_all=".+", text="All"),
    }
    assert interpolate(text, values, RANGE) == expected


def test_each_query_language_has_a_format_of_its_own() -> None:
    values = {"many": Value("many", ODD, multi=True), "one": Value("one", 'say "it\'s"')}
    assert interpolate("($many)", values, RANGE, sql_format) == "('EUR/USD','it''s','a.b|c')"
    assert interpolate("'$one'", values, RANGE, sql_format) == "'say \"it''s\"'"
    assert interpolate('"$many"', values, RANGE, promql_format) == r'"(EUR/USD|it\\' + r"'s|a\\.b\\|c)" + '"'
    assert interpolate('"$one"', values, RANGE, promql_format) == r'"say \"it' + r"'s\"" + '"'


def test_steps() -> None:
    quarter = TimeRange(0, 900_000)
    assert step_of(quarter, 1280, "100ms") == 500
    assert step_of(quarter, 1280, "15s") == 15_000
    assert step_of(TimeRange(0, 86_400_000), 960, "100ms") == 120_000
    assert [rounded(ms) for ms in (1, 10, 149, 150, 3_628_800_000)] == [1, 10, 100, 200, 31_536_000_000]
    assert [format_interval(ms) for ms in (0, 100, 90_000, 3_600_000)] == ["1ms", "100ms", "1m", "1h"]
    assert [parse_interval(text) for text in ("15", ">1m", "1.5h")] == [15_000, 60_000, 5_400_000]
    assert [resolve(text, 90_000_123) for text in ("now", "now-1m", "now/d", "now-1d/d")] == [
        90_000_123,
        89_940_123,
        86_400_000,
        0,
    ]


def test_variables_of_prometheus() -> None:
    source = PrometheusSource("http://127.0.0.1:1", "15s")
    target = PrometheusTarget(
        ref_id="A", expr="rate(a[$__rate_interval]) $__interval $__interval_ms ${__range}"
    )
    expanded = source.expand(target, {}, TimeRange(0, 900_000), interval_ms=2_000, step_ms=2_000)
    assert expanded == "rate(a[60000ms]) 2s 2000 900s"
    expanded = source.expand(target, {}, TimeRange(0, 900_000), interval_ms=60_000, step_ms=60_000)
    assert expanded == "rate(a[75000ms]) 1m 60000 900s"


def test_text_columns_become_labels_and_rows_have_to_be_sorted() -> None:
    time = Field("Time", Type.TIME, [1, 1, 2])
    texts = Field("instrument", Type.STRING, ["b", "a", "b"])
    wide = long_to_wide(Frame([time, texts, Field("mid", Type.NUMBER, [1.0, 2.0, 3.0])]), time)
    assert wide.fields[0].values == [1, 2]
    assert [(dict(f.labels), f.values) for f in wide.numbers()] == [
        ({"instrument": "a"}, [2.0, None]),
        ({"instrument": "b"}, [1.0, 3.0]),
    ]
    assert display_name(wide.fields[1], [wide]) == "mid a"
    unsorted = Field("Time", Type.TIME, [2, 1, 3])
    with pytest.raises(QueryError, match="sorted"):
        long_to_wide(Frame([unsorted, texts, time]), unsorted)


def test_a_row_and_a_panel_are_repeated_below_and_beside_each_other() -> None:
    def panel(number: int, kind: str, place: tuple[int, int, int, int], repeat: str | None = None) -> Panel:
        x, y, w, h = place
        return Panel(id=number, type=kind, grid_pos=GridPos(h=h, w=w, x=x, y=y), repeat=repeat)

    dashboard = Dashboard(uid="a", title="A", schema_version=41, time=TimeSpan(from_="now-1h", to="now"))
    dashboard.panels = [
        panel(1, "stat", (0, 0, 24, 2)),
        panel(2, "row", (0, 2, 24, 1), "venue"),
        panel(3, "stat", (0, 3, 12, 4)),
        panel(4, "stat", (0, 7, 24, 3), "venue"),
        panel(5, "row", (0, 10, 24, 1)),
        panel(6, "stat", (0, 11, 24, 2)),
    ]
    view = View(dashboard, Sources({}), RANGE)
    view.values = {"venue": Value("venue", ("x", "y"), multi=True)}
    assert [
        (p.panel.id, p.view.values["venue"].items(), p.place.x, p.place.y, p.place.w) for p in placed(view)
    ] == [
        (1, ("x", "y"), 0, 0, 24),
        (2, ("x",), 0, 2, 24),
        (3, ("x",), 0, 3, 12),
        (4, ("x",), 0, 7, 24),
        (2, ("y",), 0, 10, 24),
        (3, ("y",), 0, 11, 12),
        (4, ("y",), 0, 15, 24),
        (5, ("x", "y"), 0, 18, 24),
        (6, ("x", "y"), 0, 19, 24),
    ]


def test_provisioning_expands_the_environment_and_then_files(tmp_path: Path) -> None:
    folder = tmp_path / "datasources"
    folder.mkdir()
    (folder / "a.yml").write_text(
        "apiVersion: 1\n"
        "datasources:\n"
        "  - {name: A, uid: a, type: prometheus, url: $HOST, secureJsonData: {password: '${PASSWORD}'}}\n"
    )
    environment = {"HOST": "http://b:1", "PASSWORD": "$__file{/secret}"}
    sources = Provisioning(tmp_path, environment, lambda path: f"content of {path}\n").data_sources()
    assert sources["a"].url == "http://b:1"
    assert sources["a"].secure_json_data["password"] == "content of /secret"  # noqa: S105 - an example
    with pytest.raises(ProvisioningError, match="PASSWORD"):
        Provisioning(tmp_path, {"HOST": ""}).data_sources()
    with pytest.raises(QueryError, match="provisioned"):
        Sources(sources).of(DataSourceRef(uid="b"))


def test_a_key_that_grafana_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"uid": "a", "title": "A", "schemaVersion": 41, "time": {"from": "now-1h", "to": "now"}, "panels":'
        ' [{"id": 1, "type": "stat", "desciption": "", "gridPos": {"h": 1, "w": 1, "x": 0, "y": 0}}]}'
    )
    with pytest.raises(ProvisioningError, match=r"a\.json.*desciption.*panels"):
        read_dashboards(tmp_path)

"""Dashboards keep the rules, and the rules find what they are for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as Model

from grafana.preview.stack import ROOT
from grafana.reader.dashboard import Dashboard
from grafana.reader.provisioning import DataSource
from tests.grafana.conftest import DASHBOARDS
from tests.grafana.lint import Around, links_of, metrics_in, problems, relations_in, text_of

NAMES = ("synthetic", "BTC-USD", "EUR/USD", "momentum", "mean-reversion", "market-maker", "demo-trader")
Change = Callable[[dict[str, Any]], object]


def metrics() -> set[str]:
    """The series of the exporter, from its page in the docs, and those of the recording rules."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    found = {"up", "ALERTS", "ALERTS_FOR_STATE"}
    for names, kind in re.findall(r"^\| (`[^|]+`) \| (\w+) \|", page, re.MULTILINE):
        suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        found |= {name + suffix for name in re.findall(r"`([^`]+)`", names) for suffix in suffixes}
    for path in (ROOT / "prometheus").rglob("*.rules.yml"):
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        found |= {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    return found


@pytest.fixture
def around(dashboards: Mapping[str, Dashboard], sources: Mapping[str, DataSource]) -> Around:
    uids = {dashboard.uid for dashboard in dashboards.values()}
    return Around(sources, uids, metrics(), NAMES)


@pytest.mark.parametrize("name", [path.name for path in sorted(DASHBOARDS.glob("*.json"))])
def test_a_dashboard_keeps_the_rules(name: str, dashboards: dict[str, Dashboard], around: Around) -> None:
    assert problems(dashboards[name], around) == []


def test_every_dashboard_has_a_uid_of_its_own(dashboards: dict[str, Dashboard]) -> None:
    assert len({dashboard.uid for dashboard in dashboards.values()}) == len(dashboards)


def test_a_link_keeps_the_selection_on_the_dashboard_that_it_opens(dashboards: dict[str, Dashboard]) -> None:
    """Every variable that it passes on exists on both."""
    variables = {d.uid: {variable.name for variable in d.templating.items} for d in dashboards.values()}
    checked = 0
    for dashboard in dashboards.values():
        for panel in dashboard.all_panels():
            queries = " ".join(text_of(target) for target in panel.targets)
            for _, link in links_of(panel):
                # The address may be in a column of the query.
                found = (
                    link.url
                    if link.url.startswith("/d/")
                    else queries
                    if "__data.fields.details" in link.url
                    else ""
                )
                uids = re.findall(r"/d/([\w-]+)", found)
                for uid in uids:
                    passed = set(re.findall(r"\$\{(\w+):queryparam\}", link.url))
                    assert passed <= variables[dashboard.uid], link
                    assert passed | set(re.findall(r"\bvar-(\w+)=", link.url)) <= variables[uid], link
                checked += len(uids)
    assert checked >= 30


@pytest.mark.parametrize("name", [path.name for path in sorted(DASHBOARDS.glob("*.json"))])
def test_grafanas_own_model_knows_every_key_and_value(name: str) -> None:
    written = json.loads((DASHBOARDS / name).read_text(encoding="utf-8"))
    register_default_plugins()
    understood = json.loads(json.dumps(Model.from_json(written), cls=JSONEncoder))
    assert list(_lost(written, understood, "$")) == []


def _lost(written: object, understood: object, path: str) -> Iterator[str]:
    """Yields the values that the model leaves out or changes; it may add defaults."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            yield from _lost(value, understood.get(key, "nothing"), f"{path}.{key}")
    elif isinstance(written, list) and isinstance(understood, list) and len(written) == len(understood):
        for number, (one, other) in enumerate(zip(written, understood, strict=True)):
            yield from _lost(one, other, f"{path}[{number}]")
    elif written != understood:
        yield f"{path}: {written!r} became {understood!r}"


_PROMETHEUS = {"type": "prometheus", "uid": "decahertz-prometheus"}
_POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "decahertz-postgres"}
_LINK = "/d/decahertz-a?${__url_time_range}&${venue:queryparam}"


def example() -> dict[str, Any]:
    """A dashboard that keeps the rules."""
    text = {"title": "A", "description": "What it shows."}
    unit = {"defaults": {"unit": "s", "links": [{"title": "A", "url": _LINK}]}, "overrides": []}
    prometheus = {"refId": "A", "expr": 'decahertz_a{venue=~"$venue"}', "legendFormat": "{{venue}}"}
    sql = {"refId": "A", "rawSql": "SELECT time, a FROM a_history WHERE venue IN (${venue:sqlstring})"}
    return {
        "uid": "decahertz-a",
        "title": "A",
        "description": "What it shows.",
        "tags": ["decahertz"],
        "schemaVersion": 41,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "links": [{"title": "B", "type": "dashboards", "keepTime": True, "includeVars": True}],
        "panels": [
            {"id": 1, "type": "timeseries", "gridPos": {"h": 8, "w": 12, "x": 0, "y": 0}}
            | {**text, "fieldConfig": unit, "datasource": _PROMETHEUS, "targets": [prometheus]},
            {"id": 2, "type": "timeseries", "gridPos": {"h": 8, "w": 12, "x": 12, "y": 0}}
            | {**text, "fieldConfig": unit, "datasource": _POSTGRES, "targets": [sql]},
        ],
        "templating": {
            "list": [
                {"name": "venue", "label": "Venue", "description": "Venues.", "type": "query"}
                | {"datasource": _POSTGRES, "query": "SELECT venue FROM instruments", "refresh": 1}
            ]
        },
        "annotations": {
            "list": [{"name": "Gaps", "datasource": _POSTGRES, "iconColor": "red", "target": sql}],
        },
    }


def _panel(made: dict[str, Any], **changes: object) -> None:
    made["panels"][0] |= changes


def _target(made: dict[str, Any], panel: int = 0, **changes: object) -> None:
    made["panels"][panel]["targets"][0] |= changes


def _variable(made: dict[str, Any], **changes: object) -> None:
    made["templating"]["list"][0] |= changes


def _field_link(made: dict[str, Any], url: str) -> None:
    made["panels"][0]["fieldConfig"]["defaults"]["links"][0]["url"] = url


_BY_THRESHOLDS = {"fieldConfig": {"defaults": {"color": {"mode": "thresholds"}}, "overrides": []}}
CHANGES: list[tuple[Change, str]] = [
    (lambda made: made.update(uid="a"), "the uid 'a'"),
    (lambda made: made.update(id=1), "has an id"),
    (lambda made: made.update(tags=[]), "no tag"),
    (lambda made: made.update(description=""), "has no description"),
    (lambda made: made.update(refresh=""), "another range"),
    (lambda made: made["links"][0].update(keepTime=False), "loses the time range or the variables"),
    (lambda made: _panel(made, id=2), "2 panels have the id 2"),
    (lambda made: _panel(made, title=""), "has no title"),
    (lambda made: _panel(made, description="Data"), "no description that is a sentence"),
    (lambda made: made["panels"][0]["fieldConfig"].update(defaults={}), "has no unit"),
    (lambda made: _panel(made, targets=[]), "has no query"),
    (lambda made: _panel(made, gridPos={"h": 8, "w": 13, "x": 0, "y": 0}), "overlap"),
    (lambda made: _panel(made, gridPos={"h": 8, "w": 12, "x": 13, "y": 8}), "off the grid"),
    (lambda made: made.update(panels=_many(made["panels"][0])), "13 panels on the screen"),
    (lambda made: made["panels"][0]["targets"].append(made["panels"][0]["targets"][0]), "the same refId"),
    (lambda made: _panel(made, datasource={"uid": "b"}), "the data source 'b'"),
    (lambda made: _target(made, expr='decahertz_a{instrument="EUR/USD", venue="$venue"}'), "names EUR/USD"),
    (lambda made: _target(made, expr="decahertz_a * $factor * $__interval_ms"), "factor is no variable"),
    (lambda made: _target(made, expr="decahertz_a + decahertz_b"), "decahertz_b is no metric"),
    (lambda made: _target(made, legendFormat="__auto"), "has no legend"),
    (lambda made: _target(made, 1, rawSql="SELECT time, a AS value FROM b"), "a column value"),
    (lambda made: _target(made, 1, rawSql="SELECT time, a FROM market_samples"), "reads market_samples"),
    (lambda made: _panel(made, type="bargauge"), "has no display name"),
    (lambda made: _panel(made, type="state-timeline", **_BY_THRESHOLDS), "by thresholds alone"),
    (lambda made: _field_link(made, "${__data.fields.page}"), "loses the time range"),
    (lambda made: _field_link(made, "/d/b?${__url_time_range}&var-a=1"), "is no dashboard"),
    (lambda made: _field_link(made, "/d/decahertz-a?var-a=1"), "loses the time range"),
    (lambda made: _field_link(made, "/d/decahertz-a?from=1"), "loses the variables"),
    (lambda made: _variable(made, label=""), "has no label"),
    (lambda made: _variable(made, refresh=0), "never refreshed"),
    (lambda made: _variable(made, allValue=".*"), "value for all"),
    (lambda made: _variable(made, name="place"), "variable place is used by no query"),
    (lambda made: made["annotations"]["list"][0].update(iconColor=""), "has no colour"),
]


def _many(panel: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**panel, "id": n, "gridPos": {"h": 4, "w": 4, "x": n % 6 * 4, "y": n // 6 * 4}} for n in range(13)
    ]


def test_the_example_keeps_the_rules(sources: Mapping[str, DataSource]) -> None:
    assert _problems(lambda _: None, sources) == []


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=[expected for _, expected in CHANGES])
def test_a_rule_is_broken(change: Change, expected: str, sources: Mapping[str, DataSource]) -> None:
    found = _problems(change, sources)
    assert any(expected in text for text in found), found


def _problems(change: Change, sources: Mapping[str, DataSource]) -> list[str]:
    made = json.loads(json.dumps(example()))
    change(made)
    dashboard = msgspec.convert(made, Dashboard)
    return problems(dashboard, Around(sources, {"decahertz-a"}, {"decahertz_a"}, NAMES))


def test_names_in_queries() -> None:
    expr = (
        'sum by (decahertz_label) (rate(decahertz_a_total{decahertz_state="decahertz_b", venue=~"$v"}[5m]))'
        " > on (recorder) group_left () level:decahertz_c:rate5m and up == 1"
    )
    assert metrics_in(expr) == {"decahertz_a_total", "level:decahertz_c:rate5m", "up"}
    sql = (
        "WITH x AS (SELECT extract(epoch FROM time) FROM fills JOIN orders USING (order_id))"
        " SELECT a IS DISTINCT FROM b FROM x, decahertz_bars(1) JOIN decahertz_bars(2) ON true"
    )
    assert relations_in(sql) == {"fills", "orders"}

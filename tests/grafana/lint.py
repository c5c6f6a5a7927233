"""Rules for dashboards; each breach is one line of text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from grafana.reader.dashboard import Annotation, Dashboard, Link, Panel, Variable
from grafana.reader.interpolation import names_in
from grafana.reader.provisioning import DataSource

MOST_PANELS = 12
SCREEN_ROWS = 26
"""Rows of the grid on a screen 1080 pixels high, below the head of the page."""
_WITH_UNIT = ("timeseries", "stat", "gauge", "bargauge", "barchart", "histogram", "candlestick", "heatmap")
_WITH_LEGEND = ("timeseries", "state-timeline", "barchart", "bargauge", "histogram")
_BUILT_IN = frozenset(
    {"__from", "__to", "__interval", "__interval_ms", "__range", "__range_s", "__range_ms", "__rate_interval"}
)
_MACRO = re.compile(r"\$__\w+\(")
_RELATION = re.compile(r"\b(?:FROM|JOIN)\s+([a-z_][a-z0-9_]*)\b(?!\s*\()", re.IGNORECASE)
_OTHER_FROM = re.compile(r"\b(?:extract\s*\(\s*\w+|DISTINCT)\s+FROM\b", re.IGNORECASE)
_CTE = re.compile(r"\b(\w+)\s+AS\s+(?:(?:NOT\s+)?MATERIALIZED\s+)?\(", re.IGNORECASE)
_METRIC = re.compile(r"\b(?:(?:[a-z_]+:)?decahertz[_:][\w:]+|ALERTS\w*|up)\b")
_FIELD = re.compile(r"\$\{__data\.fields\.\w+\}")
"""The address of a dashboard or of a runbook that is in a column."""
_NO_METRICS = (
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"\{[^{}]*\}"),
    re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)"),
)


@dataclass(frozen=True)
class Around:
    """The data sources and dashboards that the linter checks a dashboard against."""

    sources: Mapping[str, DataSource]
    uids: Collection[str]
    """The uids of all dashboards."""
    metrics: Collection[str]
    """The names of all series that Prometheus can have."""
    names: Collection[str]
    """Names of instruments, venues and strategies, which no query may contain."""


def problems(dashboard: Dashboard, around: Around) -> list[str]:
    """The breaches of all rules."""
    found = [*_head(dashboard), *_grid(dashboard.panels), *_variables(dashboard)]
    for where, text in queries_of(dashboard):
        if not is_sql(text) and (missing := metrics_in(text) - set(around.metrics)):
            found.append(f"{where}: {', '.join(sorted(missing))} is no metric")
    found += [text for link in dashboard.links for text in _link(link, around)]
    for panel in dashboard.all_panels():
        rules = (_panel_texts, _panel_queries, _panel_legends, _panel_states, _panel_links)
        found += [f"{panel.name}: {text}" for rule in rules for text in rule(panel, around)]
    for annotation in dashboard.annotations.items:
        found += [f"annotation {annotation.name}: {text}" for text in _annotation(annotation, around)]
    for variable in dashboard.templating.items:
        found += [f"variable {variable.name}: {text}" for text in _variable(variable, around)]
    return found


def metrics_in(expr: str) -> set[str]:
    """The names of metrics in PromQL, without those of labels."""
    for pattern in _NO_METRICS:
        expr = pattern.sub(" ", expr)
    return set(_METRIC.findall(expr))


def relations_in(sql: str) -> set[str]:
    """The tables and views that SQL reads, without those that it defines itself."""
    found = {match[1].lower() for match in _RELATION.finditer(_OTHER_FROM.sub("", sql))}
    return found - {match[1].lower() for match in _CTE.finditer(sql)} - {"lateral"}


def queries_of(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """The text of every query of panels, annotations and variables, with what has it."""
    for panel in dashboard.all_panels():
        for target in panel.targets:
            yield panel.name, text_of(target)
    for annotation in dashboard.annotations.items:
        if annotation.target:
            yield f"annotation {annotation.name}", text_of(annotation.target)
    for variable in dashboard.templating.items:
        if variable.type == "query":
            query = variable.query
            yield f"variable {variable.name}", query if isinstance(query, str) else text_of(query)


def text_of(query: Mapping[str, Any]) -> str:
    """The SQL or PromQL of a query."""
    return str(query.get("rawSql") or query.get("expr") or query.get("query") or "")


def is_sql(text: str) -> bool:
    """Whether a query is SQL; otherwise it is PromQL, or a function of its variables."""
    return text.lstrip().upper().startswith(("SELECT", "WITH"))


def _head(dashboard: Dashboard) -> Iterator[str]:
    if not dashboard.description:
        yield "has no description"
    if not re.fullmatch(r"decahertz-[a-z-]{1,30}", dashboard.uid):
        yield f"the uid {dashboard.uid!r} is not decahertz-…"
    if dashboard.id is not None:
        yield "has an id, which only Grafana's database gives"
    if "decahertz" not in dashboard.tags:
        yield "has no tag decahertz, by which dashboards link to each other"
    if (dashboard.time.from_, dashboard.time.to, dashboard.refresh) != ("now-15m", "now", "5s"):
        yield "opens with another range than the last 15 minutes, or another refresh than 5 s"
    for number, count in Counter(panel.id for panel in _everything(dashboard)).items():
        if count > 1:
            yield f"{count} panels have the id {number}"


def _variables(dashboard: Dashboard) -> Iterator[str]:
    """Every variable in a query is defined, and every one that is defined is used."""
    defined = {variable.name for variable in dashboard.templating.items}
    used = {panel.repeat for panel in _everything(dashboard) if panel.repeat}
    used |= {
        name for panel in _everything(dashboard) for _, link in links_of(panel) for name in names_in(link.url)
    }
    for where, text in queries_of(dashboard):
        names = {name for name in names_in(_MACRO.sub("(", text)) if not name.isdigit()}
        used |= names
        if unknown := names - defined - _BUILT_IN:
            yield f"{where}: {', '.join(sorted(unknown))} is no variable"
    for name in sorted(defined - used):
        yield f"variable {name} is used by no query"


def _everything(dashboard: Dashboard) -> Iterator[Panel]:
    for panel in dashboard.panels:
        yield panel
        yield from panel.panels


def _grid(panels: Collection[Panel]) -> Iterator[str]:
    """Panels are on the grid, do not overlap, and are not too many for one screen."""
    for panel in panels:
        place = panel.grid_pos
        if place.x < 0 or place.y < 0 or place.w < 1 or place.h < 1 or place.x + place.w > 24:
            yield f"{panel.name} is off the grid"
    for one, other in combinations(panels, 2):
        a, b = one.grid_pos, other.grid_pos
        if a.x < b.x + b.w and b.x < a.x + a.w and a.y < b.y + b.h and b.y < a.y + a.h:
            yield f"{one.name} and {other.name} overlap"
    for top in sorted({panel.grid_pos.y for panel in panels}):
        shown = sum(p.type != "row" and top <= p.grid_pos.y < top + SCREEN_ROWS for p in panels)
        if shown > MOST_PANELS:
            yield f"{shown} panels on the screen that begins at row {top} of the grid"


def _panel_texts(panel: Panel, around: Around) -> Iterator[str]:
    del around
    if not panel.title:
        yield "has no title"
    if panel.type == "text":
        return
    if len(panel.description) < 10 or not panel.description.endswith("."):
        yield "has no description that is a sentence"
    settings = [one.id for override in panel.field_config.overrides for one in override.properties]
    if panel.type in _WITH_UNIT and panel.field_config.defaults.unit is None and "unit" not in settings:
        yield "has no unit"


def _panel_queries(panel: Panel, around: Around) -> Iterator[str]:
    if panel.type == "text":
        return
    if not panel.targets:
        yield "has no query"
    refs = Counter(str(target.get("refId")) for target in panel.targets)
    if any(count > 1 for count in refs.values()):
        yield "two queries have the same refId"
    for target in panel.targets:
        uid = (target.get("datasource") or {}).get("uid") or (panel.datasource and panel.datasource.uid)
        if uid not in around.sources:
            yield f"the data source {uid!r} is not provisioned"
        text = text_of(target)
        for name in around.names:
            if re.search(rf"""(?<=["'(|]){re.escape(name)}(?=["')|])""", text):
                yield f"query {target.get('refId')} names {name}"
        for name in sorted(relations_in(text) if "rawSql" in target else ()):
            if re.search(r"_(samples|1s|1m|1h|p\d+|buckets)$", name):
                yield f"query {target.get('refId')} reads {name}, which is no view for dashboards"


def _panel_legends(panel: Panel, around: Around) -> Iterator[str]:
    """A series is named by its labels or its column, never by the text of the query."""
    del around
    if panel.type not in _WITH_LEGEND:
        return
    for target in panel.targets:
        if "expr" in target and target.get("legendFormat", "") in ("", "__auto"):
            yield f"query {target.get('refId')} has no legend"
        if re.search(r"\bAS\s+\"?value\"?(?!\w)", target.get("rawSql", ""), re.IGNORECASE):
            yield f"query {target.get('refId')} names a column value, which says nothing"


def _panel_states(panel: Panel, around: Around) -> Iterator[str]:
    """Grafana leaves out the name of a single bar, and the mappings of states that thresholds colour."""
    del around
    defaults = panel.field_config.defaults
    if panel.type == "bargauge" and not defaults.display_name:
        yield "has no display name, without which a single bar has no name"
    if panel.type == "state-timeline" and (defaults.color or {}).get("mode") == "thresholds":
        yield "colours its states by thresholds alone"


def links_of(panel: Panel) -> list[tuple[str, Link]]:
    """The links of a panel and of its values, with their titles."""
    links = [(link.title, link) for link in (*panel.links, *panel.field_config.defaults.links)]
    for override in panel.field_config.overrides:
        for one in override.properties:
            if one.id == "links":
                links += [
                    (value["title"], Link(title=value["title"], url=value["url"])) for value in one.value
                ]
    return links


def _panel_links(panel: Panel, around: Around) -> Iterator[str]:
    for title, link in links_of(panel):
        if not title:
            yield f"a link to {link.url} has no title"
        yield from _link(link, around)


def _annotation(annotation: Annotation, around: Around) -> Iterator[str]:
    if annotation.built_in:
        return
    if annotation.datasource.uid not in around.sources:
        yield f"the data source {annotation.datasource.uid!r} is not provisioned"
    if not annotation.icon_color:
        yield "has no colour"


def _variable(variable: Variable, around: Around) -> Iterator[str]:
    if not variable.label:
        yield "has no label"
    if not variable.description:
        yield "has no description"
    if variable.type != "query":
        return
    if variable.datasource is None or variable.datasource.uid not in around.sources:
        yield "its data source is not provisioned"
    if variable.refresh not in (1, 2):
        yield "is never refreshed"
    if variable.all_value is not None:
        yield "has a value for all, which SQL gets without quotes"


def _link(link: Link, around: Around) -> Iterator[str]:
    """A link leads to a dashboard of ours, and keeps the time range and the variables."""
    if link.type == "dashboards":
        if not (link.keep_time and link.include_vars):
            yield f"the link {link.title!r} loses the time range or the variables"
        return
    if link.url.startswith(("https://", "${page:raw}/api/v1/report/")):
        return
    path, _, query = link.url.partition("?")
    uid = path.removeprefix("/d/").partition("/")[0]
    if not _FIELD.fullmatch(path) and (not path.startswith("/d/") or uid not in around.uids):
        yield f"the link {link.title!r} leads to {path!r}, which is no dashboard"
    if not (link.keep_time or "__url_time_range" in query or "from=" in query):
        yield f"the link {link.title!r} loses the time range"
    if not (link.include_vars or "var-" in query or "queryparam" in query or "__all_variables" in query):
        yield f"the link {link.title!r} loses the variables"

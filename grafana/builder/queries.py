"""Queries: Prometheus for the present, SQL through the views for the past and for 10 Hz."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import dedent

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="decahertz-prometheus")
POSTGRES = common.DataSourceRef(type_val="grafana-postgresql-datasource", uid="decahertz-postgres")
GRAFANA = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")

REAL_ALERTS = "name <> 'DeadMansSwitch'"
"""Alerts but the one that always fires."""
IN_RANGE = "$__timeFilter(time)"


@dataclass(frozen=True)
class SqlDataquery(Dataquery):
    """A query of Grafana's PostgreSQL data source, written as SQL."""

    text: str
    format: str
    ref_id: str
    datasource: common.DataSourceRef = field(default=POSTGRES)

    def to_json(self) -> dict[str, object]:
        """The query as Grafana stores it."""
        return {
            "datasource": self.datasource,
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": self.text,
            "refId": self.ref_id,
        }


@dataclass(frozen=True)
class Query(Builder[Dataquery]):
    """A query and its data source."""

    query: Dataquery
    datasource: common.DataSourceRef

    def build(self) -> Dataquery:
        """The query itself."""
        return self.query


def sql(text: str, *, table: bool = False, ref: str = "A") -> Query:
    """A time series, or with ``table`` the rows as they are."""
    return Query(SqlDataquery(dedent(text).strip(), "table" if table else "time_series", ref), POSTGRES)


def prom(expression: str, legend: str = "__auto", *, ref: str = "A") -> Query:
    """Series over the time range."""
    return _prometheus(expression, legend, ref, PromQueryFormat.TIME_SERIES)


def prom_now(expression: str, legend: str = "__auto", *, ref: str = "A") -> Query:
    """The newest values, each with its labels."""
    return _prometheus(expression, legend, ref, PromQueryFormat.TIME_SERIES, instant=True)


def prom_heatmap(expression: str) -> Query:
    """Buckets of a histogram over the time range."""
    return _prometheus(expression, "{{le}}", "A", PromQueryFormat.HEATMAP)


def _prometheus(
    expression: str, legend: str, ref: str, format_: PromQueryFormat, *, instant: bool = False
) -> Query:
    builder = prometheus.Dataquery().expr(" ".join(expression.split())).legend_format(legend).ref_id(ref)
    builder = builder.format(format_).datasource(PROMETHEUS)
    builder = builder.instant() if instant else builder.range()
    return Query(builder.build(), PROMETHEUS)


def chosen(variable: str, column: str | None = None) -> str:
    """SQL that keeps the rows of the chosen values; also valid when a variable has no value at all."""
    return f"{column or variable} = ANY ({array(variable)})"


def array(variable: str) -> str:
    """The chosen values of a variable as an SQL array."""
    return f"ARRAY[${{{variable}:sqlstring}}]::text[]"


def matching(*variables: str, **labels: str) -> str:
    """Label matchers for the chosen values of variables, and for labels with a pattern of their own.

    Without a format Grafana escapes values for a string of PromQL; its format "regex" does not.
    """
    found = [f'{variable}=~"${variable}"' for variable in variables]
    found += [f'{label}=~"{pattern}"' for label, pattern in labels.items()]
    return "{" + ", ".join(found) + "}"


def newest(collector: str, columns: str, *, keys: tuple[str, ...], where: tuple[str, ...]) -> Query:
    """The newest sample of each key in the time range, as the rows of a table."""
    return sql(newest_sql(collector, columns, keys=keys, where=where), table=True)


def newest_sql(collector: str, columns: str, *, keys: tuple[str, ...], where: tuple[str, ...]) -> str:
    """SQL for the newest sample of each key in the time range."""
    key = ", ".join(("recorder", *keys))
    conditions = [
        "tier = decahertz_tier($__timeTo()::timestamptz - interval '1 minute', 100)",
        "time > decahertz_newest($__timeTo()) AND time <= $__timeTo()",
        *where,
    ]
    return (
        f"SELECT DISTINCT ON ({key}) {columns}\nFROM {collector}_history\n"
        f"WHERE {' AND '.join(conditions)}\nORDER BY {key}, time DESC"
    )


def history_sql(
    collector: str,
    columns: dict[str, str],
    *,
    keys: tuple[str, ...],
    where: tuple[str, ...],
    tier: str = "decahertz_line_tier",
) -> str:
    """SQL for metrics over time from the tier that fits the zoom: ``columns`` are aggregates by name.

    The tier for lines may have longer buckets than the steps; bars of each step need ``decahertz_tier``.
    """
    step = "$__interval_ms"
    selected = [*keys, *(f'{expression} AS "{name}"' for name, expression in columns.items())]
    conditions = [f"tier = {tier}($__timeFrom(), {step})", IN_RANGE, *where]
    groups = ", ".join(str(number) for number in range(1, len(keys) + 2))
    return (
        f"SELECT decahertz_bucket(time, {step}) AS time, {', '.join(selected)}\n"
        f"FROM {collector}_history\n"
        f"WHERE {' AND '.join(conditions)}\n"
        f"GROUP BY {groups} ORDER BY {groups}"
    )


def history(
    collector: str, columns: dict[str, str], *, keys: tuple[str, ...], where: tuple[str, ...]
) -> Query:
    """Metrics over time from the tier that fits the zoom, at the step of the panel."""
    return sql(history_sql(collector, columns, keys=keys, where=where))

"""Every declared metric is shown on a dashboard or on the page, or there is a reason why not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from collectors.host.plugins import builtin_classes
from decahertz.metric import family_name
from decahertz.sample import MetricField, schema_of
from grafana.preview.stack import ROOT
from grafana.reader.dashboard import Dashboard
from tests.grafana.lint import queries_of

NOT_SHOWN: Mapping[str, str] = {
    "execution.orders_accepted": "the shares of finished orders say more",
    "execution.orders_forgotten": "needs more than max_orders open orders; health names it",
    "execution.fill_conflicts": "part of order_conflicts",
    "execution.markout_100ms_observations": "as large as that of 5 s but for the newest fills",
    "execution.markout_1s_observations": "as large as that of 5 s but for the newest fills",
    "execution.markout_5s_observations": "on the page and in GET /execution/quality",
    "execution.markout_30s_observations": "as large as that of 5 s but for the newest fills",
    "execution.markout_5m_observations": "as large as that of 5 s but for the newest fills",
    "execution.unanswered_seconds": "read by the alert OrderUnresolved",
    "market.locked": "locked_quotes counts them",
    "risk.soft_breached": "read by the alert RiskLimitNear, and the limit is shown next to the value",
    "risk.reports": "a count that tells nothing about risk",
    "strategy.regime_changes": "regimes are marks in the charts",
    "system.load_15m": "the shorter averages are shown",
    "system.memory_used_bytes": "the ratio and what is available are shown",
    "system.swap_used_bytes": "the ratio of memory tells earlier",
    "system.network_faults": "for a look at the time of an incident",
    "system.process_cpu_seconds": "its ratio is shown",
    "system.process_gc_runs": "for a look at the time of an incident",
    "system.loop_lag_seconds": "the longest lag of a second is shown",
    "system.loop_late": "the longest lag of a second is shown",
    "system.poll_errors": "health names them",
}
"""Metrics that neither a dashboard nor the page shows."""


def metrics() -> Iterator[tuple[str, MetricField]]:
    for name, plugin in builtin_classes("collectors").items():
        for field in schema_of(plugin.sample_type).metrics:
            yield name, field


@pytest.fixture(scope="module")
def shown(dashboards: dict[str, Dashboard]) -> set[str]:
    queries = [text for dashboard in dashboards.values() for _, text in queries_of(dashboard)]
    page = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "api" / "page").rglob("*.js"))
    fields = {name for pair in re.findall(r"\.(\w+)|\"(\w+)\"", page) for name in pair}
    found = set()
    for collector, field in metrics():
        column = re.compile(rf"\b{field.name}(?:_avg|_min|_max)?\b")
        family = re.compile(
            family_name(collector, field.name, field.metric.unit) + r"(?:_total|_min|_max)?\b"
        )
        in_sql = any(f"{collector}_history" in text and column.search(text) for text in queries)
        in_promql = any(family.search(text) for text in queries)
        if in_sql or in_promql or field.name in fields:
            found.add(f"{collector}.{field.name}")
    return found


def test_every_metric_is_shown_or_there_is_a_reason(shown: set[str]) -> None:
    declared = {f"{collector}.{field.name}" for collector, field in metrics()}
    assert declared - shown == NOT_SHOWN.keys()


def test_every_derived_metric_has_its_formula_and_every_metric_a_meaning() -> None:
    """A ratio, a percentile, a figure in basis points or R is computed from others."""
    for collector, field in metrics():
        metric = field.metric
        assert metric.help.endswith("."), f"{collector}.{field.name}"
        is_derived = metric.unit.value in ("bps", "r") or field.name.endswith(("_p50", "_p99"))
        assert not is_derived or metric.formula or metric.source, f"{collector}.{field.name}"

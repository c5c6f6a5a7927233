"""Finished orders by reason, for Prometheus: the reasons are the words of venues, so they are not samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.execution.collector import ExecutionCollector


class OrderEndMetrics(Collector):
    """The family ``decahertz_execution_orders_ended``."""

    def __init__(self, collector: Callable[[], ExecutionCollector | None]) -> None:
        """The function is called at each scrape; ``None``: the collector is not enabled."""
        self._collector = collector

    def describe(self) -> Iterator[Metric]:
        """Yields the family without values."""
        yield _family()

    def collect(self) -> Iterator[Metric]:
        """Yields the family with its values."""
        family, collector = _family(), self._collector()
        for key, ends in () if collector is None else collector.ends().items():
            for (state, reason), orders in ends.items():
                family.add_metric([*key, state, reason], orders)
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "decahertz_execution_orders_ended",
        "Finished orders by final state and reason; over their sum by strategy and venue: the ratio of each.",
        labels=["strategy", "venue", "state", "reason"],
    )

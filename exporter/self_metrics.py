"""Self-metrics of the exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decahertz.clock import NS_PER_SECOND
from exporter.negotiation import Format

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class ExporterMetrics(Collector):
    """Scrapes, their duration and errors, and keys over budget."""

    def __init__(
        self,
        registry: CollectorRegistry,
        refused: Callable[[], Mapping[str, tuple[int, int]]],
        started_ns: int,
    ) -> None:
        """``refused``: keys over budget by collector, those of now and those since the start.

        ``started_ns``: when that was, nanoseconds UTC.
        """
        self._refused = refused
        self._created = started_ns / NS_PER_SECOND
        # Every series exists from the start, so that its first increase is visible.
        scrapes = Counter("decahertz_exporter_scrapes", "Scrapes served.", ["format"], registry=registry)
        self._scrapes = {form: scrapes.labels(form.name.lower()) for form in Format}
        self._duration = Histogram(
            "decahertz_exporter_scrape_duration_seconds",
            "Time from the request to the complete body, including pauses between slices.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "decahertz_exporter_errors",
            "Failures to take the samples of a collector, or to render them or self-metrics.",
            registry=registry,
        )
        registry.register(self)

    def scraped(self, form: Format, seconds: float) -> None:
        """Counts a scrape."""
        self._scrapes[form].inc()
        self._duration.observe(seconds)

    def failed(self) -> None:
        """Counts a failure."""
        self._errors.inc()

    def describe(self) -> Iterator[Metric]:
        """Returns the families: the registry refuses a second exporter."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yields the families of keys over budget."""
        keys = GaugeMetricFamily(
            "decahertz_exporter_keys_over_budget",
            "Keys of the collector without series of their own: there are more than exporter.max_keys.",
            labels=["collector"],
        )
        exceeded = CounterMetricFamily(
            "decahertz_exporter_label_budget_exceeded",
            "Keys of the collector that found the label budget exhausted.",
            labels=["collector"],
        )
        for collector, (now, total) in self._refused().items():
            keys.add_metric([collector], now)
            exceeded.add_metric([collector], total, self._created)
        yield from (keys, exceeded)

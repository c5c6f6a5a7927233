"""What the spool and the ledger say to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decahertz.ledger import Ledger

_WAIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class SpoolMetrics:
    """The families ``decahertz_spool_…``."""

    def __init__(self, registry: CollectorRegistry, size: Callable[[], int], rows: Callable[[], int]) -> None:
        """``size`` and ``rows`` are asked at each scrape."""
        self.durable_seconds = Histogram(
            "decahertz_spool_durable_seconds",
            "How long an emitter's batch took to be on disk.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.failures = Counter(
            "decahertz_spool_failures", "Attempts to write that the disk did not take.", registry=registry
        )
        self.lost_transactions = Counter(
            "decahertz_spool_lost_transactions",
            "Committed transactions that a damaged write-ahead log no longer held at the start.",
            registry=registry,
        )
        Gauge("decahertz_spool_bytes", "Bytes that wait for the database.", registry=registry).set_function(
            size
        )
        Gauge(
            "decahertz_spool_backlog_rows",
            "Rows on disk that are not on their way to the database yet.",
            registry=registry,
        ).set_function(rows)


class LedgerMetrics(Collector):
    """The families ``decahertz_ledger_…``, all of one moment."""

    def __init__(self, book: Ledger) -> None:
        """Keep the book."""
        self._book = book

    def describe(self) -> Iterator[Metric]:
        """The families, without their values."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """The families with their values."""
        emitted, stored, dropped, spooled, imbalance = _families()
        for ledger in self._book.read():
            labels = [ledger.stream]
            emitted.add_metric(labels, ledger.emitted)
            stored.add_metric(labels, ledger.stored)
            spooled.add_metric(labels, ledger.spooled)
            imbalance.add_metric(labels, ledger.imbalance)
            for reason, rows in ledger.dropped.items():
                dropped.add_metric([ledger.stream, reason], rows)
        yield from (emitted, stored, dropped, spooled, imbalance)


def _families() -> tuple[
    CounterMetricFamily, CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily, GaugeMetricFamily
]:
    return (
        CounterMetricFamily(
            "decahertz_ledger_emitted", "Events and samples that came in, by stream.", labels=["stream"]
        ),
        CounterMetricFamily(
            "decahertz_ledger_stored", "Of these the ones that are in the database.", labels=["stream"]
        ),
        CounterMetricFamily(
            "decahertz_ledger_dropped",
            "Of these the ones that were given up, by reason.",
            labels=["stream", "reason"],
        ),
        GaugeMetricFamily(
            "decahertz_ledger_spooled", "Of these the ones that wait for the database.", labels=["stream"]
        ),
        GaugeMetricFamily(
            "decahertz_ledger_imbalance",
            "Rows that the ledger cannot account for: 0, or there is an error in the program.",
            labels=["stream"],
        ),
    )

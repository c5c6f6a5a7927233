"""Metrics of the spool and of the loss ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decahertz.ledger import Ledger

_WAIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class SpoolMetrics:
    """The families ``decahertz_spool_…``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        max_bytes: int,
        size: Callable[[], int],
        rows: Callable[[], int],
        oldest_seconds: Callable[[], float],
    ) -> None:
        """The functions are called at each scrape."""
        self.durable_seconds = Histogram(
            "decahertz_spool_durable_seconds",
            "Time until a batch from an emitter was on disk.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.failures = Counter("decahertz_spool_failures", "Commits that failed.", registry=registry)
        self.lost_transactions = Counter(
            "decahertz_spool_lost_transactions",
            "Committed transactions that a damaged write-ahead log no longer held at the start.",
            registry=registry,
        )
        Gauge("decahertz_spool_bytes", "Size of the entries on disk.", registry=registry).set_function(size)
        Gauge(
            "decahertz_spool_limit_bytes",
            "The setting spool.max_bytes: above this size entries are dropped.",
            registry=registry,
        ).set(max_bytes)
        Gauge(
            "decahertz_spool_age_seconds",
            "Age of the oldest entry that the database does not have; 0 without one.",
            registry=registry,
        ).set_function(oldest_seconds)
        Gauge(
            "decahertz_spool_backlog_rows",
            "Rows that are on disk only, neither in the memory queue nor handed to the writer.",
            registry=registry,
        ).set_function(rows)


class LedgerMetrics(Collector):
    """The families ``decahertz_ledger_…``, read in one step."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def describe(self) -> Iterator[Metric]:
        """The families, without their values."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """The families with their values."""
        emitted, stored, dropped, expired, spooled, imbalance = _families()
        for account in self._ledger.read():
            labels = [account.stream]
            emitted.add_metric(labels, account.emitted)
            stored.add_metric(labels, account.stored)
            expired.add_metric(labels, account.expired)
            spooled.add_metric(labels, account.spooled)
            imbalance.add_metric(labels, account.imbalance)
            for reason, rows in account.dropped.items():
                dropped.add_metric([account.stream, reason], rows)
        yield from (emitted, stored, dropped, expired, spooled, imbalance)


def _families() -> tuple[
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
]:
    return (
        CounterMetricFamily(
            "decahertz_ledger_emitted",
            "Events and samples that came in since the spool was created.",
            labels=["stream"],
        ),
        CounterMetricFamily(
            "decahertz_ledger_stored",
            "Events and samples that the database has committed.",
            labels=["stream"],
        ),
        CounterMetricFamily(
            "decahertz_ledger_dropped",
            "Events and samples dropped, by reason.",
            labels=["stream", "reason"],
        ),
        CounterMetricFamily(
            "decahertz_ledger_expired",
            "Stored events and samples that storage.max_bytes has dropped since.",
            labels=["stream"],
        ),
        GaugeMetricFamily(
            "decahertz_ledger_spooled",
            "Events and samples that wait for the database, on disk or in memory.",
            labels=["stream"],
        ),
        GaugeMetricFamily(
            "decahertz_ledger_imbalance",
            "Emitted minus stored, dropped and spooled: 0 unless the program has a bug.",
            labels=["stream"],
        ),
    )

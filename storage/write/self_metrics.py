"""Self-metrics of the writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FLUSH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class WriterMetrics:
    """The families ``decahertz_storage_…`` and ``decahertz_database_…``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        rows_waiting: Callable[[], int],
        lost_seconds: Callable[[], float | None],
    ) -> None:
        """Registers the families; each scrape calls the functions.

        ``lost_seconds``: time since the database was lost; ``None`` while it is reachable.
        """
        self.rows = Counter("decahertz_storage_rows", "Rows stored, by table.", ["table"], registry=registry)
        self.dead_letters = Counter(
            "decahertz_storage_dead_letters", "Rows that the database refused.", registry=registry
        )
        self.not_finite = Counter(
            "decahertz_storage_not_finite",
            "Numbers of samples that were NaN or infinite and stored as null, by table.",
            ["table"],
            registry=registry,
        )
        self.retries = Counter(
            "decahertz_storage_retries", "Attempts to store that failed and were repeated.", registry=registry
        )
        self.flush_seconds = Histogram(
            "decahertz_storage_flush_seconds",
            "Duration of one transaction of the writer, failed ones included.",
            buckets=_FLUSH_BUCKETS,
            registry=registry,
        )
        waiting = Gauge(
            "decahertz_storage_queue_rows", "Rows that wait in memory to be stored.", registry=registry
        )
        waiting.set_function(rows_waiting)
        up = Gauge(
            "decahertz_database_up", "1 while the database is reachable, otherwise 0.", registry=registry
        )
        up.set_function(lambda: lost_seconds() is None)
        lost = Gauge(
            "decahertz_database_lost_seconds",
            "Time since the database was lost; 0 while it is reachable.",
            registry=registry,
        )
        lost.set_function(lambda: lost_seconds() or 0.0)

    def announce(self, tables: Iterable[str]) -> None:
        """Creates the counters at zero, so that Prometheus sees the first increase."""
        for table in tables:
            self.rows.labels(table)

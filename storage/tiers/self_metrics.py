"""Self-metrics of the roll-up worker."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ROUND_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class RollUpMetrics:
    """The families ``decahertz_roll_up_…`` and ``decahertz_packed_rows``."""

    def __init__(self, registry: CollectorRegistry, behind_seconds: Callable[[], float]) -> None:
        """Registers the families; each scrape calls ``behind_seconds``."""
        Gauge(
            "decahertz_roll_up_behind_seconds",
            "Time since everything was rolled up; 0 while another recorder rolls up.",
            registry=registry,
        ).set_function(behind_seconds)
        self.buckets = Counter(
            "decahertz_roll_up_buckets",
            "Buckets rolled up (TimescaleDB: aggregates refreshed).",
            registry=registry,
        )
        self.packed = Counter(
            "decahertz_packed_rows",
            "Raw samples, rows of the 1s tier, quotes and ticks packed; none on TimescaleDB, which compresses"
            " on its own.",
            registry=registry,
        )
        self.failures = Counter(
            "decahertz_roll_up_failures", "Rounds of the roll-up that failed.", registry=registry
        )
        self.round_seconds = Histogram(
            "decahertz_roll_up_round_seconds",
            "Duration of a round of the roll-up.",
            buckets=_ROUND_BUCKETS,
            registry=registry,
        )

"""Self-metrics of the roll-up worker."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_ROUND_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class RollUpMetrics:
    """The families ``decahertz_tiers_…``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.steps = Counter(
            "decahertz_tiers_steps",
            "Buckets rolled up (TimescaleDB: aggregates refreshed).",
            registry=registry,
        )
        self.failures = Counter("decahertz_tiers_failures", "Rounds that failed.", registry=registry)
        self.round_seconds = Histogram(
            "decahertz_tiers_round_seconds",
            "Duration of a round.",
            buckets=_ROUND_BUCKETS,
            registry=registry,
        )

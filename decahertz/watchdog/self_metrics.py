"""Self-metrics of the watchdog, and the thresholds of all alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from decahertz.clock import NS_PER_SECOND
from decahertz.conditions import CONDITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decahertz.thresholds import AlertsSettings
    from decahertz.watchdog.tracker import Tracker

_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)


def export_thresholds(registry: CollectorRegistry, settings: AlertsSettings) -> None:
    """Exports the threshold of each alert that has one, for the Prometheus rules to compare with."""
    gauge = Gauge(
        "decahertz_alert_threshold",
        "Threshold of the alert, as the section [alerts] of the settings says.",
        ["alert"],
        registry=registry,
    )
    for condition in CONDITIONS:
        threshold = settings.threshold(condition)
        if threshold is not None:
            gauge.labels(condition.alert).set(threshold)


class WatchdogMetrics:
    """The families ``decahertz_watchdog_…``."""

    def __init__(self, registry: CollectorRegistry, trackers: Mapping[str, Tracker]) -> None:
        """``trackers`` are those of the conditions that are evaluated, by alert."""
        self._duration = Histogram(
            "decahertz_watchdog_evaluation_seconds",
            "Time taken to evaluate all conditions once.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "decahertz_watchdog_errors", "Conditions that could not be evaluated.", registry=registry
        )
        fired = Counter(
            "decahertz_watchdog_fired", "Alerts that began to fire.", ["alert"], registry=registry
        )
        firing = Gauge("decahertz_watchdog_firing", "Alerts that fire.", ["alert"], registry=registry)
        suppressed = Gauge(
            "decahertz_watchdog_suppressed",
            "Things that should fire and do not, because too many others of the alert do.",
            ["alert"],
            registry=registry,
        )
        self._fired = {name: fired.labels(name) for name in trackers}
        for name, tracker in trackers.items():
            firing.labels(name).set_function(lambda tracker=tracker: tracker.firing)  # type: ignore[misc] # bound now
            suppressed.labels(name).set_function(lambda tracker=tracker: tracker.suppressed)  # type: ignore[misc] # the same

    def evaluated(self, duration_ns: int) -> None:
        """Records an evaluation."""
        self._duration.observe(duration_ns / NS_PER_SECOND)

    def failed(self) -> None:
        """Counts a condition that could not be evaluated."""
        self._errors.inc()

    def fired(self, alert: str) -> None:
        """Counts an alert that starts firing."""
        self._fired[alert].inc()

"""Self-metrics of the watchdog, and the thresholds of all alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge

from decahertz.conditions import CONDITIONS

if TYPE_CHECKING:
    from decahertz.thresholds import AlertsSettings


def export_thresholds(registry: CollectorRegistry, settings: AlertsSettings) -> None:
    """Export the threshold of each alert that has one, for the Prometheus rules to compare with."""
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

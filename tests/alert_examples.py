"""Alerts for tests: as the watchdog makes them, and as Alertmanager reports them."""

from __future__ import annotations

from typing import Any

from decahertz.alert import Alert, AlertOrigin, AlertState, alert_id, fingerprint_of
from decahertz.clock import NS_PER_SECOND, format_time

T0 = 1_767_225_600 * NS_PER_SECOND
FINGERPRINT = "00c0ffee00c0ffee"
FIRING_ENDS_AT = "0001-01-01T00:00:00Z"


def ns(seconds: float) -> int:
    """A time in seconds after the start of the story."""
    return T0 + round(seconds * NS_PER_SECOND)


def alert(
    starts: float = 0.0,
    ends: float | None = None,
    *,
    at: float | None = None,
    **more: Any,  # noqa: ANN401 - any field
) -> Alert:
    """An alert of Prometheus that started and ended so many seconds after the start, reported at ``at``."""
    fingerprint = more.pop("fingerprint", FINGERPRINT)
    latest = starts if ends is None else ends
    fields: dict[str, Any] = {
        "id": alert_id(fingerprint, ns(starts)),
        "fingerprint": fingerprint,
        "origin": AlertOrigin.PROMETHEUS,
        "name": "FeedStale",
        "severity": "page",
        "state": AlertState.FIRING if ends is None else AlertState.RESOLVED,
        "recorder": "desk-1",
        "labels": {"alertname": "FeedStale", "recorder": "desk-1", "severity": "page", "venue": "XETR"},
        "summary": "XETR has been stale for 20 s",
        "starts_ns": ns(starts),
        "ends_ns": None if ends is None else ns(ends),
        "updated_ns": ns(latest if at is None else at),
    }
    return Alert(**fields | more)


def watchdog_alert(starts: float = 0.0, ends: float | None = None, **more: Any) -> Alert:  # noqa: ANN401 - any field
    """The same from the watchdog."""
    venue = more.pop("venue", "XETR")
    labels = {"alertname": "FeedStale", "recorder": "desk-1", "severity": "page", "venue": venue}
    fingerprint = fingerprint_of(AlertOrigin.WATCHDOG, labels)
    more = {"value": 20.0, "threshold": 15.0} | more
    return alert(starts, ends, fingerprint=fingerprint, origin=AlertOrigin.WATCHDOG, labels=labels, **more)


def reported(starts: float = 0.0, ends: float | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """An alert as Alertmanager's webhook has it."""
    return {
        "status": "firing" if ends is None else "resolved",
        "labels": {"alertname": "FeedStale", "recorder": "desk-1", "severity": "page", "venue": "XETR"},
        "annotations": {
            "summary": "XETR has been stale for 20 s",
            "runbook_url": "docs/FeedStale.md",
        },
        "startsAt": format_time(ns(starts)),
        "endsAt": FIRING_ENDS_AT if ends is None else format_time(ns(ends)),
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": FINGERPRINT,
    } | more


def webhook(*alerts: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """The body of a webhook."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="FeedStale"}',
        "truncatedAlerts": 0,
        "status": "firing" if any(a["status"] == "firing" for a in alerts) else "resolved",
        "receiver": "decahertz",
        "groupLabels": {"alertname": "FeedStale"},
        "commonLabels": {"alertname": "FeedStale"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
    } | more

"""Alerts: conditions that somebody has to know about, from the watchdog or from Prometheus.

One alert is one occurrence: it fires once and is resolved once. The same condition that fires again later is
another occurrence, with the same fingerprint and another ``starts_ns``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

TOPIC = "alerts"
"""Topic of the bus and of the WebSocket; its messages are alerts that have changed."""
ALERT_NAME = "alertname"
RECORDER = "recorder"
SEVERITY = "severity"
_FINGERPRINT_BYTES = 8


class Severity(StrEnum):
    """Severity of the alerts that are shipped. Rules of a user may have others."""

    PAGE = "page"
    """Money or data is at risk now: wake somebody."""
    TICKET = "ticket"
    """Look at it within the working day."""


class AlertState(StrEnum):
    """State of an alert."""

    FIRING = "firing"
    RESOLVED = "resolved"


class AlertOrigin(StrEnum):
    """Who found the condition."""

    WATCHDOG = "watchdog"
    """The recorder itself, ten times a second."""
    PROMETHEUS = "prometheus"
    """A Prometheus rule, by way of Alertmanager."""


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """Somebody looks after the alert. The newest one of an alert counts."""

    who: str
    comment: str
    time_ns: int
    """When it was acknowledged."""
    until_ns: int
    """When it ends."""
    silence_id: str | None = None
    """Silence in Alertmanager; ``None`` without one."""


class Alert(Struct, frozen=True, kw_only=True):
    """One occurrence of an alert."""

    id: str
    """Fingerprint and start; the same wherever the occurrence is reported from."""
    fingerprint: str
    """Hash of the labels, 16 hexadecimal digits; the same for every occurrence."""
    origin: AlertOrigin
    name: str
    severity: str
    """``page``, ``ticket``, or as a user's rule says; empty without one."""
    state: AlertState
    recorder: str
    """The recorder that the alert is about; the one that received it if the alert names none."""
    labels: dict[str, str]
    """All labels, ``alertname``, ``severity`` and ``recorder`` included."""
    summary: str
    """One line that names the thing and the figure."""
    description: str = ""
    runbook_url: str = ""
    starts_ns: Annotated[int, Meta(description="When it began to fire, nanoseconds UTC.")]
    ends_ns: Annotated[int | None, Meta(description="When it was resolved; null while it fires.")] = None
    updated_ns: int
    """When the recorder last changed the alert."""
    value: float | None = None
    """The figure when it began to fire, if it is known."""
    threshold: float | None = None
    """The threshold at that time; ``None``: the condition has none, or it is not known."""
    acknowledgement: Acknowledgement | None = None

    @property
    def is_firing(self) -> bool:
        """Whether it fires."""
        return self.state is AlertState.FIRING


def fingerprint_of(origin: AlertOrigin, labels: Mapping[str, str]) -> str:
    """The fingerprint of an alert of this program. Alertmanager sends its own with each of its alerts."""
    content = msgspec.json.encode([origin, sorted(labels.items())])
    return blake2b(content, digest_size=_FINGERPRINT_BYTES).hexdigest()


def alert_id(fingerprint: str, starts_ns: int) -> str:
    """The id of one occurrence."""
    return f"{fingerprint}-{starts_ns}"

"""The watchdog: evaluates conditions at every cycle, and publishes alerts on the bus.

A cycle's samples arrive on the bus; the evaluation follows in the next iteration of the event loop, so that
it delays no cycle. While no samples come, a timer evaluates: a sampler that stands still is a condition, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from decahertz.alert import (
    ALERT_NAME,
    RECORDER,
    SEVERITY,
    TOPIC,
    Alert,
    AlertOrigin,
    AlertState,
    alert_id,
    fingerprint_of,
)
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.conditions import CONDITION_BY_ALERT
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.metric import Unit
from decahertz.sample import SampleBatch
from decahertz.watchdog.readings import Figures, Reading, Readings
from decahertz.watchdog.self_metrics import WatchdogMetrics
from decahertz.watchdog.texts import summary_of
from decahertz.watchdog.tracker import MAX_FIRING, Finding, Key, Tracker

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.bus import Bus, Message, Subscription
    from decahertz.clock import Clock
    from decahertz.latest import LatestAlerts
    from decahertz.thresholds import AlertsSettings

_LATE_NS = CYCLE_NS + CYCLE_NS // 2
"""Without samples for this long, the timer evaluates."""
_WATCH_SECONDS = (_LATE_NS + CYCLE_NS // 10) / NS_PER_SECOND
_HOLD_NS = 5 * NS_PER_SECOND
"""Time after the start in which no alert of the previous process is resolved."""


class Watchdog:
    """Evaluates the conditions that are declared as watched, unless they are disabled."""

    def __init__(
        self,
        bus: Bus,
        alerts: LatestAlerts,
        clock: Clock,
        registry: CollectorRegistry,
        settings: AlertsSettings,
        figures: Figures,
        *,
        recorder: str,
    ) -> None:
        """``alerts`` holds those that fired when the previous process ended."""
        self._bus = bus
        self._latest = alerts
        self._clock = clock
        self._recorder = recorder
        self._readings = Readings(figures, clock.monotonic_ns())
        self._trackers: dict[str, tuple[Tracker, Reading]] = {}
        for name, reading in self._readings.by_alert.items():
            threshold = settings.threshold(CONDITION_BY_ALERT[name])
            if threshold is not None:
                self._trackers[name] = (Tracker(CONDITION_BY_ALERT[name], threshold), reading)
        self._firing: dict[tuple[str, Key], Alert] = {}
        self._subscription: Subscription | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_scheduled = False
        self._evaluated_ns = 0
        self._log = structlog.get_logger(part="watchdog")
        self._evaluation = Incident("evaluation", self._log)
        self._metrics = WatchdogMetrics(registry, {n: t for n, (t, _) in self._trackers.items()})

    async def start(self) -> None:
        """Takes over what was firing, and evaluates from now on."""
        self.adopt()
        self._subscription = self._bus.subscribe("samples:*", self._take)
        self._watch()

    async def stop(self) -> None:
        """Stops; alerts that fire go on until the next process takes over. Safe without start, and twice."""
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def status(self) -> ComponentStatus:
        """Failed while it does not run; degraded while a condition cannot be evaluated, or too many fire."""
        health, detail = Health.OK, ""
        crowded = [n for n, (tracker, _) in self._trackers.items() if tracker.suppressed]
        if self._timer is None:
            health, detail = Health.FAILED, "not running"
        elif self._evaluation.active:
            health, detail = Health.DEGRADED, f"a condition cannot be evaluated: {self._evaluation.problem}"
        elif crowded:
            health = Health.DEGRADED
            detail = f"more than {MAX_FIRING} alerts, the others are not shown: {', '.join(crowded)}"
        return ComponentStatus(name="watchdog", health=health, detail=detail)

    def _take(self, message: Message) -> None:
        if not isinstance(message, SampleBatch):
            return
        self._readings.take(message, self._clock.monotonic_ns())
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.evaluate)

    def _watch(self) -> None:
        """Evaluates when no samples came, and watches again. Each evaluation postpones it."""
        self._postpone()
        if self._clock.monotonic_ns() - self._evaluated_ns > _LATE_NS:
            self.evaluate()

    def _postpone(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._watch)

    def evaluate(self) -> None:
        """Evaluates all conditions once."""
        self._is_scheduled = False
        if self._subscription is None:
            return
        now_ns = self._evaluated_ns = self._clock.monotonic_ns()
        self._postpone()
        for tracker, reading in self._trackers.values():
            try:
                findings = reading(now_ns)
                if findings is None:
                    continue
                for key, finding in tracker.update(findings, now_ns):
                    if finding is None:
                        self._resolve(tracker.condition.alert, key)
                    else:
                        self._fire(tracker, key, finding)
            except Exception as error:  # noqa: BLE001 - one condition must not hide the others
                self._metrics.failed()
                self._evaluation.fail(now_ns, error, alert=tracker.condition.alert)
        self._evaluation.look(now_ns)
        self._metrics.evaluated(self._clock.monotonic_ns() - now_ns)

    def _fire(self, tracker: Tracker, key: Key, finding: Finding) -> None:
        condition = tracker.condition
        labels = {
            ALERT_NAME: condition.alert,
            RECORDER: self._recorder,
            SEVERITY: condition.severity.value,
            **dict(zip(condition.labels, key, strict=True)),
        }
        now_ns = self._clock.time_ns()
        fingerprint = fingerprint_of(AlertOrigin.WATCHDOG, labels)
        alert = Alert(
            id=alert_id(fingerprint, now_ns),
            fingerprint=fingerprint,
            origin=AlertOrigin.WATCHDOG,
            name=condition.alert,
            severity=condition.severity.value,
            state=AlertState.FIRING,
            recorder=self._recorder,
            labels=labels,
            summary=summary_of(condition.alert, key, finding, self._recorder),
            description=condition.help,
            runbook_url=condition.runbook_url,
            starts_ns=now_ns,
            updated_ns=now_ns,
            value=finding.value,
            threshold=tracker.threshold,
        )
        self._firing[condition.alert, key] = alert
        self._metrics.fired(condition.alert)
        self._log.warning("alert_fired", alert=condition.alert, id=alert.id, summary=alert.summary)
        self._bus.publish(TOPIC, alert)

    def _resolve(self, name: str, key: Key) -> None:
        fired = self._firing.pop((name, key))
        # It may have been acknowledged meanwhile.
        self._publish_resolved(self._latest.get(fired.id) or fired)

    def _publish_resolved(self, alert: Alert) -> None:
        now_ns = self._clock.time_ns()
        resolved = msgspec.structs.replace(
            alert, state=AlertState.RESOLVED, ends_ns=max(now_ns, alert.starts_ns), updated_ns=now_ns
        )
        self._log.info("alert_resolved", alert=alert.name, id=alert.id, summary=alert.summary)
        self._bus.publish(TOPIC, resolved)

    def adopt(self) -> None:
        """Takes over the alerts that were firing when the previous process ended; the newest of each thing.

        Again when the database opens after the start.
        """
        now_ns = self._clock.monotonic_ns()
        for alert in sorted(self._latest, key=lambda alert: -alert.starts_ns):
            if alert.origin is not AlertOrigin.WATCHDOG or alert.recorder != self._recorder:
                continue
            tracker, _ = self._trackers.get(alert.name, (None, None))
            if tracker is not None and alert.labels.keys() >= set(tracker.condition.labels):
                key = tuple(alert.labels[name] for name in tracker.condition.labels)
                current = self._firing.get((alert.name, key))
                if current is not None and current.id == alert.id:
                    continue
                if current is None:
                    self._firing[alert.name, key] = alert
                    tracker.adopt(key, now_ns, now_ns + _hold_ns(tracker))
                    continue
            self._publish_resolved(alert)


def _hold_ns(tracker: Tracker) -> int:
    """How long an alert of the previous process is held; a time takes that long to exceed its threshold."""
    is_time = tracker.condition.unit is Unit.SECONDS
    return _HOLD_NS + (round(tracker.threshold * NS_PER_SECOND) if is_time else 0)

"""Keeps the table of alerts up to date in the background.

Stores the watchdog's alerts, and retries while the database is away. Resolves alerts of Prometheus whose end
was never reported: they ended while they were silenced or inhibited, or Alertmanager has lost its state or no
longer sends to this recorder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from itertools import islice
from random import random
from typing import TYPE_CHECKING, TypeAlias

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from decahertz.alert import TOPIC, Alert, AlertOrigin
from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident, OutageError
from decahertz.supervision import supervise
from decahertz.words import counted
from storage.database import DatabaseUnavailableError, first_line

if TYPE_CHECKING:
    from decahertz.bus import Bus, Message, Subscription
    from decahertz.clock import Clock
    from storage.write.alerts import AlertStore

_MAX_WAITING = 10_000
_AT_ONCE = 500
_RETRY = Backoff(first_seconds=0.5, most_seconds=2.0)
_STOP_SECONDS = 1.0
_EXPIRE_SECONDS = 60.0
"""Interval between searches for alerts whose end was never reported."""
_UNREPORTED_NS = 15 * 60 * NS_PER_SECOND
"""Alertmanager is asked about alerts that it has not reported for this long."""

FiringElsewhere: TypeAlias = Callable[[], Awaitable[Collection[str] | None]]
"""Returns the fingerprints of all alerts that fire in Alertmanager; ``None`` if it does not know them yet."""


class AlertmanagerError(Exception):
    """Alertmanager did not say which alerts fire; the message says why in one line."""


class AlertQueue:
    """Holds the newest state of each alert of the watchdog until the database has it.

    The queue is in memory. If the process ends during an outage of the database, the alerts of that outage
    are not stored; the watchdog of the next process resolves those that the database still has as firing.
    """

    def __init__(
        self,
        store: AlertStore,
        bus: Bus,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        expire_seconds: float,
        alertmanager: FiringElsewhere | None = None,
    ) -> None:
        """An alert of Prometheus that was not reported for ``expire_seconds`` is resolved.

        With ``alertmanager`` it is resolved much sooner if it no longer fires there.
        """
        self._store = store
        self._bus = bus
        self._clock = clock
        self._expire_ns = round(expire_seconds * NS_PER_SECOND)
        self._waiting: dict[str, Alert] = {}
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscription: Subscription = bus.subscribe(TOPIC, self._take)
        self._problem = ""
        self._log = structlog.get_logger(part="alerts")
        self._incident = Incident("alert_storing", self._log)
        self._alertmanager = alertmanager
        self._asking = Incident("alertmanager_query", self._log)
        Gauge(
            "decahertz_alerts_waiting",
            "Alerts of the watchdog that wait for the database.",
            registry=registry,
        ).set_function(lambda: len(self._waiting))
        self._dropped = Counter(
            "decahertz_alerts_dropped",
            "Alerts of the watchdog that were not stored because too many waited for the database.",
            registry=registry,
        )

    async def start(self) -> None:
        """Start to store."""
        self._task = supervise(self._run, "alert-queue")

    async def stop(self) -> None:
        """Stores what waits, unless that takes long. Safe without :meth:`start`, and twice."""
        self._subscription.cancel()
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        with suppress(TimeoutError, DatabaseUnavailableError):
            async with asyncio.timeout(_STOP_SECONDS):
                while self._waiting:
                    await self._store_some()

    def status(self) -> ComponentStatus:
        """Degraded while alerts cannot be stored."""
        if not self._incident.active:
            return ComponentStatus(name="alerts", health=Health.OK)
        detail = f"{counted(len(self._waiting), 'alert')} not stored yet: {self._problem}"
        return ComponentStatus(name="alerts", health=Health.DEGRADED, detail=detail)

    def _take(self, message: Message) -> None:
        if not isinstance(message, Alert) or message.origin is not AlertOrigin.WATCHDOG:
            return
        self._waiting[message.id] = message
        if len(self._waiting) > _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._dropped.inc()
        self._arrived.set()

    async def expire(self) -> None:
        """Resolves alerts of Prometheus whose end was never reported. Raises ``DatabaseUnavailableError``."""
        now_ns = self._clock.time_ns()
        for alert in await self._store.expire(now_ns - self._expire_ns, now_ns):
            self._log.warning("alert_expired", alert=alert.name, id=alert.id, summary=alert.summary)
            self._bus.publish(TOPIC, alert)

    async def reconcile(self) -> None:
        """Resolves alerts that have ended in Alertmanager without a report. Raises as :meth:`expire` does.

        Alertmanager reports no end of an alert that is silenced or inhibited at that time.
        """
        if self._alertmanager is None:
            return
        now_ns = self._clock.time_ns()
        before_ns = now_ns - _UNREPORTED_NS
        unreported = await self._store.unreported(before_ns)
        if not unreported:
            return
        try:
            firing = await self._alertmanager()
        except AlertmanagerError as error:
            self._asking.fail(self._clock.monotonic_ns(), reason=str(error))
            return
        self._asking.recover()
        if firing is None:
            return
        ended = [id_ for id_, fingerprint in unreported.items() if fingerprint not in firing]
        for alert in await self._store.resolve_unreported(ended, before_ns, now_ns):
            self._log.info("alert_end_found", alert=alert.name, id=alert.id, summary=alert.summary)
            self._bus.publish(TOPIC, alert)

    async def _run(self) -> None:
        attempt = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXPIRE_SECONDS):
                    await self._arrived.wait()
            try:
                await self._store_some()
                await self.expire()
                await self.reconcile()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may succeed
                self._problem = first_line(error)
                known = error if isinstance(error, OutageError) else None
                self._incident.fail(self._clock.monotonic_ns(), known, reason=self._problem)
                await asyncio.sleep(_RETRY.seconds(attempt, random))
                attempt += 1
            else:
                attempt = 0
                self._incident.recover()

    async def _store_some(self) -> None:
        self._arrived.clear()
        if not self._waiting:
            return
        some = list(islice(self._waiting.values(), _AT_ONCE))
        try:
            await self._store.report(some)
        finally:
            self._arrived.set()
        for alert in some:
            if self._waiting.get(alert.id) is alert:  # it has not changed meanwhile
                del self._waiting[alert.id]
        if not self._waiting:
            self._arrived.clear()

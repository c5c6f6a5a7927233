"""Watches the size of the database and its disk, and what ``storage.max_bytes`` has dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.supervision import end, supervise
from storage.database import Database, DatabaseError
from storage.maintenance.disk import DAY_SECONDS, DiskForecast, disk_forecast, remember_size
from storage.tiers.expiry import expired_rows

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.clock import Clock

NEAR_SECONDS = 3 * DAY_SECONDS
"""A disk that is full sooner than this degrades the health."""
_INTERVAL_SECONDS = 60.0
_STOP_SECONDS = 3.0


class DiskWatch:
    """Reads the sizes once a minute."""

    def __init__(self, database: Database, recorder: str, clock: Clock, registry: CollectorRegistry) -> None:
        self._database = database
        self._recorder = recorder
        self._clock = clock
        self._forecast: DiskForecast | None = None
        self._task: asyncio.Task[None] | None = None
        self._incident = Incident("database_disk", structlog.get_logger(part="database"))
        self._expired: Mapping[str, int] = {}
        self._on_expired: Callable[[Mapping[str, int]], None] = lambda _: None
        registry.register(DiskMetrics(lambda: self._forecast))

    async def start(self) -> None:
        """Start to read, in the background."""
        self._task = supervise(self._run, "disk-watch")

    async def stop(self) -> None:
        """Stops. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        await end(task, _STOP_SECONDS)

    def tell_expired(self, on_expired: Callable[[Mapping[str, int]], None]) -> None:
        """Calls a function with the expired rows by stream of the ledger, now and after each reading."""
        self._on_expired = on_expired
        on_expired(self._expired)

    async def read(self) -> DiskForecast:
        """Reads the sizes now. Raises :class:`~storage.database.DatabaseError`."""
        now_ns = self._clock.time_ns()
        async with self._database.query() as connection:
            await remember_size(connection, now_ns)
            self._forecast = await disk_forecast(connection, self._database.settings.max_bytes, now_ns)
            self._expired = await expired_rows(connection, self._recorder)
        self._on_expired(self._expired)
        problem = near(self._forecast)
        if problem:
            self._incident.fail(self._clock.monotonic_ns(), reason=problem)
        else:
            self._incident.recover()
        return self._forecast

    def status(self) -> ComponentStatus:
        """Degraded while the disk will be full within three days."""
        problem = "" if self._forecast is None else near(self._forecast)
        health = Health.DEGRADED if problem else Health.OK
        return ComponentStatus(name="database disk", health=health, detail=problem)

    async def _run(self) -> None:
        while True:
            with suppress(DatabaseError):  # the writer reports it
                await self.read()
            await asyncio.sleep(_INTERVAL_SECONDS)


class DiskMetrics(Collector):
    """The families ``decahertz_database_…``; what is unknown has no series."""

    def __init__(self, newest: Callable[[], DiskForecast | None]) -> None:
        self._newest = newest

    def describe(self) -> Iterator[Metric]:
        """The families, without their values."""
        yield from (family for family, _ in _families(None))

    def collect(self) -> Iterator[Metric]:
        """The families with their values."""
        for family, value in _families(self._newest()):
            if value is not None:
                family.add_metric([], value)
            yield family


def _families(found: DiskForecast | None) -> Iterator[tuple[GaugeMetricFamily, float | None]]:
    size = limit = free = growth = full = None
    if found is not None:
        size, limit, free, full = found.bytes, found.max_bytes, found.free_bytes, found.full_seconds
        if found.growth_bytes_per_day is not None:
            growth = found.growth_bytes_per_day / DAY_SECONDS
    for name, text, value in (
        ("bytes", "Size of the database, with indexes.", size),
        ("limit_bytes", "The setting storage.max_bytes: above it old rows are dropped; 0: no limit.", limit),
        ("disk_free_bytes", "Free space of the database's disk; none if it is on another machine.", free),
        ("growth_bytes_per_second", "Growth over three days at most; none before an hour of it.", growth),
        ("disk_full_seconds", "Time until the disk is full; none if that will not happen.", full),
    ):
        yield GaugeMetricFamily(f"decahertz_database_{name}", text), value


def near(found: DiskForecast) -> str:
    """The problem of a disk that is full soon, in words; empty: none."""
    if found.full_seconds is None or found.full_seconds > NEAR_SECONDS:
        return ""
    days, growth = found.full_seconds / DAY_SECONDS, (found.growth_bytes_per_day or 0.0) / 1e9
    return (
        f"the disk of the database is full in {days:.1f} days, at {growth:.1f} GB a day: set"
        " storage.max_bytes, lower retention.raw_days, or add space"
    )

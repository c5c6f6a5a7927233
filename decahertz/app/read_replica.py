"""Databases that only answer queries: a replica of the recorder's database, and that of an API process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import random
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from decahertz.backoff import Backoff
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.supervision import end, supervise
from storage.database import Database, DatabaseError, first_line
from storage.schema.samples import quoted, table_of

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.sample import SampleSchema

_RETRY: Final = Backoff(first_seconds=0.2, most_seconds=1.0)
_MISSING: Final = "SELECT count(*) FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL"
_LAG: Final = """
SELECT CASE WHEN pg_is_in_recovery()
    THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END
"""
_INTERVAL_SECONDS, _STOP_SECONDS = 1.0, 3.0
_FAR_BEHIND_SECONDS = 10.0


async def opens(database: Database, schemas: Sequence[SampleSchema]) -> bool:
    """Opens the database if it has the tables; returns whether it is open. ``closed_reason`` says why not."""
    tables = [quoted(table_of(schema)) for schema in schemas]
    try:
        async with database.session("api") as connection:
            missing = await connection.fetchval(_MISSING, tables)
        if missing:
            database.closed_reason = "the recorder has not prepared the tables yet"
            return False
        await database.open()
    except DatabaseError as error:
        database.closed_reason = str(error)
        return False
    return True


async def keep_opening(database: Database, schemas: Sequence[SampleSchema]) -> None:
    """Opens the database as soon as it has the tables; until then queries fail with the reason."""
    attempt = 0
    while not await opens(database, schemas):
        await asyncio.sleep(_RETRY.seconds(attempt, random))
        attempt += 1


class ReadReplica:
    """Opens the replica of ``storage.read_url``, and watches how far it is behind."""

    def __init__(
        self, database: Database, schemas: Sequence[SampleSchema], clock: Clock, registry: CollectorRegistry
    ) -> None:
        self._database = database
        self._schemas = schemas
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._is_open = False
        self._incident = Incident("read_replica", structlog.get_logger(part="database"))
        self._lag = lag_metric(registry)

    async def start(self) -> None:
        """Starts opening it in the background: the recorder does not wait for it."""
        self._task = supervise(self._run, "read-replica")

    async def stop(self) -> None:
        """Stops watching and closes it. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        await end(task, _STOP_SECONDS)
        await self._database.close()

    def status(self) -> ComponentStatus:
        """Degraded while it cannot be used, or is more than ten seconds behind."""
        problem = self._problem if self._is_open else self._database.closed_reason
        health = Health.DEGRADED if problem else Health.OK
        return ComponentStatus(name="read replica", health=health, detail=problem)

    async def _run(self) -> None:
        await keep_opening(self._database, self._schemas)
        self._is_open = True
        while True:
            self._report(await self._look())
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def _look(self) -> str:
        """Returns the problem of the replica, in words; empty: none."""
        try:
            ((seconds,),) = await self._database.fetch(_LAG)
        except DatabaseError as error:
            return first_line(error)
        self._lag.set(max(0.0, seconds or 0.0))
        if seconds is None or seconds <= _FAR_BEHIND_SECONDS:
            return ""
        return f"it is {seconds:.0f} s behind the database: answers of the API are that old"

    def _report(self, problem: str) -> None:
        self._problem = problem
        if problem:
            self._incident.fail(self._clock.monotonic_ns(), reason=problem)
        else:
            self._incident.recover()


def lag_metric(registry: CollectorRegistry) -> Gauge:
    """The family ``decahertz_read_replica_lag_seconds``."""
    return Gauge(
        "decahertz_read_replica_lag_seconds",
        "How far the database of storage.read_url is behind; 0 if that is not a replica.",
        registry=registry,
    )

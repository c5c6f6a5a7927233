"""The writer: brings what is in the spool into the database.

What is new goes first, also right after an outage; what the spool has kept on disk follows at a limited
pace, between transactions of the new. Whatever the database does, nothing is lost here: an entry leaves the
spool when it is committed, and what was not committed for sure is sent again under the same id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import EVENT_BY_TABLE
from decahertz.health import ComponentStatus, Health
from decahertz.sample import SampleSchema
from storage.database import Database, DatabaseUnavailableError
from storage.entry import Entry
from storage.schema.samples import table_of
from storage.spool import Spool
from storage.write.lease import LeaseLostError, RecorderLease
from storage.write.metrics import WriterMetrics
from storage.write.rate_limit import RateLimiter
from storage.write.result import DEAD_LETTER, WriteResult
from storage.write.transaction import EntryWriter

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from storage.database import Connection

BACKLOG_ROWS = 5_000
"""Rows of a backlog in one transaction: new rows wait no longer than for that."""

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
_LOOK_SECONDS = 0.2
"""How often we look whether there is a backlog."""
_FORGET_BATCHES = "DELETE FROM stored_batches WHERE recorder = $1 AND time < now() - interval '30 days'"


class Writer:
    """Drains the spool into the database."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        lease: RecorderLease,
        clock: Clock,
        registry: CollectorRegistry,
        schemas: Sequence[SampleSchema] = (),
        *,
        backlog_rows_per_second: float = 50_000,
        stop_seconds: float = 3.0,
    ) -> None:
        """``schemas`` are those of the samples to come, whose counters then exist from the start.

        ``stop_seconds`` is how long :meth:`stop` waits for what is in memory; what it does not wait for stays
        in the spool.
        """
        self._database = database
        self._spool = spool
        self._lease = lease
        self._clock = clock
        self._stop_seconds = stop_seconds
        self._store = EntryWriter(database, lease.recorder, clock, lease)
        self._metrics = WriterMetrics(registry, lambda: self.rows_waiting)
        self._metrics.announce([*map(table_of, schemas), *EVENT_BY_TABLE])
        self._pace = RateLimiter(backlog_rows_per_second, clock)
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._in_hand: list[Entry] = []
        self._stopping = False
        self._away_since_ns: int | None = None
        self._trouble = ""
        self._refusal = ""
        self._log = structlog.get_logger(part="storage")
        self.rows_stored = 0
        """Samples and events stored since the start."""
        self.samples_stored = 0
        self.events_stored = 0

    async def start(self) -> None:
        """Begin to write. Raises ``DatabaseUnavailableError``."""
        connection = await self._connect()
        if not self._spool.has_backlog:  # what waits may have been stored before, however long ago
            with self._database.errors():
                await connection.execute(_FORGET_BATCHES, self._lease.recorder)
        self._spool.on_acked = self._store.forget
        self._task = asyncio.create_task(self._run(), name="storage-writer")

    async def stop(self) -> None:
        """Store what came in, for a limited time; the rest stays in the spool. Safe twice."""
        task, self._task = self._task, None
        if task is None:
            return
        with suppress(TimeoutError):  # a disk that hangs does not hold us up
            async with asyncio.timeout(self._stop_seconds):
                await self._spool.flush()
        self._stopping = True
        self._spool.queue.close()
        await asyncio.wait([task], timeout=self._stop_seconds)
        if not task.done():
            self._terminate()  # else a server that hangs would hold us up with the roll-back
            task.cancel()
            await asyncio.wait([task])
            self._put_back()
        await self._disconnect()

    @property
    def is_away(self) -> bool:
        """Whether the database cannot be reached at present."""
        return self._away_since_ns is not None

    @property
    def rows_waiting(self) -> int:
        """Samples and events in memory that are not stored yet."""
        return self._spool.queue.rows + sum(entry.rows for entry in self._in_hand)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, neither here nor on disk, not even a batch without events."""
        return self._spool.queue.is_empty and not self._in_hand and not self._spool.has_backlog

    def status(self) -> ComponentStatus:
        """How it is now."""
        health, detail = Health.OK, ""
        if self._task is None or self._task.done():
            health, detail = Health.FAILED, "the writer does not run"
        elif self._away_since_ns is not None:
            seconds = (self._clock.monotonic_ns() - self._away_since_ns) / NS_PER_SECOND
            rows = self.rows_waiting + self._spool.backlog_rows
            health, detail = Health.DEGRADED, f"{rows} rows wait since {seconds:.0f} s: {self._trouble}"
        elif self._refusal:
            health, detail = Health.DEGRADED, f"rows go to the dead letters: {self._refusal}"
        elif self._spool.backlog_rows:
            detail = f"{self._spool.backlog_rows} rows of a backlog are still to be stored"
        return ComponentStatus(name="storage", health=health, detail=detail)

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_finished():
            try:
                await self._turn()
            except DatabaseUnavailableError as error:
                self._put_back()
                if self._stopping:
                    break  # it waits in the spool as well as here
                await self._wait(error, pause)
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)
            except LeaseLostError:
                self._put_back()
                return
            else:
                pause = _FIRST_PAUSE_SECONDS
        if self._connection is not None:
            with suppress(DatabaseUnavailableError):
                await self._store.finish(self._connection)

    def _is_finished(self) -> bool:
        return self._stopping and self._spool.queue.is_empty

    async def _turn(self) -> None:
        """One transaction of what is new, or else one of the backlog."""
        queue = self._spool.queue
        backlog = self._spool.has_backlog and not self._stopping
        limit = self._pace.seconds_until_due() if backlog else _LOOK_SECONDS
        if await queue.wait_due(self._database.settings.flush_seconds, limit):
            connection = await self._connect()  # first: only what can be sent leaves the queue
            self._in_hand = queue.take()
        elif backlog:
            connection = await self._connect()
            self._in_hand = await self._spool.read_backlog(BACKLOG_ROWS)
            self._pace.spend(sum(entry.rows for entry in self._in_hand) or BACKLOG_ROWS)
        if self._in_hand:
            await self._deliver(connection)

    async def _deliver(self, connection: Connection) -> None:
        try:
            with self._metrics.flush_seconds.time():
                async with aclosing(self._store.deliver(connection, self._in_hand)) as outcomes:
                    async for outcome in outcomes:
                        self._settle(outcome)
        except DatabaseUnavailableError:
            await self._disconnect()
            raise

    def _settle(self, outcome: WriteResult) -> None:
        if self._away_since_ns is not None:
            seconds = (self._clock.monotonic_ns() - self._away_since_ns) / NS_PER_SECOND
            self._away_since_ns = None
            backlog = self._spool.backlog_rows
            self._log.info("database_back", seconds=round(seconds, 3), backlog_rows=backlog)
        self._in_hand = [entry for entry in self._in_hand if entry.batch_id not in outcome.acks]
        self._spool.ack(list(outcome.acks.values()))
        for table, rows in outcome.rows.items():
            self._metrics.rows.labels(table).inc(rows)
        for table, numbers in outcome.not_finite.items():
            self._metrics.not_finite.labels(table).inc(numbers)
        for ack in outcome.acks.values():
            self.rows_stored += ack.stored
            if ack.entry.stream.startswith("samples:"):
                self.samples_stored += ack.stored
            else:
                self.events_stored += ack.stored
        self._note_refusal(outcome)

    def _note_refusal(self, outcome: WriteResult) -> None:
        if outcome.dead_letters:
            if not self._refusal:
                letter = outcome.dead_letters[0]
                self._log.error("rows_refused", stream=letter.stream, reason=letter.reason)
            self._refusal = outcome.dead_letters[-1].reason
        elif self._refusal and any(s.entry.rows and not s.dropped for s in outcome.acks.values()):
            self._log.info("rows_no_longer_refused")
            self._refusal = ""
        for ack in outcome.acks.values():
            self._metrics.dead_letters.inc(ack.dropped.get(DEAD_LETTER, 0))

    def _put_back(self) -> None:
        entries, self._in_hand = self._in_hand, []
        self._spool.queue.release(entries)

    async def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            await self._disconnect()
            self._connection = await self._database.connect("writer")
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.disconnect(connection)

    def _terminate(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _wait(self, error: Exception, pause: float) -> None:
        self._metrics.retries.inc()
        self._trouble = str(error)
        if self._away_since_ns is None:
            self._away_since_ns = self._clock.monotonic_ns()
            self._log.warning("database_away", error=str(error), rows_waiting=self.rows_waiting)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

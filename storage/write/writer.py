"""Drains the spool into the database.

New entries go first, also right after an outage; the backlog on disk follows at a limited rate, between the
transactions of new entries. An entry leaves the spool only when it is committed; when a commit is uncertain,
the entry is sent again under the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from random import random
from typing import TYPE_CHECKING

import asyncpg
import structlog

from decahertz.accounting import AccountingSettings
from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import EVENT_BY_TABLE
from decahertz.health import ComponentStatus, Health
from decahertz.sample import SampleSchema
from decahertz.supervision import supervise
from decahertz.words import counted
from storage.database import Database, DatabaseError, DatabaseUnavailableError
from storage.entry import Entry
from storage.schema.samples import table_of
from storage.spool import Spool
from storage.write.lease import LeaseLostError, RecorderLease
from storage.write.rate_limit import RateLimiter
from storage.write.result import DEAD_LETTER, SUPERSEDED, WriteResult
from storage.write.self_metrics import WriterMetrics
from storage.write.transaction import EntryWriter

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from storage.database import Connection

BACKLOG_ROWS = 5_000
"""Backlog rows in one transaction: the longest that new rows wait for."""

_RETRY = Backoff(first_seconds=0.05, most_seconds=0.5)
_BACKLOG_POLL_SECONDS = 1.0
"""Interval at which the writer checks for a backlog."""
_REFUSALS_OVER_NS = 60 * NS_PER_SECOND
"""The log tells the end of refusals after this long without one: a bad row a second makes two lines."""
_SUPERSEDED_REASON = (
    "While this recorder was cut off from the database, another process recorded under its name. Samples in"
    " the spool are dropped where the database has that process's samples of the same cycles."
)
_FORGET_BATCHES = "DELETE FROM stored_batches WHERE recorder = $1 AND time < now() - interval '30 days'"


class Writer:
    """Drains the spool into the database."""

    def __init__(  # noqa: PLR0913 - the last five have defaults
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
        unanswered_seconds: float = 4.0,
        accounting: AccountingSettings | None = None,
    ) -> None:
        """The counters of the tables of ``schemas`` exist from the start.

        ``stop_seconds`` limits how long :meth:`stop` drains the memory queue; the rest stays in the spool.
        A database that has not answered for ``unanswered_seconds`` counts as lost, whatever its time-outs.
        ``accounting`` is how round trips are computed; ``None``: the defaults.
        """
        self._database = database
        self._spool = spool
        self._lease = lease
        self._clock = clock
        self._stop_seconds = stop_seconds
        self._unanswered_ns = round(unanswered_seconds * NS_PER_SECOND)
        self._asked_ns: int | None = None
        """Since when an answer of the database is awaited."""
        self._entries = EntryWriter(database, lease.recorder, clock, lease, spool.first_new_id, accounting)
        self._metrics = WriterMetrics(registry, lambda: self.rows_waiting, lambda: self.lost_seconds)
        self._metrics.announce([*map(table_of, schemas), *EVENT_BY_TABLE])
        self._rate_limiter = RateLimiter(backlog_rows_per_second, clock)
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._in_flight: list[Entry] = []
        self._stopping = False
        self._lost_since_ns: int | None = None
        self._problem = ""
        self._refusal = ""
        self._refused_ns: int | None = None
        """When a row was refused last, while the log has not told the end of it."""
        self._refused_rows = 0
        self._superseded = False
        self._log = structlog.get_logger(part="storage")
        self.samples_stored = 0
        self.on_stored: Callable[[Iterable[str]], None] | None = None
        """Called after each transaction, with the names of the tables that have new rows."""

    def await_database(self) -> None:
        """Counts the database as lost until the first transaction after :meth:`start`."""
        self._lost_since_ns = self._clock.monotonic_ns()
        self._problem = "the database is not open yet"

    async def start(self) -> None:
        """Starts writing. Raises ``DatabaseUnavailableError``."""
        connection = await self._connect()
        if not self._spool.has_backlog:  # a backlog may hold batches stored long ago
            with self._database.errors():
                await connection.execute(_FORGET_BATCHES, self._lease.recorder)
        self._spool.on_acked = self._entries.forget
        self._task = supervise(self._run, "storage-writer")

    async def stop(self) -> None:
        """Stores the entries in memory, for a limited time; the rest stays in the spool. Safe twice."""
        task, self._task = self._task, None
        if task is None:
            return
        with suppress(TimeoutError):  # a hanging disk does not delay the stop
            async with asyncio.timeout(self._stop_seconds):
                await self._spool.flush()
        self._stopping = True
        self._spool.queue.close()
        await asyncio.wait([task], timeout=self._stop_seconds)
        if not task.done():
            self._terminate()  # a hanging server would delay the stop with its roll-back
            task.cancel()
            await asyncio.wait([task])
            self._release()
        await self._disconnect()

    @property
    def is_database_lost(self) -> bool:
        """Whether the database is unreachable, or does not answer."""
        return self.lost_seconds is not None

    @property
    def lost_seconds(self) -> float | None:
        """Time since the database was lost; ``None`` while it is reachable."""
        now_ns = self._clock.monotonic_ns()
        since_ns = self._lost_since_ns
        if since_ns is None and self._asked_ns is not None and now_ns - self._asked_ns > self._unanswered_ns:
            since_ns = self._asked_ns
        return None if since_ns is None else (now_ns - since_ns) / NS_PER_SECOND

    @property
    def rows_waiting(self) -> int:
        """Samples and events in memory that are not stored yet."""
        return self._spool.queue.rows + sum(entry.rows for entry in self._in_flight)

    @property
    def is_idle(self) -> bool:
        """Whether no entry waits, in memory or on disk."""
        return self._spool.queue.is_empty and not self._in_flight and not self._spool.has_backlog

    @property
    def _is_awaiting(self) -> bool:
        """Whether the database was not open yet at the start."""
        return self._task is None and self._lost_since_ns is not None

    def status(self) -> ComponentStatus:
        """Current status."""
        health, detail = Health.OK, ""
        if self._is_awaiting:
            rows = self.rows_waiting + self._spool.backlog_rows
            health, detail = Health.DEGRADED, f"{counted(rows, 'row')} waiting: {self._problem}"
        elif self._task is None or self._task.done():
            health, detail = Health.FAILED, "the writer has stopped"
        elif (seconds := self.lost_seconds) is not None:
            rows = self.rows_waiting + self._spool.backlog_rows
            problem = self._problem or "the database does not answer"
            detail = f"{counted(rows, 'row')} waiting for {seconds:.0f} s: {problem}"
            health = Health.DEGRADED
        elif self._refusal:
            health, detail = Health.DEGRADED, f"rows become dead letters: {self._refusal}"
        elif self._spool.backlog_rows:
            detail = f"{counted(self._spool.backlog_rows, 'row')} of the backlog still to be stored"
        return ComponentStatus(name="storage", health=health, detail=detail)

    async def _run(self) -> None:
        attempt = 0
        while not self._is_finished():
            try:
                await self._write_next()
            except DatabaseUnavailableError as error:
                self._asked_ns = None
                self._release()
                if self._stopping:
                    break  # the spool keeps the entries
                await self._wait(error, attempt)
                attempt += 1
            except LeaseLostError:
                self._release()
                return
            except Exception:
                self._asked_ns = None
                self._terminate()
                self._release()
                raise
            else:
                attempt = 0
        if self._connection is not None:
            with suppress(DatabaseError, asyncpg.PostgresError):
                await self._entries.finish(self._connection)

    def _is_finished(self) -> bool:
        return self._stopping and self._spool.queue.is_empty

    async def _write_next(self) -> None:
        """Writes one batch of new entries, or else one of the backlog."""
        queue = self._spool.queue
        backlog = self._spool.has_backlog and not self._stopping
        limit = self._rate_limiter.seconds_until_due() if backlog else _BACKLOG_POLL_SECONDS
        if await queue.wait_due(self._database.settings.flush_seconds, limit):
            # Before taking entries: without a connection they stay in the queue.
            connection = await self._connect()
            self._in_flight = queue.take()
        elif backlog:
            connection = await self._connect()
            self._in_flight = await self._spool.read_backlog(BACKLOG_ROWS)
            self._rate_limiter.spend(sum(entry.rows for entry in self._in_flight) or BACKLOG_ROWS)
        if self._in_flight:
            self._asked_ns = self._clock.monotonic_ns()
            await self._deliver(connection)
            self._asked_ns = None

    async def _deliver(self, connection: Connection) -> None:
        try:
            with self._metrics.flush_seconds.time():
                async with aclosing(self._entries.deliver(connection, self._in_flight)) as results:
                    async for result in results:
                        self._record(result)
        except DatabaseUnavailableError:
            await self._disconnect()
            raise

    def _record(self, result: WriteResult) -> None:
        now_ns = self._asked_ns = self._clock.monotonic_ns()
        if self._lost_since_ns is not None:
            seconds = round((now_ns - self._lost_since_ns) / NS_PER_SECOND, 3)
            self._lost_since_ns = None
            self._problem = ""
            backlog = self._spool.backlog_rows
            self._database.outage.recover(self, is_main=True, seconds=seconds, backlog_rows=backlog)
        self._in_flight = [entry for entry in self._in_flight if entry.batch_id not in result.acks]
        self._spool.ack(list(result.acks.values()))
        if self.on_stored is not None:
            self.on_stored(result.rows)
        for table, rows in result.rows.items():
            self._metrics.rows.labels(table).inc(rows)
        for table, numbers in result.not_finite.items():
            self._metrics.not_finite.labels(table).inc(numbers)
        self.samples_stored += sum(
            ack.stored for ack in result.acks.values() if ack.entry.stream.startswith("samples:")
        )
        self._report_refusals(result)
        if not self._superseded and any(SUPERSEDED in ack.dropped for ack in result.acks.values()):
            self._superseded = True
            self._log.warning("samples_superseded", reason=_SUPERSEDED_REASON)

    def _report_refusals(self, result: WriteResult) -> None:
        now_ns = self._clock.monotonic_ns()
        if result.dead_letters:
            if self._refused_ns is None:
                letter = result.dead_letters[0]
                self._log.error("rows_refused", stream=letter.stream, reason=letter.reason)
            self._refused_ns = now_ns
            self._refused_rows += len(result.dead_letters)
            self._refusal = result.dead_letters[-1].reason
        elif any(ack.entry.rows and not ack.dropped for ack in result.acks.values()):
            self._refusal = ""
            if self._refused_ns is not None and now_ns - self._refused_ns >= _REFUSALS_OVER_NS:
                self._log.info("rows_refused_recovered", rows=self._refused_rows)
                self._refused_ns, self._refused_rows = None, 0
        for ack in result.acks.values():
            self._metrics.dead_letters.inc(ack.dropped.get(DEAD_LETTER, 0))

    def _release(self) -> None:
        entries, self._in_flight = self._in_flight, []
        self._spool.queue.release(entries)

    async def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._asked_ns = self._clock.monotonic_ns()
            await self._disconnect()
            self._connection = await self._database.connect("writer")
            self._asked_ns = None
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.disconnect(connection)

    def _terminate(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _wait(self, error: Exception, attempt: int) -> None:
        self._metrics.retries.inc()
        self._problem = str(error)
        if self._lost_since_ns is None:
            self._lost_since_ns = self._clock.monotonic_ns()
            self._database.outage.fail(self, error, rows_waiting=self.rows_waiting)
        await asyncio.sleep(_RETRY.seconds(attempt, random))

"""The writer: takes samples and events from the live path and gets them into the database.

It waits in memory for the database as long as it must; the live path never waits for it. Samples that find no
place go, the oldest first, and are counted. An event is answered when it is committed, or refused so that its
emitter sends again. What the database refuses for its content is set apart and counted; the rest goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import Arrival
from decahertz.health import ComponentStatus, Health
from decahertz.ingest import EmitterId, NotDurableError, Receipt
from decahertz.sample import SampleBatch, SampleSchema
from decahertz.sequences import SequenceSet
from storage.database import Database, DatabaseUnavailableError
from storage.emitters import load_emitters
from storage.metrics import WriterMetrics
from storage.queue import EventItem, Parcel, WriteQueue
from storage.rows import EVENT_TABLES
from storage.schema import table_of
from storage.store import Outcome, Store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.bus import Bus, Message, Subscription
    from decahertz.settings import StorageSettings
    from storage.database import Connection

FULL_ROWS = 20_000
"""Rows that make a transaction worth its while: about 50 ms."""

_EVENTS = "events"
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
_FORGET_BATCHES = "DELETE FROM stored_batches WHERE stored_at < now() - interval '30 days'"


class RefusedByDatabaseError(NotDurableError):
    """The database does not take these events, and will not when they are sent again."""


class Writer:
    """Stores what is sampled and what arrives. Implements :class:`decahertz.ingest.EventSink`."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        clock: Clock,
        registry: CollectorRegistry,
        settings: StorageSettings,
        schemas: Sequence[SampleSchema] = (),
        *,
        stop_seconds: float = 3.0,
    ) -> None:
        """``schemas`` are those of the samples to come, whose counters then exist from the start.

        ``stop_seconds`` is how long :meth:`stop` waits for what is queued.
        """
        self._database = database
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._stop_seconds = stop_seconds
        self._store = Store(clock)
        self._queue = WriteQueue(settings.queue_rows, FULL_ROWS, self._drop_oldest)
        self._metrics = WriterMetrics(registry, lambda: self.rows_waiting)
        self._metrics.announce(
            tables=[*map(table_of, schemas), *EVENT_TABLES.values()],
            streams=[_EVENTS, *map(_stream, schemas)],
        )
        self._known: dict[EmitterId, SequenceSet] = {}
        self._connection: Connection | None = None
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._parcel: Parcel | None = None
        self._stopping = asyncio.Event()
        self._away_since_ns: int | None = None
        self._trouble = ""
        self._shedding = False
        self._refusing = False
        self._log = structlog.get_logger(part="storage")
        self.rows_stored = 0
        """Samples and events stored since the start."""
        self.samples_stored = 0
        self.events_stored = 0
        self.dropped = 0
        """Samples and events given up since the start, for any reason."""

    async def start(self) -> None:
        """Load what is stored already and begin to write. Raises ``DatabaseUnavailableError``."""
        connection = await self._connect()
        with self._database.errors():
            self._known = await load_emitters(connection)
            await connection.execute(_FORGET_BATCHES)
        self._subscription = self._bus.subscribe("samples:*", self._take_samples)
        self._task = asyncio.create_task(self._run(), name="storage-writer")

    async def stop(self) -> None:
        """Store what is queued, for a limited time; the rest is given up and counted. Safe twice."""
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        self._stopping.set()
        self._queue.hurry()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=self._stop_seconds)
            if not task.done():
                self._terminate()  # else a server that hangs would hold us up with the roll-back
                task.cancel()
                await asyncio.wait([task])
            self._give_up_rest()
        await self._disconnect()

    def known(self) -> dict[EmitterId, SequenceSet]:
        """Which events of which emitters were stored when the writer started."""
        return self._known

    @property
    def is_away(self) -> bool:
        """Whether the database cannot be reached at present."""
        return self._away_since_ns is not None

    @property
    def rows_waiting(self) -> int:
        """Samples and events that are not stored yet."""
        return self._queue.rows + (self._parcel.rows if self._parcel is not None else 0)

    def status(self) -> ComponentStatus:
        """How it is now."""
        health, detail = Health.OK, ""
        if self._task is None or self._task.done():
            health, detail = Health.FAILED, "the writer does not run"
        elif self._away_since_ns is not None:
            seconds = (self._clock.monotonic_ns() - self._away_since_ns) / NS_PER_SECOND
            health = Health.DEGRADED
            detail = f"{self.rows_waiting} rows wait since {seconds:.0f} s: {self._trouble}"
        elif self._shedding:
            health, detail = Health.DEGRADED, "samples come faster than they can be stored; the oldest go"
        elif self._refusing:
            health, detail = Health.DEGRADED, f"rows are refused: {self._trouble}"
        return ComponentStatus(name="storage", health=health, detail=detail)

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        """Store the events not stored yet; returns when they are committed.

        Raises :class:`~decahertz.ingest.NotDurableError` when that takes longer than ``timeout_seconds``,
        or when the writer has stopped.
        """
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        item = EventItem(arrival, done)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._put(item)
                return await done
        except TimeoutError:
            why = self._trouble if self._away_since_ns is not None else "the database is busy"
            raise NotDurableError(f"not stored within {timeout_seconds:g} s: {why}") from None
        finally:
            self._queue.remove(item)  # whoever gets no receipt sends again

    async def enqueue(self, arrival: Arrival) -> None:
        """Queue the events; waits only while the queue is full of events."""
        await self._put(EventItem(arrival))

    async def _put(self, item: EventItem) -> None:
        if self._stopping.is_set() or self._task is None:
            self._drop(_EVENTS, "shutdown", item.rows if item.done is None else 0)
            raise NotDurableError("the writer does not run")
        await self._queue.put_events(item)

    def _take_samples(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            self._queue.put_samples(message)

    async def _run(self) -> None:
        while not (self._stopping.is_set() and self._queue.is_empty):
            await self._queue.wait_due(self._settings.flush_seconds)
            self._parcel = self._queue.take()
            if not self._parcel.is_empty:
                await self._deliver(self._parcel)
            self._parcel = None
            if self._shedding and self._queue.rows < self._settings.queue_rows // 2:
                self._shedding = False
                self._log.info("samples_no_longer_dropped", dropped_so_far=self.dropped)
        if self._connection is not None:
            with suppress(DatabaseUnavailableError), self._database.errors():
                await self._store.write_instruments(self._connection)

    async def _deliver(self, parcel: Parcel) -> None:
        """Store a parcel, however long it takes; returns when it is stored or refused."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                outcome = await self._attempt(parcel)
            except DatabaseUnavailableError as error:
                await self._wait(error, pause)
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop what comes after
                parts = parcel.parts()
                self._store.forget(parcel)
                if len(parts) == 1:
                    self._refuse(parcel, error)
                    return
                for part in parts:
                    await self._deliver(part)
                    parcel.remove_first()
                return
            else:
                self._succeed(outcome)
                return

    async def _attempt(self, parcel: Parcel) -> Outcome:
        connection = await self._connect()
        try:
            with self._database.errors(), self._metrics.flush_seconds.time():
                return await self._store.write(connection, parcel)
        except DatabaseUnavailableError:
            await self._disconnect()
            raise

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

    def _succeed(self, outcome: Outcome) -> None:
        if self._away_since_ns is not None:
            seconds = (self._clock.monotonic_ns() - self._away_since_ns) / NS_PER_SECOND
            self._away_since_ns = None
            self._log.info("database_back", seconds=round(seconds, 3), rows_waiting=self.rows_waiting)
        for table, rows in outcome.rows.items():
            self._metrics.rows.labels(table).inc(rows)
            self.rows_stored += rows
            if table.endswith("_samples"):
                self.samples_stored += rows
            else:
                self.events_stored += rows
        for table, numbers in outcome.not_finite.items():
            self._metrics.not_finite.labels(table).inc(numbers)
        for stream, rows in outcome.refused.items():
            self._drop(stream, "refused", rows)
        self._note_refusal(outcome.reason)
        for item, receipt in outcome.receipts:
            item.resolve(receipt)

    def _refuse(self, parcel: Parcel, error: Exception) -> None:
        """One batch that the database, or an encoder, does not take."""
        self._note_refusal(f"{type(error).__name__}: {error}".partition("\n")[0])
        for batch in parcel.samples:
            self._drop(_stream(batch.schema), "refused", len(batch.samples))
        for item in parcel.events:
            if item.done is None:
                self._drop(_EVENTS, "refused", item.rows)
            item.fail(RefusedByDatabaseError(f"refused by the database: {self._trouble}"))

    def _note_refusal(self, reason: str) -> None:
        if reason:
            self._trouble = reason
            if not self._refusing:
                self._log.error("rows_refused", reason=reason)
        elif self._refusing:
            self._log.info("rows_no_longer_refused")
        self._refusing = bool(reason)

    def _drop_oldest(self, batch: SampleBatch) -> None:
        self._drop(_stream(batch.schema), "queue_full", len(batch.samples))
        if not self._shedding:
            self._shedding = True
            self._log.warning("samples_dropped", reason="the queue is full", rows_waiting=self.rows_waiting)

    def _drop(self, stream: str, reason: str, rows: int) -> None:
        if rows:
            self.dropped += rows
            self._metrics.dropped.labels(stream, reason).inc(rows)

    def _give_up_rest(self) -> None:
        parcels = [self._parcel] if self._parcel is not None else []
        self._parcel = None
        while not self._queue.is_empty:
            parcels.append(self._queue.take())
        rows = sum(parcel.rows for parcel in parcels)
        for parcel in parcels:
            for batch in parcel.samples:
                self._drop(_stream(batch.schema), "shutdown", len(batch.samples))
            for item in parcel.events:
                if item.done is None:
                    self._drop(_EVENTS, "shutdown", item.rows)
                item.fail(NotDurableError("the writer has stopped"))
        if rows:
            self._log.warning("rows_given_up", rows=rows, reason=self._trouble or "no time left")


def _stream(schema: SampleSchema) -> str:
    return f"samples:{schema.collector}"

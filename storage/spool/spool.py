"""The spool as the event loop uses it: accepts events and samples, and answers when they are on disk."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from decahertz.bus import RECORDED
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import Arrival
from decahertz.health import ComponentStatus, Health
from decahertz.ingest import EmitterId, NotDurableError, Receipt
from decahertz.ledger import Changes, Ledger, StreamLedger
from decahertz.sample import SampleBatch, SampleSchema
from decahertz.sequences import SequenceSet
from storage.entry import Ack, Entry, samples_stream
from storage.settings import SpoolSettings
from storage.spool.errors import SpoolError
from storage.spool.health import SpoolHealth
from storage.spool.jobs import (
    AckJob,
    CallJob,
    Job,
    LossJob,
    ReleaseJob,
    Report,
    WriteJob,
    answer_to,
    result_of,
)
from storage.spool.memory_queue import FULL_ROWS, MemoryQueue
from storage.spool.self_metrics import LedgerMetrics, SpoolMetrics
from storage.spool.worker import SpoolWorker

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.bus import Bus, Message, Subscription
    from storage.spool.file import SpoolFile

T = TypeVar("T")

_ARRIVAL_ROWS = 5_000

QUEUE_FULL, SHUTDOWN = "queue_full", "shutdown"
"""Drop reasons of rows that exist in memory only."""


class Spool:
    """A durable queue of entries. Implements :class:`decahertz.ingest.EventSink`.

    States of an entry::

                  ┌────────────── in flight ──────────────┐
         commit   │                 take                  │  ack
        ────────► │  memory queue ─────────► writer       │ ──────► acked: the next commit deletes it
                  │       │                 ▲     │       │
                  └───────┼─────────────────┼─────┼───────┘
                    evict │    read_backlog │     │ release
                          ▼                 │     ▼
                  ┌───────────────────────────────────────┐  trim
                  │  backlog: on disk only                │ ──────► dropped by spool.max_bytes
                  └───────────────────────────────────────┘         or spool.max_age_hours

    An entry is on disk from its commit until it is acked or dropped. In flight it is in memory too: the
    memory queue keeps the newest ``queue_rows`` rows, and only evicted entries are read back. While the disk
    fails, emitters are refused and send again; samples, and events of this process's feeds, are in memory
    only, and are dropped when the memory queue is full. When the disk takes rows again it gets them too.
    """

    def __init__(
        self,
        folder: Path,
        bus: Bus,
        clock: Clock,
        registry: CollectorRegistry,
        settings: SpoolSettings,
        schemas: Sequence[SampleSchema] = (),
        *,
        stored: Mapping[EmitterId, SequenceSet] | None = None,
        queue_rows: int = 200_000,
    ) -> None:
        """``folder`` is created if it is missing; ``schemas`` declare the samples to store.

        ``stored`` are the sequences of events in the database: a new file rejects their duplicates too.
        ``queue_rows`` limits the memory queue, and what may wait for the disk.
        """
        self.queue = MemoryQueue(queue_rows, self._release, self._drop)
        self._bus = bus
        self._clock = clock
        self._queue_rows = queue_rows
        self._ledger = Ledger()
        for schema in schemas:
            self._ledger.announce(samples_stream(schema.collector))
        self._worker = SpoolWorker(folder, settings, clock, self._ledger, schemas, self._report)
        self._metrics = SpoolMetrics(
            registry,
            settings.max_bytes,
            lambda: self._worker.bytes,
            lambda: self.backlog_rows,
            lambda: self.oldest_seconds,
        )
        registry.register(LedgerMetrics(self._ledger))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscription: Subscription | None = None
        self._stored = stored or {}
        self._known: dict[EmitterId, SequenceSet] = {}
        self._dropped_before = 0
        self._uncommitted_rows = 0
        self._lost = Changes()
        self._has_room = asyncio.Event()
        self._health = SpoolHealth(clock)
        self._stopped = False
        self._log = structlog.get_logger(part="spool")
        self.on_acked: Callable[[list[uuid.UUID]], None] = lambda _: None
        """Called with batches that are in the database and no longer in the file."""

    async def start(self) -> None:
        """Opens the file and subscribes to samples. Raises an error of :mod:`storage.spool.errors`."""
        self._loop = asyncio.get_running_loop()
        self._known = await asyncio.to_thread(self._worker.open, self._stored)
        if self._worker.recovery is not None:
            self._metrics.lost_transactions.inc(self._worker.recovery.lost_transactions)
        self._dropped_before = _dropped(self._ledger)
        self._subscription = self._bus.subscribe("samples:*", self._take_samples)

    async def stop(self) -> None:
        """Commits everything that arrived, and closes the file. Safe without :meth:`start`, and twice."""
        self._stopped = True
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        self._has_room.set()
        dropped = [Ack(entry, {SHUTDOWN: entry.rows}) for entry in await self._rescue_last()]
        if dropped:
            self.ack(dropped)
        await asyncio.to_thread(self._worker.close)
        if dropped:
            rows = sum(ack.entry.rows for ack in dropped)
            self._log.warning("rows_dropped", rows=rows, reason="in memory only at the stop")

    def known(self) -> dict[EmitterId, SequenceSet]:
        """Returns the sequences of all events that were durable at the start."""
        return self._known

    async def adopt(self, stored: Mapping[EmitterId, SequenceSet]) -> None:
        """Learn which events the database has, if it was opened after the start: duplicates are rejected."""
        if not self._is_closed:
            await self.call(lambda file: file.adopt(stored))

    @property
    def newest_sample_ns(self) -> int | None:
        """Time of the newest sample of an earlier process that was in the spool at the start."""
        return self._worker.newest_sample_ns

    @property
    def first_new_id(self) -> int:
        """Entries with a smaller id are from an earlier process."""
        return self._worker.first_new_id

    @property
    def epoch(self) -> int:
        """Events that become durable after the start have higher numbers, earlier ones do not."""
        return self._worker.first_new_id - 1

    def ledger(self) -> list[StreamLedger]:
        """Returns the loss ledger: all accounts at one moment."""
        return self._ledger.read()

    def set_expired(self, rows: Mapping[str, int]) -> None:
        """See :meth:`~decahertz.ledger.Ledger.set_expired`."""
        self._ledger.set_expired(rows)

    def unbalanced(self) -> dict[str, int]:
        """Rows that are unaccounted for, by stream; only streams that have such."""
        return self._ledger.unbalanced()

    @property
    def dropped(self) -> int:
        """Samples and events dropped since the start, for any reason."""
        return _dropped(self._ledger) - self._dropped_before

    @property
    def backlog_rows(self) -> int:
        """Rows that are on disk only."""
        return self._worker.backlog.rows

    @property
    def kept_rows(self) -> int:
        """Rows on disk: the next process finds them."""
        return self._worker.rows

    @property
    def unkept_rows(self) -> int:
        """Rows in memory only: they are lost if the process ends now."""
        return self._uncommitted_rows + self.queue.unspooled_rows

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest entry that the database does not have; 0 without one."""
        oldest_ns = self._worker.oldest_ns
        return 0.0 if oldest_ns is None else max(0, self._clock.time_ns() - oldest_ns) / NS_PER_SECOND

    @property
    def has_backlog(self) -> bool:
        """Whether there are entries that are on disk only."""
        return self._worker.backlog.entries > 0

    def status(self) -> ComponentStatus:
        """Health of the spool."""
        health, detail = Health.OK, ""
        if self._worker.failure:
            health, detail = Health.FAILED, self._worker.failure
        elif self._stopped or self._loop is None:
            health, detail = Health.FAILED, "the spool is not open"
        elif condition := str(self._health):
            health, detail = Health.DEGRADED, condition
        elif self._worker.recovery is not None:
            health, detail = Health.DEGRADED, str(self._worker.recovery)
        elif self._worker.removal:
            health, detail = Health.DEGRADED, self._worker.removal
        return ComponentStatus(name="spool", health=health, detail=detail)

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        """Appends the events that are not durable yet; returns when they are on disk.

        Raises :class:`~decahertz.ingest.NotDurableError` if that takes longer than ``timeout_seconds``, or if
        the disk does not take them.
        """
        began_ns = self._clock.monotonic_ns()
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._wait_for_room(arrival)
                self._worker.put(WriteJob(self._report, [arrival], [answer_to(done)]))
                receipt = await done
        except TimeoutError:
            reason = self._health.write_error or "the disk is busy"
            raise NotDurableError(f"not on disk within {timeout_seconds:g} s: {reason}") from None
        self._metrics.durable_seconds.observe((self._clock.monotonic_ns() - began_ns) / NS_PER_SECOND)
        return receipt

    async def enqueue(self, arrival: Arrival) -> None:
        """Queue events for the next commit; waits only while too many rows wait for the disk."""
        await self._wait_for_room(arrival)
        self._worker.put(WriteJob(self._report, [arrival], [None]))

    async def flush(self) -> None:
        """Returns when every earlier row is on disk, or could not be written."""
        if not self._is_closed:
            await self.call(lambda _: None)

    async def read_backlog(self, max_rows: int) -> list[Entry]:
        """Reads entries of the backlog, about ``max_rows`` rows; each has to be acked or released."""
        if self._is_closed:
            return []
        found = await self.call(lambda file: file.read_backlog(max_rows))
        if isinstance(found, SpoolError):
            self._health.note_write_error(str(found))
            return []
        return found

    async def waiting_events(self) -> AsyncGenerator[Arrival, None]:
        """Yields the events in the file, in order, and leaves them there. Raises :class:`SpoolError`."""
        after_id: int | None = 0
        while after_id is not None and not self._is_closed:
            arrivals, after_id = await self.read_arrivals(after_id)
            for arrival in arrivals:
                yield arrival

    async def read_arrivals(self, after_id: int) -> tuple[list[Arrival], int | None]:
        """Reads events of entries behind this one, which stay; returns where to continue, if at all.

        Raises :class:`SpoolError`.
        """
        outcome = await self.call(partial(_read_arrivals, after_id))
        if isinstance(outcome, SpoolError):
            raise outcome
        return outcome

    def ack(self, acks: Sequence[Ack]) -> None:
        """Acknowledges stored or dropped entries; the next commit deletes them."""
        self._worker.put(AckJob(acks))

    @property
    def _is_closed(self) -> bool:
        return self._stopped or self._loop is None or bool(self._worker.failure)

    def put(self, job: Job) -> None:
        """Queue a job for the spool's thread; returns at once."""
        self._worker.put(job)

    async def call(self, function: Callable[[SpoolFile], T]) -> T | SpoolError:
        """Calls a function in the spool's thread."""
        done: asyncio.Future[T | SpoolError] = asyncio.get_running_loop().create_future()
        self._worker.put(CallJob(function, result_of(done)))
        return await done

    def _release(self, entries: Sequence[Entry]) -> None:
        self._worker.put(ReleaseJob([entry.id for entry in entries]))

    def _rescue(self) -> None:
        """Writes entries that are in memory only, now that the disk takes rows."""
        entries = self.queue.take_unspooled(FULL_ROWS)
        if entries and not self._is_closed:
            job = WriteJob(self._report, rescued=entries)
            self._uncommitted_rows += job.rows
            self._worker.put(job)

    async def _rescue_last(self) -> list[Entry]:
        """Writes what is in memory only, for the last time; returns what the disk does not take."""
        if self._loop is None:
            return []
        await self.call(lambda _: None)  # what waits for the disk may be refused too
        entries = self.queue.take_unspooled(self.queue.rows)
        if entries:
            self._worker.put(WriteJob(self._report, rescued=entries))
            await self.call(lambda _: None)
        return [entry for entry in entries if not entry.id]

    def _drop(self, entries: Sequence[Entry]) -> None:
        self.ack([Ack(entry, {QUEUE_FULL: entry.rows}) for entry in entries])

    async def _wait_for_room(self, arrival: Arrival) -> None:
        rows = len(arrival.batch.events)
        while (
            not self._is_closed
            and self._uncommitted_rows
            and self._uncommitted_rows + rows > self._queue_rows
        ):
            self._has_room.clear()
            await self._has_room.wait()
        if self._is_closed:
            raise NotDurableError("the spool is not open")
        self._uncommitted_rows += rows

    def _take_samples(self, message: Message) -> None:
        if not isinstance(message, SampleBatch) or not message.samples:
            return
        rows = len(message.samples)
        if self._uncommitted_rows > self._queue_rows:  # the disk hangs: it does not even report an error
            self._lost.lose(samples_stream(message.schema.collector), QUEUE_FULL, rows)
            return
        self._uncommitted_rows += rows
        self._worker.put(WriteJob(self._report, samples=[message]))

    def _report(self, report: Report) -> None:
        """Passes a report of the spool's thread on to the loop."""
        assert self._loop is not None  # noqa: S101 - start() sets it before it starts the worker
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._take_report, report)

    def _take_report(self, report: Report) -> None:
        self._uncommitted_rows -= report.rows
        self._has_room.set()
        if self._lost:
            self._worker.put(LossJob(self._lost))
            self._lost = Changes()
        for answer, outcome in report.receipts:
            answer(outcome)
        if report.error is not None:
            self._metrics.failures.inc()
            self._health.note_write_error(str(report.error))
        elif report.rows:
            self._health.note_written()
        result = report.result
        self._health.note_encoding(result.encoding_error, has_samples=bool(result.samples))
        self._health.note_dropped(result.dropped_rows, has_backlog=self.has_backlog)
        if report.error is None and (report.entries or any(entry.id for entry in report.rescued)):
            self._rescue()
        self.queue.put([*report.rescued, *report.entries])
        for entry in report.entries:
            if entry.rows and isinstance(entry.content, Arrival):
                self._bus.publish(RECORDED, entry.content)
        if result.forgettable:
            self.on_acked(result.forgettable)


def _dropped(ledger: Ledger) -> int:
    return sum(sum(account.dropped.values()) for account in ledger.read())


def _read_arrivals(after_id: int, file: SpoolFile) -> tuple[list[Arrival], int | None]:
    return file.read_arrivals(after_id, _ARRIVAL_ROWS)

"""The spool as the event loop sees it: takes events and samples, answers when they are on disk.

What is on disk stays in memory too, within bounds, until the writer has brought it into the database
(:class:`~storage.spool.memory_queue.MemoryQueue`). What finds no place there waits in the file and is read
back. When the disk takes nothing emitters are refused and send again; samples and the feeds' events go on in
memory.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

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
from storage.spool.health import Troubles
from storage.spool.jobs import (
    AckJob,
    CallJob,
    EventsJob,
    Job,
    LossJob,
    ReadJob,
    ReleaseJob,
    Report,
    SamplesJob,
)
from storage.spool.memory_queue import MemoryQueue
from storage.spool.metrics import LedgerMetrics, SpoolMetrics
from storage.spool.worker import SpoolWorker

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.bus import Bus, Message, Subscription
    from storage.spool.file import SpoolFile

T = TypeVar("T")

_ARRIVAL_ROWS = 5_000

QUEUE_FULL, SHUTDOWN = "queue_full", "shutdown"
"""Why rows are given up that the disk did not take."""


class Spool:
    """Makes everything durable. Implements :class:`decahertz.ingest.EventSink`."""

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
        """``folder`` is made when it is not there. ``schemas`` are those of the samples to come.

        ``stored`` is which events the database has already: they are recognised too, should the file be new.

        ``queue_rows`` bounds what is kept in memory on its way to the database, and what may wait for the
        disk.
        """
        self.queue = MemoryQueue(queue_rows, self._release, self._lose)
        """On disk, and not in the database yet."""
        self._bus = bus
        self._clock = clock
        self._queue_rows = queue_rows
        self._book = Ledger()
        for schema in schemas:
            self._book.announce(samples_stream(schema.collector))
        self._worker = SpoolWorker(folder, settings, clock, self._book, schemas, self._report)
        self._metrics = SpoolMetrics(registry, lambda: self._worker.bytes, lambda: self._worker.backlog_rows)
        registry.register(LedgerMetrics(self._book))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscription: Subscription | None = None
        self._stored = stored or {}
        self._known: dict[EmitterId, SequenceSet] = {}
        self._dropped_before = 0
        self._waiting_rows = 0
        self._shed = Changes()
        self._place = asyncio.Event()
        self._troubles = Troubles()
        self._stopped = False
        self._log = structlog.get_logger(part="spool")
        self.on_acked: Callable[[list[uuid.UUID]], None] = lambda _: None
        """Told which batches are in the database and no longer in the file."""

    async def start(self) -> None:
        """Open the file and take samples from the bus. Raises an error of :mod:`storage.spool.errors`."""
        self._loop = asyncio.get_running_loop()
        self._known = await asyncio.to_thread(self._worker.open, self._stored)
        if self._worker.recovery is not None:
            self._metrics.lost_transactions.inc(self._worker.recovery.lost_transactions)
        self._dropped_before = _dropped(self._book)
        self._subscription = self._bus.subscribe("samples:*", self._take_samples)

    async def stop(self) -> None:
        """Write down what came in, and close the file. Safe without :meth:`start`, and twice."""
        self._stopped = True
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        self._place.set()
        lost = [Ack(entry, {SHUTDOWN: entry.rows}) for entry in self.queue.unspooled()]
        if lost:
            self.ack(lost)
        await asyncio.to_thread(self._worker.close)
        if lost:
            self._log.warning("rows_given_up", rows=sum(item.entry.rows for item in lost))

    def known(self) -> dict[EmitterId, SequenceSet]:
        """Which events of which emitters were durable at the start."""
        return self._known

    @property
    def newest_sample_ns(self) -> int | None:
        """The latest instant that an earlier process sampled and that waited at the start."""
        return self._worker.newest_sample_ns

    def ledger(self) -> list[StreamLedger]:
        """The loss ledger, all streams at one moment."""
        return self._book.read()

    @property
    def dropped(self) -> int:
        """Samples and events given up since the start, for any reason."""
        return _dropped(self._book) - self._dropped_before

    @property
    def backlog_rows(self) -> int:
        """Rows on disk that are not in memory."""
        return self._worker.backlog_rows

    @property
    def has_backlog(self) -> bool:
        """Whether there is something on disk that is not in memory."""
        return self._worker.has_backlog

    def status(self) -> ComponentStatus:
        """How it is now."""
        health, detail = Health.OK, ""
        if self._worker.failure:
            health, detail = Health.FAILED, self._worker.failure
        elif self._stopped or self._loop is None:
            health, detail = Health.FAILED, "the spool is not open"
        elif trouble := str(self._troubles):
            health, detail = Health.DEGRADED, trouble
        elif self._worker.recovery is not None:
            health, detail = Health.DEGRADED, str(self._worker.recovery)
        return ComponentStatus(name="spool", health=health, detail=detail)

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        """Write down the events not taken yet; returns when they are on disk.

        Raises :class:`~decahertz.ingest.NotDurableError` when that takes longer than ``timeout_seconds``, or
        when the disk does not take them.
        """
        began_ns = self._clock.monotonic_ns()
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._place_for(arrival)
                self._worker.put(EventsJob(arrival, _answer(done)))
                receipt = await done
        except TimeoutError:
            why = self._troubles.disk or "the disk is busy"
            raise NotDurableError(f"not on disk within {timeout_seconds:g} s: {why}") from None
        self._metrics.durable_seconds.observe((self._clock.monotonic_ns() - began_ns) / NS_PER_SECOND)
        return receipt

    async def enqueue(self, arrival: Arrival) -> None:
        """Have the events written down; waits only while too many wait for the disk."""
        await self._place_for(arrival)
        self._worker.put(EventsJob(arrival, None))

    async def flush(self) -> None:
        """Return when all that came in is on disk, or refused by it."""

        def reached(answer: Callable[[None], None]) -> Job:
            return CallJob(lambda _: answer(None), lambda _: answer(None))

        if not self._is_closed:
            await self._asked(reached)

    async def read_backlog(self, max_rows: int) -> list[Entry]:
        """Some of what is on disk only. Each entry is to be acked, or released."""

        def read(answer: Callable[[list[Entry] | SpoolError], None]) -> Job:
            return ReadJob(max_rows, answer)

        if self._is_closed:
            return []
        found = await self._asked(read)
        if isinstance(found, SpoolError):
            self._troubles.note_disk(str(found))
            return []
        return found

    async def waiting_events(self) -> AsyncGenerator[Arrival, None]:
        """The events that are on disk, as they came; they stay there. Raises an error of the spool."""
        after_id: int | None = 0
        while after_id is not None and not self._is_closed:
            outcome = await self._asked(partial(_arrivals_job, after_id))
            if isinstance(outcome, SpoolError):
                raise outcome
            arrivals, after_id = outcome
            for arrival in arrivals:
                yield arrival

    @property
    def _is_closed(self) -> bool:
        return self._stopped or self._loop is None or bool(self._worker.failure)

    async def _asked(self, job_with: Callable[[Callable[[T], None]], Job]) -> T:
        """What the thread answers."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def answer(outcome: T) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_finish, done, outcome)

        self._worker.put(job_with(answer))
        return await done

    def ack(self, acks: Sequence[Ack]) -> None:
        """Entries are in the database, or given up: they leave the file."""
        self._worker.put(AckJob(acks))

    def _release(self, entries: Sequence[Entry]) -> None:
        """Entries are no longer in memory: they wait in the file."""
        self._worker.put(ReleaseJob([entry.id for entry in entries]))

    def _lose(self, entries: Sequence[Entry]) -> None:
        """Entries are no longer in memory and nowhere else."""
        self.ack([Ack(entry, {QUEUE_FULL: entry.rows}) for entry in entries])

    async def _place_for(self, arrival: Arrival) -> None:
        rows = len(arrival.batch.events)
        while not self._is_closed and self._waiting_rows and self._waiting_rows + rows > self._queue_rows:
            self._place.clear()
            await self._place.wait()
        if self._is_closed:
            raise NotDurableError("the spool is not open")
        self._waiting_rows += rows

    def _take_samples(self, message: Message) -> None:
        if not isinstance(message, SampleBatch) or not message.samples:
            return
        rows = len(message.samples)
        if self._waiting_rows > self._queue_rows:  # the disk hangs: not even an error comes back
            self._shed.lose(samples_stream(message.schema.collector), QUEUE_FULL, rows)
            return
        self._waiting_rows += rows
        self._worker.put(SamplesJob(message))

    def _report(self, report: Report) -> None:
        assert self._loop is not None  # noqa: S101 - the worker was started by it
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(self._take_report, report)

    def _take_report(self, report: Report) -> None:
        self._waiting_rows -= report.rows
        self._place.set()
        if self._shed:
            self._worker.put(LossJob(self._shed))
            self._shed = Changes()
        for job, outcome in report.receipts:
            if job.answer is not None:
                job.answer(outcome)
        if report.error is not None:
            self._metrics.failures.inc()
            self._troubles.note_disk(str(report.error))
        elif report.rows:
            self._troubles.note_written()
        self._troubles.note_refusal(report.written.refused, has_good=bool(report.written.samples))
        self._troubles.note_given_up(report.written.given_up, has_backlog=self.has_backlog)
        self.queue.put(report.entries)
        if report.written.forgettable:
            self.on_acked(report.written.forgettable)


def _dropped(book: Ledger) -> int:
    return sum(sum(ledger.dropped.values()) for ledger in book.read())


def _arrivals_job(
    after_id: int, answer: Callable[[tuple[list[Arrival], int | None] | SpoolError], None]
) -> CallJob:
    def read(file: SpoolFile) -> None:
        answer(file.read_arrivals(after_id, _ARRIVAL_ROWS))

    return CallJob(read, answer)


def _finish(done: asyncio.Future[T], outcome: T) -> None:
    if not done.done():
        done.set_result(outcome)


def _answer(done: asyncio.Future[Receipt]) -> Callable[[Receipt | SpoolError], None]:
    def answer(outcome: Receipt | SpoolError) -> None:
        if done.done():
            return
        if isinstance(outcome, Receipt):
            done.set_result(outcome)
        else:
            done.set_exception(NotDurableError(str(outcome)))

    return answer

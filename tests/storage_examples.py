"""Samples, events and a writer for the tests of the storage."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar

import asyncpg
from prometheus_client import CollectorRegistry

from decahertz.bus import LocalBus, samples_topic
from decahertz.clock import Clock, SystemClock
from decahertz.event import AnyEvent, Arrival, EventBatch, Fill, Quote, Side
from decahertz.fakes import ManualClock
from decahertz.ingest import Receipt
from decahertz.ledger import StreamLedger
from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample, SampleBatch, SampleSchema, schema_of
from storage.database import Database
from storage.entry import Ack, entry_of
from storage.schema.emitters import recently_stored_events
from storage.settings import SpoolSettings
from storage.spool import Spool
from storage.write.lease import RecorderLease
from storage.write.transaction import EntryWriter
from storage.write.writer import Writer

START_NS = 1_700_000_000_000_000_000
CYCLE_NS = 100_000_000
LIMIT_SECONDS = 20.0
RECORDER = "desk"
HOLDER = uuid.UUID(int=1)
FAST = SpoolSettings(commit_seconds=0.005)


class Verdict(StrEnum):
    LIVE = "live"
    STALE = "stale"


class BookSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "book"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    venue: str
    instrument: str
    mid: Annotated[float | None, Metric("Middle of bid and ask.", unit=Unit.PRICE)] = None
    gaps: Annotated[int, Metric("Sequence gaps seen.", kind=Kind.COUNTER)] = 0
    verdict: Annotated[Verdict, Metric("The feed's verdict.", kind=Kind.STATE)] = Verdict.LIVE
    crossed: Annotated[bool | None, Metric("Whether bid is above ask.")] = None


class WiderBookSample(BookSample, frozen=True, kw_only=True):
    """The book sample of a later version: one metric more."""

    depth: Annotated[float | None, Metric("Quantity within ten basis points.")] = None


class HostSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "machine"
    load: Annotated[float, Metric("Load of the machine.")]


BOOK = schema_of(BookSample)
WIDER_BOOK = schema_of(WiderBookSample)
MACHINE = schema_of(HostSample)


def book(instrument: str = "EUR/USD", venue: str = "sim", **values: Any) -> BookSample:  # noqa: ANN401 - any field
    return BookSample(venue=venue, instrument=instrument, **values)


def books(tick: int, *samples: BookSample) -> SampleBatch:
    """The samples of the tick-th instant."""
    return SampleBatch(BOOK, START_NS + tick * CYCLE_NS, samples or (book(gaps=tick),))


def machine(tick: int) -> SampleBatch:
    """The sample of the machine at the tick-th instant; the load counts the instants."""
    return SampleBatch(MACHINE, START_NS + tick * CYCLE_NS, (HostSample(load=float(tick)),))


def quote(number: int, instrument: str = "EUR/USD") -> Quote:
    return Quote(
        time_ns=START_NS + number, venue="sim", instrument=instrument, bid=1.0 + number, ask=2.0 + number
    )


def fill(number: int, side: Side, quantity: float, price: float, **changes: Any) -> Fill:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "time_ns": START_NS + number,
        "strategy": "trend",
        "venue": "sim",
        "instrument": "EUR/USD",
        "order_id": f"o{number}",
        "fill_id": f"f{number}",
        "side": side,
        "quantity": quantity,
        "price": price,
    }
    return Fill(**values | changes)


def arrival(
    first: int,
    events: Sequence[AnyEvent],
    source: str = "loop",
    epoch: int = 7,
    **more: Any,  # noqa: ANN401 - any field
) -> Arrival:
    batch = EventBatch(source=source, epoch=epoch, first_sequence=first, events=tuple(events), **more)
    return Arrival(batch=batch, received_ns=START_NS + first)


def quotes(first: int, last: int, source: str = "loop", epoch: int = 7) -> Arrival:
    return arrival(first, [quote(number) for number in range(first, last + 1)], source, epoch)


def account_of(ledger: Sequence[StreamLedger], stream: str) -> tuple[int, int, int, dict[str, int]]:
    """Emitted, stored, spooled, dropped by reason; asserts that every stream is balanced."""
    assert all(one.imbalance == 0 for one in ledger)
    (found,) = (one for one in ledger if one.stream == stream)
    return found.emitted, found.stored, found.spooled, found.dropped


class Bench:
    """A writer at work, with its bus and its counters."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        spool: SpoolSettings,
        lease: RecorderLease | None = None,
        **more: Any,  # noqa: ANN401 - any field
    ) -> None:
        self.database = database
        self.lease = lease or RecorderLease(database, RECORDER, HOLDER)
        self.folder = folder
        self.bus = LocalBus()
        self.registry = CollectorRegistry()
        self._spool_settings = spool
        self._more = more

    async def start(self) -> None:
        schemas = [BOOK, MACHINE]
        settings = self.database.settings
        self.spool = Spool(
            self.folder,
            self.bus,
            SystemClock(),
            self.registry,
            self._spool_settings,
            schemas,
            stored=await recently_stored_events(self.database),
            queue_rows=settings.queue_rows,
        )
        await self.spool.start()
        await self.lease.take()
        self.writer = Writer(
            self.database,
            self.spool,
            self.lease,
            SystemClock(),
            self.registry,
            schemas,
            backlog_rows_per_second=self._spool_settings.backlog_rows_per_second,
            **self._more,
        )
        await self.writer.start()

    async def stop(self) -> None:
        await self.writer.stop()
        await self.spool.stop()
        await self.lease.stop()

    async def append(self, arrived: Arrival, timeout_seconds: float = 10) -> Receipt:
        """Into the spool, and then all that is there into the database."""
        receipt = await self.spool.append(arrived, timeout_seconds)
        await self.drained()
        return receipt

    def account(self, stream: str) -> tuple[int, int, int, dict[str, int]]:
        return account_of(self.spool.ledger(), stream)

    def sample(self, batch: SampleBatch) -> None:
        self.bus.publish(samples_topic(batch.schema.collector), batch)

    def counted(self, metric: str, **labels: str) -> float | None:
        """The value of one of the program's own metrics."""
        return self.registry.get_sample_value(f"decahertz_{metric}", labels)

    async def drained(self) -> None:
        await self.spool.flush()
        await until(lambda: self.writer.is_idle and not any(one.spooled for one in self.spool.ledger()))

    async def stored_quotes(self) -> list[int]:
        """The sequences of the quotes in the database."""
        return [row[0] for row in await self.rows("SELECT sequence FROM quotes ORDER BY sequence")]

    async def rows(self, question: str, *values: object) -> list[asyncpg.Record]:
        async with self.database.query() as connection:
            return await connection.fetch(question, *values)

    async def value(self, question: str, *values: object) -> Any:  # noqa: ANN401 - any field
        async with self.database.query() as connection:
            return await connection.fetchval(question, *values)


@asynccontextmanager
async def writing(
    database: Database,
    folder: Path | None = None,
    spool: SpoolSettings = FAST,
    **more: Any,  # noqa: ANN401 - any field
) -> AsyncIterator[Bench]:
    """A running spool and writer, stopped at the end; ``folder`` is where the spool is, and stays."""
    with tempfile.TemporaryDirectory() as own:
        bench = Bench(database, folder or Path(own), spool, **more)
        await bench.start()
        try:
            yield bench
        finally:
            await bench.stop()


@asynccontextmanager
async def opened_spool(
    folder: Path,
    schemas: Sequence[SampleSchema] = (),
    clock: Clock | None = None,
    registry: CollectorRegistry | None = None,
    **more: Any,  # noqa: ANN401 - any field
) -> AsyncIterator[Spool]:
    """A running spool without a writer, stopped at the end."""
    spool = Spool(
        folder,
        LocalBus(),
        clock or ManualClock(START_NS),
        registry or CollectorRegistry(),
        SpoolSettings(),
        schemas,
        **more,
    )
    await spool.start()
    try:
        yield spool
    finally:
        await spool.stop()


async def store(database: Database, *contents: SampleBatch | Arrival) -> list[Ack]:
    """Into the database in one transaction, without a spool."""
    writer = EntryWriter(database, RECORDER, SystemClock())
    connection = await database.connect("test")
    try:
        result = await writer.write(connection, [entry_of(content) for content in contents])
        await writer.finish(connection)
    finally:
        await database.disconnect(connection)
    return list(result.acks.values())


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits until it is so."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)

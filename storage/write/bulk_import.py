"""Stores events directly, without a spool, for commands that read them from a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import asyncpg

from decahertz.clock import Clock
from decahertz.event import Arrival
from storage.database import Database, DatabaseUnavailableError
from storage.entry import Ack, Entry, entry_of
from storage.schema.samples import recent_of
from storage.spool.memory_queue import FULL_ROWS
from storage.tiers.plain.partitions import (
    DAY,
    Partition,
    Partitioned,
    day_of,
    ensure_partition,
    is_partitioned,
)
from storage.write.transaction import EntryWriter

if TYPE_CHECKING:
    from storage.database import AnyConnection

ResultT = TypeVar("ResultT")

Stored: TypeAlias = Callable[[int, Ack], None]

_PAUSE_SECONDS = 0.5


async def patiently(work: Callable[[], Awaitable[ResultT]], timeout_seconds: float) -> ResultT:
    """Repeats ``work`` while the database is unavailable.

    Raises :class:`~storage.database.DatabaseUnavailableError` after ``timeout_seconds``.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_seconds
    while True:
        try:
            return await work()
        except DatabaseUnavailableError:
            if clock() >= deadline:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def import_connection(database: Database) -> AsyncIterator[AnyConnection]:
    """A connection with the time limit of writers, which is longer than that of queries.

    Raises the errors of :mod:`storage.database`.
    """
    connection = await database.connect("import")
    try:
        with database.errors():
            yield connection
    finally:
        await database.disconnect(connection)


class DirectWriter:
    """Stores events while the caller waits."""

    def __init__(
        self,
        database: Database,
        recorder: str,
        clock: Clock,
        guard: Callable[[AnyConnection], Awaitable[None]] | None = None,
    ) -> None:
        """``guard`` begins every transaction, and stops it by a :class:`~storage.database.DatabaseError`."""
        self._database = database
        self._writer = EntryWriter(database, recorder, clock, guard=guard)
        self._partitions = _ImportPartitions(clock)

    async def store(self, arrivals: Sequence[Arrival], timeout_seconds: float, stored: Stored) -> None:
        """Stores the events that are not stored yet; retries while the database is unavailable.

        ``stored`` is called with the place of each batch in ``arrivals`` and with what became of it, as soon
        as that is certain.

        Raises :class:`~storage.database.DatabaseUnavailableError` after ``timeout_seconds``; the next
        attempt recognises the events stored by then.
        """
        entries = [entry_of(arrival) for arrival in arrivals]
        waiting = {entry.batch_id: place for place, entry in enumerate(entries)}

        def take(ack: Ack) -> None:
            stored(waiting.pop(ack.entry.batch_id), ack)

        async def attempt() -> None:
            await self._attempt([entry for entry in entries if entry.batch_id in waiting], take)

        await patiently(attempt, timeout_seconds)
        self._writer.forget(entry.batch_id for entry in entries)

    async def close(self) -> None:
        """Writes the rows that the writer has deferred."""
        async with import_connection(self._database) as connection:
            await self._writer.finish(connection)

    async def _attempt(self, entries: list[Entry], take: Callable[[Ack], None]) -> None:
        async with import_connection(self._database) as connection:
            for batch in _batches(entries):
                await self._partitions.create(connection, batch)
                async with aclosing(self._writer.deliver(connection, batch)) as results:
                    async for result in results:
                        for ack in result.acks.values():
                            take(ack)


class _ImportPartitions:
    """Creates the partitions of events before they are stored, so that no row has to move into its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._partitioned: dict[str, Partitioned | None] = {}
        self._known: dict[str, list[Partition]] = {}

    async def create(self, connection: AnyConnection, entries: Iterable[Entry]) -> None:
        days = {
            (event.table, day_of(event.time_ns))
            for entry in entries
            if isinstance(entry.content, Arrival)
            for event in entry.content.batch.events
            if event.bulk
        }
        for table, day in sorted(days):
            known = self._known.setdefault(table, [])
            if any(one.low <= day < one.high for one in known):
                continue
            if table not in self._partitioned:
                self._partitioned[table] = await _partitioned(connection, table)
            partitioned = self._partitioned[table]
            if partitioned is not None:
                # A table in use takes the rows in its default partition.
                with suppress(asyncpg.LockNotAvailableError, asyncpg.InsufficientPrivilegeError):
                    now_ns = self._clock.time_ns()
                    known.append(await ensure_partition(connection, partitioned, day, now_ns, DAY))


async def _partitioned(connection: AnyConnection, table: str) -> Partitioned | None:
    """The table that rows of an event table are written into, if PostgreSQL partitions it."""
    for name in (table, recent_of(table)):
        if await is_partitioned(connection, name):
            return Partitioned(name)
    return None


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Cuts entries into batches of about :data:`FULL_ROWS` rows, one for each transaction."""
    batch: list[Entry] = []
    rows = 0
    for entry in entries:
        batch.append(entry)
        rows += entry.rows
        if rows >= FULL_ROWS:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch

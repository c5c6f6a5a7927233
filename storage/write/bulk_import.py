"""Stores events directly, without a spool, for commands that read them from a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from decahertz.clock import Clock
from decahertz.event import Arrival
from storage.database import Database, DatabaseUnavailableError
from storage.entry import Ack, Entry, entry_of
from storage.spool.memory_queue import FULL_ROWS
from storage.write.transaction import EntryWriter

if TYPE_CHECKING:
    from storage.database import AnyConnection

ResultT = TypeVar("ResultT")

_PAUSE_SECONDS = 0.5


async def patiently(work: Callable[[], Awaitable[ResultT]], timeout_seconds: float) -> ResultT:
    """Repeat ``work`` while the database is unavailable.

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

    def __init__(self, database: Database, recorder: str, clock: Clock) -> None:
        self._database = database
        self._writer = EntryWriter(database, recorder, clock)

    async def store(self, arrivals: Sequence[Arrival], timeout_seconds: float) -> list[Ack]:
        """Store the events that are not stored yet; retry while the database is unavailable.

        Returns what became of each batch, in the order of ``arrivals``.

        Raises :class:`~storage.database.DatabaseUnavailableError` after ``timeout_seconds``; the next
        attempt recognises the events stored by then.
        """
        entries = waiting = [entry_of(arrival) for arrival in arrivals]
        acked: list[Ack] = []

        async def attempt() -> None:
            nonlocal waiting
            done = {ack.entry.batch_id for ack in acked}
            waiting = [entry for entry in waiting if entry.batch_id not in done]
            await self._attempt(waiting, acked)

        await patiently(attempt, timeout_seconds)
        self._writer.forget(ack.entry.batch_id for ack in acked)
        by_id = {ack.entry.batch_id: ack for ack in acked}
        return [by_id[entry.batch_id] for entry in entries]

    async def close(self) -> None:
        """Write the rows that the writer has deferred."""
        async with import_connection(self._database) as connection:
            await self._writer.finish(connection)

    async def _attempt(self, entries: list[Entry], acked: list[Ack]) -> None:
        async with import_connection(self._database) as connection:
            for batch in _batches(entries):
                async with aclosing(self._writer.deliver(connection, batch)) as results:
                    async for result in results:
                        acked += result.acks.values()


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Cut entries into batches of about :data:`FULL_ROWS` rows, one for each transaction."""
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

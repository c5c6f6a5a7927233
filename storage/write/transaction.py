"""Writes spool entries in transactions: each entry is stored as a whole or not at all.

The ids of the batches are recorded in the same transaction, so that a retry recognises a first attempt that
succeeded. Rows that the database refuses are found by bisection and become dead letters; the rest is stored.
Every other error blames the database: a lost connection, a missing right or table. Then all entries wait.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from decahertz.accounting import AccountingSettings
from decahertz.clock import Clock
from decahertz.event import Arrival
from storage.connection import ends_when_lost
from storage.database import (
    Database,
    DatabaseError,
    DatabaseUnavailableError,
    blames_row,
    first_line,
)
from storage.entry import Ack, Entry
from storage.write.dead_letters import save_dead_letters
from storage.write.emitters import lock_emitters, save_emitters
from storage.write.inserter import Inserter
from storage.write.lease import RecorderLease
from storage.write.result import DEAD_LETTER, DUPLICATE, SUPERSEDED, WriteResult

if TYPE_CHECKING:
    from storage.database import AnyConnection

# The lock on the lease keeps a take-over waiting until the transaction ends, and does not delay renewals.
_INSERT_BATCHES = """
WITH held AS MATERIALIZED (
    SELECT FROM recorders WHERE recorder = $3 AND session = $4 FOR KEY SHARE
), allowed AS MATERIALIZED (
    SELECT WHERE $4::uuid IS NULL OR EXISTS (SELECT FROM held)
), acked AS (
    DELETE FROM stored_batches WHERE batch_id = ANY($2::uuid[]) AND EXISTS (SELECT FROM allowed)
), inserted AS (
    INSERT INTO stored_batches (recorder, batch_id)
    SELECT $3, batch_id FROM allowed, unnest($1::uuid[]) AS batch_id
    ON CONFLICT (batch_id) DO NOTHING RETURNING batch_id
)
SELECT EXISTS (SELECT FROM allowed) AS is_allowed, ARRAY(SELECT batch_id FROM inserted) AS batch_ids
"""
_FORGET = "DELETE FROM stored_batches WHERE batch_id = ANY($1::uuid[])"
_RECALL = """
SELECT batch_id, dead_letters, duplicates, superseded FROM stored_batches WHERE batch_id = ANY($1::uuid[])
"""
_SAVE_COUNTS = """
UPDATE stored_batches SET dead_letters = $2, duplicates = $3, superseded = $4 WHERE batch_id = $1
"""
_COUNTED_REASONS = (DEAD_LETTER, DUPLICATE, SUPERSEDED)


class EntryWriter:
    """Writes spool entries under the name of one recorder, each transaction on a connection of the caller."""

    def __init__(
        self,
        database: Database,
        recorder: str,
        clock: Clock,
        lease: RecorderLease | None = None,
        first_new_id: int = 0,
        accounting: AccountingSettings | None = None,
        guard: Callable[[AnyConnection], Awaitable[None]] | None = None,
    ) -> None:
        """With a ``lease``, every transaction proves that it is held; ``guard`` begins every transaction, and
        stops it by a :class:`~storage.database.DatabaseError`.

        Entries with a smaller id than ``first_new_id`` are from an earlier process: those of their samples
        that another process has superseded are dropped. ``accounting`` as in :class:`Inserter`.
        """
        self._database = database
        self._lease = lease
        self._guard = guard
        self._recorder = recorder
        self._inserter = Inserter(recorder, clock, first_new_id, accounting)
        self._forgettable: list[uuid.UUID] = []

    def forget(self, batch_ids: Iterable[uuid.UUID]) -> None:
        """The spool will not send these batches again: the next transaction deletes their ids."""
        self._forgettable += batch_ids

    async def deliver(
        self, connection: AnyConnection, entries: Sequence[Entry]
    ) -> AsyncGenerator[WriteResult, None]:
        """Stores entries, in one transaction if the database accepts them all; yields each commit.

        Raises :class:`~storage.database.DatabaseUnavailableError` and
        :class:`~storage.write.lease.LeaseLostError`. Entries that were not yielded by then may be stored or
        not, and can be delivered again.
        """
        pending = [entries]
        while pending:
            group = pending.pop()
            try:
                result = await self.write(connection, group)
            except DatabaseError:
                raise
            except Exception as error:
                if not blames_row(error):
                    raise self._refused(error) from error
                if len(group) > 1:  # no entry may stop those after it
                    middle = len(group) // 2
                    pending += [group[middle:], group[:middle]]
                    continue
                result = await self._write_alone(connection, group[0])
            yield result

    async def _write_alone(self, connection: AnyConnection, entry: Entry) -> WriteResult:
        try:
            return await self.write_apart(connection, entry)
        except DatabaseError:
            raise
        except Exception as error:
            # Not even a dead letter can be written: the database is at fault.
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> DatabaseUnavailableError:
        reason = f"{type(error).__name__}: {first_line(error)}"
        return DatabaseUnavailableError(f"{self._database.name} refuses every row: {reason}")

    async def write(self, connection: AnyConnection, entries: Sequence[Entry]) -> WriteResult:
        """Stores entries in one transaction; returns when it is committed.

        Raises :class:`~storage.database.DatabaseUnavailableError` when the commit is uncertain. After any
        other error nothing is stored.
        """
        async with self._transaction(connection, entries) as (result, fresh):
            await self._inserter.fill(connection, fresh, result)
        return result

    async def write_apart(self, connection: AnyConnection, entry: Entry) -> WriteResult:
        """Stores the rows of an entry that the database accepts; the others become dead letters.

        Raises as :meth:`write` does, but not for rows of the entry.
        """
        async with self._transaction(connection, [entry]) as (result, fresh):
            for part in fresh:
                await self._bisect(connection, part, result)
        return result

    async def finish(self, connection: AnyConnection) -> None:
        """Writes the rows that were deferred, and deletes the ids of forgotten batches."""
        with self._database.errors():
            async with connection.transaction():
                await self._check(connection)
                await self._inserter.write_instruments(connection)
                await connection.execute(_FORGET, self._forgettable)
        self._forgettable.clear()

    @asynccontextmanager
    async def _transaction(
        self, connection: AnyConnection, entries: Sequence[Entry]
    ) -> AsyncIterator[tuple[WriteResult, list[Entry]]]:
        """A transaction, with the entries that no earlier transaction has stored."""
        result = WriteResult({entry.batch_id: Ack(entry) for entry in entries})
        forgettable = self._forgettable.copy()
        with self._database.errors():
            async with ends_when_lost(connection), connection.transaction():
                await self._check(connection)
                fresh = await self._insert_batches(connection, list(result.acks), forgettable)
                if len(fresh) < len(entries):
                    await _recall(connection, result, [e for e in entries if e.batch_id not in fresh])
                yield result, [entry for entry in entries if entry.batch_id in fresh]
                await _finish_batches(connection, self._recorder, result)
        del self._forgettable[: len(forgettable)]
        self._inserter.committed(result)

    async def _check(self, connection: AnyConnection) -> None:
        if self._guard is not None:
            await self._guard(connection)

    async def _insert_batches(
        self, connection: AnyConnection, batch_ids: list[uuid.UUID], forgettable: list[uuid.UUID]
    ) -> set[uuid.UUID]:
        """Records the batches; returns those that no transaction has stored before."""
        session = None if self._lease is None else self._lease.session
        row = await connection.fetchrow(_INSERT_BATCHES, batch_ids, forgettable, self._recorder, session)
        assert row is not None  # noqa: S101 - the statement always returns one row
        if self._lease is not None and not row["is_allowed"]:
            raise self._lease.lose()
        return set(row["batch_ids"])

    async def _bisect(self, connection: AnyConnection, entry: Entry, result: WriteResult) -> None:
        part = WriteResult({entry.batch_id: Ack(entry)})
        try:
            with self._database.errors():
                async with connection.transaction():  # a savepoint: earlier rows stay
                    await self._inserter.fill(connection, [entry], part)
        except DatabaseError:
            raise
        except Exception as error:
            if not blames_row(error):
                raise
            if entry.rows <= 1:
                await _refuse(connection, entry, error, result)
                return
            middle = entry.rows // 2
            await self._bisect(connection, entry.part(0, middle), result)
            await self._bisect(connection, entry.part(middle, entry.rows), result)
        else:
            result.merge(part)


async def _refuse(connection: AnyConnection, entry: Entry, error: Exception, result: WriteResult) -> None:
    """Turns the rows into dead letters; their events count as stored, so that they are not stored twice."""
    reason = f"{type(error).__name__}: {first_line(error)}"
    result.refuse(entry, range(entry.rows), reason)
    if isinstance(entry.content, Arrival) and entry.rows:
        batch = entry.content.batch
        stored = await lock_emitters(connection, [(batch.source, batch.epoch)])
        stored[batch.source, batch.epoch].add(batch.first_sequence, batch.last_sequence)
        await save_emitters(connection, stored)


async def _recall(connection: AnyConnection, result: WriteResult, entries: Sequence[Entry]) -> None:
    """Restores the outcome of entries that were stored before."""
    by_id = {entry.batch_id: entry for entry in entries}
    for row in await connection.fetch(_RECALL, list(by_id)):
        batch_id, *counts = row
        for reason, rows in zip(_COUNTED_REASONS, counts, strict=True):
            result.drop(by_id[batch_id], reason, rows)


async def _finish_batches(connection: AnyConnection, recorder: str, result: WriteResult) -> None:
    await save_dead_letters(connection, recorder, result.dead_letters)
    counts = [
        (batch_id, *(ack.dropped.get(reason, 0) for reason in _COUNTED_REASONS))
        for batch_id, ack in result.acks.items()
        if ack.dropped
    ]
    if counts:
        await connection.executemany(_SAVE_COUNTS, counts)

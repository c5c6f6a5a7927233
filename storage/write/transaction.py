"""One transaction: entries go into the tables, whole or not at all.

With them go their ids, by which a second attempt sees that the first one succeeded. What of an entry the
database refuses is found by halving and goes to the dead letters; the rest is stored.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from decahertz.clock import Clock
from decahertz.event import Arrival
from storage.database import Database, DatabaseError, DatabaseUnavailableError
from storage.entry import Ack, Entry
from storage.write.dead_letters import save_dead_letters
from storage.write.emitters import lock_emitters, save_emitters
from storage.write.inserter import Inserter
from storage.write.lease import RecorderLease
from storage.write.result import DEAD_LETTER, DUPLICATE, WriteResult

if TYPE_CHECKING:
    from storage.database import AnyConnection

# The lock on the lease keeps a take-over waiting until the transaction ends, and does not delay renewals.
_INSERT_BATCHES = """
WITH held AS MATERIALIZED (
    SELECT FROM recorders WHERE recorder = $3 AND holder = $4 FOR KEY SHARE
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
_RECALL = "SELECT batch_id, dead_letters, duplicates FROM stored_batches WHERE batch_id = ANY($1::uuid[])"
_NOTE = "UPDATE stored_batches SET dead_letters = $2, duplicates = $3 WHERE batch_id = $1"


class EntryWriter:
    """Writes spool entries under the name of one recorder, each transaction on a connection of the caller."""

    def __init__(
        self, database: Database, recorder: str, clock: Clock, lease: RecorderLease | None = None
    ) -> None:
        """With a ``lease``, every transaction proves that it is held."""
        self._database = database
        self._lease = lease
        self._recorder = recorder
        self._inserter = Inserter(recorder, clock)
        self._forgettable: list[uuid.UUID] = []

    def forget(self, batch_ids: Iterable[uuid.UUID]) -> None:
        """These batches do not come again: the next transaction may forget them."""
        self._forgettable += batch_ids

    async def deliver(
        self, connection: AnyConnection, entries: Sequence[Entry]
    ) -> AsyncGenerator[WriteResult, None]:
        """Store entries, together where the database takes them together; gives what is committed.

        Raises :class:`~storage.database.DatabaseUnavailableError`; what was not given by then may be stored
        or not, and may be delivered again.
        """
        work = [entries]
        while work:
            group = work.pop()
            try:
                outcome = await self.write(connection, group)
            except DatabaseError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, it must not stop what comes after
                if len(group) > 1:
                    middle = len(group) // 2
                    work += [group[middle:], group[:middle]]
                    continue
                outcome = await self._write_somehow(connection, group[0])
            yield outcome

    async def _write_somehow(self, connection: AnyConnection, entry: Entry) -> WriteResult:
        try:
            return await self.write_apart(connection, entry)
        except DatabaseError:
            raise
        except Exception as error:
            # Not even a dead letter can be written: it is the database that is not as it should be.
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise DatabaseUnavailableError(f"{self._database.name} takes nothing: {reason}") from error

    async def write(self, connection: AnyConnection, entries: Sequence[Entry]) -> WriteResult:
        """Store entries in one transaction; returns when it is committed.

        Raises :class:`~storage.database.DatabaseUnavailableError` when nobody knows whether it was, and what
        else asyncpg raises when the database does not take something; then nothing is stored.
        """
        async with self._transaction(connection, entries) as (outcome, fresh):
            await self._inserter.fill(connection, fresh, outcome)
        return outcome

    async def write_apart(self, connection: AnyConnection, entry: Entry) -> WriteResult:
        """Store of an entry what the database takes; the rest goes to the dead letters.

        Raises as :meth:`write` does, but not for what is in the entry.
        """
        async with self._transaction(connection, [entry]) as (outcome, fresh):
            for part in fresh:
                await self._sift(connection, part, outcome)
        return outcome

    async def finish(self, connection: AnyConnection) -> None:
        """Write what could wait until now."""
        with self._database.errors():
            await self._inserter.write_instruments(connection)
            await connection.execute(_FORGET, self._forgettable)
        self._forgettable.clear()

    @asynccontextmanager
    async def _transaction(
        self, connection: AnyConnection, entries: Sequence[Entry]
    ) -> AsyncIterator[tuple[WriteResult, list[Entry]]]:
        """A transaction, and which of the entries no transaction before stored."""
        outcome = WriteResult({entry.batch_id: Ack(entry) for entry in entries})
        forgettable = self._forgettable.copy()
        with self._database.errors():
            async with connection.transaction():
                fresh = await self._insert_batches(connection, list(outcome.acks), forgettable)
                if len(fresh) < len(entries):
                    await _recall(connection, outcome, [e for e in entries if e.batch_id not in fresh])
                yield outcome, [entry for entry in entries if entry.batch_id in fresh]
                await _conclude(connection, self._recorder, outcome)
        del self._forgettable[: len(forgettable)]
        self._inserter.committed(outcome)

    async def _insert_batches(
        self, connection: AnyConnection, batch_ids: list[uuid.UUID], forgettable: list[uuid.UUID]
    ) -> set[uuid.UUID]:
        """Record the batches; returns those that no transaction has stored before."""
        holder = None if self._lease is None else self._lease.holder
        row = await connection.fetchrow(_INSERT_BATCHES, batch_ids, forgettable, self._recorder, holder)
        assert row is not None  # noqa: S101 - the statement always returns one row
        if self._lease is not None and not row["is_allowed"]:
            raise self._lease.lose()
        return set(row["batch_ids"])

    async def _sift(self, connection: AnyConnection, entry: Entry, outcome: WriteResult) -> None:
        part = WriteResult({entry.batch_id: Ack(entry)})
        try:
            with self._database.errors():
                async with connection.transaction():  # a savepoint: what comes before stays
                    await self._inserter.fill(connection, [entry], part)
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about this entry
            # A table or a right that is missing is missing for every row.
            if entry.rows <= 1 or isinstance(error, asyncpg.SyntaxOrAccessError):
                await _reject(connection, entry, error, outcome)
                return
            middle = entry.rows // 2
            await self._sift(connection, entry.part(0, middle), outcome)
            await self._sift(connection, entry.part(middle, entry.rows), outcome)
        else:
            outcome.merge(part)


async def _reject(connection: AnyConnection, entry: Entry, error: Exception, outcome: WriteResult) -> None:
    """The rows go to the dead letters; events are known there and not taken when they come again."""
    reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    outcome.refuse(entry, range(entry.rows), reason)
    if isinstance(entry.content, Arrival) and entry.rows:
        batch = entry.content.batch
        stored = await lock_emitters(connection, [(batch.source, batch.epoch)])
        stored[batch.source, batch.epoch].add(batch.first_sequence, batch.last_sequence)
        await save_emitters(connection, stored)


async def _recall(connection: AnyConnection, outcome: WriteResult, entries: Sequence[Entry]) -> None:
    """What became of entries that were stored before."""
    by_id = {entry.batch_id: entry for entry in entries}
    for row in await connection.fetch(_RECALL, list(by_id)):
        entry = by_id[row["batch_id"]]
        outcome.drop(entry, DEAD_LETTER, row["dead_letters"])
        outcome.drop(entry, DUPLICATE, row["duplicates"])


async def _conclude(connection: AnyConnection, recorder: str, outcome: WriteResult) -> None:
    await save_dead_letters(connection, recorder, outcome.dead_letters)
    notes = [
        (batch_id, ack.dropped.get(DEAD_LETTER, 0), ack.dropped.get(DUPLICATE, 0))
        for batch_id, ack in outcome.acks.items()
        if ack.dropped
    ]
    if notes:
        await connection.executemany(_NOTE, notes)

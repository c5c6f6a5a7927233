"""Lists dead letters, and stores them again once the cause is gone.

Each dead letter is stored in a transaction of its own, with everything that derives from it, and is deleted
in the same transaction: repeated, or done by two processes at once, it is stored once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from msgspec import Struct

from decahertz.accounting import AccountingSettings
from decahertz.clock import Clock, from_datetime
from decahertz.event import AnyEvent, Arrival, EventBatch
from decahertz.sample import SampleBatch, SampleSchema
from storage.database import Database
from storage.entry import Ack, Entry, samples_stream
from storage.write.dead_letters import ENTRY, EVENT
from storage.write.inserter import Inserter
from storage.write.result import WriteResult

if TYPE_CHECKING:
    from storage.database import Connection

_PAGE = 500
_LIST = """
SELECT * FROM dead_letters WHERE stream = coalesce($1, stream) ORDER BY id DESC LIMIT $2
"""
_COUNT = """
SELECT count(*) FROM dead_letters
WHERE stream = coalesce($1, stream) AND ($2::bigint[] IS NULL OR id = ANY($2))
"""
_NEXT = """
SELECT id FROM dead_letters
WHERE id > $1 AND stream = coalesce($2, stream) AND ($3::bigint[] IS NULL OR id = ANY($3))
ORDER BY id LIMIT $4
"""
_TAKE = "SELECT * FROM dead_letters WHERE id = $1 FOR UPDATE SKIP LOCKED"
_REMOVE = "DELETE FROM dead_letters WHERE id = $1"
# The event counts as stored, so that it is rejected when it is sent again.
_UNMARK = """
UPDATE emitters SET sequences = sequences - int8multirange(int8range($3, $3, '[]'))
WHERE source = $1 AND epoch = $2
"""
_EVENT: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A row that the database refused."""

    id: int
    time_ns: int
    """When it became a dead letter."""
    stream: str
    reason: str
    kind: str
    """``event``, ``sample``, or ``entry``: a whole entry of the spool that was unreadable."""
    rows: int
    source: str | None
    epoch: int | None
    sequence: int | None
    content: Any
    """The fields of the event or the sample; ``None`` for an entry."""


class Replayed(Struct, frozen=True, kw_only=True):
    """Result of :func:`replay_letters`."""

    stored: int
    refused: dict[int, str]
    """The reasons of those that remain dead letters, by id."""


class _RefusedError(Exception):
    """Raised with the reason when the database refuses the row again."""


async def count_letters(
    database: Database, *, stream: str | None = None, ids: Sequence[int] | None = None
) -> int:
    """Counts dead letters."""
    async with database.query() as connection:
        count: int = await connection.fetchval(_COUNT, stream, ids)
        return count


async def list_letters(database: Database, *, stream: str | None = None, limit: int) -> list[DeadLetter]:
    """The newest dead letters, of one stream or of all."""
    async with database.query() as connection:
        return [_letter(row) for row in await connection.fetch(_LIST, stream, limit)]


def _letter(row: asyncpg.Record) -> DeadLetter:
    return DeadLetter(
        id=row["id"],
        time_ns=from_datetime(row["time"]),
        stream=row["stream"],
        reason=row["reason"],
        kind=row["kind"],
        rows=row["rows"],
        source=row["source"],
        epoch=row["epoch"],
        sequence=row["sequence"],
        content=None if row["kind"] == ENTRY else _shown(row["payload"]),
    )


def _shown(payload: bytes) -> Any:  # noqa: ANN401 - any content
    try:
        return msgspec.msgpack.decode(payload)
    except msgspec.MsgspecError:
        return payload.hex()


async def replay_letters(
    database: Database,
    clock: Clock,
    schemas: Sequence[SampleSchema],
    *,
    stream: str | None = None,
    ids: Sequence[int] | None = None,
    report: Callable[[int], None],
    accounting: AccountingSettings | None = None,
) -> Replayed:
    """Stores dead letters again; those that are refused again stay. ``report`` gets the number processed.

    ``schemas`` are the samples declared now, ``accounting`` is how round trips are computed. Raises
    :class:`~storage.database.DatabaseUnavailableError`; dead letters stored by then stay stored.
    """
    replay = _Replay(database, clock, schemas, accounting)
    connection = await database.connect("dead letters")
    try:
        with database.errors():
            done = 0
            async for id_ in _ids(connection, stream, ids):
                await replay.one(connection, id_)
                done += 1
                report(done)
            await replay.finish(connection)
    finally:
        await database.disconnect(connection)
    return Replayed(stored=replay.stored, refused=replay.refused)


async def _ids(connection: Connection, stream: str | None, ids: Sequence[int] | None) -> AsyncIterator[int]:
    last = 0
    while rows := await connection.fetch(_NEXT, last, stream, ids, _PAGE):
        for row in rows:
            yield row["id"]
        last = rows[-1]["id"]


class _Replay:
    """Stores dead letters one by one."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        schemas: Sequence[SampleSchema],
        accounting: AccountingSettings | None = None,
    ) -> None:
        self._database = database
        self._accounting = accounting
        self._clock = clock
        self._inserters: dict[str, Inserter] = {}
        self._schemas = {samples_stream(schema.collector): schema for schema in schemas}
        self.stored = 0
        self.refused: dict[int, str] = {}

    async def one(self, connection: Connection, id_: int) -> None:
        """Stores one, or records the reason of the refusal. Raises errors of the connection."""
        outcome = WriteResult()
        try:
            with self._database.errors():
                async with connection.transaction():
                    row = await connection.fetchrow(_TAKE, id_)
                    if row is None:  # another process is storing it, or has stored it
                        return
                    await self._store(connection, row, outcome)
                    await connection.execute(_REMOVE, id_)
        except (_RefusedError, asyncpg.PostgresError) as error:
            self.refused[id_] = str(error).partition("\n")[0]
        else:
            self._inserter(row["recorder"]).committed(outcome)
            self.stored += row["rows"]

    async def finish(self, connection: Connection) -> None:
        """Writes deferred rows."""
        for inserter in self._inserters.values():
            await inserter.write_instruments(connection)

    async def _store(self, connection: Connection, row: asyncpg.Record, outcome: WriteResult) -> None:
        entry = Entry(self._content(row), row["stream"], 1, row["batch_id"])
        if row["kind"] == EVENT:
            await connection.execute(_UNMARK, row["source"], row["epoch"], row["sequence"])
        outcome.acks[entry.batch_id] = Ack(entry)
        await self._inserter(row["recorder"]).fill(connection, [entry], outcome)
        if outcome.dead_letters:
            raise _RefusedError(outcome.dead_letters[0].reason)

    def _inserter(self, recorder: str) -> Inserter:
        if recorder not in self._inserters:
            self._inserters[recorder] = Inserter(recorder, self._clock, accounting=self._accounting)
        return self._inserters[recorder]

    def _content(self, row: asyncpg.Record) -> SampleBatch | Arrival:
        try:
            if row["kind"] == EVENT:
                return _arrival(row)
            if row["kind"] == ENTRY:
                raise _RefusedError("an unreadable entry of the spool")
            schema = self._schemas.get(row["stream"])
            if schema is None:
                raise _RefusedError(f"no current collector declares {row['stream']}")
            sample = msgspec.convert(msgspec.msgpack.decode(row["payload"]), schema.type)
        except msgspec.MsgspecError as error:
            raise _RefusedError(f"its declaration has changed: {error}") from error
        return SampleBatch(schema, row["row_time_ns"], (sample,))


def _arrival(row: asyncpg.Record) -> Arrival:
    batch = EventBatch(
        source=row["source"],
        epoch=row["epoch"],
        first_sequence=row["sequence"],
        events=(_EVENT.decode(row["payload"]),),
    )
    return Arrival(batch=batch, received_ns=row["received_ns"])

"""What was before this start: until when it was sampled, and the events in the order of their receipt.

Most of them are in the database. After a crash, or an outage, some wait in the spool alone. They belong to
the past all the same: a collector whose state comes back without them would be wrong for good.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
import structlog

from decahertz.clock import from_datetime
from decahertz.event import AnyEvent, Event
from storage.schema.samples import TIME, quoted, table_of
from storage.write.emitters import stored_of
from storage.write.encoders import EVENT_TABLES, event_fields

if TYPE_CHECKING:
    from decahertz.ingest import EmitterId
    from decahertz.sample import SampleSchema
    from decahertz.sequences import SequenceSet
    from storage.database import AnyConnection, Database
    from storage.spool import Spool

_ROWS_AT_ONCE = 1000
_ORDER = ("received_ns", "source", "epoch", "sequence")
_Row: TypeAlias = tuple[tuple[Any, ...], AnyEvent]
"""The place in the order, and the event."""


async def newest_sample_ns(database: Database, schemas: Sequence[SampleSchema]) -> int | None:
    """The latest instant of which the database has samples. Raises ``DatabaseUnavailableError``."""
    found = []
    async with database.query() as connection:
        for schema in schemas:
            # A name of this program, quoted.
            newest = await connection.fetchval(f"SELECT max({TIME}) FROM {quoted(table_of(schema))}")  # noqa: S608
            if newest is not None:
                found.append(from_datetime(newest))
    return max(found, default=None)


class EventHistory:
    """Reads the past. A :class:`collectors.host.restore.History`.

    ``spool`` is open. Of what waits in it the database says, in the same state of it, what it has already: so
    every event is read from one of the two, once.
    """

    def __init__(self, database: Database, spool: Spool | None = None) -> None:
        """Without a spool it reads what the database has."""
        self._database = database
        self._spool = spool

    async def __call__(
        self, event_types: Sequence[type[Event]], since_ns: int
    ) -> AsyncGenerator[tuple[AnyEvent, int], None]:
        """Events of these types received since then, each with its time of receipt, in the order of these.

        They are read in chunks, from a state of the database that does not change meanwhile. Raises
        ``DatabaseUnavailableError``, or an error of :mod:`storage.spool.errors`.
        """
        async with (
            self._database.query() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            sources = [_read(connection, event_type, since_ns) for event_type in event_types]
            async with aclosing(
                _merge([*sources, self._waiting(connection, frozenset(event_types), since_ns)])
            ) as merged:
                async for place, event in merged:
                    yield event, place[0]

    async def _waiting(
        self, connection: AnyConnection, event_types: frozenset[type[Event]], since_ns: int
    ) -> AsyncIterator[_Row]:
        """What is in the spool and not in the database."""
        if self._spool is None:
            return
        known: dict[EmitterId, SequenceSet] = {}
        async for arrival in self._spool.waiting_events():
            batch = arrival.batch
            if arrival.received_ns < since_ns:
                continue
            emitter = (batch.source, batch.epoch)
            if emitter not in known:
                known[emitter] = await stored_of(connection, emitter)
            stored = known[emitter]
            for low, high in stored.missing(batch.first_sequence, batch.last_sequence):
                for sequence in range(low, high + 1):
                    event = batch.events[sequence - batch.first_sequence]
                    if type(event) in event_types:
                        yield (arrival.received_ns, batch.source, batch.epoch, sequence), event


async def _merge(sources: Sequence[AsyncIterator[_Row]]) -> AsyncGenerator[_Row, None]:
    heap: list[tuple[tuple[Any, ...], int, AnyEvent]] = []
    for number, source in enumerate(sources):
        await _push(heap, number, source)
    while heap:
        place, number, event = heap[0]
        heapq.heappop(heap)
        yield place, event
        await _push(heap, number, sources[number])


async def _push(heap: list[Any], number: int, source: AsyncIterator[_Row]) -> None:
    row = await anext(source, None)
    if row is not None:
        heapq.heappush(heap, (row[0], number, row[1]))


async def _read(connection: AnyConnection, event_type: type[Event], since_ns: int) -> AsyncIterator[_Row]:
    table = EVENT_TABLES[event_type]
    # The names are those of this program, quoted; the value is a parameter.
    statement = f"SELECT * FROM {quoted(table)} WHERE received_ns >= $1 ORDER BY {', '.join(_ORDER)}"  # noqa: S608 - names of our own
    columns = {"time_ns": "time_ns"} | {field.name: field.column for field in event_fields(event_type)}
    unreadable, reason = 0, ""
    async for record in connection.cursor(statement, since_ns, prefetch=_ROWS_AT_ONCE):
        values = {name: record[column] for name, column in columns.items()}
        try:
            event = cast("AnyEvent", msgspec.convert(values, event_type))
        except msgspec.ValidationError as error:  # stored before that was checked, or by somebody else
            unreadable += 1
            reason = str(error)
            continue
        yield tuple(record[name] for name in _ORDER), event
    if unreadable:
        structlog.get_logger(part="storage").warning(
            "events_not_replayed", table=table, rows=unreadable, reason=reason
        )

"""The past of one recorder, for the collectors that restore their state: its last sample and its events.

Most events are in the database. After a crash or an outage some wait in the spool only; a collector restored
without them would stay wrong.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
import structlog

from decahertz.clock import from_datetime, to_datetime
from decahertz.event import AnyEvent, Event, Origin
from decahertz.sequences import SequenceSet
from storage.schema.emitters import stored_of
from storage.schema.events import IDENTITY, PACKED_EVENTS, read_event
from storage.schema.samples import RECORDER, TIME, packed_of, quoted, recent_of, table_of
from storage.tiers.plain.packed import is_packed

if TYPE_CHECKING:
    from decahertz.ingest import EmitterId
    from decahertz.sample import SampleSchema
    from storage.database import AnyConnection, Database
    from storage.spool import Spool

_ROWS_AT_ONCE = 1000
_MINUTE, _MICROSECOND = timedelta(minutes=1), timedelta(microseconds=1)
_ORDER = ("received_ns", *IDENTITY)
_Row: TypeAlias = tuple[tuple[int, str, int, int], AnyEvent]
"""Its place in the order, and the event."""


async def newest_sample_ns(
    database: Database, schemas: Sequence[SampleSchema], recorder: str, after_ns: int
) -> int | None:
    """The last cycle after ``after_ns`` of which the database has samples of this recorder.

    Raises ``DatabaseUnavailableError``.
    """
    found = []
    async with database.query() as connection:
        for schema in schemas:
            newest = await _newest_sample(connection, schema, recorder, to_datetime(after_ns))
            if newest is not None:
                found.append(from_datetime(newest))
    return max(found, default=None)


async def _newest_sample(
    connection: AnyConnection, schema: SampleSchema, recorder: str, after: datetime
) -> datetime | None:
    table = quoted(table_of(schema))
    newest = f"SELECT max({TIME}) FROM {{}} WHERE {RECORDER} = $1 AND {TIME}"  # noqa: S608 - quoted
    if await is_packed(connection, schema):
        # Through the view, a time long ago would look up every packed sample since then.
        packed, recent = quoted(packed_of(table_of(schema))), quoted(recent_of(table_of(schema)))
        minute = await connection.fetchval(f"{newest.format(packed)} > $2", recorder, after - _MINUTE)
        unpacked = await connection.fetchval(f"{newest.format(recent)} > $2", recorder, after)
        after = max([after, *(time - _MICROSECOND for time in (minute, unpacked) if time is not None)])
    found: datetime | None = await connection.fetchval(f"{newest.format(table)} > $2", recorder, after)
    return found


class EventHistory:
    """Reads the past events of one recorder. Implements :class:`collectors.host.restore.History`.

    ``spool`` is open. For events that wait in it, the same snapshot of the database says which of them are
    stored already, so that every event is read once, from the database or from the spool.
    """

    def __init__(self, database: Database | None, recorder: str, spool: Spool | None = None) -> None:
        """Without a ``database``, the history is what the spool has."""
        self._database = database
        self._recorder = recorder
        self._spool = spool
        self.spooled: dict[EmitterId, SequenceSet] = {}
        """The events of this process that the last reading found in the spool."""

    async def __call__(
        self, event_types: Sequence[type[Event]], since_ns: int
    ) -> AsyncGenerator[tuple[AnyEvent, int, Origin], None]:
        """Events of these types received since then, in that order, with time of receipt and origin.

        Reads in chunks, from one snapshot of the database. Raises ``DatabaseUnavailableError``, or an error
        of :mod:`storage.spool.errors`.
        """
        self.spooled = {}
        if self._database is None:
            async for place, event in self._spooled(frozenset(event_types), since_ns):
                yield event, place[0], place[1:]
            return
        async with (
            self._database.session("history") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            sources = [_read(connection, event_type, self._recorder, since_ns) for event_type in event_types]
            async with aclosing(
                _merge([*sources, self._waiting(connection, frozenset(event_types), since_ns)])
            ) as merged:
                async for place, event in merged:
                    yield event, place[0], place[1:]

    async def _spooled(self, event_types: frozenset[type[Event]], since_ns: int) -> AsyncIterator[_Row]:
        """All events in the spool."""
        if self._spool is None:
            return
        async for arrival in self._spool.waiting_events():
            batch = arrival.batch
            if arrival.received_ns < since_ns:
                continue
            for sequence, event in enumerate(batch.events, batch.first_sequence):
                if type(event) in event_types:
                    yield (arrival.received_ns, batch.source, batch.epoch, sequence), event

    async def _waiting(
        self, connection: AnyConnection, event_types: frozenset[type[Event]], since_ns: int
    ) -> AsyncIterator[_Row]:
        """Events in the spool that the database does not have."""
        if self._spool is None:
            return
        known: dict[EmitterId, SequenceSet] = {}
        async for arrival in self._spool.waiting_events():
            batch = arrival.batch
            emitter = (batch.source, batch.epoch)
            if arrival.number > self._spool.epoch:
                self.spooled.setdefault(emitter, SequenceSet()).add(batch.first_sequence, batch.last_sequence)
            if arrival.received_ns < since_ns:
                continue
            if emitter not in known:
                known[emitter] = await stored_of(connection, emitter)
            stored = known[emitter]
            for low, high in stored.missing(batch.first_sequence, batch.last_sequence):
                for sequence in range(low, high + 1):
                    event = batch.events[sequence - batch.first_sequence]
                    if type(event) in event_types:
                        yield (arrival.received_ns, batch.source, batch.epoch, sequence), event


async def _merge(sources: Sequence[AsyncIterator[_Row]]) -> AsyncGenerator[_Row, None]:
    heap: list[tuple[tuple[int, str, int, int], int, AnyEvent]] = []
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


async def _read(
    connection: AnyConnection, event_type: type[Event], recorder: str, since_ns: int
) -> AsyncIterator[_Row]:
    table = event_type.table
    relation = f"{quoted(f'{table}_received')}($1)" if event_type in PACKED_EVENTS else quoted(table)
    statement = (
        f"SELECT * FROM {relation} WHERE received_ns >= $1 AND {RECORDER} = $2"  # noqa: S608 - quoted
        f" ORDER BY {', '.join(_ORDER)}"
    )
    invalid, reason = 0, ""
    async for record in connection.cursor(statement, since_ns, recorder, prefetch=_ROWS_AT_ONCE):
        try:
            event = cast("AnyEvent", read_event(record, event_type))
        except msgspec.ValidationError as error:  # stored by another program
            invalid += 1
            reason = str(error)
            continue
        yield (record["received_ns"], record["source"], record["epoch"], record["sequence"]), event
    if invalid:
        structlog.get_logger(part="storage").warning(
            "events_not_replayed", table=table, rows=invalid, reason=reason
        )

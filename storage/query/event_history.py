"""The past of one recorder, for the collectors that restore their state: its last sample and its events.

Most events are in the database. After a crash or an outage some wait in the spool only; a collector restored
without them would stay wrong.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
import structlog

from decahertz.clock import from_datetime, to_datetime
from decahertz.event import AnyEvent, Event
from decahertz.sequences import SequenceSet
from storage.schema.emitters import stored_of
from storage.schema.events import IDENTITY, read_event
from storage.schema.samples import RECORDER, TIME, quoted, table_of

if TYPE_CHECKING:
    from decahertz.ingest import EmitterId
    from decahertz.sample import SampleSchema
    from storage.database import AnyConnection, Database
    from storage.spool import Spool

_ROWS_AT_ONCE = 1000
_ORDER = ("received_ns", *IDENTITY)
_Row: TypeAlias = tuple[tuple[Any, ...], AnyEvent]
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
            newest = await connection.fetchval(
                f"SELECT max({TIME}) FROM {quoted(table_of(schema))}"  # noqa: S608 - a table's name, quoted
                f" WHERE {TIME} > $1 AND {RECORDER} = $2",
                to_datetime(after_ns),
                recorder,
            )
            if newest is not None:
                found.append(from_datetime(newest))
    return max(found, default=None)


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
    ) -> AsyncGenerator[tuple[AnyEvent, int, str], None]:
        """Events of these types received since then, in that order, with time of receipt and emitter.

        Reads in chunks, from one snapshot of the database. Raises ``DatabaseUnavailableError``, or an error
        of :mod:`storage.spool.errors`.
        """
        self.spooled = {}
        if self._database is None:
            async for place, event in self._spooled(frozenset(event_types), since_ns):
                yield event, place[0], place[1]
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
                    yield event, place[0], place[1]

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


async def _read(
    connection: AnyConnection, event_type: type[Event], recorder: str, since_ns: int
) -> AsyncIterator[_Row]:
    table = event_type.table
    statement = (
        f"SELECT * FROM {quoted(table)} WHERE received_ns >= $1 AND {RECORDER} = $2"  # noqa: S608 - quoted
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
        yield tuple(record[name] for name in _ORDER), event
    if invalid:
        structlog.get_logger(part="storage").warning(
            "events_not_replayed", table=table, rows=invalid, reason=reason
        )

"""Stored events again, in the order in which they were received."""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
import structlog

from decahertz.event import AnyEvent, Event
from storage.rows import EVENT_TABLES, event_fields
from storage.schema import quoted

if TYPE_CHECKING:
    from storage.database import AnyConnection, Database

_ROWS_AT_ONCE = 1000
_ORDER = ("received_ns", "source", "epoch", "sequence")
_Row: TypeAlias = tuple[tuple[Any, ...], AnyEvent]
"""The place in the order, and the event."""


async def replay_events(
    database: Database, event_types: Sequence[type[Event]], since_ns: int
) -> AsyncGenerator[tuple[AnyEvent, int], None]:
    """See :meth:`storage.queries.Queries.replay`."""
    async with (
        database.query() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        sources = [_read(connection, event_type, since_ns) for event_type in event_types]
        async with aclosing(_merge(sources)) as merged:
            async for place, event in merged:
                yield event, place[0]


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

"""The events of one recorder in the order of their numbers: from the database, and from the spool.

A number says when an event became durable, in microseconds or a little later, so a range of numbers is a
range of time too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import msgspec
import structlog

from decahertz.clock import NS_PER_MICROSECOND, NS_PER_SECOND, to_datetime
from decahertz.event import AnyEvent, Event
from storage.entry import ENTRY_ROWS
from storage.schema.events import EVENT_NUMBER, PACKED_EVENTS, read_event
from storage.schema.samples import RECORDER, TIME, quoted

if TYPE_CHECKING:
    import asyncpg

    from decahertz.event import Arrival
    from storage.database import Database

Wanted: TypeAlias = Mapping[type[Event], Sequence[str] | None]
"""Event types, each with the values of its ``topic_key`` that are wanted; ``None``: all."""
Numbered: TypeAlias = tuple[int, AnyEvent]

PAGE_ROWS = 1_000
_SECOND = NS_PER_SECOND // NS_PER_MICROSECOND
_FIRST_WINDOW, _LARGEST_WINDOW = 10 * _SECOND, 3600 * _SECOND
"""Range of numbers of one query of a bulk table, whose index cannot return rows in order."""
_LATE_NS = 24 * 3600 * NS_PER_SECOND
"""How much older than its number the time of a bulk event may be: it limits the partitions that are read."""


class WaitingEvents(Protocol):
    """The interface of :class:`storage.spool.Spool`: the events that the database may not have yet."""

    @property
    def epoch(self) -> int:
        """The highest number of all earlier processes, or more."""
        ...

    async def read_arrivals(self, after_id: int) -> tuple[list[Arrival], int | None]:
        """See :meth:`storage.spool.Spool.read_arrivals`."""
        ...


class EventLog:
    """Reads the events that became durable after another one.

    An event is in the spool until the database has it. Each page reads the spool first and the database
    afterwards, so that none is missed in between; one that is in both is recognised by its number.
    """

    def __init__(self, database: Database, recorder: str, spool: WaitingEvents) -> None:
        self._database = database
        self._recorder = recorder
        self._spool = spool

    @property
    def epoch(self) -> int:
        """The highest number of all earlier processes, or more."""
        return self._spool.epoch

    async def pages(
        self, wanted: Wanted, after: int, upto: int
    ) -> AsyncGenerator[tuple[list[Numbered], int], None]:
        """Events with numbers above ``after`` up to ``upto``: pages, each with the number where it ends.

        Holds no connection between two pages. Raises ``DatabaseUnavailableError`` or an error of
        :mod:`storage.spool.errors`.
        """
        has_bulk = any(event_type.bulk for event_type in wanted)
        window = _FIRST_WINDOW if has_bulk else upto
        while after < upto:
            found, end = await self._page(wanted, after, min(upto, after + window))
            yield found, end
            if has_bulk:
                is_full = end < min(upto, after + window)
                window = max(_SECOND, window // 2) if is_full else min(_LARGEST_WINDOW, window * 4)
            after = end

    async def _page(self, wanted: Wanted, after: int, end: int) -> tuple[list[Numbered], int]:
        found, end = await self._waiting(wanted, after, end)
        for event_type, keys in wanted.items():
            rows = await self._stored(event_type, keys, after, end)
            if len(rows) == PAGE_ROWS:
                end = rows[-1][EVENT_NUMBER]
            for row in rows:
                event = _event(row, event_type)
                if event is not None:
                    found[row[EVENT_NUMBER]] = event
        return [(number, found[number]) for number in sorted(found) if number <= end], end

    async def _waiting(self, wanted: Wanted, after: int, end: int) -> tuple[dict[int, AnyEvent], int]:
        """Events in the spool, and the number up to which these are all."""
        arrivals, continue_at = await self._spool.read_arrivals(max(0, after - ENTRY_ROWS))
        found: dict[int, AnyEvent] = {}
        last = 0
        for arrival in arrivals:
            for number, event in enumerate(arrival.batch.events, arrival.number):
                if after < number <= end and type(event) in wanted:
                    found[number] = event
                last = number
        return found, end if continue_at is None else min(end, max(last, after + 1))

    async def _stored(
        self, event_type: type[Event], keys: Sequence[str] | None, after: int, end: int
    ) -> list[asyncpg.Record]:
        values: list[object] = [self._recorder, after, end]
        where = f"{RECORDER} = $1 AND {EVENT_NUMBER} > $2 AND {EVENT_NUMBER} <= $3"
        if event_type.bulk:
            values.append(to_datetime(max(0, after * NS_PER_MICROSECOND - _LATE_NS)))
            where += f" AND {TIME} >= $4"
        relation = quoted(event_type.table)
        if event_type in PACKED_EVENTS:
            relation = f"{quoted(f'{event_type.table}_numbered')}($2, $3, $4)"
        if keys is not None:
            values.append(list(keys))
            where += f" AND {quoted(event_type.topic_key)} = ANY(${len(values)})"
        statement = (
            f"SELECT * FROM {relation} WHERE {where}"  # noqa: S608 - quoted names only
            f" ORDER BY {EVENT_NUMBER} LIMIT {PAGE_ROWS}"
        )
        return await self._database.fetch(statement, values)


def _event(row: asyncpg.Record, event_type: type[Event]) -> AnyEvent | None:
    try:
        return cast("AnyEvent", read_event(row, event_type))
    except msgspec.ValidationError as error:  # stored by another program
        structlog.get_logger(part="storage").warning(
            "event_not_resumed", table=event_type.table, number=row[EVENT_NUMBER], reason=str(error)
        )
        return None

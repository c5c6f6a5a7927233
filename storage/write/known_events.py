"""Tells which market events of a file the database has already, whatever source they came from.

Events with an id of the venue are recognised by it: prints by their trade id, quotes by their sequence number
and prices. Other events are recognised by their whole content. Equal events without an id are stored as often
as the file that holds most of them has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from decahertz.event import Instrument, Quote, Tick
from storage.schema.events import read_event
from storage.write.stored_rows import KnownIds, stored_rows

if TYPE_CHECKING:
    from storage.database import AnyConnection

FileEvent: TypeAlias = Quote | Tick | Instrument
"""Events that files hold."""

FILE_EVENTS: tuple[type[FileEvent], ...] = (Quote, Tick, Instrument)


class KnownEvents:
    """Recognises the events of one file, which come in parts."""

    def __init__(self, source: str, *, is_dry_run: bool = False) -> None:
        """``source`` is the file's own. A dry run stores nothing, so earlier parts are remembered here."""
        self._source = source
        self._remembered = KnownIds() if is_dry_run else None
        self._used: Counter[Hashable] = Counter()
        """Stored events without an id that the previous part has met; equal events are mostly adjacent."""

    async def find(self, connection: AnyConnection, events: Sequence[FileEvent]) -> list[bool]:
        """Whether the database has each of these events."""
        ids, others = KnownIds(), Counter[Hashable]()
        for event_type in FILE_EVENTS:
            group = [event for event in events if isinstance(event, event_type)]
            for row in await stored_rows(connection, event_type, group):
                stored = read_event(row, event_type)
                identity = _id_of(stored)
                if identity is not None:
                    ids.add(identity, stored.time_ns)
                elif row["source"] != self._source:
                    others[_content_of(stored)] += 1
        used: Counter[Hashable] = Counter()
        known = [self._is_known(event, ids, others, used) for event in events]
        self._used = used
        return known

    def _is_known(
        self, event: FileEvent, ids: KnownIds, others: Counter[Hashable], used: Counter[Hashable]
    ) -> bool:
        identity = _id_of(event)
        if identity is not None:
            is_new = ids.add(identity, event.time_ns)
            if self._remembered is not None:
                is_new = self._remembered.add(identity, event.time_ns) and is_new
            return not is_new
        content = _content_of(event)
        if content not in used:
            used[content] = self._used[content]
        if used[content] >= others[content]:
            return False
        used[content] += 1
        return True


def _id_of(event: FileEvent) -> Hashable | None:
    """Identity of an event within a second; ``None`` without an id of the venue."""
    if isinstance(event, Tick) and event.trade_id is not None:
        return event.venue, event.instrument, event.trade_id
    if isinstance(event, Quote) and event.sequence is not None:
        return event.venue, event.instrument, event.sequence, event.bid, event.ask
    return None


def _content_of(event: FileEvent) -> Hashable:
    """Identity of an event without an id: its content."""
    if isinstance(event, Tick):
        return event.venue, event.instrument, event.time_ns, event.price, event.size, event.side
    if isinstance(event, Quote):
        sizes = (event.bid_size, event.ask_size)
        return event.venue, event.instrument, event.time_ns, event.bid, event.ask, sizes
    return event

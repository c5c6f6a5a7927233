"""Lists of bulk events: ticks, quotes, logs.

Their tables are partitioned by time and have no index on it, so a page is read in windows of time from the
newest row backwards. Each window is eight times as long as the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from decahertz.clock import NS_PER_SECOND
from storage.query.pagination import KeysetPage, RowPage

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Database

_FIRST_WINDOW_NS = 10 * NS_PER_SECOND
_GROWTH = 8
_LONGEST_WINDOW_NS = 30 * 86_400 * NS_PER_SECOND
"""A longer window is the rest of the range."""


async def newest_of_bulk(
    database: Database,
    page: KeysetPage,
    which: Mapping[str, Any],
    limit: int,
    cursor: str | None,
    *,
    newest_ns: int,
) -> RowPage:
    """One page of a list by time.

    ``newest_ns`` is about the time of the newest row, where the search begins. Raises
    :class:`~storage.query.pagination.CursorError` and the errors of the database.
    """
    start_ns, end_ns = page.range_of(which, cursor)
    place = page.place_of(cursor)
    start_ns = start_ns or 0
    bounds = (newest_ns, end_ns, place[0] if place is not None else None)
    begin_ns = min(time_ns for time_ns in bounds if time_ns is not None)
    window_ns = _FIRST_WINDOW_NS
    records: list[asyncpg.Record] = []
    while True:
        begin_ns = max(start_ns, begin_ns - window_ns)
        if window_ns > _LONGEST_WINDOW_NS:
            begin_ns = start_ns
        window = {**which, "start_ns": begin_ns, "end_ns": end_ns}
        statement, values = page.statement(window, limit, cursor, own_range=True)
        records += await database.fetch(statement, values)
        if len(records) > limit or begin_ns <= start_ns:
            return page.page(records, which, limit, cursor)
        end_ns = begin_ns
        window_ns *= _GROWTH

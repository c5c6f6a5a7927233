"""Lists of bulk events: ticks, quotes, logs.

Their tables are partitioned by time and have no index on it, so rows are looked for in windows of time from
the newest backwards. Each window is eight times as long as the one before, so a few of them reach back for
decades, and each reads the partitions of its own time alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from decahertz.clock import NS_PER_SECOND
from storage.query.pagination import KeysetPage, RowPage

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Reads

_FIRST_WINDOW_NS = 10 * NS_PER_SECOND
_GROWTH = 8
_End = TypeVar("_End", bound=int | None)


def windows_back(
    start_ns: int, newest_ns: int, end_ns: _End, first_ns: int = _FIRST_WINDOW_NS
) -> Iterator[tuple[int, int | _End]]:
    """The range ``[start, end)`` in windows from the end backwards, at least one.

    The first one begins ``first_ns`` before ``newest_ns``, about the time of the newest row.
    """
    begin_ns, width_ns = newest_ns, first_ns
    until_ns: int | _End = end_ns
    while True:
        begin_ns = max(start_ns, begin_ns - width_ns)
        yield begin_ns, until_ns
        if begin_ns <= start_ns:
            return
        until_ns = begin_ns
        width_ns *= _GROWTH


async def newest_of_bulk(
    database: Reads,
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
    bounds = (newest_ns, end_ns, place[0] if place is not None else None)
    newest_ns = min(time_ns for time_ns in bounds if time_ns is not None)
    records: list[asyncpg.Record] = []
    for window_start_ns, window_end_ns in windows_back(start_ns or 0, newest_ns, end_ns):
        window = {**which, "start_ns": window_start_ns, "end_ns": window_end_ns}
        statement, values = page.statement(window, limit, cursor, own_range=True)
        records += await database.fetch(statement, values)
        if len(records) > limit:
            break
    return page.page(records, which, limit, cursor)

"""Bars from ticks."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.names import DURATION, Names
from api.routes.records import Cursor
from decahertz.bar import Bar
from decahertz.duration import parse_duration
from storage.query.bars import LONGEST_TIMEFRAME_NS, BarFilter
from storage.query.queries import Page


class BarsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of bars: all bars that overlap `[start, end)`, each one whole."""

    instrument: Annotated[str, Meta(min_length=1, max_length=128, description="As in `instruments`.")]
    timeframe: Annotated[
        str,
        Meta(
            pattern=DURATION,
            description="`1s`, `5m`, `1h`, `1d`, `1w`, …; at most 366d; without a unit nanoseconds.",
        ),
    ] = "1m"
    venue: Annotated[Names, Meta(description="Venues; default: all venues in one bar.")] = ()
    recorder: (
        Annotated[
            str, Meta(min_length=1, max_length=256, description="Recorder of the ticks; default: this one.")
        ]
        | None
    ) = None
    start: Time | None = None
    end: Time | None = None
    limit: Annotated[int, Meta(ge=1, le=5000, description="Bars per page.")] = 500
    cursor: Cursor | None = None


async def market_bars(request: Request[BarsQuery, None]) -> Page[Bar]:
    """Returns open, high, low, close, volume, number of ticks and VWAP, newest bar first.

    A bar begins at a multiple of the timeframe since the epoch, UTC. A bar of whole days consists of trading
    days, by `accounting.timezone` and `accounting.day_start`: of 23 or 25 hours when the clocks change. A bar
    of a week begins on `accounting.week_start`, by default on Monday; of other numbers of days, bars follow
    each other from the first such day of 1970. There is no bar without a tick. The newest bar may still be in
    progress.
    """
    query = request.query
    if query.start is not None and query.end is not None and query.start > query.end:
        raise parameter_problem("start", "is later than end")
    timeframe_ns = parse_duration(query.timeframe)
    if timeframe_ns > LONGEST_TIMEFRAME_NS:
        raise parameter_problem("timeframe", "longer than 366d")
    which = BarFilter(
        instrument=query.instrument,
        timeframe_ns=timeframe_ns,
        venues=query.venue,
        start_ns=query.start,
        end_ns=query.end,
        recorder=query.recorder,
        days=request.parts.days,
    )
    found = await request.parts.queries.bars(which, limit=query.limit, cursor=query.cursor)
    if not found.items:
        await check_known(request.parts, {"instrument": query.instrument})
    return found


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/market/bars/{instrument}",
        summary="Bars",
        handler=market_bars,
        revalidates=True,
        anywhere=True,
        query=BarsQuery,
        response=Page[Bar],
        problems=("invalid-cursor", "database-unavailable", "not-found", "unknown-name"),
    ),
)

"""Fills, round trips and instruments from the database."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.cache import Caching
from api.http.problems import ProblemError
from api.http.query import NoQuery, Time
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from storage.query.pagination import RowPage
from storage.query.queries import (
    FillFilter,
    InstrumentInfo,
    Page,
    RoundTripFilter,
    StoredFill,
    StoredRoundTrip,
)

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=1000, description="Items per page.")]
Cursor: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=1024, description="`next_cursor` of the previous page.")
]


class TradesQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of round trips by time of closing, `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class RecentTradesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Query of the newest round trips."""

    limit: Limit = 20


class TradeQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one round trip."""

    trade_id: Annotated[str, Meta(min_length=1, max_length=256, description="Id of the round trip.")]
    recorder: Text | None = None


class FillsQuery(TradesQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of fills by time of the fill: the parameters of round trips, and the order."""

    order_id: Text | None = None


class Instruments(Struct, frozen=True, kw_only=True):
    """Instruments that were seen in quotes or ticks, or defined."""

    items: list[InstrumentInfo]


async def fills(request: Request[FillsQuery, None]) -> RowPage:
    """Returns fills, newest first. `next_cursor` is null on the last page."""
    query = request.query
    which = FillFilter(order_id=query.order_id, **_filter_fields(query))
    found = await request.parts.queries.fills(which, limit=query.limit, cursor=query.cursor)
    if not found.items:
        await check_known(request.parts, _filter_fields(query))
    return found


async def trades(request: Request[TradesQuery, None]) -> RowPage:
    """Returns closed round trips (flat to flat), derived from the fills, last closed first."""
    query = request.query
    which = RoundTripFilter(**_filter_fields(query))
    found = await request.parts.queries.trades(which, limit=query.limit, cursor=query.cursor)
    if not found.items:
        await check_known(request.parts, _filter_fields(query))
    return found


async def recent_trades(request: Request[RecentTradesQuery, None]) -> RowPage:
    """Returns the newest closed round trips of all strategies; `next_cursor` goes on with `/trades`."""
    return await request.parts.queries.trades(RoundTripFilter(), limit=request.query.limit)


async def trade(request: Request[TradeQuery, None]) -> dict[str, Any]:
    """Returns one closed round trip."""
    query = request.query
    found = await request.parts.queries.trade(query.trade_id, query.recorder)
    if found is None:
        raise ProblemError("not-found", f"there is no closed round trip {query.trade_id!r}")
    return found


def _filter_fields(query: TradesQuery) -> dict[str, Any]:
    names = {name: getattr(query, name) for name in ("recorder", "strategy", "venue", "instrument")}
    return {**names, "start_ns": query.start, "end_ns": query.end}


async def instruments(request: Request[NoQuery, None]) -> Instruments:
    """Returns the instruments seen in quotes or ticks, or defined, sorted by venue and instrument."""
    return Instruments(items=await request.parts.queries.instruments())


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/instruments",
        summary="Instruments",
        handler=instruments,
        response=Instruments,
        problems=("database-unavailable",),
    ),
    Route(
        path="/api/v1/fills",
        summary="Fills",
        handler=fills,
        caching=Caching(reads=("fills",)),
        query=FillsQuery,
        response=Page[StoredFill],
        problems=("invalid-cursor", "database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/trades",
        summary="Round trips",
        handler=trades,
        caching=Caching(reads=("fills",)),  # stored in the transaction of the fills that close them
        query=TradesQuery,
        response=Page[StoredRoundTrip],
        problems=("invalid-cursor", "database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/trades/recent",
        summary="Newest round trips",
        handler=recent_trades,
        caching=Caching(reads=("fills",)),
        query=RecentTradesQuery,
        response=Page[StoredRoundTrip],
        problems=("database-unavailable",),
    ),
    Route(
        path="/api/v1/trades/{trade_id}",
        summary="One round trip",
        handler=trade,
        caching=Caching(reads=("fills",)),
        query=TradeQuery,
        response=StoredRoundTrip,
        problems=("database-unavailable", "not-found"),
    ),
)

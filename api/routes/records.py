"""Fills, round trips and instruments from the database."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.cache import Caching
from api.http.query import NoQuery, Time
from api.http.route import AnyRoute, Route
from api.parts import Request
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
    return await request.parts.queries.fills(which, limit=query.limit, cursor=query.cursor)


async def trades(request: Request[TradesQuery, None]) -> RowPage:
    """Returns closed round trips (flat to flat), derived from the fills, last closed first."""
    query = request.query
    which = RoundTripFilter(**_filter_fields(query))
    return await request.parts.queries.trades(which, limit=query.limit, cursor=query.cursor)


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
        problems=("invalid-cursor", "database-unavailable"),
    ),
    Route(
        path="/api/v1/trades",
        summary="Round trips",
        handler=trades,
        caching=Caching(reads=("fills",)),  # stored in the transaction of the fills that close them
        query=TradesQuery,
        response=Page[StoredRoundTrip],
        problems=("invalid-cursor", "database-unavailable"),
    ),
)

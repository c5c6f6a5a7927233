"""Fills, trades, instruments: lists from the database."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from api.http.query import NoQuery, Time
from api.http.route import Call, Route
from decahertz.round_trip import RoundTrip
from storage.query.queries import FillFilter, InstrumentInfo, Page, StoredFill, TradeFilter

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=1000, description="Items in one answer.")]
Cursor: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=1024, description="`next_cursor` of the answer before.")
]


class FillsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which fills; what is left out does not restrict. Times are those of the fills, `[start, end)`."""

    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    order_id: Text | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class TradesQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which trades; what is left out does not restrict. Times are those of closing, `[start, end)`."""

    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class Instruments(Struct, frozen=True, kw_only=True):
    """All instruments seen in market events."""

    items: list[InstrumentInfo]


async def fills(call: Call[FillsQuery, None]) -> Page[StoredFill]:
    """Executions, newest first. `next_cursor` leads to the next part of the list; null: that was all."""
    query = call.query
    which = FillFilter(
        strategy=query.strategy,
        venue=query.venue,
        instrument=query.instrument,
        order_id=query.order_id,
        start_ns=query.start,
        end_ns=query.end,
    )
    return await call.parts.queries.fills(which, limit=query.limit, cursor=query.cursor)


async def trades(call: Call[TradesQuery, None]) -> Page[RoundTrip]:
    """Finished round trips, from flat to flat, derived from the fills; the last closed first."""
    query = call.query
    which = TradeFilter(
        strategy=query.strategy,
        venue=query.venue,
        instrument=query.instrument,
        start_ns=query.start,
        end_ns=query.end,
    )
    return await call.parts.queries.trades(which, limit=query.limit, cursor=query.cursor)


async def instruments(call: Call[NoQuery, None]) -> Instruments:
    """All instruments seen in market events, sorted by venue and instrument."""
    return Instruments(items=await call.parts.queries.instruments())


ROUTES: Final[tuple[Route[Any, Any, Any], ...]] = (
    Route(
        method="GET",
        path="/api/v1/instruments",
        summary="Instruments",
        handler=instruments,
        response=Instruments,
        problems=("database",),
    ),
    Route(
        method="GET",
        path="/api/v1/fills",
        summary="Fills",
        handler=fills,
        query=FillsQuery,
        response=Page[StoredFill],
        problems=("cursor", "database"),
    ),
    Route(
        method="GET",
        path="/api/v1/trades",
        summary="Trades (round trips)",
        handler=trades,
        query=TradesQuery,
        response=Page[RoundTrip],
        problems=("cursor", "database"),
    ),
)

"""Fills, round trips and instruments from the database."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import asdict

from api.http.cache import Caching
from api.http.problems import ProblemError
from api.http.query import Time
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.costs import RoundTripQuality, round_trip_quality
from api.routes.known import check_known
from storage.query.instruments import InstrumentInfo
from storage.query.pagination import RowPage
from storage.query.queries import (
    FillFilter,
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


AccountName: TypeAlias = Annotated[
    str, Meta(max_length=128, description="The account; empty: rows without one.")
]
Source: TypeAlias = Annotated[Text, Meta(description="The process that sent the event.")]


class _KeyQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recorder: Text | None = None
    source: Source | None = None
    strategy: Text | None = None
    account: AccountName | None = None
    venue: Text | None = None
    instrument: Text | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class TradesQuery(_KeyQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of round trips by time of closing, `[start, end)`; absent parameters do not filter.

    `source` is that of the closing fill.
    """

    regime: (
        Annotated[
            Text,
            Meta(
                description="The regime at the opening: the newest that the strategy had reported,"
                " or the desk if the strategy had reported none."
            ),
        ]
        | None
    ) = None


class RecentTradesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Query of the newest round trips."""

    limit: Limit = 20


class TradeQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one round trip."""

    trade_id: Annotated[str, Meta(min_length=1, max_length=256, description="Id of the round trip.")]
    recorder: Text | None = None


class FillsQuery(_KeyQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of fills by time of the fill, `[start, end)`; absent parameters do not filter."""

    order_id: Text | None = None


class InstrumentsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of instruments; absent parameters do not filter."""

    venue: Text | None = None
    instrument: Text | None = None


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
    which = RoundTripFilter(regime=query.regime, **_filter_fields(query))
    found = await request.parts.queries.trades(which, limit=query.limit, cursor=query.cursor)
    if not found.items:
        await check_known(request.parts, _filter_fields(query))
    return found


async def recent_trades(request: Request[RecentTradesQuery, None]) -> RowPage:
    """Returns the newest closed round trips of all strategies; `next_cursor` goes on with `/trades`."""
    return await request.parts.queries.trades(RoundTripFilter(), limit=request.query.limit)


class RoundTripReport(StoredRoundTrip, frozen=True, kw_only=True):
    """A finished round trip, and what its orders cost."""

    quality: RoundTripQuality


async def trade(request: Request[TradeQuery, None]) -> RoundTripReport:
    """Returns one closed round trip, with its worst and best P&L while it was open, and what its orders cost.

    P&L follows from its fills and the raw samples of the market, as long as these are kept.
    """
    query = request.query
    found = await request.parts.queries.trade(query.trade_id, query.recorder)
    costs = None if found is None else await request.parts.queries.round_trip_quality(found)
    if found is None or costs is None:
        raise ProblemError("not-found", f"there is no closed round trip {query.trade_id!r}")
    return RoundTripReport(**asdict(found), quality=round_trip_quality(costs))


def _filter_fields(query: _KeyQuery) -> dict[str, Any]:
    names = ("recorder", "source", "strategy", "account", "venue", "instrument")
    return {
        **{name: getattr(query, name) for name in names},
        "start_ns": query.start,
        "end_ns": query.end,
    }


async def instruments(request: Request[InstrumentsQuery, None]) -> Instruments:
    """Returns the instruments seen in quotes or ticks, or defined, sorted by venue and instrument."""
    query = request.query
    return Instruments(items=await request.parts.queries.instruments(query.venue, query.instrument))


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/instruments",
        summary="Instruments",
        handler=instruments,
        query=InstrumentsQuery,
        revalidates=True,
        anywhere=True,
        response=Instruments,
        problems=("database-unavailable",),
    ),
    Route(
        path="/api/v1/fills",
        summary="Fills",
        handler=fills,
        anywhere=True,
        caching=Caching(reads=("fills",)),
        query=FillsQuery,
        response=Page[StoredFill],
        problems=("invalid-cursor", "database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/trades",
        summary="Round trips",
        handler=trades,
        # Stored in the transaction of the fills that close them.
        caching=Caching(reads=("fills", "regimes", "trades")),
        anywhere=True,
        query=TradesQuery,
        response=Page[StoredRoundTrip],
        problems=("invalid-cursor", "database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/trades/recent",
        summary="Newest round trips",
        handler=recent_trades,
        anywhere=True,
        caching=Caching(reads=("fills", "regimes", "trades")),
        query=RecentTradesQuery,
        response=Page[StoredRoundTrip],
        problems=("database-unavailable",),
    ),
    Route(
        path="/api/v1/trades/{trade_id}",
        summary="One round trip",
        handler=trade,
        anywhere=True,
        query=TradeQuery,
        response=RoundTripReport,
        problems=("database-unavailable", "not-found"),
    ),
)

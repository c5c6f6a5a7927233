"""Lists of stored events: signals, cash flows, risk, regime, news, logs, ticks and quotes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from api.http.cache import Caching
from api.http.query import Time
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.records import AccountName, Cursor, Limit, Source, Text
from decahertz.event import CashKind, Direction, LogLevel, Side
from storage.query import stored_events
from storage.query.pagination import KeysetPage, RowPage
from storage.query.queries import Page

_PathInstrument = Annotated[str, Meta(min_length=1, max_length=128, description="As in `instruments`.")]


class RangeQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query by time of the event, `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    source: Source | None = None
    start: Time | None = None
    end: Time | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class SignalsQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of signals."""

    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    signal_id: Text | None = None
    direction: Direction | None = None


class CashQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of cash flows."""

    strategy: Text | None = None
    account: AccountName | None = None
    kind: CashKind | None = None
    venue: Text | None = None
    instrument: Text | None = None
    cash_id: Text | None = None


class RiskQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of risk measures."""

    name: Text | None = None
    strategy: Text | None = None
    breached: bool | None = None


class RegimeQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of regimes."""

    regime: Text | None = None
    strategy: Text | None = None


class NewsQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of headlines."""

    instrument: Annotated[Text, Meta(description="An instrument that the headline is about.")] | None = None
    publisher: Text | None = None


class LogsQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of log lines."""

    component: Text | None = None
    level: LogLevel | None = None


class QuotesQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of quotes of an instrument."""

    instrument: _PathInstrument
    venue: Text | None = None


class TicksQuery(QuotesQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of ticks of an instrument."""

    side: Annotated[Side, Meta(description="Side of the aggressor.")] | None = None


class GapsQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the gap ledger."""

    venue: Text | None = None
    instrument: Text | None = None
    numbering: Annotated[Text, Meta(description="`ticks` or `quotes`.")] | None = None
    recovered: bool | None = None


async def signals(request: Request[SignalsQuery, None]) -> RowPage:
    """Returns signals of strategies, newest first."""
    return await newest(request, stored_events.SIGNALS)


async def cash(request: Request[CashQuery, None]) -> RowPage:
    """Returns cash flows that are not part of a fill, as often as they were reported, newest first."""
    return await newest(request, stored_events.CASH)


async def risk_events(request: Request[RiskQuery, None]) -> RowPage:
    """Returns risk measures with their limits, newest first."""
    return await newest(request, stored_events.RISKS)


async def regime(request: Request[RegimeQuery, None]) -> RowPage:
    """Returns the market regimes that strategies, or the desk, assumed, newest first."""
    return await newest(request, stored_events.REGIMES)


async def sentiment_news(request: Request[NewsQuery, None]) -> RowPage:
    """Returns headlines, newest first."""
    return await newest(request, stored_events.NEWS)


async def system_logs(request: Request[LogsQuery, None]) -> RowPage:
    """Returns log lines of the trading system's components, newest first."""
    query = request.query
    return await request.parts.queries.logs(
        filters(query), limit=query.limit, cursor=query.cursor, now_ns=request.parts.clock.time_ns()
    )


async def market_ticks(request: Request[TicksQuery, None]) -> RowPage:
    """Returns trades on the market in one instrument, newest first."""
    return await _market(request, stored_events.TICKS)


async def market_quotes(request: Request[QuotesQuery, None]) -> RowPage:
    """Returns best bids and asks of one instrument, newest first."""
    return await _market(request, stored_events.QUOTES)


async def market_gaps(request: Request[GapsQuery, None]) -> RowPage:
    """Returns the gap ledger, newest first: messages that were missed, by the numbers of the venue.

    A gap that is closed by late messages has a second row, with `recovered` true.
    """
    return await newest(request, stored_events.GAPS)


async def newest(request: Request[Any, None], page: KeysetPage) -> RowPage:
    """One page of a list. Raises ``unknown-name`` if it is empty because of an unknown name."""
    query = request.query
    which = filters(query)
    found = await request.parts.queries.newest(page, which, limit=query.limit, cursor=query.cursor)
    if not found.items:
        await check_known(request.parts, which)
    return found


async def _market(request: Request[Any, None], page: KeysetPage) -> RowPage:
    query = request.query
    which = filters(query)
    found = await request.parts.queries.market(
        page, which, limit=query.limit, cursor=query.cursor, now_ns=request.parts.clock.time_ns()
    )
    if not found.items:
        await check_known(request.parts, which)
    return found


def filters(query: Struct) -> dict[str, Any]:
    """The parameters that select rows, by column."""
    values = {
        name: getattr(query, name)
        for name in query.__struct_fields__
        if name not in ("start", "end", "limit", "cursor")
    }
    return {
        **values,
        "start_ns": getattr(query, "start", None),
        "end_ns": getattr(query, "end", None),
    }


def page_of(item: Any) -> Any:  # noqa: ANN401 - a type made at run time
    """The type of a page of these items."""
    return Page[item]


def _route(path: str, summary: str, handler: Any, query: type[Struct], page: KeysetPage) -> AnyRoute:  # noqa: ANN401 - handlers differ in their query
    problems = ["invalid-cursor", "database-unavailable"]
    if {"strategy", "instrument"} & set(query.__struct_fields__):
        problems.append("unknown-name")
    if "{" in path:
        problems.append("not-found")
    return Route(
        path=f"/api/v1/{path}",
        summary=summary,
        handler=handler,
        anywhere=True,
        caching=Caching(reads=(page.table,)),
        query=query,
        response=page_of(page.item),
        problems=tuple(problems),
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    _route("signals", "Signals", signals, SignalsQuery, stored_events.SIGNALS),
    _route("cash", "Cash flows", cash, CashQuery, stored_events.CASH),
    _route("risk/events", "Risk measures", risk_events, RiskQuery, stored_events.RISKS),
    _route("regime", "Market regimes", regime, RegimeQuery, stored_events.REGIMES),
    _route("sentiment/news", "Headlines", sentiment_news, NewsQuery, stored_events.NEWS),
    _route("system/logs", "Log lines", system_logs, LogsQuery, stored_events.LOGS),
    _route("market/ticks/{instrument}", "Ticks", market_ticks, TicksQuery, stored_events.TICKS),
    _route("market/quotes/{instrument}", "Quotes", market_quotes, QuotesQuery, stored_events.QUOTES),
    _route("market/gaps", "Gap ledger", market_gaps, GapsQuery, stored_events.GAPS),
)

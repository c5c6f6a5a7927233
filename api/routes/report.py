"""The tear sheet of a strategy, or of all strategies together, as a page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.http.stream import Stream, Write
from api.parts import ApiParts, Request
from api.report.data import Report, collect
from api.report.page import render
from api.routes.known import check_known
from api.routes.records import Text
from storage.query.daily_results import DayScope
from storage.query.round_trip_totals import RoundTripSelection

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_NO_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")


class PortfolioReportQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of a report on `[start, end)`: round trips by the time of closing, and complete trading days."""

    recorder: Text | None = None
    start: Time | None = None
    end: Time | None = None


class ReportQuery(PortfolioReportQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, of one strategy."""

    strategy: Annotated[str, Meta(min_length=1, max_length=128, description="The strategy.")]


async def strategy_report(request: Request[ReportQuery, None]) -> Stream:
    """Returns the tear sheet of a strategy as one HTML page without scripts.

    Its numbers are those of `trades/stats` and of the figures in `performance`, over the whole range.
    """
    return await _report(request.parts, request.query, request.query.strategy)


async def portfolio_report(request: Request[PortfolioReportQuery, None]) -> Stream:
    """Returns the tear sheet of all strategies together as one HTML page without scripts."""
    return await _report(request.parts, request.query, None)


async def _report(parts: ApiParts, query: PortfolioReportQuery, strategy: str | None) -> Stream:
    if query.start is not None and query.end is not None and query.start > query.end:
        raise parameter_problem("start", "is later than end")
    which = RoundTripSelection(
        recorder=query.recorder, strategy=strategy, start_ns=query.start, end_ns=query.end
    )
    scope = DayScope(days=parts.days, now_ns=parts.clock.time_ns(), currency=parts.accounting.currency)
    found = await collect(parts.queries, which, scope, parts.accounting.minor_unit)
    if not found.totals.trades and not found.changes and strategy is not None:
        await check_known(parts, {"strategy": strategy})
    name = _NO_FILE_NAME.sub("-", strategy or "portfolio")
    return Stream("text/html", f"report-{name}.html", _sender(found), _POLICY)


def _sender(found: Report) -> Callable[[Write], Awaitable[None]]:
    async def send(write: Write) -> None:
        await write((await asyncio.to_thread(render, found)).encode())

    return send


_STATUSES: Final = {200: "The page."}

ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/report",
        summary="Tear sheet of the portfolio",
        handler=portfolio_report,
        anywhere=True,
        query=PortfolioReportQuery,
        response=Stream,
        streams=("text/html",),
        statuses=_STATUSES,
        problems=("database-unavailable",),
    ),
    Route(
        path="/api/v1/report/{strategy}",
        summary="Tear sheet of a strategy",
        handler=strategy_report,
        anywhere=True,
        query=ReportQuery,
        response=Stream,
        streams=("text/html",),
        statuses=_STATUSES,
        problems=("database-unavailable", "unknown-name"),
    ),
)

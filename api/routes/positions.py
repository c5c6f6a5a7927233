"""Open positions, from the live state of the strategy collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from api.http.problems import ProblemError
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.live_state import strategy_state
from api.routes.records import AccountName, Text
from collectors.common.values import finite
from collectors.strategy.position import TOO_LARGE, HeldPosition
from decahertz.clock import NS_PER_SECOND
from decahertz.event import PositionSource
from decahertz.quantities import Figures, Money, Quantity, Reasons, Seconds, TimeNanoseconds


class PositionsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of positions; absent parameters do not filter."""

    strategy: Text | None = None
    account: AccountName | None = None
    venue: Text | None = None
    instrument: Text | None = None
    held_by: Annotated[PositionSource, Meta(description="Reported by this holder.")] | None = None
    flat: Annotated[bool, Meta(description="Whether to list flat positions too.")] = False


class InstrumentPositionQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the positions in one instrument, flat ones included."""

    instrument: Text
    strategy: Text | None = None
    account: AccountName | None = None
    venue: Text | None = None


class PositionList(Struct, frozen=True, kw_only=True):
    """Positions of the strategies of this recorder."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    items: list[HeldPosition]


class PositionSummary(Struct, frozen=True, kw_only=True):
    """Sums over open positions, in the account currency."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    count: int
    """Open positions: the n of the sums."""
    long: int
    short: int
    instruments: int
    """Instruments with an open position."""
    strategies: int
    """Strategies with an open position."""
    unmarked: int
    """Open positions without a mark price."""
    undefined: int
    """Open positions in instruments without a definition: they count one to one."""
    gross_value: Money | None
    """Sum of the values without their signs."""
    net_value: Money | None
    """Long minus short value."""
    unrealised_pnl: Money | None
    oldest_mark_seconds: Seconds | None
    """Age of the oldest mark price in use."""
    reasons: Reasons


class InstrumentPosition(Struct, frozen=True, kw_only=True):
    """The positions of all strategies in one instrument."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    instrument: str
    quantity: Quantity
    """Sum over the strategies and venues; negative when short."""
    value: Money | None
    unrealised_pnl: Money | None
    realised_pnl: Money | None
    """After fees."""
    fees: Money | None
    reasons: Reasons
    items: list[HeldPosition]
    """The positions by strategy and venue, flat ones included."""


async def positions(request: Request[PositionsQuery, None]) -> PositionList:
    """Returns the positions of the strategies of this recorder, by strategy, venue and instrument.

    Quantities follow from the fills; positions without a known fill are listed as reported. Mark price is the
    newest mid, or else the newest reported mark price.
    """
    query, now_ns = request.query, request.parts.clock.time_ns()
    known = strategy_state(request.parts).positions(now_ns)
    items = _selected(known, query, with_flat=query.flat)
    if not items:
        await check_known(request.parts, _unseen(known, query))
    return PositionList(recorder=request.parts.recorder, time_ns=now_ns, items=items)


async def positions_summary(request: Request[PositionsQuery, None]) -> PositionSummary:
    """Returns number, value and unrealised P&L of the open positions.

    A sum is null while one of its positions has no value. The parameter `flat` changes nothing here.
    """
    now_ns = request.parts.clock.time_ns()
    known = strategy_state(request.parts).positions(now_ns)
    items = _selected(known, request.query, with_flat=False)
    if not items:
        await check_known(request.parts, _unseen(known, request.query))
    marks = [item.mark_ns for item in items if item.mark_ns is not None]
    figures = Figures()
    _add_sum(figures, "gross_value", items, "value", abs)
    _add_sum(figures, "net_value", items, "value")
    _add_sum(figures, "unrealised_pnl", items, "unrealised_pnl")
    age = max(now_ns - min(marks), 0) / NS_PER_SECOND if marks else None
    figures.add("oldest_mark_seconds", age, "no position has a mark price")
    return PositionSummary(
        recorder=request.parts.recorder,
        time_ns=now_ns,
        count=len(items),
        long=sum(item.quantity > 0 for item in items),
        short=sum(item.quantity < 0 for item in items),
        instruments=len({(item.venue, item.instrument) for item in items}),
        strategies=len({item.strategy for item in items}),
        undefined=sum(item.multiplier is None for item in items),
        unmarked=sum(item.mark_price is None for item in items),
        reasons=figures.reasons,
        **figures.values,
    )


async def positions_instrument(request: Request[InstrumentPositionQuery, None]) -> InstrumentPosition:
    """Returns the positions of all strategies in one instrument, flat ones included, and their sums.

    Responds with 404 if no strategy of this recorder is known to have had one.
    """
    query, now_ns = request.query, request.parts.clock.time_ns()
    known = [p for p in strategy_state(request.parts).positions(now_ns) if p.instrument == query.instrument]
    if not known:
        detail = f"no strategy of this recorder has, or had, a position in {query.instrument!r}"
        raise ProblemError("not-found", detail)
    items = _selected(known, query, with_flat=True)
    figures = Figures()
    for name in ("value", "unrealised_pnl", "realised_pnl", "fees"):
        _add_sum(figures, name, items, name)
    return InstrumentPosition(
        recorder=request.parts.recorder,
        time_ns=now_ns,
        instrument=query.instrument,
        quantity=sum(item.quantity for item in items),
        items=items,
        reasons=figures.reasons,
        **figures.values,
    )


def _selected(
    known: Iterable[HeldPosition], query: PositionsQuery | InstrumentPositionQuery, *, with_flat: bool
) -> list[HeldPosition]:
    """The positions that a query selects, sorted by strategy, venue and instrument."""
    found = [
        item
        for item in known
        if (with_flat or item.quantity)
        and query.strategy in (None, item.strategy)
        and query.account in (None, item.account)
        and query.venue in (None, item.venue)
        and query.instrument in (None, item.instrument)
    ]
    if isinstance(query, PositionsQuery) and query.held_by is not None:
        found = [item for item in found if query.held_by in item.held_by]
    return sorted(found, key=lambda item: (item.strategy, item.venue, item.instrument))


def _unseen(known: Sequence[HeldPosition], query: PositionsQuery) -> dict[str, str | None]:
    """The names of a query that no position has, flat ones included."""
    strategies, instruments = {p.strategy for p in known}, {p.instrument for p in known}
    return {
        "strategy": None if query.strategy in strategies else query.strategy,
        "instrument": None if query.instrument in instruments else query.instrument,
    }


def _add_sum(
    figures: Figures,
    name: str,
    items: Sequence[HeldPosition],
    field: str,
    term: Callable[[float], float] = float,
) -> None:
    """Adds the sum of a field over positions; none if one of them has no value."""
    total = 0.0
    for item in items:
        value = getattr(item, field)
        if value is None:
            figures.add(name, None, f"{item.strategy}, {item.instrument}: {item.reasons[field]}")
            return
        total += term(value)
    figures.add(name, finite(total), TOO_LARGE)


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/positions",
        summary="Positions",
        handler=positions,
        query=PositionsQuery,
        response=PositionList,
        problems=("not-enabled", "database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/positions/summary",
        summary="Number and value of the open positions",
        handler=positions_summary,
        query=PositionsQuery,
        response=PositionSummary,
        problems=("not-enabled", "database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/positions/{instrument}",
        summary="Positions in one instrument",
        handler=positions_instrument,
        query=InstrumentPositionQuery,
        response=InstrumentPosition,
        problems=("not-found", "not-enabled"),
    ),
)

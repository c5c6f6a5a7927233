"""Fees and cash flows by currency."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from api.http.cache import Caching
from api.http.query import Time
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.records import Text
from decahertz.quantities import Figures, Money, Reasons
from storage.query.cash_totals import CashSelection
from storage.query.cash_totals import CashTotal as StoredTotal


class PaymentKind(StrEnum):
    """Purpose of a payment."""

    FEE = "fee"
    """Fees of fills, minus rebates."""
    FUNDING = "funding"
    INTEREST = "interest"
    DIVIDEND = "dividend"
    ADJUSTMENT = "adjustment"
    TRANSFER = "transfer"
    """Deposits minus withdrawals: no result."""


class CashTotalsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of fees and cash flows by their time, `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    strategy: Text | None = None
    start: Time | None = None
    end: Time | None = None


class CashTotal(Struct, frozen=True, kw_only=True):
    """Payments of one kind in one currency; negative when paid."""

    strategy: str
    account: str
    """The account; empty for the only one."""
    kind: PaymentKind
    currency: str | None
    """Currency of the payments; null: none is stated, they count in the account currency."""
    n: int
    """Fills with a fee, or cash flows."""
    amount: float
    """Sum, in that currency."""
    converted: Money | None
    """Sum in the account currency, at the rates of their times; null: one has no rate."""
    without_rate: int
    """Payments without a rate."""
    reasons: Reasons


class CashTotals(Struct, frozen=True, kw_only=True):
    """Fees and cash flows by strategy, account, kind and currency."""

    items: list[CashTotal]


async def cash_totals(request: Request[CashTotalsQuery, None]) -> CashTotals:
    """Returns what was paid and received: fees, funding, interest, dividends, adjustments, transfers.

    Each execution and each cash flow counts once, however often it was reported; a correction replaces the
    fee of a fill, and a bust annuls it.
    """
    query = request.query
    names = {"recorder": query.recorder, "strategy": query.strategy}
    which = CashSelection(**names, start_ns=query.start, end_ns=query.end)
    found = await request.parts.queries.cash_totals(which)
    if not found:
        await check_known(request.parts, names)
    return CashTotals(items=[_total(one) for one in found])


def _total(one: StoredTotal) -> CashTotal:
    figures = Figures()
    converted = None if one.without_rate else one.converted
    figures.add("converted", converted, f"{one.without_rate} of {one.n} have no rate to the account currency")
    return CashTotal(
        strategy=one.strategy,
        account=one.account,
        kind=PaymentKind(one.kind),
        currency=one.currency,
        n=one.n,
        amount=one.amount,
        without_rate=one.without_rate,
        **figures.values_with_reasons(),
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/cash/totals",
        summary="Fees and cash flows by currency",
        handler=cash_totals,
        anywhere=True,
        caching=Caching(reads=("fills", "cash")),
        query=CashTotalsQuery,
        response=CashTotals,
        problems=("database-unavailable", "unknown-name"),
    ),
)

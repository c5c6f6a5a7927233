"""Positions as the strategy collector knows them now."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from collectors.common.values import finite
from decahertz.event import Position, PositionSource
from decahertz.quantities import Figures, Money, Price, Quantity, Reasons, RMultiple, TimeNanoseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectors.strategy.holding import Holding

NO_MARK = "no quote and no reported mark price"
TOO_LARGE = "the number is too large"
FLAT = "there is no open position"


class Basis(StrEnum):
    """Where the quantity of a position comes from."""

    FILLS = "fills"
    """Added up from the fills."""
    REPORTS = "reports"
    """As reported in position events; no fill of it is known."""


class MarkSource(StrEnum):
    """Where a mark price comes from."""

    QUOTE = "quote"
    """Mid of the newest quote."""
    REPORT = "report"
    """Mark price in the newest position event."""


class ReportedPosition(Struct, frozen=True, kw_only=True):
    """The newest position event of one holder."""

    held_by: PositionSource
    quantity: Quantity
    average_price: Price | None
    mark_price: Price | None
    time_ns: TimeNanoseconds


class HeldPosition(Struct, frozen=True, kw_only=True):
    """The position of one strategy in one instrument. Negative quantities and values are short.

    Amounts are quantity times price, without contract multipliers.
    """

    strategy: str
    venue: str
    instrument: str
    basis: Basis
    held_by: list[PositionSource]
    """Holders that report a part of it."""
    quantity: Quantity
    average_price: Price | None
    """Average entry price of the open quantity; null when flat."""
    mark_price: Price | None
    mark_source: MarkSource | None
    mark_ns: TimeNanoseconds | None
    """Receipt of the mark price."""
    value: Money | None
    """Quantity times mark price."""
    unrealised_pnl: Money | None
    realised_pnl: Money | None
    """Realised by all fills of this strategy in this instrument, after fees."""
    fees: Money | None
    """Fees of all fills of this strategy in this instrument; a rebate is negative."""
    fills: int
    """Number of those fills, without duplicates."""
    opened_ns: TimeNanoseconds | None
    """Time of the fill that opened the position."""
    risk: Money | None
    """Initial risk of the open round trip."""
    current_r: RMultiple | None
    """P&L of the open round trip, realised part included, relative to its initial risk."""
    updated_ns: TimeNanoseconds
    """Time of the newest fill or position event."""
    differs: bool
    """Whether the reported quantity has differed from the fills for longer than `break_seconds`."""
    reported: list[ReportedPosition]
    """The newest position event of each holder."""
    reasons: Reasons


class Mark(Struct, frozen=True, gc=False):
    """The price at which a holding is valued, if there is one."""

    price: float | None
    received_ns: int
    source: MarkSource


def position_of(
    strategy: str, holding: Holding, mark: Mark, *, differs: bool, no_mark: str = NO_MARK
) -> HeldPosition:
    """Describes a holding at a mark price; ``no_mark`` is the reason if there is none."""
    price = mark.price
    no_price = no_mark if price is None else TOO_LARGE
    figures = Figures()
    if holding.fills:
        basis, quantity = Basis.FILLS, holding.trip.position
        average = holding.trip.average_price()
        figures.add("average_price", average, FLAT)
        _add_round_trip(figures, holding, price, no_price)
    else:
        basis = Basis.REPORTS
        quantity, average = _reported(holding.reports)
        figures.add("average_price", average, "not every report names it" if quantity else FLAT)
        for name in ("realised_pnl", "fees", "opened_ns", "risk", "current_r"):
            figures.add(name, None, "no fill is known, only a reported position")
        gain = None if price is None or average is None else finite(quantity * (price - average))
        no_gain = no_price if price is None else "there is no average price"
        figures.add("unrealised_pnl", gain if quantity else 0.0, no_gain)
    figures.add("mark_price", price, no_mark)
    figures.add("mark_source", None if price is None else mark.source, no_mark)
    figures.add("mark_ns", None if price is None else mark.received_ns, no_mark)
    value = None if price is None else finite(price * quantity)
    figures.add("value", value if quantity else 0.0, no_price)
    return HeldPosition(
        strategy=strategy,
        venue=holding.venue,
        instrument=holding.instrument,
        basis=basis,
        held_by=[report.held_by for report in holding.reports if report.quantity],
        quantity=quantity,
        fills=holding.fills,
        updated_ns=holding.updated_ns,
        differs=differs,
        reported=[_report(report) for report in holding.reports],
        reasons=figures.reasons,
        **figures.values,
    )


def _add_round_trip(figures: Figures, holding: Holding, price: float | None, no_price: str) -> None:
    """Adds the figures that only fills tell."""
    trip = holding.trip
    figures.add("realised_pnl", finite(holding.realised), TOO_LARGE)
    figures.add("fees", finite(holding.fees), TOO_LARGE)
    figures.add("opened_ns", None if trip.opening is None else trip.opening.time_ns, FLAT)
    figures.add("risk", trip.risk, "no fill names the initial risk" if trip.position else FLAT)
    unrealised = 0.0 if not trip.position else None if price is None else finite(trip.unrealised(price))
    figures.add("unrealised_pnl", unrealised, no_price)
    current_r = None
    if trip.risk and unrealised is not None:
        current_r = finite((unrealised + trip.realised()) / trip.risk)
    no_risk = figures.reasons.get("risk", "the initial risk is zero" if not trip.risk else no_price)
    figures.add("current_r", current_r, no_risk)


def _reported(reports: Sequence[Position]) -> tuple[float, float | None]:
    """Sum of the reported quantities, and their average price if every holder names one."""
    quantity = cost = 0.0
    is_priced = True
    for report in reports:
        quantity += report.quantity
        if report.average_price is not None:
            cost += report.quantity * report.average_price
        elif report.quantity:
            is_priced = False
    return quantity, finite(cost / quantity) if quantity and is_priced else None


def _report(position: Position) -> ReportedPosition:
    return ReportedPosition(
        held_by=position.held_by,
        quantity=position.quantity,
        average_price=position.average_price,
        mark_price=position.mark_price,
        time_ns=position.time_ns,
    )

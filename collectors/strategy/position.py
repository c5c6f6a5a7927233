"""Positions as the strategy collector knows them now."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from collectors.common.values import finite
from collectors.strategy.money import converted
from decahertz.definitions import settlement_currency
from decahertz.event import Instrument, Position, PositionSource
from decahertz.quantities import Figures, Money, Price, Quantity, Reasons, RMultiple, TimeNanoseconds
from decahertz.rates import NoRate, Rate

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

    Amounts are in the account currency, by the contract, at the current rate; realised ones at the rates of
    their fills.
    """

    strategy: str
    account: str
    """The account; empty for the only one."""
    venue: str
    instrument: str
    currency: str | None
    """Settlement currency; null: not known, amounts count in the account currency."""
    multiplier: float | None
    """Units of the underlying per unit of quantity; null: no definition is known, counted one to one."""
    rate: float | None
    """Units of the account currency per unit of the settlement currency now."""
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
    """Value at the mark price, in the account currency."""
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
    mae: Money | None
    """Worst P&L of the open round trip at the mids of the cycles, realised part included."""
    mfe: Money | None
    """Best P&L of the open round trip at the mids of the cycles, realised part included."""
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
    strategy: str,
    holding: Holding,
    mark: Mark,
    *,
    rate: Rate | NoRate,
    definition: Instrument | None = None,
    differs: bool,
    no_mark: str = NO_MARK,
) -> HeldPosition:
    """Describes a holding at a mark price, and at a rate to the account currency.

    ``no_mark`` is the reason if there is no price. ``definition`` is the current one of the instrument: a
    position known only from reports has no other.
    """
    price = mark.price
    no_price = no_mark if price is None else rate.reason if isinstance(rate, NoRate) else TOO_LARGE
    figures = Figures()
    if holding.fills:
        basis, quantity = Basis.FILLS, holding.trip.position
        average = holding.trip.average_price()
        figures.add("average_price", average, FLAT)
        value = None if price is None else converted(holding.trip.value(price), rate)
        _add_round_trip(figures, holding, price, rate, no_price)
    else:
        basis = Basis.REPORTS
        quantity, average = _reported(holding.reports)
        figures.add("average_price", average, "not every report has it" if quantity else FLAT)
        for name in ("realised_pnl", "fees", "opened_ns", "risk", "current_r", "mae", "mfe"):
            figures.add(name, None, "no fill is known, only a reported position")
        value = None if price is None else converted(_value(quantity, price, definition), rate)
        gain = None
        if price is not None and average is not None:
            gain = converted(_gain(quantity, average, price, definition), rate)
        no_gain = "there is no average price" if average is None and price is not None else no_price
        figures.add("unrealised_pnl", gain if quantity else 0.0, no_gain)
    figures.add("mark_price", price, no_mark)
    figures.add("mark_source", None if price is None else mark.source, no_mark)
    figures.add("mark_ns", None if price is None else mark.received_ns, no_mark)
    figures.add("value", value if quantity else 0.0, no_price)
    if isinstance(rate, Rate):
        figures.add("rate", rate.value, "")
    else:
        figures.add("rate", None, rate.reason)
    currency, multiplier = _contract(holding, definition)
    return HeldPosition(
        strategy=strategy,
        account=holding.account,
        venue=holding.venue,
        instrument=holding.instrument,
        currency=currency,
        multiplier=multiplier,
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


def _add_round_trip(
    figures: Figures, holding: Holding, price: float | None, rate: Rate | NoRate, no_price: str
) -> None:
    """Adds the figures that only fills provide."""
    trip = holding.trip
    is_converted = not holding.unconverted
    not_converted = TOO_LARGE if is_converted else f"{holding.unconverted} fills have no rate"
    figures.add("realised_pnl", finite(holding.realised) if is_converted else None, not_converted)
    figures.add("fees", finite(holding.fees) if is_converted else None, not_converted)
    worst, best = holding.excursion.of(trip.opening)
    for name, pnl in (("mae", worst), ("mfe", best)):
        unknown = no_price if price is None else "no cycle has valued it since it opened"
        figures.add(name, None if pnl is None else finite(pnl), FLAT if trip.opening is None else unknown)
    figures.add("opened_ns", None if trip.opening is None else trip.opening.time_ns, FLAT)
    figures.add("risk", trip.risk, "no fill names the initial risk" if trip.position else FLAT)
    unrealised = 0.0 if trip.opening is None else None
    if trip.opening is not None and price is not None:
        unrealised = converted(trip.unrealised(price), rate)
    figures.add("unrealised_pnl", unrealised, no_price)
    current_r, realised = None, trip.realised()
    if trip.risk and unrealised is not None and realised is not None:
        current_r = finite((unrealised + realised) / trip.risk)
    no_risk = figures.reasons.get("risk", "the initial risk is zero" if not trip.risk else no_price)
    figures.add("current_r", current_r, no_risk)


def _contract(holding: Holding, definition: Instrument | None) -> tuple[str | None, float | None]:
    """Settlement currency and multiplier: of the fill that opened the position, or of the definition."""
    opening = holding.trip.opening
    if opening is not None:
        return opening.currency, opening.multiplier
    if definition is None:
        return None, None
    return settlement_currency(definition), definition.multiplier


def _value(quantity: float, price: float, definition: Instrument | None) -> float | None:
    """Value of a quantity in the settlement currency."""
    if definition is None:
        return quantity * price
    units = quantity * definition.multiplier
    if not definition.inverse:
        return units * price
    return units / price if price else None


def _gain(quantity: float, average: float, price: float, definition: Instrument | None) -> float | None:
    """Gain of a quantity in the settlement currency, from an average price to a price."""
    before, after = _value(quantity, average, definition), _value(quantity, price, definition)
    if before is None or after is None:
        return None
    return before - after if definition is not None and definition.inverse else after - before


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

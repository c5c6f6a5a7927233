"""Derives round trips, from flat to flat of one strategy, account and instrument, from fills.

A fill of a linear contract is worth quantity times multiplier times price in the settlement currency; one of
an inverse contract quantity times multiplier over price, and a long position gains as that value falls. An
instrument without a definition counts one to one. The result is the value of the exits minus the value of the
entries minus fees, in the settlement currency. In the account currency each exit counts at the rate of its
fill, and each fee at its own rate; an amount without a rate is ``None``, with a reason.

A fee in the base currency of a spot instrument changes the quantity held: a purchase of 1 with a fee of 0.001
is an entry of 0.999 that costs 0.001 times the price. A fill that flips the position closes one round trip
and opens the next; its fee is split in proportion to quantity. A transfer or an opening position has no
result: it enters at its price and leaves at cost.

Quantities and values are added up as the decimal numbers that the floats were written as, so that 0.1 and 0.2
less 0.3 leave nothing. A remainder below half a lot size is flat, where that is known; it is kept, and fills
that only move it open nothing.
"""

from __future__ import annotations

import hashlib
import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from decahertz.accounting import CostMethod
from decahertz.event import Fill, FillKind, Side

_DECIMALS = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_ZERO = Decimal(0)
_ROUNDING = Decimal("1e-14")
"""A remainder below this share of the largest position is a rounding error of the trading process."""
_RESIDUE = Decimal("1e-40")
"""An amount below this share of the value that it is a part of is a rounding error of this module."""
_MAX_PARTS = 128
"""Purchases (of a short position: sales) kept apart by first and last in, first out. Beyond it, the two that
are closed last become one at their average cost, so that a position that is never flat stays small."""
_WITHOUT_RESULT = frozenset({FillKind.TRANSFER, FillKind.OPENING})


class RoundTrip(Struct, frozen=True, kw_only=True):
    """A closed round trip."""

    trade_id: str
    """Derived from the opening fill, so the same fills give the same id."""
    strategy: str
    account: str = ""
    venue: str
    instrument: str
    side: Side
    """Side of the opening fill: ``buy`` for a long round trip."""
    quantity: float
    """Sum of the opening quantities."""
    opened_ns: int
    closed_ns: int
    entry_price: float
    """Average price of the opening fills, by quantity; of an inverse contract, by value."""
    exit_price: float
    """Average price of the closing fills."""
    fees: float | None
    """Fees in the account currency, those in the base currency included."""
    pnl: float | None
    """Net P&L in the account currency, after fees; ``None`` while a rate is missing."""
    currency: str | None = None
    """Settlement currency; ``None``: the instrument has none, and its amounts are in the account currency."""
    settled_fees: float | None = None
    """Fees in the settlement currency."""
    settled_pnl: float | None = None
    """Net P&L in the settlement currency."""
    multiplier: float | None = None
    """Units of the underlying per unit of quantity; ``None``: no definition was known, counted one to one."""
    risk: float | None = None
    """Initial risk in the account currency: the first that an opening fill states."""
    r_multiple: float | None = None
    """``pnl / risk``; ``None`` if one of them is unknown or the risk is too small to divide by."""
    fills: int
    """Number of fills."""
    reason: str | None = None
    """Why ``pnl`` is not known."""


class Booking(NamedTuple):
    """Effect of one fill."""

    realised: float | None
    """P&L that it realises in the account currency, after its fees; ``None``: a rate is missing."""
    fees: float | None
    """The fees in it."""
    closed: RoundTrip | None
    """The round trip that it closes."""
    paid: float | None = 0.0
    """Its value in the account currency: what a purchase costs before fees; negative for a sale. ``None``: a
    rate is missing."""


class OpenPart(Struct, array_like=True):
    """A part of the open position."""

    quantity: Decimal
    value: Decimal
    """Its cost in the settlement currency."""


class _Movement(NamedTuple):
    """A fill, or the part of one that is before or after flat."""

    quantity: Decimal
    fee: Decimal | None
    """In the settlement currency."""
    account_fee: Decimal | None
    """In the account currency."""

    def split(self, quantity: Decimal) -> tuple[_Movement, _Movement]:
        """The part with this quantity, and the rest; fees are shared in proportion."""
        if quantity == self.quantity:
            return self, _Movement(_ZERO, _ZERO, _ZERO)
        share = _DECIMALS.divide(quantity, self.quantity)
        fee, account_fee = _times(self.fee, share), _times(self.account_fee, share)
        part = _Movement(quantity, fee, account_fee)
        rest = _less(self.quantity, quantity)
        return part, _Movement(rest, _minus(self.fee, fee), _minus(self.account_fee, account_fee))


class OpenRoundTrip(Struct):
    """The open round trip of one (strategy, account, venue, instrument).

    :meth:`book` folds in fills, in order of time and each execution once, and returns the round trips that
    they close. The size of the state does not depend on the number of fills.
    """

    held: Decimal = _ZERO
    """Signed quantity, a remainder below half a lot size included."""
    parts: list[OpenPart] = []
    """Parts of the position, oldest first; one, at average cost, unless another method is set."""
    opening: Fill | None = None
    """The fill that opened it; ``None`` when flat."""
    peak: Decimal = _ZERO
    entry_quantity: Decimal = _ZERO
    entry_value: Decimal = _ZERO
    exit_quantity: Decimal = _ZERO
    exit_value: Decimal = _ZERO
    booked: Decimal | None = _ZERO
    """Realised in the account currency, after fees."""
    settled_fees: Decimal | None = _ZERO
    """Fees in the settlement currency."""
    booked_fees: Decimal | None = _ZERO
    """Fees in the account currency."""
    reason: str | None = None
    """Why an amount is not known."""
    risk: float | None = None
    fills: int = 0
    units: float = 0.0
    """Open quantity times multiplier; negative when short."""
    cost: float = 0.0
    """Cost of the open position in the settlement currency; negative when short."""

    @property
    def position(self) -> float:
        """Signed quantity; zero when flat."""
        return 0.0 if self.opening is None else float(self.held)

    @property
    def is_fresh(self) -> bool:
        """Whether no fill has left anything in it, not even a remainder."""
        return self.opening is None and not self.held and self.booked_fees == 0

    def add(self, fill: Fill, cost: CostMethod = CostMethod.AVERAGE) -> RoundTrip | None:
        """Folds in a fill; returns the round trip that it closed, if any."""
        return self.book(fill, cost).closed

    def book(self, fill: Fill, cost: CostMethod = CostMethod.AVERAGE) -> Booking:
        """Folds in a fill; returns what it realised and the round trip that it closed, if any.

        A ``bust`` changes nothing: the fills are folded without those that it annuls.
        """
        booking = self._book(fill, cost)
        opening = self.opening
        if opening is not None:
            sign = 1 if self.held > 0 else -1
            self.units = sign * float(self._open_quantity()) * (opening.multiplier or 1.0)
            self.cost = sign * float(self._open_value())
        return booking

    def _book(self, fill: Fill, cost: CostMethod) -> Booking:
        if fill.kind is FillKind.BUST:
            return Booking(0.0, 0.0, None)
        signed, movement, reason = _movement(fill)
        paid = _paid(fill, signed)
        self.reason = self.reason or reason
        if self.opening is None or not signed or (self.held > 0) == (signed > 0):
            self.held = _more(self.held, signed)
            if self.opening is not None or not self._is_flat(fill):
                self._enter(fill, movement.quantity, cost)
            # Otherwise it moves no more than a remainder.
            return _booking(_ZERO, self._pay(movement), paid, None)
        was_long = self.held > 0
        self.held = _more(self.held, signed)
        closing, rest = movement.split(min(movement.quantity, self._open_quantity()))
        gain = self._exit(fill, closing.quantity, cost)
        is_flat = self._is_flat(fill)
        if not is_flat and (self.held > 0) == was_long:
            return _booking(gain, self._pay(movement), paid, None)
        fees = self._pay(movement if is_flat else closing)
        closed = self._finish(fill)
        if not is_flat:
            self.reason = reason
            self._enter(fill, rest.quantity, cost)
            fees = _plus(fees, self._pay(rest))
        return _booking(gain, fees, paid, closed)

    def average_price(self) -> float | None:
        """Average price of the open position; ``None`` when flat."""
        opening = self.opening
        return None if opening is None else _price(opening, self._open_quantity(), self._open_value())

    def realised(self) -> float | None:
        """Realised P&L of the open round trip in the account currency, after fees."""
        return None if self.booked is None else float(self.booked)

    def unrealised(self, mark: float) -> float | None:
        """Unrealised P&L in the settlement currency at the price ``mark``.

        ``None``: an inverse contract has no value at a price of zero.
        """
        if self.opening is None:
            return 0.0
        if not self.opening.inverse:
            return mark * self.units - self.cost
        return self.cost - self.units / mark if mark else None

    def value(self, mark: float) -> float | None:
        """Value of the open position in the settlement currency at ``mark``; negative when short."""
        if self.opening is None:
            return 0.0
        if not self.opening.inverse:
            return mark * self.units
        return self.units / mark if mark else None

    def _open_quantity(self) -> Decimal:
        return sum((part.quantity for part in self.parts), _ZERO)

    def _open_value(self) -> Decimal:
        total = _ZERO
        for part in self.parts:
            total = _more(total, part.value)
        return total

    def _gain(self, exit_value: Decimal, entry_value: Decimal) -> Decimal:
        opening = self.opening
        assert opening is not None  # noqa: S101 - there is a position
        gain = _less(exit_value, entry_value)
        if abs(gain) <= _DECIMALS.multiply(_RESIDUE, abs(entry_value)):
            return _ZERO
        return gain if (opening.side is Side.BUY) != bool(opening.inverse) else -gain

    def _is_flat(self, fill: Fill) -> bool:
        rest = abs(self.held)
        if not rest:
            return True
        if rest <= _DECIMALS.multiply(_ROUNDING, self.peak):
            self.held = _ZERO
            return True
        return fill.lot_size is not None and 2 * rest < exact(fill.lot_size)

    def _pay(self, movement: _Movement) -> Decimal | None:
        """Takes fees from the results; returns them in the account currency."""
        self.settled_fees = _plus(self.settled_fees, movement.fee)
        self.booked_fees = _plus(self.booked_fees, movement.account_fee)
        self.booked = _minus(self.booked, movement.account_fee)
        return movement.account_fee

    def _enter(self, fill: Fill, quantity: Decimal, cost: CostMethod) -> None:
        if self.opening is None:
            # A fee in the base currency above the quantity makes a sale of a purchase.
            side = Side.BUY if self.held > 0 else Side.SELL
            self.opening = fill if fill.side is side else replace(fill, side=side)
        value = self._value(fill, quantity)
        self.peak = max(self.peak, abs(self.held))
        self.entry_quantity = _more(self.entry_quantity, quantity)
        self.entry_value = _more(self.entry_value, value)
        if quantity:
            self._add_part(OpenPart(quantity, value), cost)
        self.fills += 1
        if self.risk is None:
            self.risk = fill.risk

    def _value(self, fill: Fill, quantity: Decimal) -> Decimal:
        """Value of a part of a fill in the settlement currency, by the contract as it was at the opening."""
        value = _value(self.opening or fill, quantity, fill.price)
        if value is None:
            self.booked = self.settled_fees = None
            self.reason = self.reason or f"fill {fill.fill_id} of an inverse contract has a price of zero"
        return value or _ZERO

    def _add_part(self, part: OpenPart, cost: CostMethod) -> None:
        parts = self.parts
        if cost is CostMethod.AVERAGE and parts:
            parts[0] = _merged(parts[0], part)
            return
        parts.append(part)
        if len(parts) > _MAX_PARTS:
            at = 0 if cost is CostMethod.LIFO else _MAX_PARTS - 1
            parts[at : at + 2] = [_merged(*parts[at : at + 2])]

    def _exit(self, fill: Fill, quantity: Decimal, cost: CostMethod) -> Decimal | None:
        """Closes a part of the position; returns the gain in the account currency."""
        entry_value = self._take_parts(quantity, cost)
        exit_value = entry_value if fill.kind in _WITHOUT_RESULT else self._value(fill, quantity)
        self.exit_quantity = _more(self.exit_quantity, quantity)
        self.exit_value = _more(self.exit_value, exit_value)
        gain: Decimal | None = self._gain(exit_value, entry_value)
        if fill.currency is not None and gain:
            if fill.rate is None:
                self.reason = self.reason or _no_rate(fill.currency, fill)
            gain = _times(gain, None if fill.rate is None else exact(fill.rate))
        self.booked = _plus(self.booked, gain)
        self.fills += 1
        return gain

    def _take_parts(self, quantity: Decimal, cost: CostMethod) -> Decimal:
        """Takes a quantity out of the parts; returns its cost."""
        value = _ZERO
        parts = self.parts
        while quantity > 0 and parts:
            at = -1 if cost is CostMethod.LIFO else 0
            part = parts[at]
            if part.quantity <= quantity:
                del parts[at]
                quantity = _less(quantity, part.quantity)
                value = _more(value, part.value)
                continue
            taken = _DECIMALS.multiply(part.value, _DECIMALS.divide(quantity, part.quantity))
            parts[at] = OpenPart(_less(part.quantity, quantity), _less(part.value, taken))
            return _more(value, taken)
        return value

    def _finish(self, last: Fill) -> RoundTrip:
        opening = self.opening
        assert opening is not None  # noqa: S101 - a position was opened by a fill
        gain = self._gain(self.exit_value, _less(self.entry_value, self._open_value()))
        pnl = _float(self.booked)
        closed = RoundTrip(
            trade_id=trade_id(opening),
            strategy=opening.strategy,
            account=opening.account,
            venue=opening.venue,
            instrument=opening.instrument,
            side=opening.side,
            quantity=float(self.entry_quantity),
            opened_ns=opening.time_ns,
            closed_ns=last.time_ns,
            entry_price=_price(opening, self.entry_quantity, self.entry_value) or 0.0,
            exit_price=_price(opening, self.exit_quantity, self.exit_value) or 0.0,
            fees=_float(self.booked_fees),
            pnl=pnl,
            currency=opening.currency,
            settled_fees=_float(self.settled_fees),
            settled_pnl=_float(_minus(gain, self.settled_fees)),
            multiplier=opening.multiplier,
            risk=self.risk,
            r_multiple=_multiple(pnl, self.risk),
            fills=self.fills,
            reason=self.reason,
        )
        fresh = OpenRoundTrip(held=self.held)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        return closed


def _booking(
    gain: Decimal | None, fees: Decimal | None, paid: Decimal | None, closed: RoundTrip | None
) -> Booking:
    return Booking(_float(_minus(gain, fees)), _float(fees), closed, _float(paid))


def _merged(one: OpenPart, other: OpenPart) -> OpenPart:
    return OpenPart(_more(one.quantity, other.quantity), _more(one.value, other.value))


def trade_id(opening: Fill) -> str:
    """The id of the round trip that a fill opens."""
    parts = (
        *(opening.strategy, opening.account, opening.venue, opening.instrument),
        *(opening.order_id, opening.fill_id, str(opening.time_ns)),
    )
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()


def exact(number: float) -> Decimal:
    """The decimal number that a float was written as: 0.1 for the float nearest to it."""
    return Decimal(repr(number))


def added(total: Decimal, number: float) -> Decimal:
    """A total plus a number, without rounding: adding its negative undoes it."""
    return _DECIMALS.add(total, exact(number))


def _movement(fill: Fill) -> tuple[Decimal, _Movement, str | None]:
    """The signed change of the position by a fill, its size and fees; with why a fee is not known."""
    quantity = exact(fill.quantity)
    signed = quantity if fill.side is Side.BUY else -quantity
    if _is_paid_in_base(fill):
        base_fee = exact(fill.fee)
        signed = _less(signed, base_fee)
        fee = _DECIMALS.multiply(base_fee, exact(fill.price))
        account_fee, reason = _converted(fee, fill)
        return signed, _Movement(abs(signed), fee, account_fee), reason
    known_fee, account_fee, reason = _fees(fill)
    return signed, _Movement(quantity, known_fee, account_fee), reason


def _paid(fill: Fill, signed: Decimal) -> Decimal | None:
    """Cost of a signed quantity in the account currency."""
    if fill.kind in _WITHOUT_RESULT:
        return _ZERO
    value = _value(fill, signed, fill.price)
    return None if value is None else _converted(value, fill)[0]


def _is_paid_in_base(fill: Fill) -> bool:
    """Whether the fee is a part of the quantity, as on spot markets."""
    return (
        fill.fee_currency is not None
        and fill.fee_currency == fill.base_currency
        and fill.fee_currency != fill.currency
        and not fill.inverse
        and fill.multiplier in {None, 1.0}
    )


def _fees(fill: Fill) -> tuple[Decimal | None, Decimal | None, str | None]:
    """The fee in the settlement currency and in the account currency, with why one is not known."""
    fee = exact(fill.fee)
    if not fee or fill.fee_currency is None or fill.fee_currency == fill.currency:
        account_fee, reason = _converted(fee, fill)
        return fee, account_fee, reason
    if fill.fee_rate is None:
        return None, None, _no_rate(fill.fee_currency, fill)
    account_fee = _DECIMALS.multiply(fee, exact(fill.fee_rate))
    if fill.currency is None:
        return account_fee, account_fee, None
    if fill.rate is None:
        return None, account_fee, _no_rate(fill.currency, fill)
    return _DECIMALS.divide(account_fee, exact(fill.rate)), account_fee, None


def _converted(amount: Decimal, fill: Fill) -> tuple[Decimal | None, str | None]:
    """An amount of the settlement currency in the account currency, or why it is not known."""
    if fill.currency is None or not amount:
        return amount, None
    if fill.rate is None:
        return None, _no_rate(fill.currency, fill)
    return _DECIMALS.multiply(amount, exact(fill.rate)), None


def _no_rate(currency: str, fill: Fill) -> str:
    return f"no rate of {currency} was known at fill {fill.fill_id}"


def _value(fill: Fill, quantity: Decimal, price: float) -> Decimal | None:
    """Value in the settlement currency; ``None``: an inverse contract has none at a price of zero."""
    units = quantity if fill.multiplier is None else _DECIMALS.multiply(quantity, exact(fill.multiplier))
    if not fill.inverse:
        return _DECIMALS.multiply(units, exact(price))
    return _DECIMALS.divide(units, exact(price)) if price else None


def _price(fill: Fill, quantity: Decimal, value: Decimal) -> float | None:
    """Average price of a quantity with this value; ``None``: there is none."""
    units = quantity if fill.multiplier is None else _DECIMALS.multiply(quantity, exact(fill.multiplier))
    over, under = (units, value) if fill.inverse else (value, units)
    return float(_DECIMALS.divide(over, under)) if under else None


def _multiple(pnl: float | None, risk: float | None) -> float | None:
    multiple = pnl / risk if risk and pnl is not None else math.inf
    return multiple if math.isfinite(multiple) else None


def _more(one: Decimal, other: Decimal) -> Decimal:
    return _DECIMALS.add(one, other)


def _less(one: Decimal, other: Decimal) -> Decimal:
    return _DECIMALS.subtract(one, other)


def _plus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else _DECIMALS.add(one, other)


def _minus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else _DECIMALS.subtract(one, other)


def _times(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else _DECIMALS.multiply(one, other)


def _float(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)

"""Derives round trips, from flat to flat of one strategy in one instrument, from fills.

P&L is the proceeds of sales minus the cost of purchases minus fees, in money (quantity times price, without
contract multipliers). A fill that flips the position closes one round trip and opens the next; its fee is
split in proportion to quantity. The open position is carried at average cost.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

from msgspec import Struct

from decahertz.event import Fill, Side

_FLAT = 1e-9
"""A remainder below this share of the peak position is rounding error."""


class RoundTrip(Struct, frozen=True, kw_only=True):
    """A closed round trip."""

    trade_id: str
    """Derived from the opening fill, so the same fills give the same id."""
    strategy: str
    venue: str
    instrument: str
    side: Side
    """Side of the opening fill: ``buy`` for a long round trip."""
    quantity: float
    """Sum of the opening quantities."""
    opened_ns: int
    closed_ns: int
    entry_price: float
    """Quantity-weighted average price of the opening fills."""
    exit_price: float
    """Quantity-weighted average price of the closing fills."""
    fees: float
    pnl: float
    """Net P&L in money, after fees."""
    risk: float | None = None
    """Initial risk in money, if the fills state it."""
    r_multiple: float | None = None
    """``pnl / risk``; ``None`` if the risk is unknown or too small to divide by."""
    fills: int
    """Number of fills."""


@dataclass(slots=True)
class OpenRoundTrip:
    """The open round trip of one (strategy, venue, instrument).

    :meth:`add` folds in fills, in order of time and each execution once, and returns the round trips that
    they close. The size of the state does not depend on the number of fills.
    """

    position: float = 0.0
    """Signed quantity."""
    peak: float = 0.0
    entry_quantity: float = 0.0
    entry_value: float = 0.0
    exit_quantity: float = 0.0
    exit_value: float = 0.0
    open_value: float = 0.0
    """Value of the open position at average cost; never negative for a positive price."""
    fees: float = 0.0
    risk: float | None = None
    fills: int = 0
    opening: Fill | None = field(default=None, repr=False)

    def add(self, fill: Fill) -> RoundTrip | None:
        """Fold in a fill; returns the round trip that it closed, if any."""
        signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
        if self.position == 0.0 or (self.position > 0) == (signed > 0):
            self._enter(fill, fill.quantity, fill.fee)
            return None
        closing = min(fill.quantity, abs(self.position))
        share = closing / fill.quantity
        self._exit(fill, closing, fill.fee * share)
        remainder = fill.quantity - closing
        if abs(self.position) > _FLAT * self.peak:
            return None
        closed = self._finish(fill)
        if remainder > _FLAT * fill.quantity:
            self._enter(fill, remainder, fill.fee * (1 - share))
        return closed

    def average_price(self) -> float | None:
        """Average cost of the open position; ``None`` when flat."""
        return self.open_value / abs(self.position) if self.position else None

    def realised(self) -> float:
        """Realised P&L of the open round trip in money, after fees."""
        gain = self.exit_value - (self.entry_value - self.open_value)
        return (gain if self.position >= 0 else -gain) - self.fees

    def unrealised(self, mark: float) -> float:
        """Unrealised P&L in money at the price ``mark``."""
        gain = mark * abs(self.position) - self.open_value
        return gain if self.position >= 0 else -gain

    def _enter(self, fill: Fill, quantity: float, fee: float) -> None:
        if self.opening is None:
            self.opening = fill
        self.position += quantity if fill.side is Side.BUY else -quantity
        self.peak = max(self.peak, abs(self.position))
        self.entry_quantity += quantity
        self.entry_value += quantity * fill.price
        self.open_value += quantity * fill.price
        self.fees += fee
        self.fills += 1
        if fill.risk is not None:
            self.risk = (self.risk or 0.0) + fill.risk

    def _exit(self, fill: Fill, quantity: float, fee: float) -> None:
        self.open_value -= self.open_value * (quantity / abs(self.position))
        self.position += quantity if fill.side is Side.BUY else -quantity
        self.exit_quantity += quantity
        self.exit_value += quantity * fill.price
        self.fees += fee
        self.fills += 1

    def _finish(self, last: Fill) -> RoundTrip:
        opening = self.opening
        assert opening is not None  # noqa: S101 - a position was opened by a fill
        gain = self.exit_value - self.entry_value
        pnl = (gain if opening.side is Side.BUY else -gain) - self.fees
        closed = RoundTrip(
            trade_id=trade_id(opening),
            strategy=opening.strategy,
            venue=opening.venue,
            instrument=opening.instrument,
            side=opening.side,
            quantity=self.entry_quantity,
            opened_ns=opening.time_ns,
            closed_ns=last.time_ns,
            entry_price=self.entry_value / self.entry_quantity,
            exit_price=self.exit_value / self.exit_quantity,
            fees=self.fees,
            pnl=pnl,
            risk=self.risk,
            r_multiple=_multiple(pnl, self.risk),
            fills=self.fills,
        )
        self.__init__()  # type: ignore[misc]
        return closed


def _multiple(pnl: float, risk: float | None) -> float | None:
    multiple = pnl / risk if risk else math.inf
    return multiple if math.isfinite(multiple) else None


def trade_id(opening: Fill) -> str:
    """The id of the round trip that a fill opens."""
    parts = (opening.strategy, opening.venue, opening.instrument, opening.order_id, opening.fill_id)
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()

"""Trades: round trips from flat to flat of one strategy in one instrument, derived from fills.

P&L is what the sales brought minus what the purchases cost minus fees, in money (quantity times price;
contracts with a multiplier come later). A fill that turns a long position into a short one closes one
trade and opens the next; its fee is split in proportion to quantity. What is open is carried at average
cost: an exit realises the difference to the average price of what was held just before it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

from msgspec import Struct

from decahertz.event import Fill, Side

_FLAT = 1e-9
"""A remainder below this share of the largest position held is rounding, not a position."""


class RoundTrip(Struct, frozen=True, kw_only=True):
    """A finished round trip."""

    trade_id: str
    """Derived from the opening fill: the same fills give the same id."""
    strategy: str
    venue: str
    instrument: str
    side: Side
    """Of the opening fill: ``buy`` is a long trade."""
    quantity: float
    """The sum of all opening quantities."""
    opened_ns: int
    closed_ns: int
    entry_price: float
    """Quantity-weighted mean price of the opening fills."""
    exit_price: float
    """Quantity-weighted mean price of the closing fills."""
    fees: float
    pnl: float
    """Money, after fees."""
    risk: float | None = None
    """Money at risk at the opening, where the fills said so."""
    r_multiple: float | None = None
    """``pnl / risk``; ``None`` where the risk is unknown, or too small to divide by."""
    fills: int
    """How many fills made it."""


@dataclass(slots=True)
class OpenRoundTrip:
    """The open round trip of one (strategy, venue, instrument): fold fills in, trades come out.

    Fills must come in order of time, each execution once: whoever folds leaves repeats out. The state is
    small and independent of how many fills there were.
    """

    position: float = 0.0
    """Signed quantity held."""
    peak: float = 0.0
    entry_quantity: float = 0.0
    entry_value: float = 0.0
    exit_quantity: float = 0.0
    exit_value: float = 0.0
    open_value: float = 0.0
    """What is still open, at average cost: quantity held, without its sign, times price."""
    fees: float = 0.0
    risk: float | None = None
    fills: int = 0
    opening: Fill | None = field(default=None, repr=False)

    def add(self, fill: Fill) -> RoundTrip | None:
        """Fold one fill in; the trade that it closed, or ``None``."""
        signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
        if self.position == 0.0 or (self.position > 0) == (signed > 0):
            self._enter(fill, fill.quantity, fill.fee)
            return None
        closing = min(fill.quantity, abs(self.position))
        share = closing / fill.quantity
        self._exit(fill, closing, fill.fee * share)
        left = fill.quantity - closing
        if abs(self.position) > _FLAT * self.peak:
            return None
        trade = self._finish(fill)
        if left > _FLAT * fill.quantity:
            self._enter(fill, left, fill.fee * (1 - share))
        return trade

    def average_price(self) -> float | None:
        """Average cost of what is open; ``None`` when flat."""
        return self.open_value / abs(self.position) if self.position else None

    def realised(self) -> float:
        """P&L realised inside the open round trip so far, fees included, money."""
        gain = self.exit_value - (self.entry_value - self.open_value)
        return (gain if self.position >= 0 else -gain) - self.fees

    def unrealised(self, mark: float) -> float:
        """P&L of the open position at the price ``mark``, money."""
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
        trade = RoundTrip(
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
        return trade


def _multiple(pnl: float, risk: float | None) -> float | None:
    multiple = pnl / risk if risk else math.inf
    return multiple if math.isfinite(multiple) else None


def trade_id(opening: Fill) -> str:
    """The id of the trade that a fill opens."""
    parts = (opening.strategy, opening.venue, opening.instrument, opening.order_id, opening.fill_id)
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()

"""The market as the strategies see it: quotes, contracts, and moving averages of prices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
"""Venue and instrument."""
MONEY = "USD"  # currency of the accounts
NOTIONAL = 10_000.0  # money per trade, or one contract if that is more
FAST, SLOW = 8, 40  # quotes in the two moving averages


@dataclass(frozen=True)
class Quote:
    """Best bid and ask."""

    bid: float
    ask: float
    bid_size: float
    ask_size: float

    @property
    def mid(self) -> float:
        """Mean of bid and ask."""
        return (self.bid + self.ask) / 2


@dataclass(frozen=True)
class Contract:
    """Value of a unit of an instrument."""

    multiplier: float = 1.0
    inverse: bool = False
    lot_size: float = 0.0
    is_paid: bool = True
    """Whether it is bought with cash; otherwise only its result is paid."""
    pays_money: bool = True
    """Whether it settles in the currency of the account; otherwise its own price is the rate."""
    funded_in: str = ""
    """The currency of its funding, if it pays any."""

    @classmethod
    def defined(cls, definition: dict[str, Any]) -> Contract | None:
        """Reads a definition; ``None`` if its price tells no rate to the account's currency."""
        base, quote = definition["base_currency"], definition["quote_currency"]
        if MONEY not in (base, quote):
            return None
        inverse = definition["inverse"]
        settlement = definition["settlement_currency"] or (base if inverse else quote)
        return cls(
            multiplier=definition["multiplier"],
            inverse=inverse,
            lot_size=definition["lot_size"] or 0.0,
            is_paid=definition["kind"] == "spot",
            pays_money=settlement == MONEY,
            funded_in=settlement if definition["kind"] == "perpetual" else "",
        )

    def value(self, quantity: float, price: float) -> float:
        """Value of a quantity, in the settlement currency."""
        units = quantity * self.multiplier
        return units / price if self.inverse else units * price

    def gain(self, quantity: float, entry: float, price: float) -> float:
        """Gain of a position since its entry, in money."""
        gain = self.value(quantity, price) - self.value(quantity, entry)
        return self.money(-gain if self.inverse else gain, price)

    def money(self, amount: float, price: float) -> float:
        """Converts an amount of the settlement currency at the price of the instrument."""
        if self.pays_money:
            return amount
        return amount * price if self.inverse else amount / price

    def quantity(self, price: float) -> float:
        """Quantity of a trade."""
        quantity = NOTIONAL / self.money(self.value(1.0, price), price)
        return (
            max(round(quantity / self.lot_size), 1) * self.lot_size
            if self.lot_size
            else float(f"{quantity:.4g}")
        )

    def average(self, held: float, average: float, quantity: float, price: float) -> float:
        """Average price after more is bought: its value is that of both parts."""
        value = (self.value(held, average) if held else 0.0) + self.value(quantity, price)
        units = (held + quantity) * self.multiplier
        return units / value if self.inverse else value / units


class View:
    """One instrument as the strategies see it: the quote, and moving averages of the price."""

    def __init__(self, quote: Quote) -> None:
        self.quote = quote
        self.count = 0
        self._fast = self._slow = quote.mid
        self._variance = 0.0

    def take(self, quote: Quote) -> None:
        """Updates by the next quote."""
        change = quote.mid - self.quote.mid
        self._variance += (change * change - self._variance) / min(self.count + 1, SLOW)
        self._fast += (quote.mid - self._fast) / FAST
        self._slow += (quote.mid - self._slow) / SLOW
        self.quote = quote
        self.count += 1

    @property
    def deviation(self) -> float:
        """Standard deviation of a random walk around its ``SLOW``-step moving average, in price units."""
        return max(math.sqrt(self._variance * SLOW / 2), (self.quote.ask - self.quote.bid) / 2, 1e-12)

    @property
    def score(self) -> float:
        """Distance of the price from its slow mean, in standard deviations."""
        return (self.quote.mid - self._slow) / self.deviation

    @property
    def trend(self) -> float:
        """Distance of the fast mean from the slow one, in standard deviations."""
        return (self._fast - self._slow) / self.deviation

"""Mark prices: the newest mid of every instrument, at which open positions are valued.

An instrument has one name unless its definition lists others in ``aliases``.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from collectors.common.values import is_usable
from decahertz.event import Instrument, Quote
from decahertz.key_budget import KeyBudget

MaxInstruments = Annotated[
    int,
    Meta(
        ge=1,
        le=1_000_000,
        description="Instruments whose mid is kept; one emitter may take half of them.",
    ),
]


class MarkPrice(Struct, gc=False, array_like=True):
    """The newest mid of one instrument.

    ``price`` is ``None`` before the first quote and while a side is empty.
    """

    price: float | None = None
    time_ns: int = 0
    received_ns: int = 0


class MarkPrices(Struct):
    """The mark prices of all instruments, from their quotes.

    A quote whose venue time is older than the newest of its instrument is ignored, and so is one of an
    instrument that the budget has no room for.
    """

    _budget: KeyBudget
    _prices: dict[tuple[str, str], MarkPrice] = {}
    _definitions: dict[tuple[str, str], Instrument] = {}
    _names: dict[tuple[str, str], tuple[str, ...]] = {}
    """All names of an instrument, by each of them; only of those with several."""

    def resume(self, before: MarkPrices) -> None:
        """Takes over the prices and definitions of a checkpoint."""
        self._prices, self._definitions, self._names = before._prices, before._definitions, before._names

    def define(self, definition: Instrument, received_ns: int) -> None:
        """Makes the aliases of an instrument name the same instrument. The newest definition counts."""
        venue, key = definition.venue, (definition.venue, definition.instrument)
        known = self._definitions.get(key)
        if known is not None:
            if definition.time_ns < known.time_ns:
                return
            for name in known.aliases:
                self._names.pop((venue, name), None)
            self._names.pop(key, None)
        elif not (definition.aliases and self._budget.admit((*key, "definition"), received_ns)):
            return
        self._definitions[key] = definition
        if definition.aliases:
            names = (definition.instrument, *definition.aliases)
            self._names.update(dict.fromkeys(((venue, name) for name in names), names))

    def take(self, quote: Quote, received_ns: int) -> None:
        """Updates the mark price by a quote."""
        key = (quote.venue, quote.instrument)
        mark = self._prices.get(key)
        if mark is None:
            if not self._budget.admit(key, received_ns):
                return
            mark = self._prices[key] = MarkPrice()
        elif quote.time_ns < mark.time_ns:
            return
        mark.time_ns = quote.time_ns
        mark.received_ns = received_ns
        bid, ask = quote.bid, quote.ask
        if bid is None or ask is None:
            mark.price = None
        else:
            mid = (bid + ask) / 2
            mark.price = mid if is_usable(mid) else None

    def get(self, venue: str, instrument: str) -> MarkPrice | None:
        """Returns the mark price of an instrument under any of its names; ``None`` before its first quote."""
        key = (venue, instrument)
        mark = self._prices.get(key)
        if mark is None and key in self._names:
            marks = (self._prices.get((venue, name)) for name in self._names[key])
            mark = next((one for one in marks if one is not None), None)
        return mark

    def price(self, venue: str, instrument: str) -> float | None:
        """Returns the mid of an instrument; ``None`` if there is none."""
        mark = self.get(venue, instrument)
        return None if mark is None else mark.price

    def similar(self, venue: str, instrument: str) -> tuple[str, str] | None:
        """Returns the venue and name of a quoted instrument whose name has the same letters and digits.

        One of the same venue is preferred.
        """
        letters = _letters(instrument)
        found = [key for key in self._prices if _letters(key[1]) == letters and key != (venue, instrument)]
        return min(found, key=lambda key: (key[0] != venue, key), default=None)

    def retire(self, before_ns: int) -> None:
        """Drops instruments whose newest quote was received before ``before_ns``."""
        for key in [key for key, mark in self._prices.items() if mark.received_ns < before_ns]:
            del self._prices[key]
            self._budget.release(key)


def _letters(name: str) -> str:
    """``BTCUSD`` of ``BTC-USD``, ``BTC/USD`` and ``btcusd``."""
    return "".join(filter(str.isalnum, name)).upper()

"""Mark prices: the newest mid of every instrument, at which open positions are valued.

An instrument has one name unless its definition lists others in ``aliases``, or its name is written with
another code of a currency: ``XBT/USD`` is ``BTC/USD``.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from collectors.common.values import is_usable
from decahertz.accounting import AccountingSettings
from decahertz.definitions import Definitions
from decahertz.event import Instrument, Quote
from decahertz.key_budget import KeyBudget
from decahertz.rates import Mid, Rates

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


class MarkPricesState(Struct):
    """Prices and definitions in a checkpoint."""

    prices: list[tuple[str, str, MarkPrice]]
    definitions: list[Instrument]


class MarkPrices:
    """The mark prices of all instruments, from their quotes, and the rates between currencies now.

    A quote whose venue time is older than the newest of its instrument is ignored, and so is one of an
    instrument that the budget has no room for. A mid is as old as its receipt: rates of now are asked for.
    """

    def __init__(self, budget: KeyBudget, accounting: AccountingSettings | None = None) -> None:
        self._budget = budget
        self._prices: dict[tuple[str, str], MarkPrice] = {}
        self.rates = Rates(accounting or AccountingSettings(), self._mid)
        self._codes = self.rates.codes
        self._definitions = Definitions(self._codes)
        self._usual: dict[tuple[str, str], tuple[str, str]] = {}
        """Quoted instruments, by their names with usual codes of currencies."""

    def state(self) -> MarkPricesState:
        """Returns the state for a checkpoint."""
        prices = [(*key, mark) for key, mark in self._prices.items()]
        return MarkPricesState(prices, list(self._definitions))

    def resume(self, before: MarkPricesState) -> None:
        """Takes over the prices and definitions of a checkpoint."""
        for definition in before.definitions:
            self._keep(definition)
        for venue, instrument, mark in before.prices:
            self._add((venue, instrument), mark)

    def define(self, definition: Instrument, received_ns: int) -> None:
        """Takes a definition; the newest one of an instrument counts."""
        if self._budget.admit((definition.venue, definition.instrument), received_ns):
            self._keep(definition)

    def definition(self, venue: str, instrument: str) -> Instrument | None:
        """Returns the definition of an instrument under any of its names."""
        return self._definitions.get(venue, instrument)

    def take(self, quote: Quote, received_ns: int) -> None:
        """Updates the mark price by a quote."""
        key = (quote.venue, quote.instrument)
        mark = self._prices.get(key)
        if mark is None:
            if not self._budget.admit(key, received_ns):
                return
            mark = self._add(key, MarkPrice())
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
        mark = self._prices.get((venue, instrument))
        if mark is not None or not self._prices:
            return mark
        definition = self._definitions.get(venue, instrument)
        names = () if definition is None else (definition.instrument, *definition.aliases)
        for name in (*names, instrument):
            key = (venue, name)
            mark = self._prices.get(key) or self._prices.get(
                self._usual.get((venue, self._codes.name(name)), key)
            )
            if mark is not None:
                return mark
        return None

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
            usual = (key[0], self._codes.name(key[1]))
            if self._usual.get(usual) == key:
                del self._usual[usual]
            if self._definitions.newest(*key) is None:
                self._budget.release(key)

    def _add(self, key: tuple[str, str], mark: MarkPrice) -> MarkPrice:
        self._prices[key] = mark
        self._usual.setdefault((key[0], self._codes.name(key[1])), key)
        return mark

    def _keep(self, definition: Instrument) -> None:
        if self._definitions.take(definition):
            self.rates.define(definition)

    def _mid(self, venue: str, instrument: str) -> Mid | None:
        mark = self.get(venue, instrument)
        return None if mark is None or mark.price is None else Mid(mark.price, mark.received_ns)


def _letters(name: str) -> str:
    """``BTCUSD`` of ``BTC-USD``, ``BTC/USD`` and ``btcusd``."""
    return "".join(filter(str.isalnum, name)).upper()

"""Mark prices: the newest mid of every instrument, at which open positions are valued."""

from __future__ import annotations

from msgspec import Struct

from collectors.common.values import is_usable
from decahertz.event import Quote


class MarkPrice(Struct, gc=False):
    """The newest mid of one instrument.

    ``price`` is ``None`` before the first quote and while a side is empty.
    """

    price: float | None = None
    time_ns: int = 0
    received_ns: int = 0


class MarkPrices:
    """The mark prices of all instruments, from their quotes.

    A quote whose venue time is older than the newest of its instrument is ignored.
    """

    def __init__(self) -> None:
        self._prices: dict[tuple[str, str], MarkPrice] = {}

    def take(self, quote: Quote, received_ns: int) -> None:
        """Updates the mark price by a quote."""
        key = (quote.venue, quote.instrument)
        mark = self._prices.get(key)
        if mark is None:
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
        """Returns the mark price of an instrument; ``None`` before its first quote."""
        return self._prices.get((venue, instrument))

    def price(self, venue: str, instrument: str) -> float | None:
        """Returns the mid of an instrument; ``None`` if there is none."""
        mark = self._prices.get((venue, instrument))
        return None if mark is None else mark.price

    def retire(self, before_ns: int) -> None:
        """Drops instruments whose newest quote was received before ``before_ns``."""
        for key in [key for key, mark in self._prices.items() if mark.received_ns < before_ns]:
            del self._prices[key]

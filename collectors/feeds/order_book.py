"""Order books built from level updates, and their best bid and ask.

Each side is a sorted list with the best price at the end: most changes are near the top, where an insertion
moves few entries, and the best price needs no search.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from msgspec import Struct

from decahertz.event import Quote


class TopOfBook(Struct, frozen=True, gc=False):
    """Best bid and ask with their sizes. An empty side has ``None`` for both."""

    bid: float | None = None
    bid_size: float | None = None
    ask: float | None = None
    ask_size: float | None = None


class BookSide:
    """One side of an order book: sizes by price. A size of zero deletes the level."""

    def __init__(self, *, is_bid: bool, depth: int | None = None) -> None:
        """``depth`` is the number of levels kept; the venue sends no deletion for levels beyond it."""
        self._sign = 1.0 if is_bid else -1.0
        self._depth = depth
        self._keys: list[float] = []
        self._sizes: dict[float, float] = {}

    def replace(self, levels: Iterable[tuple[float, float]]) -> None:
        """Replaces all levels by a snapshot of ``(price, size)``; the last entry of a price counts."""
        sizes = {self._sign * price: size for price, size in levels}
        self._sizes = {key: size for key, size in sizes.items() if size}
        self._keys = sorted(self._sizes)
        self._truncate()

    def set(self, price: float, size: float) -> None:
        """Sets the size at a price."""
        key = self._sign * price
        if size:
            if key not in self._sizes:
                insort(self._keys, key)
            self._sizes[key] = size
            self._truncate()
        elif self._sizes.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    @property
    def best(self) -> tuple[float, float] | None:
        """Price and size of the best level; ``None`` while the side is empty."""
        if not self._keys:
            return None
        key = self._keys[-1]
        return self._sign * key, self._sizes[key]

    def _truncate(self) -> None:
        if self._depth is None or len(self._keys) <= self._depth:
            return
        surplus = len(self._keys) - self._depth
        for key in self._keys[:surplus]:
            del self._sizes[key]
        del self._keys[:surplus]


class OrderBook:
    """Both sides of the order book of one instrument; ``depth`` limits each of them."""

    def __init__(self, depth: int | None = None) -> None:
        self.bids = BookSide(is_bid=True, depth=depth)
        self.asks = BookSide(is_bid=False, depth=depth)
        self.time_ns = 0
        """Time of the last change: the venue's where it sends one, otherwise the time of receipt."""

    @property
    def top(self) -> TopOfBook:
        """Best bid and ask."""
        bid, bid_size = self.bids.best or (None, None)
        ask, ask_size = self.asks.best or (None, None)
        return TopOfBook(bid, bid_size, ask, ask_size)

    def quote(self, venue: str, instrument: str) -> Quote:
        """Returns the top of the book as a quote, at the time of the last change."""
        top = self.top
        return Quote(
            time_ns=self.time_ns,
            venue=venue,
            instrument=instrument,
            bid=top.bid,
            ask=top.ask,
            bid_size=top.bid_size,
            ask_size=top.ask_size,
        )

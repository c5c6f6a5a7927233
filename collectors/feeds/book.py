"""The best bid and ask of an order book that is told level by level.

Each side is a sorted list with the best price at its end, because most changes are near the top: an
insertion there moves few entries, and the best is read without a search.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from msgspec import Struct


class Top(Struct, frozen=True, gc=False):
    """Best bid and ask with their sizes. An empty side has ``None`` for both."""

    bid: float | None
    bid_size: float | None
    ask: float | None
    ask_size: float | None


class BookSide:
    """One side of a book: sizes by price. A size of zero deletes its level."""

    __slots__ = ("_depth", "_keys", "_sign", "_sizes")

    def __init__(self, *, is_bid: bool, depth: int | None = None) -> None:
        """``depth`` levels are kept; the venue tells nothing of those that fall out behind them."""
        self._sign = 1.0 if is_bid else -1.0
        self._depth = depth
        self._keys: list[float] = []
        self._sizes: dict[float, float] = {}

    def replace(self, levels: Iterable[tuple[float, float]]) -> None:
        """Forget what was known and take a snapshot of ``(price, size)``."""
        told = {self._sign * price: size for price, size in levels}  # of a price told twice the last counts
        self._sizes = {key: size for key, size in told.items() if size}
        self._keys = sorted(self._sizes)
        self._truncate()

    def set(self, price: float, size: float) -> None:
        """Take the new size at a price."""
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
        """Price and size of the best level."""
        if not self._keys:
            return None
        key = self._keys[-1]
        return self._sign * key, self._sizes[key]

    def __len__(self) -> int:
        """How many levels it has."""
        return len(self._keys)

    def _truncate(self) -> None:
        if self._depth is None or len(self._keys) <= self._depth:
            return
        surplus = len(self._keys) - self._depth
        for key in self._keys[:surplus]:
            del self._sizes[key]
        del self._keys[:surplus]


class Book:
    """Both sides of one instrument's book."""

    __slots__ = ("asks", "bids", "time_ns")

    def __init__(self, depth: int | None = None) -> None:
        """Start empty; ``depth`` limits each side."""
        self.bids = BookSide(is_bid=True, depth=depth)
        self.asks = BookSide(is_bid=False, depth=depth)
        self.time_ns = 0
        """When it last changed, by the venue's clock where the venue says so."""

    @property
    def top(self) -> Top:
        """The best of both sides."""
        bid, bid_size = self.bids.best or (None, None)
        ask, ask_size = self.asks.best or (None, None)
        return Top(bid, bid_size, ask, ask_size)

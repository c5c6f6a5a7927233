"""Trailing windows: bounded memory, and a fixed cost per step whatever happened inside.

:class:`CountWindow` and :class:`TradeWindow` are rings of buckets, one per instant of the grid, and are
pushed once per sampled instant with what came in since the instant before. Instants that were not
sampled count as empty ones. :class:`Quantiles` and :class:`WeightedMean` hold single observations by the
time they were received, the newest only.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, insort
from collections import deque

_CANCELLED = 1e-3
"""A running sum is summed afresh once it fell to this share of its largest value: subtracting what left the
window costs digits, and this leaves more than ten of them."""


class CountWindow:
    """How many things happened within the last ``size`` instants; exact."""

    __slots__ = ("_counts", "_cursor", "_index", "total")

    def __init__(self, size: int, index: int) -> None:
        """Start empty at the instant ``index``."""
        self._counts = [0] * size
        self._cursor = 0
        self._index = index
        self.total = 0

    def push(self, index: int, count: int) -> None:
        """Step to the instant ``index`` with what happened since the last push.

        An instant that was pushed already takes the count too. One from before it (the wall clock stepped
        back) is taken as the next.
        """
        steps = index - self._index
        self._index = index
        if not count and not self.total:
            return
        counts = self._counts
        size = len(counts)
        cursor = self._cursor
        for _ in range(min(steps, size) if steps >= 0 else 1):
            cursor += 1
            if cursor == size:
                cursor = 0
            self.total -= counts[cursor]
            counts[cursor] = 0
        counts[cursor] += count
        self.total += count
        self._cursor = cursor


class TradeWindow:
    """Quantity and value (quantity times price) traded within the last ``size`` instants."""

    __slots__ = (
        "_cursor",
        "_filled",
        "_index",
        "_peak",
        "_quantities",
        "_size",
        "_values",
        "quantity",
        "value",
    )

    def __init__(self, size: int, index: int) -> None:
        """Start empty at the instant ``index``. The rings are made with the first trade."""
        self._size = size
        self._index = index
        self._cursor = 0
        self._filled = 0
        self._peak = 0.0
        self._quantities = array("d")
        self._values = array("d")
        self.quantity = 0.0
        self.value = 0.0

    def push(self, index: int, quantity: float, value: float) -> None:
        """Step to the instant ``index`` with what traded since the last push; see :class:`CountWindow`.

        ``quantity`` is not negative; without quantity there is no value.
        """
        steps = index - self._index
        self._index = index
        if not quantity and not self._filled:
            return
        if not self._quantities:
            self._quantities = array("d", bytes(8 * self._size))
            self._values = array("d", bytes(8 * self._size))
        if steps:
            self._step(min(steps, self._size) if steps > 0 else 1)
        if quantity:
            self._put(quantity, value)

    @property
    def mean_price(self) -> float | None:
        """Value over quantity: the volume-weighted average price; ``None`` without a trade."""
        return self.value / self.quantity if self._filled else None

    def _step(self, steps: int) -> None:
        quantities = self._quantities
        cursor = self._cursor
        left = False
        for _ in range(steps):
            cursor += 1
            if cursor == self._size:
                cursor = 0
            if quantities[cursor]:
                self.quantity -= quantities[cursor]
                self.value -= self._values[cursor]
                quantities[cursor] = self._values[cursor] = 0.0
                self._filled -= 1
                left = True
        self._cursor = cursor
        # Once per turn of the ring too, so that rounding never adds up.
        if left and (self.quantity <= self._peak * _CANCELLED or cursor < steps):
            self.quantity = self._peak = math.fsum(quantities)
            self.value = math.fsum(self._values)

    def _put(self, quantity: float, value: float) -> None:
        if not self._quantities[self._cursor]:
            self._filled += 1
        self._quantities[self._cursor] += quantity
        self._values[self._cursor] += value
        self.quantity += quantity
        self.value += value
        self._peak = max(self._peak, self.quantity)


class Quantiles:
    """The newest ``limit`` observations of the last ``window_ns``, kept in order of size."""

    __slots__ = ("_limit", "_newest", "_sorted", "_window_ns")

    def __init__(self, limit: int, window_ns: int) -> None:
        """Start empty."""
        self._limit = limit
        self._window_ns = window_ns
        self._newest: deque[tuple[int, float]] = deque()
        self._sorted: list[float] = []

    def add(self, received_ns: int, value: float) -> None:
        """Take one observation; the oldest goes when there are too many."""
        if len(self._newest) == self._limit:
            self._drop_oldest()
        self._newest.append((received_ns, value))
        insort(self._sorted, value)

    def expire(self, now_ns: int) -> None:
        """Forget what was received longer ago than the window."""
        oldest = now_ns - self._window_ns
        while self._newest and self._newest[0][0] <= oldest:
            self._drop_oldest()

    def quantile(self, share: float) -> float | None:
        """The smallest observation that at least ``share`` of all do not exceed; ``None`` without any.

        The inverse of the empirical distribution (type 1 of Hyndman and Fan, "Sample Quantiles in
        Statistical Packages", 1996): always a value that was observed.
        """
        if not self._sorted:
            return None
        return self._sorted[max(math.ceil(share * len(self._sorted)) - 1, 0)]

    def __len__(self) -> int:
        """How many observations there are."""
        return len(self._sorted)

    def _drop_oldest(self) -> None:
        _, value = self._newest.popleft()
        del self._sorted[bisect_left(self._sorted, value)]


class WeightedMean:
    """The weighted mean of the newest ``limit`` observations of the last ``window_ns``."""

    __slots__ = ("_is_current", "_mean", "_newest", "_window_ns")

    def __init__(self, limit: int, window_ns: int) -> None:
        """Start empty."""
        self._window_ns = window_ns
        self._newest: deque[tuple[int, float, float]] = deque(maxlen=limit)
        self._mean: float | None = None
        self._is_current = True

    def add(self, received_ns: int, value: float, weight: float) -> None:
        """Take one observation; ``weight`` is positive."""
        self._newest.append((received_ns, value, weight))
        self._is_current = False

    def expire(self, now_ns: int) -> None:
        """Forget what was received longer ago than the window."""
        oldest = now_ns - self._window_ns
        while self._newest and self._newest[0][0] <= oldest:
            self._newest.popleft()
            self._is_current = False

    @property
    def mean(self) -> float | None:
        """The mean; ``None`` without any observation, or where it leaves the range of floats."""
        if not self._is_current:
            self._is_current = True
            self._mean = self._compute()
        return self._mean

    def __len__(self) -> int:
        """How many observations there are."""
        return len(self._newest)

    def _compute(self) -> float | None:
        weights = sum(weight for _, _, weight in self._newest)
        if not weights or not math.isfinite(weights):
            return None
        # Shares of the weight are at most 1, so that the sum overflows only where the values do.
        mean = sum(value * (weight / weights) for _, value, weight in self._newest)
        return mean if math.isfinite(mean) else None


class RecentSet:
    """Remembers the newest ``limit`` items, to tell what comes twice."""

    __slots__ = ("_items", "_limit", "_order")

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._items: set[tuple[str, ...]] = set()
        self._order: deque[tuple[str, ...]] = deque()

    def add(self, item: tuple[str, ...]) -> bool:
        """Remember the item; whether it is new."""
        if item in self._items:
            return False
        if len(self._order) == self._limit:
            self._items.discard(self._order.popleft())
        self._items.add(item)
        self._order.append(item)
        return True

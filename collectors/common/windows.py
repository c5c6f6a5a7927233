"""Trailing windows with bounded memory and a fixed cost per step.

:class:`CountWindow` and :class:`TradeWindow` are rings of buckets, one per cycle of the grid; each sampled
cycle pushes the counts since the previous one, and missed cycles count as empty. :class:`Quantiles` and
:class:`WeightedMean` hold the newest single observations, by their times of receipt.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_left, insort
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    Floats: TypeAlias = array[float]
    Ints: TypeAlias = array[int]
else:  # Python 3.11 cannot subscript it
    Floats = Ints = array

_CANCELLED = 1e-3
"""A running sum is recomputed once it has fallen to this share of its largest value: subtracting the values
that leave the window costs digits, and this leaves more than ten of them."""


class CountWindow(Struct):
    """The exact count of the last ``size`` cycles, starting with cycle number ``index``."""

    size: int
    index: int
    _counts: list[int] = []
    _cursor: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        if not self._counts:
            self._counts = [0] * self.size

    def push(self, index: int, count: int) -> None:
        """Advances to cycle ``index`` and adds the count since the last push.

        Pushing the same cycle again adds to it. An earlier cycle (the wall clock stepped back) is treated as
        the next one.
        """
        steps = index - self.index
        self.index = index
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


class TradeWindow(Struct):
    """Quantity and value (quantity times price) traded in the last ``size`` cycles.

    Starts at cycle number ``index``. The rings are allocated with the first trade.
    """

    size: int
    index: int
    _cursor: int = 0
    _filled: int = 0
    _peak: float = 0.0
    _quantities: Floats = field(default_factory=lambda: array("d"))
    _values: Floats = field(default_factory=lambda: array("d"))
    quantity: float = 0.0
    value: float = 0.0

    def push(self, index: int, quantity: float, value: float) -> None:
        """Advances to cycle ``index`` and adds the trades since the last push, as in :class:`CountWindow`.

        ``quantity`` is not negative; a value without quantity is ignored.
        """
        steps = index - self.index
        self.index = index
        if not quantity and not self._filled:
            return
        if not self._quantities:
            self._quantities = array("d", bytes(8 * self.size))
            self._values = array("d", bytes(8 * self.size))
        if steps:
            self._step(min(steps, self.size) if steps > 0 else 1)
        if quantity:
            self._put(quantity, value)

    @property
    def mean_price(self) -> float | None:
        """The volume-weighted average price; ``None`` without trades."""
        return self.value / self.quantity if self._filled else None

    def _step(self, steps: int) -> None:
        quantities = self._quantities
        cursor = self._cursor
        left = False
        for _ in range(steps):
            cursor += 1
            if cursor == self.size:
                cursor = 0
            if quantities[cursor]:
                self.quantity -= quantities[cursor]
                self.value -= self._values[cursor]
                quantities[cursor] = self._values[cursor] = 0.0
                self._filled -= 1
                left = True
        self._cursor = cursor
        # Once per turn of the ring as well, so that rounding errors do not accumulate.
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


class Quantiles(Struct):
    """Quantiles of the newest ``limit`` observations within the last ``window_ns``."""

    limit: int
    window_ns: int
    _newest: deque[tuple[int, float]] = field(default_factory=deque)
    _sorted: list[float] = []

    def add(self, received_ns: int, value: float) -> None:
        """Adds an observation; drops the oldest one beyond the limit."""
        while len(self._newest) >= self.limit:
            self._drop_oldest()
        self._newest.append((received_ns, value))
        insort(self._sorted, value)

    def expire(self, now_ns: int) -> None:
        """Drops observations older than the window."""
        oldest = now_ns - self.window_ns
        while self._newest and self._newest[0][0] <= oldest:
            self._drop_oldest()

    def quantile(self, share: float) -> float | None:
        """Returns the smallest observation that ``share`` of all do not exceed; ``None`` without any.

        The inverse of the empirical distribution (type 1 of Hyndman and Fan, "Sample Quantiles in
        Statistical Packages", 1996): always a value that was observed.
        """
        if not self._sorted:
            return None
        return self._sorted[max(math.ceil(share * len(self._sorted)) - 1, 0)]

    def __len__(self) -> int:
        return len(self._sorted)

    def _drop_oldest(self) -> None:
        _, value = self._newest.popleft()
        del self._sorted[bisect_left(self._sorted, value)]


class WeightedMean(Struct):
    """The weighted mean of the newest ``limit`` observations within the last ``window_ns``."""

    limit: int
    window_ns: int
    _newest: deque[tuple[int, float, float]] = field(default_factory=deque)
    _mean: float | None = None
    _is_current: bool = True

    def add(self, received_ns: int, value: float, weight: float) -> None:
        """Adds an observation; ``weight`` is positive."""
        while len(self._newest) >= self.limit:
            self._newest.popleft()
        self._newest.append((received_ns, value, weight))
        self._is_current = False

    def expire(self, now_ns: int) -> None:
        """Drops observations older than the window."""
        oldest = now_ns - self.window_ns
        while self._newest and self._newest[0][0] <= oldest:
            self._newest.popleft()
            self._is_current = False

    @property
    def mean(self) -> float | None:
        """The mean; ``None`` without observations or if it overflows."""
        if not self._is_current:
            self._is_current = True
            self._mean = self._compute()
        return self._mean

    def __len__(self) -> int:
        return len(self._newest)

    def _compute(self) -> float | None:
        weights = sum(weight for _, _, weight in self._newest)
        if not weights or not math.isfinite(weights):
            return None
        # Shares of the weight are at most 1, so the sum overflows only if a value does.
        mean = sum(value * (weight / weights) for _, value, weight in self._newest)
        return mean if math.isfinite(mean) else None


class RecentSet:
    """The newest ``limit`` items, to recognise repeated ones.

    Items are kept as digests of 64 bits: among 10,000 of them, one new item in 10^15 is mistaken for one of
    them. They take an eighth of the memory, and a checkpoint copies them as one block of bytes.
    """

    def __init__(self, limit: int, ring: Ints | None = None, oldest: int = 0) -> None:
        """``ring`` and ``oldest`` are those of an earlier set."""
        self.limit = limit
        self.ring = array("Q") if ring is None else ring
        """Digests of the items."""
        self.oldest = oldest
        """Place in the ring of the item that the next one replaces, once the ring is full."""
        self._items = set(self.ring)

    def add(self, item: tuple[str, ...]) -> bool:
        """Adds an item; returns whether it is new."""
        digest = _digest(item)
        if digest in self._items:
            return False
        if len(self.ring) < self.limit:
            self.ring.append(digest)
        else:
            self._items.discard(self.ring[self.oldest])
            self.ring[self.oldest] = digest
            self.oldest = (self.oldest + 1) % self.limit
        self._items.add(digest)
        return True


def _digest(item: tuple[str, ...]) -> int:
    # The built-in hash differs from process to process.
    text = "\x1f".join(item).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")

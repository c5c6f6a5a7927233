"""Trailing windows with bounded memory.

:class:`RateWindow` and :class:`TradeWindow` have an entry for each cycle of the grid in which something came,
and cost nothing in a cycle in which nothing comes and, before ``due``, nothing leaves. Their entries are in
arrays: a checkpoint, which stops the event loop, copies these as blocks of bytes. :class:`Quantiles` and
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

NEVER = 2**62
"""Number of no cycle, and time of no event."""
_CANCELLED = 1e-3
"""A running sum is recomputed once it has fallen to this share of its largest value: subtracting the values
that leave the window costs digits, and this leaves more than ten of them."""


class RateWindow(Struct):
    """The exact numbers of quotes and ticks in the last ``size`` cycles."""

    size: int
    due: int = NEVER
    """The cycle in which the oldest ones leave it."""
    quotes: int = 0
    ticks: int = 0
    _entries: Ints = field(default_factory=lambda: array("q"))
    """Cycle, quotes and ticks of each entry, one after the other."""
    _first: int = 0
    """Place of the oldest entry; those before it have left."""

    def push(self, index: int, quotes: int, ticks: int) -> None:
        """Advances to cycle ``index``, which is not before the newest one, and adds what came since then."""
        if quotes or ticks:
            self._entries.extend((index, quotes, ticks))
            self.quotes += quotes
            self.ticks += ticks
        self.expire(index)

    def expire(self, index: int) -> None:
        """Advances to cycle ``index``."""
        entries, first, end = self._entries, self._first, len(self._entries)
        last = index - self.size
        while first < end and entries[first] <= last:
            self.quotes -= entries[first + 1]
            self.ticks -= entries[first + 2]
            first += 3
        self.due = entries[first] + self.size if first < end else NEVER
        self._first = _drop_left(entries, first)

    def shift(self, cycles: int) -> None:
        """Numbers the cycles again: the wall clock has stepped."""
        for place in range(0, len(self._entries), 3):
            self._entries[place] += cycles
        if self.due != NEVER:
            self.due += cycles


class TradeWindow(Struct):
    """Quantity, value (quantity times price) and signed quantity traded in the last ``size`` cycles.

    Signed quantity is what buyers took less what sellers took.
    """

    size: int
    due: int = NEVER
    """The cycle in which the oldest trades leave it."""
    quantity: float = 0.0
    value: float = 0.0
    signed: float = 0.0
    mean_price: float | None = None
    """The volume-weighted average price; ``None`` without trades."""
    imbalance: float | None = None
    """Signed quantity over quantity, from -1 to 1; ``None`` without trades."""
    _entries: Floats = field(default_factory=lambda: array("d"))
    """Cycle, quantity, value and signed quantity of each entry, one after the other."""
    _first: int = 0
    """Place of the oldest entry; those before it have left."""
    _left: int = 0
    """Entries that have left since the sums were computed from all of them."""
    _peak: float = 0.0

    def push(self, index: int, quantity: float, value: float, signed: float = 0.0) -> None:
        """Advances to cycle ``index``, which is not before the newest one, and adds the trades since then.

        ``quantity`` is not negative; a value without quantity is ignored.
        """
        if quantity:
            self._entries.extend((index, quantity, value, signed))
            self.quantity += quantity
            self.value += value
            self.signed += signed
            self._peak = max(self._peak, self.quantity)
        elif index < self.due:
            return
        self.expire(index)

    def expire(self, index: int) -> None:
        """Advances to cycle ``index``."""
        entries, first, end = self._entries, self._first, len(self._entries)
        last = index - self.size
        while first < end and entries[first] <= last:
            self.quantity -= entries[first + 1]
            self.value -= entries[first + 2]
            self.signed -= entries[first + 3]
            self._left += 1
            first += 4
        self.due = int(entries[first]) + self.size if first < end else NEVER
        self._first = first = _drop_left(entries, first)
        kept = (len(entries) - first) // 4
        # Once per turn of the window as well, so that rounding errors do not accumulate.
        if self._left and (self._left >= kept or self.quantity <= self._peak * _CANCELLED):
            self._left = 0
            self.quantity = self._peak = math.fsum(entries[first + 1 :: 4])
            self.value = math.fsum(entries[first + 2 :: 4])
            self.signed = math.fsum(entries[first + 3 :: 4])
        if not kept:
            self.mean_price = self.imbalance = None
            return
        self.mean_price = self.value / self.quantity
        imbalance = self.signed / self.quantity
        self.imbalance = 1.0 if imbalance > 1 else -1.0 if imbalance < -1 else imbalance  # by rounding

    def shift(self, cycles: int) -> None:
        """Numbers the cycles again: the wall clock has stepped."""
        for place in range(0, len(self._entries), 4):
            self._entries[place] += cycles
        if self.due != NEVER:
            self.due += cycles


def _drop_left(entries: Ints | Floats, first: int) -> int:
    """Drops what lies before the oldest entry once that is half of all; returns its place then."""
    if first and 2 * first >= len(entries):
        del entries[:first]
        return 0
    return first


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

    @property
    def due_ns(self) -> int:
        """When the oldest observation leaves the window."""
        return self._newest[0][0] + self.window_ns if self._newest else NEVER

    def quantile(self, share: float) -> float | None:
        """Returns the smallest observation that ``share`` of all do not exceed; ``None`` without any.

        The inverse of the empirical distribution (type 1 of Hyndman and Fan, "Sample Quantiles in
        Statistical Packages", 1996): always a value that was observed.
        """
        if not self._sorted:
            return None
        return self._sorted[max(math.ceil(share * len(self._sorted)) - 1, 0)]

    def revise(self, value: float, revised: float) -> None:
        """Replaces the newest observation of a value, if it is still in the window."""
        for index in range(len(self._newest) - 1, -1, -1):
            received_ns, found = self._newest[index]
            if found == value:
                self._newest[index] = received_ns, revised
                del self._sorted[bisect_left(self._sorted, value)]
                insort(self._sorted, revised)
                return

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
        return self.add_digest(digest_of(item))

    def __contains__(self, digest: int) -> bool:
        """Whether an item with this digest is among them."""
        return digest in self._items

    def add_digest(self, digest: int) -> bool:
        """Adds the item with this digest; returns whether it is new."""
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


def digest_of(item: tuple[str, ...]) -> int:
    """Returns 64 bits that stand for some strings, the same in all processes."""
    # The built-in hash differs from process to process.
    text = "\x1f".join(item).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")

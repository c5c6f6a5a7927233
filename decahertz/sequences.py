"""Sets of sequence numbers, kept as ranges.

An emitter numbers its events without a hole and sends them mostly in order, so the set of those that
arrived is one range nearly always. Keeping ranges rather than a high-water mark lets batches arrive in
any order and still be stored once, and shows the holes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class SequenceSet:
    """A set of positive integers as sorted, disjoint, non-touching closed ranges."""

    __slots__ = ("_highs", "_lows")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Start with the given closed ranges, in any order."""
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in ranges:
            self.add(low, high)

    def add(self, low: int, high: int) -> None:
        """Add all numbers from ``low`` to ``high``; an empty range adds nothing."""
        if high < low:
            return
        first = bisect_left(self._highs, low - 1)
        last = bisect_right(self._lows, high + 1)
        if first < last:
            low = min(low, self._lows[first])
            high = max(high, self._highs[last - 1])
        self._lows[first:last] = [low]
        self._highs[first:last] = [high]

    def missing(self, low: int, high: int) -> list[tuple[int, int]]:
        """The ranges within ``low`` to ``high`` that are not in the set, ascending."""
        holes = []
        for index in range(bisect_left(self._highs, low), len(self._lows)):
            if self._lows[index] > high:
                break
            if self._lows[index] > low:
                holes.append((low, self._lows[index] - 1))
            low = self._highs[index] + 1
        if low <= high:
            holes.append((low, high))
        return holes

    def touches(self, low: int, high: int) -> bool:
        """Whether adding ``low`` to ``high`` grows or joins ranges that are there, and makes no new one."""
        return bisect_left(self._highs, low - 1) < bisect_right(self._lows, high + 1)

    @property
    def highest(self) -> int:
        """The highest number; 0 for the empty set."""
        return self._highs[-1] if self._highs else 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, ascending."""
        return iter(zip(self._lows, self._highs, strict=True))

    def __len__(self) -> int:
        """How many numbers are in the set."""
        return sum(self._highs) - sum(self._lows) + len(self._lows)

    @property
    def range_count(self) -> int:
        """How many ranges it takes to write the set down."""
        return len(self._lows)

    def copy(self) -> SequenceSet:
        """An independent copy."""
        twin = SequenceSet()
        twin._lows, twin._highs = self._lows.copy(), self._highs.copy()
        return twin

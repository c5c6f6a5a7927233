"""Sets of sequence numbers, stored as ranges.

An emitter numbers its events without gaps and sends them mostly in order, so the set of received numbers is
nearly always one range. Unlike a high-water mark, ranges let batches arrive in any order, be stored once, and
reveal gaps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class SequenceSet:
    """A set of positive integers as sorted, disjoint, non-touching closed ranges."""

    __slots__ = ("_highs", "_lows")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """``ranges`` are closed, in any order."""
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in ranges:
            self.add(low, high)

    def add(self, low: int, high: int) -> None:
        """Adds all numbers from ``low`` to ``high``; an empty range adds nothing."""
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
        gaps = []
        for index in range(bisect_left(self._highs, low), len(self._lows)):
            if self._lows[index] > high:
                break
            if self._lows[index] > low:
                gaps.append((low, self._lows[index] - 1))
            low = self._highs[index] + 1
        if low <= high:
            gaps.append((low, high))
        return gaps

    def touches(self, low: int, high: int) -> bool:
        """Whether adding ``low`` to ``high`` extends or joins existing ranges and creates no new one."""
        return bisect_left(self._highs, low - 1) < bisect_right(self._lows, high + 1)

    @property
    def highest(self) -> int:
        """The highest number; 0 for the empty set."""
        return self._highs[-1] if self._highs else 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, ascending."""
        return iter(zip(self._lows, self._highs, strict=True))

    def __len__(self) -> int:
        return sum(self._highs) - sum(self._lows) + len(self._lows)

    @property
    def range_count(self) -> int:
        """Number of ranges."""
        return len(self._lows)

    def copy(self) -> SequenceSet:
        """An independent copy."""
        copy = SequenceSet()
        copy._lows, copy._highs = self._lows.copy(), self._highs.copy()
        return copy

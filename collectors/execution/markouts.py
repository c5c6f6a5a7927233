"""Markouts: where the mid is a fixed time after a fill.

The markout of a fill with the sign s (1 for a purchase, -1 for a sale) at the price p is
s * (mid at the horizon - p) / p * 10,000 basis points: positive if the market went the way of the fill, so
that the spread paid is in it. Means are weighted by value. The horizon counts from the venue's time of the
fill, and the mid is that of the recorder's own quotes at the first cycle from then on. A fill that is
reported so late that this cycle is past by more than half the horizon and a tenth of a second has no markout
at this horizon; neither has one without a mid at that time.
"""

from __future__ import annotations

import heapq
from typing import Final

from msgspec import Struct

from collectors.common.values import finite

HORIZONS: Final = {"100ms": 100_000_000, "1s": 10**9, "5s": 5 * 10**9, "30s": 30 * 10**9, "5m": 300 * 10**9}
"""Nanoseconds after the fill, by the names in metrics."""
NAMES: Final = tuple(HORIZONS)
_LATE_NS: Final = tuple(horizon // 2 + 100_000_000 for horizon in HORIZONS.values())
_HORIZONS_NS: Final = tuple(HORIZONS.values())
MAX_PENDING: Final = 100_000
"""Fills of all strategies whose markouts are not complete; those of more fills are skipped."""


class PendingMarkout(Struct, order=True, array_like=True):
    """A fill that waits for its next horizon. In order of the time when that is reached."""

    due_ns: int
    number: int
    """Distinguishes fills of the same time."""
    horizon: int
    """Index of the horizon."""
    strategy: str
    venue: str
    instrument: str
    fill: int
    """Digest of the fill's identity."""
    time_ns: int
    price: float
    is_buy: bool
    value: float
    """In the account currency."""

    def markout(self, mid: float) -> float | None:
        """The markout in basis points at a mid; ``None`` if it overflows."""
        move = (mid - self.price) / abs(self.price) * 10_000
        return finite(move if self.is_buy else -move)

    def is_late(self, now_ns: int) -> bool:
        """Whether the mid of now is too late for this horizon."""
        return now_ns - self.due_ns > _LATE_NS[self.horizon]


class MarkoutQueue(Struct):
    """Fills whose markouts are not complete, up to :data:`MAX_PENDING` of them."""

    numbered: int = 0
    _heap: list[PendingMarkout] = []

    def add(
        self, key: tuple[str, str, str], fill: int, time_ns: int, price: float, value: float, *, is_buy: bool
    ) -> bool:
        """Adds a fill of (strategy, venue, instrument); returns whether there was room for it."""
        if len(self._heap) >= MAX_PENDING:
            return False
        self.numbered += 1
        first = PendingMarkout(
            time_ns + _HORIZONS_NS[0], self.numbered, 0, *key, fill, time_ns, price, is_buy, value
        )
        heapq.heappush(self._heap, first)
        return True

    def due(self, now_ns: int) -> list[PendingMarkout]:
        """Returns what has reached a horizon, and keeps those that have another one before them."""
        found: list[PendingMarkout] = []
        heap = self._heap
        while heap and heap[0].due_ns <= now_ns:
            reached = heap[0]
            found.append(reached)
            following = reached.horizon + 1
            if following == len(_HORIZONS_NS):
                heapq.heappop(heap)
            else:
                later = PendingMarkout(
                    reached.time_ns + _HORIZONS_NS[following],
                    reached.number,
                    following,
                    reached.strategy,
                    reached.venue,
                    reached.instrument,
                    reached.fill,
                    reached.time_ns,
                    reached.price,
                    reached.is_buy,
                    reached.value,
                )
                heapq.heapreplace(heap, later)
        return found

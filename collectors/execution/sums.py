"""Sums over a trailing window of keyed items, whose values may be replaced."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct, field

from collectors.common.windows import NEVER

_CANCELLED = 1e3
"""Sums are computed from scratch when an item that leaves is so many times larger than what remains: the
subtraction would cost digits."""


class WindowSums(Struct):
    """Sums of ``width`` values of each of the newest ``limit`` items within the last ``window_ns``.

    An item that is put again replaces what it was, and becomes the newest. A step costs the same however
    many items there are.
    """

    width: int
    limit: int = 0
    window_ns: int = 0
    _items: OrderedDict[int, tuple[int, tuple[float, ...]]] = field(default_factory=OrderedDict)
    _sums: list[float] = []
    _removed: int = 0

    def __post_init__(self) -> None:
        self._sums = self._sums or [0.0] * self.width

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> float:
        """The sum of one of the values."""
        return self._sums[index]

    def prepare_checkpoint(self) -> None:
        """Rebuilds the items in their order, because msgspec encodes them as they were inserted."""
        self._items = OrderedDict(self._items)

    def put(self, item: int, received_ns: int, values: Sequence[float]) -> None:
        """Adds an item or replaces it. Values that are not finite remove it."""
        if not all(map(math.isfinite, values)):
            self.remove(item)
            return
        before = self._items.pop(item, None)
        while before is None and self._items and len(self._items) >= self.limit:
            self._drop(*self._items.popitem(last=False)[1])
        self._items[item] = received_ns, tuple(values)
        sums = self._sums
        if before is None:
            for index, value in enumerate(values):
                sums[index] += value
            return
        is_worn = False
        for index, (value, old) in enumerate(zip(values, before[1], strict=True)):
            if value != old:
                sums[index] += value - old
                is_worn = is_worn or abs(old) > _CANCELLED * max(abs(value), abs(sums[index]))
        self._wear(is_worn=is_worn)

    def remove(self, item: int) -> None:
        """Removes an item, if it is there."""
        if item in self._items:
            self._drop(*self._items.pop(item))

    @property
    def due_ns(self) -> int:
        """When the oldest item leaves the window."""
        return next(iter(self._items.values()))[0] + self.window_ns if self._items else NEVER

    def expire(self, now_ns: int) -> None:
        """Drops items older than the window."""
        oldest = now_ns - self.window_ns
        while self._items:
            received_ns, values = next(iter(self._items.values()))
            if received_ns > oldest:
                break
            self._items.popitem(last=False)
            self._drop(received_ns, values)

    def _drop(self, _received_ns: int, values: tuple[float, ...]) -> None:
        sums = self._sums
        is_worn = False
        for index, value in enumerate(values):
            if value:
                sums[index] -= value
                is_worn = is_worn or abs(value) > _CANCELLED * abs(sums[index])
        self._wear(is_worn=is_worn)

    def _wear(self, *, is_worn: bool) -> None:
        """Counts a change that costs digits; computes the sums from scratch when that is due."""
        self._removed += 1
        if is_worn or self._removed > len(self._items):
            self._removed = 0
            columns = zip(*(one for _, one in self._items.values()), strict=True)
            self._sums = [math.fsum(column) for column in columns] or [0.0] * self.width


def share(numerator: float, denominator: float) -> float | None:
    """Returns a quotient; ``None`` if it is undefined or overflows."""
    if not denominator:
        return None
    quotient = numerator / denominator
    return quotient if math.isfinite(quotient) else None

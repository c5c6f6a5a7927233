"""Least and greatest value of each flagged gauge over a trailing window, for all keys of a collector.

A scrape every fifteen seconds would miss a spike between two scrapes. Each cycle brings a value of every key,
so the cost per value counts: values are handled by the column (one metric, all keys), in comprehensions that
compare two columns. They take a quarter of the time that ``map(min, …)`` takes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import reduce
from operator import attrgetter
from typing import Any

from decahertz.sample import Sample

_SLOTS = 10
"""Slots of a window. Only whole slots leave it, so extremes last up to a fifth longer."""

Column = list[Any]
"""A value of each key."""
Bounds = tuple[Column, Column]
"""Least and greatest value of each key; infinite for a key without a value."""


class Extreme(Enum):
    """One of the two extremes; the value is its place in :data:`Bounds`."""

    MIN = 0
    MAX = 1

    @property
    def missing(self) -> float:
        """Stands for a missing value: any number is more extreme."""
        return math.inf if self is Extreme.MIN else -math.inf


Frozen = Callable[[Extreme], Column]
"""Computes an extreme of each key as of the time when it was made."""


class Extremes:
    """The extremes of the metrics ``fields``. Covers at least ``window_ns``, at most a fifth more.

    The samples of all calls of :meth:`take` have the same keys in the same order until :meth:`realign`.
    """

    def __init__(self, fields: Iterable[str], window_ns: int) -> None:
        names = list(fields)
        # Their slots end at different times, so that no cycle has all the work.
        self._columns = {
            name: _Metric(name, window_ns, window_ns // _SLOTS * number // len(names))
            for number, name in enumerate(names)
        }

    def take(self, samples: Sequence[Sample], now_ns: int) -> None:
        """Adds the samples of a cycle. ``now_ns`` is monotonic."""
        for column in self._columns.values():
            column.take(samples, now_ns)

    def realign(self, positions: Sequence[int]) -> None:
        """Changes the keys: the one at each place had the given position before; -1 for a new one."""
        for column in self._columns.values():
            column.realign(positions)

    def freeze(self) -> dict[str, Frozen]:
        """Returns the extremes as of now; they are computed when they are read."""
        return {field: column.freeze() for field, column in self._columns.items()}


class _Metric:
    """The extremes of one metric. Its columns are replaced and never changed.

    samples ──► current slot ── slot over ──► slots ── window over ──► dropped
    """

    def __init__(self, field: str, window_ns: int, head_start_ns: int) -> None:
        """``head_start_ns`` shortens the first slot."""
        self._value_of = attrgetter(field)
        self._window_ns = window_ns
        self._head_start_ns = head_start_ns
        self._values: Column = []
        """Those of the latest cycle: many metrics change rarely."""
        self._current: Bounds | None = None
        self._current_start_ns = 0
        self._slots: deque[tuple[int, Bounds]] = deque()
        """Finished slots with their ends."""
        self._finished: Bounds | None = None
        """Extremes of the finished slots."""

    def take(self, samples: Sequence[Sample], now_ns: int) -> None:
        values = list(map(self._value_of, samples))
        if self._current is None:
            self._current = _bounds_of(values)
            self._current_start_ns = now_ns - self._head_start_ns
            self._head_start_ns = 0
        elif values != self._values:
            new = _bounds_of(values) if None in values else (values, values)
            self._current = _wider(self._current, new)
        self._values = values
        if now_ns - self._current_start_ns >= self._window_ns // _SLOTS:
            self._slots.append((now_ns, self._current))
            self._current = None
            while self._slots[0][0] <= now_ns - self._window_ns:
                self._slots.popleft()
            self._finished = reduce(_wider, (bounds for _, bounds in self._slots))

    def realign(self, positions: Sequence[int]) -> None:
        self._slots = deque((end_ns, _realigned(bounds, positions)) for end_ns, bounds in self._slots)
        self._values = []
        self._current = self._current and _realigned(self._current, positions)
        self._finished = self._finished and _realigned(self._finished, positions)

    def freeze(self) -> Frozen:
        finished, current = self._finished, self._current

        def read(extreme: Extreme) -> Column:
            place = extreme.value
            if finished is None or current is None:
                return (finished or current or ([], []))[place]
            return _CHOICES[place](finished[place], current[place])

        return read


# Both columns have a value of each key. To check that, and to call min and max, takes four times as long.


def _lesser(one: Column, other: Column) -> Column:
    return [a if a < b else b for a, b in zip(one, other)]  # noqa: B905, FURB136 - see above


def _greater(one: Column, other: Column) -> Column:
    return [a if a > b else b for a, b in zip(one, other)]  # noqa: B905, FURB136 - see above


_CHOICES = (_lesser, _greater)


def _wider(one: Bounds, other: Bounds) -> Bounds:
    return _lesser(one[0], other[0]), _greater(one[1], other[1])


def _bounds_of(values: Column) -> Bounds:
    low, high = Extreme.MIN.missing, Extreme.MAX.missing
    return (
        [low if value is None else value for value in values],
        [high if value is None else value for value in values],
    )


def _realigned(bounds: Bounds, positions: Sequence[int]) -> Bounds:
    lows, highs = (
        list(map([*column, extreme.missing].__getitem__, positions))
        for column, extreme in zip(bounds, Extreme, strict=True)
    )
    return lows, highs

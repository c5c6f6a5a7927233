"""Least and greatest value of each flagged gauge over a trailing window, for all keys of a collector.

A scrape every fifteen seconds would miss a spike between two scrapes. Each cycle brings a value of every key,
so the cost per value counts: values are handled by the column (one metric, all keys), a few batches at a
time, by functions in C.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import repeat
from operator import attrgetter
from typing import Any

from decahertz.sample import Sample

_SLOTS = 10
"""Slots of a window. Only whole slots leave it, so extremes last up to a fifth longer."""
_BATCHES = 5
"""Batches that a column reduces at a time; the columns take turns, so that no cycle has all the work."""

Bounds = tuple[list[Any], list[Any]]
"""Least and greatest value of each key; infinite for a key without a value."""


class Extreme(Enum):
    """One of the two extremes; the value is its place in :data:`Bounds`."""

    MIN = 0
    MAX = 1

    @property
    def missing(self) -> float:
        """Stands for a missing value: any number is more extreme."""
        return math.inf if self is Extreme.MIN else -math.inf

    def of(self, columns: Sequence[list[Any]]) -> list[Any]:
        """Returns the extreme of each key over columns of values."""
        if not columns:
            return []
        choice = min if self is Extreme.MIN else max
        try:
            return list(map(choice, repeat(self.missing), *columns))
        except TypeError:  # some values are missing
            numbers = ([self.missing if value is None else value for value in column] for column in columns)
            return list(map(choice, repeat(self.missing), *numbers))


Frozen = Callable[[Extreme], list[Any]]
"""Computes an extreme of each key as of the time when it was made."""


class Extremes:
    """The extremes of the metrics ``fields``. Covers at least ``window_ns``, at most a fifth more.

    The samples of all calls of :meth:`take` have the same keys in the same order until :meth:`realign`.
    """

    def __init__(self, fields: Iterable[str], window_ns: int) -> None:
        self._columns = {field: _Column(field, window_ns) for field in fields}
        self._turns = [tuple(self._columns.values())[turn::_BATCHES] for turn in range(_BATCHES)]
        self._turn = 0

    def take(self, samples: Sequence[Sample], now_ns: int) -> None:
        """Adds the samples of a cycle. ``now_ns`` is monotonic."""
        for column in self._columns.values():
            column.add(samples)
        self._turn = (self._turn + 1) % _BATCHES
        for column in self._turns[self._turn]:
            column.reduce(now_ns)

    def realign(self, positions: Sequence[int], now_ns: int) -> None:
        """Changes the keys: the one at each place had the given position before; -1 for a new one."""
        for column in self._columns.values():
            column.reduce(now_ns)
            column.realign(positions)

    def freeze(self) -> dict[str, Frozen]:
        """Returns the extremes as of now; they are computed when they are read."""
        return {field: column.freeze() for field, column in self._columns.items()}


class _Column:
    """The extremes of one metric. Its lists are replaced and never changed.

    batches ── reduce ──► current slot ── slot over ──► slots ── window over ──► dropped
    """

    def __init__(self, field: str, window_ns: int) -> None:
        self._value_of = attrgetter(field)
        self._window_ns = window_ns
        self._batches: list[Sequence[Sample]] = []
        self._current: Bounds | None = None
        self._current_start_ns = 0
        self._slots: deque[tuple[int, Bounds]] = deque()
        """Finished slots with their ends."""
        self._finished: Bounds | None = None
        """Extremes of the finished slots."""

    def add(self, samples: Sequence[Sample]) -> None:
        self._batches.append(samples)

    def reduce(self, now_ns: int) -> None:
        if self._batches:
            if self._current is None:
                self._current_start_ns = now_ns
            parts = [] if self._current is None else [self._current]
            self._current = _bounds(parts, self._values(self._batches))
            self._batches = []
        if self._current is not None and now_ns - self._current_start_ns >= self._window_ns // _SLOTS:
            self._slots.append((now_ns, self._current))
            self._current = None
            while self._slots[0][0] <= now_ns - self._window_ns:
                self._slots.popleft()
            self._finished = _bounds([bounds for _, bounds in self._slots])

    def realign(self, positions: Sequence[int]) -> None:
        self._slots = deque((end_ns, _realigned(bounds, positions)) for end_ns, bounds in self._slots)
        self._current = self._current and _realigned(self._current, positions)
        self._finished = self._finished and _realigned(self._finished, positions)

    def freeze(self) -> Frozen:
        parts = [part for part in (self._finished, self._current) if part is not None]
        batches = tuple(self._batches)
        return lambda extreme: extreme.of([*(part[extreme.value] for part in parts), *self._values(batches)])

    def _values(self, batches: Iterable[Sequence[Sample]]) -> list[list[Any]]:
        return [list(map(self._value_of, batch)) for batch in batches]


def _bounds(parts: Sequence[Bounds], columns: Sequence[list[Any]] = ()) -> Bounds:
    return (
        Extreme.MIN.of([*(lows for lows, _ in parts), *columns]),
        Extreme.MAX.of([*(highs for _, highs in parts), *columns]),
    )


def _realigned(bounds: Bounds, positions: Sequence[int]) -> Bounds:
    lows, highs = (
        list(map([*column, extreme.missing].__getitem__, positions))
        for column, extreme in zip(bounds, Extreme, strict=True)
    )
    return lows, highs

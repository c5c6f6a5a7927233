"""Histograms: distributions that a collector keeps next to its samples, for Prometheus.

Prometheus adds histograms up over time and over keys, which it cannot do with the quantiles of a sample. A
histogram is exported and not stored: the events that it counts are in the database.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.metric import Unit

if TYPE_CHECKING:
    from decahertz.clock import Clock


class Observations(Struct):
    """Observations of one key, counted by bucket."""

    bounds: tuple[float, ...]
    created_ns: int
    """When it began to count, nanoseconds UTC."""
    counts: list[int] = []
    """Observations in each bucket alone; the last one has no upper bound."""
    sum: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Counts an observation. ``value`` is finite and not negative, so that the sum only grows."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Histogram:
    """A histogram of a collector, with one series of buckets for each key.

    A collector lists its histograms in ``histograms``, and retires a key of a histogram with the sample.
    """

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - as in Metric
        *,
        clock: Clock,
        key: tuple[str, ...],
        bounds: Sequence[float],
        unit: Unit = Unit.SECONDS,
    ) -> None:
        """``key`` names the labels; ``bounds`` are the upper bounds of the buckets.

        Raises ``ValueError`` for bounds that do not ascend.
        """
        if not bounds or not all(low < high for low, high in pairwise(bounds)):
            raise ValueError(f"the bounds of the histogram {name} must ascend: {tuple(bounds)}")
        self.name = name
        self.help = help
        self.key = key
        self.bounds = tuple(map(float, bounds))
        self.unit = unit
        self.series: dict[tuple[str, ...], Observations] = {}
        """Observations by key."""
        self._clock = clock

    def of(self, *key: str) -> Observations:
        """Returns the observations of a key; a new key starts to count now."""
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Observations(self.bounds, self._clock.time_ns())
        return found

    def retire(self, *key: str) -> None:
        """Ends the series of a key, if there is one."""
        self.series.pop(key, None)

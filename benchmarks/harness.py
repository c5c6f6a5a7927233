"""Shared by all benchmarks: a row of the table, and timing of two alternatives in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from msgspec import Struct

ROUNDS = 7


class Measure(Struct, frozen=True, kw_only=True):
    """One row: our figure next to that of a reference in the same run."""

    name: str
    ours: float
    reference: float | None
    unit: str
    ratio: float | None
    """``ours / reference``, or its inverse where a smaller figure is better; ``goal`` tells which."""
    goal: str
    """The bound of the ratio or of our figure: ``ratio >= 20``, ``ours <= 1.5``."""


def compared(name: str, ours: float, reference: float, unit: str, goal: str) -> Measure:
    """Makes the row of a comparison, with the ratio ``ours / reference``."""
    return Measure(name=name, ours=ours, reference=reference, unit=unit, ratio=ours / reference, goal=goal)


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Returns the wall time of one call, averaged over ``repeat`` consecutive calls."""
    start = time.perf_counter_ns()
    for _ in range(repeat):
        work()
    return (time.perf_counter_ns() - start) / repeat / 1e9


def alternate(
    ours: Callable[[], float],
    reference: Callable[[], float],
    rounds: int = ROUNDS,
) -> tuple[float, float]:
    """Returns the medians of two measurements taken in turn, after a warm-up round."""
    ours()
    reference()
    pairs = [(ours(), reference()) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)

"""Shared by all benchmarks: a row of the table, and timing of two alternatives in turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

ROUNDS = 7


class Measure(Struct, frozen=True, kw_only=True):
    """One row: our figure next to that of a reference in the same run."""

    name: str
    ours: float
    reference: float | None = None
    unit: str
    ratio: float | None = None
    """``ours / reference``, or its inverse where a smaller figure is better; ``goal`` tells which."""
    goal: str
    """The bound of the ratio or of our figure: ``ratio >= 20``, ``ours <= 1.5``."""


def environment(**settings: str) -> dict[str, str]:
    """The environment of a server: these settings of Decahertz, and none of the shell's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DECAHERTZ_")}
    return {**inherited, **settings}


def compared(
    name: str, ours: float, reference: float, unit: str, goal: str, *, is_cost: bool = False
) -> Measure:
    """Makes the row of a comparison; of a cost, where less is better, the ratio is ``reference / ours``."""
    ratio = reference / ours if is_cost else ours / reference
    return Measure(name=name, ours=ours, reference=reference, unit=unit, ratio=ratio, goal=goal)


def medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns the medians of our measurements and of the reference's."""
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


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
    return medians([(ours(), reference()) for _ in range(rounds)])

"""Shared by all benchmarks: a row of the table, and timing two things in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from msgspec import Struct

ROUNDS = 7


class Measure(Struct, frozen=True, kw_only=True):
    """One row: ours next to a reference of the same run."""

    name: str
    ours: float
    reference: float | None
    unit: str
    ratio: float | None
    """How many times better ours is where larger is better, ``ours / reference`` otherwise: see ``goal``."""
    goal: str
    """The bound for the ratio, or for ours, in words: ``ratio >= 20``, ``ours <= 1.5``."""


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Wall seconds of one call, averaged over ``repeat`` calls in a row."""
    start = time.perf_counter_ns()
    for _ in range(repeat):
        work()
    return (time.perf_counter_ns() - start) / repeat / 1e9


def alternate(
    ours: Callable[[], float],
    reference: Callable[[], float],
    rounds: int = ROUNDS,
) -> tuple[float, float]:
    """Medians of two measurements that are taken in turn, after one uncounted round of both."""
    ours()
    reference()
    pairs = [(ours(), reference()) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)

"""Runs Python's full garbage collections between cycles, and keeps them short.

A full collection traverses all objects of the process and stops every thread; Python starts one at any time.
With an hour of orders in memory it takes longer than a cycle. So Python's automatic full collections are
switched off: one runs every ten seconds, midway between two cycles. After a slow one, all surviving objects
are frozen, so later collections skip them. Reference counting still frees frozen objects; only cyclic garbage
among them stays in memory, a few kilobytes each time.

The short collections of young objects are left to Python, after more of them than usual.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND, Clock, Grid
from decahertz.supervision import supervise

if TYPE_CHECKING:
    from collections.abc import Awaitable

INTERVAL_NS = 10 * NS_PER_SECOND
LONG_NS = 20_000_000
"""A collection that takes longer (a fifth of a cycle) freezes the surviving objects."""
YOUNG_OBJECTS = 10_000
"""New containers before Python collects the young ones. A cycle makes a tuple for each of a thousand samples,
all of which are gone at its end: with Python's 700 the collections in between found nothing and took a tenth
of the processor time."""
_NEVER = 1_000_000_000
"""Number of collections of the middle generation before Python starts a full one: years."""
_MAX_POSTPONED = 20
"""Cycles to postpone a collection while the process is busy; after that it runs regardless."""


class GarbageCollector:
    """Collects between cycles while :meth:`run` runs.

    ``collect`` runs a full collection, ``freeze`` excludes all objects from later ones, ``sleep`` waits for a
    number of seconds.
    """

    def __init__(
        self,
        clock: Clock,
        grid: Grid | None = None,
        *,
        interval_ns: int = INTERVAL_NS,
        long_ns: int = LONG_NS,
        collect: Callable[[], object] = gc.collect,
        freeze: Callable[[], object] = gc.freeze,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._grid = grid or Grid()
        self._interval_ns = interval_ns
        self._long_ns = long_ns
        self._collect = collect
        self._freeze = freeze
        self._sleep = sleep

    async def run(self) -> None:
        """Collects and freezes all objects (mostly modules); then collects every ten seconds."""
        self._collect()
        self._freeze()
        while True:
            await self._sleep(self._interval_ns / NS_PER_SECOND)
            await self._pause()
            start_ns = self._clock.monotonic_ns()
            self._collect()
            if self._clock.monotonic_ns() - start_ns > self._long_ns:
                self._freeze()

    async def _pause(self) -> None:
        """Waits until midway between two cycles; if that is a quarter late, until the next time."""
        interval_ns = self._grid.interval_ns
        middle_ns = interval_ns // 2
        for _ in range(_MAX_POSTPONED):
            now_ns = self._clock.time_ns()
            wait_ns = self._grid.floor(now_ns) + middle_ns - now_ns
            await self._sleep((wait_ns if wait_ns > 0 else wait_ns + interval_ns) / NS_PER_SECOND)
            now_ns = self._clock.time_ns()
            if 0 <= now_ns - self._grid.floor(now_ns) - middle_ns <= interval_ns // 4:
                return


@asynccontextmanager
async def collecting(clock: Clock) -> AsyncIterator[None]:
    """Lets a :class:`GarbageCollector` run the full collections within the context."""
    thresholds = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS, thresholds[1], _NEVER)
    task = supervise(GarbageCollector(clock).run, "garbage")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gc.set_threshold(*thresholds)

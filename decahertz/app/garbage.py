"""Python's full garbage collections, taken between the ticks and kept short.

A full collection walks everything that the process has kept since its start, while all its threads stand
still; Python begins one whenever it sees fit. With an hour of orders in memory that takes longer than a tick.
So the full ones are not left to Python: one is made every ten seconds, at a moment that is as far from the
tick before as from the next. When one took long, what survived it is frozen, which means that later ones do
not walk it. What is frozen is freed as everything is when its last reference goes; only rings of references
that were alive at that moment and are given up later stay in memory, a few kilobytes each time.

The collections of what is young are short, and stay with Python.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND, Clock, Grid

if TYPE_CHECKING:
    from collections.abc import Awaitable

INTERVAL_NS = 10 * NS_PER_SECOND
LONG_NS = 20_000_000
"""A collection that takes longer than this, a fifth of a tick, freezes what it found alive."""
_NEVER = 1_000_000_000
"""Collections of the middle generation that Python waits for before a full one: years."""
_SHARE = 2
"""A collection begins at half a tick; one that would begin a quarter later waits for the next tick."""
_TRIES = 20
"""Ticks that are let pass by when the process is too busy; then it has to be."""


class GarbageCollector:
    """Collects between the ticks while :meth:`run` runs.

    ``collect`` makes a full collection, ``freeze`` takes what is there out of later ones, ``sleep`` waits
    for a number of seconds.
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
        """Nothing is done before :meth:`run`."""
        self._clock = clock
        self._grid = grid or Grid()
        self._interval_ns = interval_ns
        self._long_ns = long_ns
        self._collect = collect
        self._freeze = freeze
        self._sleep = sleep

    async def run(self) -> None:
        """Collect now and freeze what there is, mostly modules; then every ten seconds, until cancelled."""
        self._collect()
        self._freeze()
        while True:
            await self._sleep(self._interval_ns / NS_PER_SECOND)
            await self._pause()
            began_ns = self._clock.monotonic_ns()
            self._collect()
            if self._clock.monotonic_ns() - began_ns > self._long_ns:
                self._freeze()

    async def _pause(self) -> None:
        """Wait for the middle between two ticks."""
        interval_ns = self._grid.interval_ns
        for _ in range(_TRIES):
            now_ns = self._clock.time_ns()
            wait_ns = self._grid.floor(now_ns) + interval_ns // _SHARE - now_ns
            await self._sleep((wait_ns if wait_ns > 0 else wait_ns + interval_ns) / NS_PER_SECOND)
            now_ns = self._clock.time_ns()
            if 0 <= now_ns - self._grid.floor(now_ns) - interval_ns // _SHARE <= interval_ns // (2 * _SHARE):
                return


@asynccontextmanager
async def collecting(clock: Clock) -> AsyncIterator[None]:
    """Leave full collections to a :class:`GarbageCollector` for the time of the context."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    task = asyncio.create_task(GarbageCollector(clock).run(), name="garbage")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gc.set_threshold(*thresholds)

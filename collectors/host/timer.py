"""The cycle of the grid, from the machine's clocks.

Waiting is done by the monotonic clock and aligned by the wall clock: before each wait both are read,
and the wait is as long as the wall clock still lacks to the instant. Reading again after every wake-up
makes a timer that fires early harmless, lets a wall clock that is slewed be followed, and shows one that
was stepped as a jump of the difference between the two.

What a stepped wall clock does to the grid:

* forward (NTP, a suspended machine): the instants that were jumped over are counted as missed;
* backward by up to ``longest_wait_ns``: those instants have their samples already, so the timer waits
  until the wall clock has passed the last of them again;
* backward by more: the old time was wrong, and nobody should be blind until it comes again. The grid goes
  on at once on the new time, where instants may repeat that were sampled under the wrong one.

``sampled_ns`` tells of a clock that was set back while no process was there to see it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from decahertz.clock import NS_PER_SECOND, Clock, Cycle, Grid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STEP_THRESHOLD_NS = 50_000_000
LONGEST_WAIT_NS = 10 * NS_PER_SECOND
_TIGHT_NS = 200_000
"""Two readings of the monotonic clock this close together say when the wall clock was read between them."""
_READINGS = 5
_DRIFT_PER_NS = 1_000
"""One part in this many may be drift: twice the rate at which NTP slews a clock (RFC 5905: 500 ppm)."""


class _Reading(NamedTuple):
    wall_ns: int
    monotonic_ns: int


class GridTimer:
    """Delivers the instants of a grid; a :class:`~decahertz.clock.CycleTimer`.

    ``step_threshold_ns`` is the jump of the wall clock against the monotonic one that counts as a step,
    ``sleep`` waits for a number of seconds (it may return early). One task at a time awaits :meth:`next`.
    """

    def __init__(
        self,
        clock: Clock,
        grid: Grid | None = None,
        step_threshold_ns: int = STEP_THRESHOLD_NS,
        *,
        longest_wait_ns: int = LONGEST_WAIT_NS,
        sampled_ns: int | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """The first cycle falls on the first instant after the first call of :meth:`next`.

        ``sampled_ns`` is the last instant that an earlier process met: the first cycle comes after that too.
        """
        self._clock = clock
        self._grid = grid or Grid()
        self._step_threshold_ns = step_threshold_ns
        self._farthest_ns = longest_wait_ns + self._grid.interval_ns
        self._sleep = sleep
        self._previous: _Reading | None = None
        self._stepped_ns = 0
        self._last: _Reading | None = None
        self._sampled_ns = sampled_ns or 0
        self._due_ns: int | None = None

    async def next(self) -> Cycle:
        """Wait for the next instant. See the module for what happens when the wall clock steps."""
        while True:
            now = self._read()
            if self._due_ns is None:
                self._due_ns = self._grid.after(max(now.wall_ns, self._sampled_ns))
            if self._due_ns - now.wall_ns > self._farthest_ns:
                self._due_ns = self._grid.after(now.wall_ns)
            if now.wall_ns >= self._due_ns:
                return self._beat(now, self._due_ns)
            # Never longer than one interval at a stretch, so that a step is noticed while waiting.
            wait_ns = min(self._due_ns - now.wall_ns, self._grid.interval_ns)
            await self._sleep(wait_ns / NS_PER_SECOND)

    def _beat(self, now: _Reading, due_ns: int) -> Cycle:
        interval_ns = self._grid.interval_ns
        time_ns = self._grid.floor(now.wall_ns)
        lateness_ns = now.wall_ns - time_ns
        met = _Reading(time_ns, now.monotonic_ns - lateness_ns)
        if self._last is None:
            missed = (time_ns - due_ns) // interval_ns
        elif time_ns > self._last.wall_ns:
            missed = (time_ns - self._last.wall_ns) // interval_ns - 1
        else:  # Begun anew on an earlier time: only the time passed says what was missed.
            missed = max(0, (met.monotonic_ns - self._last.monotonic_ns) // interval_ns - 1)
        cycle = Cycle(time_ns, lateness_ns, missed, self._stepped_ns)
        self._stepped_ns = 0
        self._last = met
        self._due_ns = time_ns + interval_ns
        return cycle

    def _read(self) -> _Reading:
        """Read both clocks as one, and notice a step since the last time."""
        now = self._read_together()
        if self._previous is not None:
            passed_ns = now.monotonic_ns - self._previous.monotonic_ns
            jump_ns = now.wall_ns - self._previous.wall_ns - passed_ns
            if abs(jump_ns) > self._step_threshold_ns + passed_ns // _DRIFT_PER_NS:
                self._stepped_ns += jump_ns
        self._previous = now
        return now

    def _read_together(self) -> _Reading:
        """The process can be stopped between two readings; that must not look like a step."""
        best, narrowest_ns = None, 0
        for _ in range(_READINGS):
            before_ns = self._clock.monotonic_ns()
            wall_ns = self._clock.time_ns()
            width_ns = self._clock.monotonic_ns() - before_ns
            if best is None or width_ns < narrowest_ns:
                best, narrowest_ns = _Reading(wall_ns, before_ns + width_ns // 2), width_ns
            if width_ns <= _TIGHT_NS:
                break
        assert best is not None  # noqa: S101 - at least one reading was taken
        return best

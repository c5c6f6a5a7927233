"""The timer of the sampler: delivers the cycles of the grid by the machine's clocks.

The timer waits by the monotonic clock and aligns by the wall clock: before each wait it reads both and waits
for the time that the wall clock has left to the next cycle. It reads both again after every wake-up. A timer
that fires early is therefore harmless, a slewed wall clock is followed, and a step of the wall clock shows as
a jump of the difference between the two.

Steps of the wall clock:

* forward (NTP, a suspended machine): the cycles in between are counted as missed;
* backward by up to ``MAX_WAIT_NS``: these cycles have samples already, so the timer waits until the wall
  clock has passed the last of them again;
* backward by more: the old time was wrong, and recording must not pause until it comes again. The grid
  continues at once on the new time, where cycle times may repeat.

``sampled_ns`` covers a clock that was set back between two processes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from decahertz.clock import NS_PER_SECOND, Clock, Cycle, Grid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STEP_THRESHOLD_NS = 50_000_000
MAX_WAIT_NS = 10 * NS_PER_SECOND
_TIGHT_NS = 200_000
"""Two monotonic readings this close together time the wall clock reading between them well enough."""
_READINGS = 5
_DRIFT_PER_NS = 1_000
"""Up to one part in this many is drift: twice the rate at which NTP slews a clock (RFC 5905: 500 ppm)."""


class _Reading(NamedTuple):
    wall_ns: int
    monotonic_ns: int


class GridTimer:
    """Delivers the cycles of a grid; a :class:`~decahertz.clock.CycleTimer`.

    A jump of the wall clock against the monotonic clock above ``step_threshold_ns`` is a step. ``sleep``
    waits for a number of seconds and may return early. One task at a time may await :meth:`next`.
    """

    def __init__(
        self,
        clock: Clock,
        step_threshold_ns: int = STEP_THRESHOLD_NS,
        *,
        sampled_ns: int | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """The first cycle is the next one after the first call of :meth:`next`.

        ``sampled_ns`` is the time of the last cycle of an earlier process; the first cycle comes after it.
        """
        self._clock = clock
        self._grid = Grid()
        self._step_threshold_ns = step_threshold_ns
        self._max_ahead_ns = MAX_WAIT_NS + self._grid.interval_ns
        self._sleep = sleep
        self._previous: _Reading | None = None
        self._stepped_ns = 0
        self._last: _Reading | None = None
        self._sampled_ns = sampled_ns or 0
        self._due_ns: int | None = None

    async def next(self) -> Cycle:
        """Waits for the next cycle. The module docstring describes steps of the wall clock."""
        while True:
            now = self._read()
            if self._due_ns is None:
                self._due_ns = self._grid.after(max(now.wall_ns, self._sampled_ns))
            if self._due_ns - now.wall_ns > self._max_ahead_ns:
                self._due_ns = self._grid.after(now.wall_ns)
            if now.wall_ns >= self._due_ns:
                return self._deliver(now, self._due_ns)
            # At most one interval at a time, so that a step is noticed while waiting.
            wait_ns = min(self._due_ns - now.wall_ns, self._grid.interval_ns)
            await self._sleep(wait_ns / NS_PER_SECOND)

    def _deliver(self, now: _Reading, due_ns: int) -> Cycle:
        interval_ns = self._grid.interval_ns
        time_ns = self._grid.floor(now.wall_ns)
        lateness_ns = now.wall_ns - time_ns
        delivered = _Reading(time_ns, now.monotonic_ns - lateness_ns)
        if self._last is None:
            missed = (time_ns - due_ns) // interval_ns
        elif time_ns > self._last.wall_ns:
            missed = (time_ns - self._last.wall_ns) // interval_ns - 1
        else:  # The grid restarted at an earlier time: the elapsed time determines the missed cycles.
            missed = max(0, (delivered.monotonic_ns - self._last.monotonic_ns) // interval_ns - 1)
        cycle = Cycle(time_ns, lateness_ns, missed, self._stepped_ns)
        self._stepped_ns = 0
        self._last = delivered
        self._due_ns = time_ns + interval_ns
        return cycle

    def _read(self) -> _Reading:
        """Reads both clocks together and detects a step since the last reading."""
        now = self._read_together()
        if self._previous is not None:
            passed_ns = now.monotonic_ns - self._previous.monotonic_ns
            jump_ns = now.wall_ns - self._previous.wall_ns - passed_ns
            if abs(jump_ns) > self._step_threshold_ns + passed_ns // _DRIFT_PER_NS:
                self._stepped_ns += jump_ns
        self._previous = now
        return now

    def _read_together(self) -> _Reading:
        """Reads both clocks at once: a process stopped between two readings must not look like a step."""
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

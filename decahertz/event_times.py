"""Checks the times of arriving events.

A time may be impossible: ahead of this machine's clock, or in seconds, milliseconds or microseconds, which
would be a moment in 1970. An event with such a time is refused, unless it is an order or a fill: those are
too valuable. They get the time that the number means in its likely unit, or else that of their receipt, and
keep the number that the emitter stated in ``stated_time_ns``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from decahertz.clock import NS_PER_SECOND, Clock, other_unit
from decahertz.event import AnyEvent, EventBatch, Execution
from decahertz.health import ComponentStatus, Health

_PROBLEMS_LISTED = 20
_CLOCK_STEP_GRACE_NS = 3600 * NS_PER_SECOND
_FIRST_NS = 10**17
"""March 1973; a smaller number may be a time in another unit."""
_DEGRADED_NS = 600 * NS_PER_SECOND
"""Time for which health shows an impossible time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason why an event of a batch is refused."""

    index: int
    """Position in the batch, from 0."""
    field: str
    reason: str


class BatchRefusedError(ValueError):
    """Raised for an invalid batch; none of it is published or stored."""

    def __init__(self, reason: str, refusals: Sequence[Refusal] = ()) -> None:
        super().__init__(reason)
        self.refusals = tuple(refusals)


class _Latest:
    """The latest acceptable time of an event.

    When the clock is set back, events from just before lie in the future although they are correct. So for an
    hour the limit stays where it would be without the step.
    """

    def __init__(self, clock: Clock, max_future_ns: int) -> None:
        self.max_future_ns = max_future_ns
        self._clock = clock
        self._offset_ns = clock.time_ns() - clock.monotonic_ns()
        self._last_true_ns = clock.monotonic_ns()

    def time_ns(self) -> int:
        monotonic_ns = self._clock.monotonic_ns()
        offset_ns = self._clock.time_ns() - monotonic_ns
        if offset_ns >= self._offset_ns or monotonic_ns - self._last_true_ns > _CLOCK_STEP_GRACE_NS:
            self._offset_ns, self._last_true_ns = offset_ns, monotonic_ns
        return monotonic_ns + self._offset_ns + self.max_future_ns


class EventTimes:
    """Checks times, corrects those of orders and fills, and reports it."""

    def __init__(self, clock: Clock, max_future_ns: int) -> None:
        self._clock = clock
        self._latest = _Latest(clock, max_future_ns)
        self.corrected = 0
        """Orders and fills with an impossible time."""
        self._last_ns: int | None = None
        self._last = ""

    def checked(self, batch: EventBatch, received_ns: int) -> EventBatch:
        """Returns the batch with possible times. Raises :class:`BatchRefusedError`."""
        latest_ns = self._latest.time_ns()
        wrong = {
            index: event
            for index, event in enumerate(batch.events)
            if not _FIRST_NS <= event.time_ns <= latest_ns and self._problem(event.time_ns, latest_ns)
        }
        if not wrong:
            return batch
        refused = [index for index, event in wrong.items() if not isinstance(event, Execution)]
        if refused:
            reasons = {index: self._problem(wrong[index].time_ns, latest_ns) for index in refused}
            raise BatchRefusedError(
                f"{len(refused)} events have an impossible time: {reasons[refused[0]]}",
                [Refusal(index, "time_ns", reasons[index]) for index in refused[:_PROBLEMS_LISTED]],
            )
        events = list(batch.events)
        for index, event in wrong.items():
            events[index] = _corrected(event, received_ns)
            self._last = f"{event.time_ns}: {self._problem(event.time_ns, latest_ns)}"
        self.corrected += len(wrong)
        self._last = f"emitter {batch.source}, {self._last}"
        self._last_ns = self._clock.monotonic_ns()
        return msgspec.structs.replace(batch, events=tuple(events))

    def status(self) -> ComponentStatus:
        """Degraded for ten minutes after an impossible time."""
        last_ns = self._last_ns
        if last_ns is None or self._clock.monotonic_ns() - last_ns > _DEGRADED_NS:
            return ComponentStatus(name="event times", health=Health.OK)
        return ComponentStatus(
            name="event times",
            health=Health.DEGRADED,
            detail=f"orders and fills with an impossible time: {self.corrected} ({self._last});"
            " they are stored with stated_time_ns",
        )

    def _problem(self, time_ns: int, latest_ns: int) -> str:
        """Why a time is impossible; empty if it is possible."""
        other = other_unit(time_ns)
        if other is not None:
            return f"a time in {other[0]}, not in nanoseconds"
        if time_ns > latest_ns:
            ahead = self._latest.max_future_ns / NS_PER_SECOND
            return f"more than {ahead:g} s ahead of the recorder; check the emitter's clock"
        return ""


def _corrected(event: AnyEvent, received_ns: int) -> AnyEvent:
    other = other_unit(event.time_ns)
    time_ns = received_ns if other is None or other[1] > received_ns else other[1]
    return msgspec.structs.replace(event, time_ns=time_ns, stated_time_ns=event.time_ns)

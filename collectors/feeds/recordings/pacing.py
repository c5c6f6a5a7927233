"""When a recorded event is due in a replay, and the event time it gets then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from msgspec.structs import replace

from decahertz.clock import Clock
from decahertz.event import AnyEvent, Gap, MarketEvent

_Stream: TypeAlias = tuple[type[MarketEvent], str, str]


class Shifter:
    """Moves recorded events to the present; their age on receipt stays that of the recording.

    At a higher speed, events arrive closer together than their ages allow and would change their order in
    time. An event that was not older than its predecessor in the same stream (quotes or ticks of one
    instrument) is therefore never made older; it becomes younger than recorded. At the original speed this
    is at most the lateness of the replay itself. A negative age (a clock behind the venue's) stays negative.
    """

    def __init__(self) -> None:
        self._newest: dict[_Stream, tuple[int, int]] = {}

    def shift(self, events: Iterable[AnyEvent], recorded_ns: int, now_ns: int) -> list[AnyEvent]:
        """Returns events received at ``recorded_ns`` in the recording as if received at ``now_ns``."""
        by_ns = now_ns - recorded_ns
        return [
            _moved_gap(event, by_ns)
            if isinstance(event, Gap)
            else replace(event, time_ns=self._time_ns(event, event.time_ns + by_ns))
            for event in events
        ]

    def _time_ns(self, event: AnyEvent, moved_ns: int) -> int:
        if not isinstance(event, MarketEvent):
            return moved_ns
        stream = (type(event), event.venue, event.instrument)
        newest = self._newest.get(stream)
        if newest is not None:
            if event.time_ns < newest[0]:
                return moved_ns  # out of order in the recording too
            moved_ns = max(moved_ns, newest[1])
        self._newest[stream] = (event.time_ns, moved_ns)
        return moved_ns


def _moved_gap(gap: Gap, by_ns: int) -> Gap:
    times = {name: getattr(gap, name) for name in ("time_ns", "from_ns", "to_ns")}
    return replace(gap, **{name: ns + by_ns for name, ns in times.items() if ns is not None})


class Pacer:
    """Computes how long to wait for a recorded time.

    Every time is measured from the first one by the monotonic clock, so neither late wake-ups nor a slow
    reader add up; overdue records are due at once.
    """

    def __init__(self, clock: Clock, speed: float) -> None:
        """``speed`` 2 is twice as fast as recorded; infinity never waits."""
        if not speed > 0:
            raise ValueError(f"speed {speed} is not positive")
        self._clock = clock
        self._speed = speed
        self._first_ns: int | None = None
        self._start_ns = 0

    def wait_ns(self, recorded_ns: int) -> int:
        """Returns the nanoseconds until a recorded time is due; 0 for the first one and when overdue."""
        now_ns = self._clock.monotonic_ns()
        if self._first_ns is None:
            self._first_ns, self._start_ns = recorded_ns, now_ns
        due_ns = self._start_ns + int((recorded_ns - self._first_ns) / self._speed)
        return max(0, due_ns - now_ns)

"""The newest events in memory, from which most readers resume."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decahertz.event import AnyEvent, Arrival


class EventRing:
    """Holds the newest events of all topics."""

    def __init__(self, floor: int, max_events: int) -> None:
        """Events up to the number ``floor`` are not in the ring."""
        self.floor = floor
        """The ring has every event with a higher number."""
        self._max_events = max_events
        self._arrivals: deque[Arrival] = deque()
        self.events = 0

    def append(self, arrival: Arrival) -> None:
        """Adds events, and drops the oldest ones above the limit."""
        self._arrivals.append(arrival)
        self.events += len(arrival.batch.events)
        while self.events > self._max_events:
            oldest = self._arrivals.popleft()
            count = len(oldest.batch.events)
            self.events -= count
            self.floor = oldest.number + count - 1

    def after(self, number: int) -> Iterator[tuple[int, AnyEvent]]:
        """Events with higher numbers, in order. Do not append while iterating."""
        for arrival in self._arrivals:
            skipped = max(0, number + 1 - arrival.number)
            events = arrival.batch.events
            if skipped < len(events):
                yield from enumerate(events[skipped:] if skipped else events, arrival.number + skipped)

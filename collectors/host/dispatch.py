"""Bringing events to the collectors that take them.

Events go to their collectors the moment they are published. A batch of very many (an emitter that caught up
after an outage) is worked through in slices, between which the event loop can meet the grid; whatever
arrives meanwhile queues behind it, so that the order stays.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from collectors.host.hosted import HostedCollector
from decahertz.bus import Message
from decahertz.event import AnyEvent, Arrival, Event

SLICE = 500
"""Events worked through at a stretch: about two milliseconds."""
MOST_PENDING = 100_000
"""Events that may wait; beyond it whoever publishes waits for as many to be worked through."""


class Dispatcher:
    """A bus handler that calls ``on_event``. What a collector raises stops neither others nor the batch."""

    def __init__(self, hosted: Iterable[HostedCollector], monotonic_ns: Callable[[], int]) -> None:
        """Route each event type to the given collectors that declared it, in their order."""
        routes: dict[type[Event], list[HostedCollector]] = {}
        for collector in hosted:
            for event_type in collector.events_taken:
                routes.setdefault(event_type, []).append(collector)
        self._routes = {event_type: tuple(takers) for event_type, takers in routes.items()}
        self._monotonic_ns = monotonic_ns
        self._waiting: deque[tuple[AnyEvent, int]] = deque()
        self._scheduled: asyncio.Handle | None = None

    @property
    def pending(self) -> int:
        """Events that wait for their slice."""
        return len(self._waiting)

    def take(self, message: Message) -> None:
        """Handle a message of the bus."""
        if not isinstance(message, Arrival):
            return
        events, received_ns = message.batch.events, message.received_ns
        if not self._waiting and len(events) <= SLICE:
            self._deliver([(event, received_ns) for event in events])
            return
        self._waiting.extend((event, received_ns) for event in events)
        while len(self._waiting) > MOST_PENDING:
            self._work_off()
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._go_on)

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _go_on(self) -> None:
        self._work_off()
        loop = asyncio.get_running_loop()
        self._scheduled = loop.call_soon(self._go_on) if self._waiting else None

    def _work_off(self) -> None:
        count = min(SLICE, len(self._waiting))
        self._deliver([self._waiting.popleft() for _ in range(count)])

    def _deliver(self, arrivals: Sequence[tuple[AnyEvent, int]]) -> None:
        routes = self._routes
        monotonic_ns = self._monotonic_ns
        before_ns = monotonic_ns()
        for event, received_ns in arrivals:
            for collector in routes.get(type(event), ()):
                try:
                    collector.on_event(event, received_ns)
                except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                    collector.event_failed(error)
                # One reading per call: it ends this one's time and begins the next one's.
                after_ns = monotonic_ns()
                collector.event_ns += after_ns - before_ns
                collector.events += 1
                before_ns = after_ns

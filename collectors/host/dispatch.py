"""Delivery of events to the collectors that subscribe to them.

Events are delivered as they are published. A very large batch (an emitter catching up after an outage) is
delivered in slices, between which the event loop can run a cycle; later events queue behind it, which keeps
the order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from collectors.host.hosted import HostedCollector
from decahertz.bus import Message
from decahertz.event import AnyEvent, Arrival, Event, Origin

SLICE = 500
"""Events delivered without a pause: about two milliseconds."""
MAX_PENDING = 100_000
"""Events that may be queued; beyond it, publishing blocks until a slice has been delivered."""


class Dispatcher:
    """A bus handler that calls ``on_event``. An error of one collector does not affect the others."""

    def __init__(self, hosted: Iterable[HostedCollector], monotonic_ns: Callable[[], int]) -> None:
        """Routes each event type to the collectors that declare it, in their order."""
        collectors = tuple(hosted)
        routes: dict[type[Event], list[HostedCollector]] = {}
        for collector in collectors:
            for event_type in collector.events_taken:
                routes.setdefault(event_type, []).append(collector)
        self._routes = {event_type: tuple(subscribers) for event_type, subscribers in routes.items()}
        self._monotonic_ns = monotonic_ns
        self._collectors = collectors
        self._emitter = ""
        self._waiting: deque[tuple[AnyEvent, int, Origin]] = deque()
        self._scheduled: asyncio.Handle | None = None

    @property
    def pending(self) -> int:
        """Events queued for delivery."""
        return len(self._waiting)

    def take(self, message: Message) -> None:
        """Handles a message of the bus."""
        if not isinstance(message, Arrival):
            return
        batch, received_ns = message.batch, message.received_ns
        source, epoch = batch.source, batch.epoch
        arrivals = (
            (event, received_ns, (source, epoch, sequence))
            for sequence, event in enumerate(batch.events, batch.first_sequence)
        )
        if not self._waiting and len(batch.events) <= SLICE:
            self._deliver(list(arrivals))
            return
        self._waiting.extend(arrivals)
        while len(self._waiting) > MAX_PENDING:
            self._deliver_slice()
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._continue)

    def drain(self) -> None:
        """Delivers the whole queue."""
        while self._waiting:
            self._deliver_slice()

    def close(self) -> None:
        """Discards the queue."""
        self._waiting.clear()
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _continue(self) -> None:
        self._scheduled = None  # first: an error must not end the deliveries
        try:
            self._deliver_slice()
        finally:
            if self._waiting:
                self._scheduled = asyncio.get_running_loop().call_soon(self._continue)

    def _deliver_slice(self) -> None:
        count = min(SLICE, len(self._waiting))
        self._deliver([self._waiting.popleft() for _ in range(count)])

    def _deliver(self, arrivals: Sequence[tuple[AnyEvent, int, Origin]]) -> None:
        routes = self._routes
        monotonic_ns = self._monotonic_ns
        before_ns = monotonic_ns()
        for event, received_ns, origin in arrivals:
            if origin[0] != self._emitter:
                self._change_emitter(origin[0])
            for collector in routes.get(type(event), ()):
                try:
                    if collector.takes_origin:
                        collector.on_event(event, received_ns, origin)
                    else:
                        collector.on_event(event, received_ns)
                except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                    collector.event_failed(error)
                # One clock reading per call: the end of this call is the start of the next.
                after_ns = monotonic_ns()
                collector.event_ns += after_ns - before_ns
                collector.events += 1
                before_ns = after_ns

    def _change_emitter(self, emitter: str) -> None:
        self._emitter = emitter
        for collector in self._collectors:
            for budget in collector.budgets:
                budget.emitter = emitter

    def forget_emitter(self) -> None:
        """Tells the emitter of the next event to all budgets: some of them are new."""
        self._emitter = ""

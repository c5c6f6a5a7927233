"""Restores collectors a second time, while they go on, once all of their past can be read.

A process that started without its database restored its collectors from the spool alone. When the database
is there, each of them gets a successor, which is restored from the whole history and then takes its place
between two cycles.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from collectors.host.dispatch import SLICE
from collectors.host.hosted import HostedCollector
from collectors.host.restore import Delivery, Routes, spans_of
from decahertz.bus import EVENTS, Bus, Message
from decahertz.event import Arrival
from decahertz.health import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from collectors.host.restore import WholeHistory
    from decahertz.ingest import EmitterId
    from decahertz.sequences import SequenceSet


class CatchUp:
    """The successors of some collectors, from their start until they take over."""

    def __init__(self, collectors: Sequence[HostedCollector], bus: Bus, pending: Callable[[], int]) -> None:
        """``pending`` is the number of published events that the collectors have not got yet."""
        self._pairs = [(old, new) for old in collectors if (new := old.successor()) is not None]
        self._bus = bus
        self._pending = pending
        self._delivery = Delivery([new for _, new in self._pairs])
        self._live: deque[Arrival] = deque()
        self._routes: list[tuple[Routes, dict[EmitterId, SequenceSet]]] = []
        """By event type: who gets it, and the events of the spool that they have."""

    async def run(self, history: WholeHistory, now_ns: int, limit_seconds: float) -> None:
        """Restores the successors from the history and lets them take over. Raises if reading fails."""
        for _, new in self._pairs:
            await new.start(limit_seconds)
        started = [new for _, new in self._pairs if new.state is RunState.RUNNING]
        while self._pending():  # noqa: ASYNC110 - no event says so; the spool has these events
            await asyncio.sleep(0)
        subscription = self._bus.subscribe(EVENTS, self._take)
        try:
            await self._replay(started, history, now_ns)
            while self._live or self._pending():
                for _ in range(min(SLICE, len(self._live))):
                    self._deliver(self._live.popleft())
                await asyncio.sleep(0)
            self._delivery.end()
            for old, new in self._pairs:
                if new in started:
                    old.exchange(new)
            structlog.get_logger(part="sampler").info("collectors_caught_up", events=self._delivery.events)
        finally:
            subscription.cancel()
            for _, new in self._pairs:
                await new.stop(limit_seconds)

    async def _replay(
        self, collectors: Sequence[HostedCollector], history: WholeHistory, now_ns: int
    ) -> None:
        restored = {(collector, type_) for collector in collectors for type_ in collector.events_restored}
        others: Routes = {}
        for collector in collectors:
            for type_ in collector.events_taken:
                if (collector, type_) not in restored:
                    others.setdefault(type_, []).append(collector)
        self._routes.append((others, {}))
        for seconds, routes in spans_of(collectors):
            await self._delivery.replay(routes, seconds, history, now_ns)
            self._routes.append((routes, history.spooled))

    def _take(self, message: Message) -> None:
        if isinstance(message, Arrival):
            self._live.append(message)

    def _deliver(self, arrival: Arrival) -> None:
        """Delivers an event to those who did not get it from the history."""
        batch = arrival.batch
        emitter = (batch.source, batch.epoch)
        for sequence, event in enumerate(batch.events, batch.first_sequence):
            for routes, spooled in self._routes:
                takers = routes.get(type(event))
                if takers and (emitter not in spooled or spooled[emitter].missing(sequence, sequence)):
                    self._delivery.deliver(takers, event, arrival.received_ns, (*emitter, sequence))

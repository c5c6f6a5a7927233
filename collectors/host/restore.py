"""Restores the state of collectors from stored events after a restart."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from collectors.host.plugins import describe
from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from collectors.host.hosted import HostedCollector
    from decahertz.checkpoint import Checkpointed
    from decahertz.event import AnyEvent, Event, Origin
    from decahertz.ingest import EmitterId
    from decahertz.sequences import SequenceSet

_EVENTS_AT_ONCE = 200

History: TypeAlias = (
    "Callable[[Sequence[type[Event]], int], AsyncGenerator[tuple[AnyEvent, int, Origin], None]]"
)
"""Yields the stored events of these types since a time (ns UTC), with their times of receipt and their
origins, in order of receipt."""


async def no_history(
    event_types: Sequence[type[Event]],  # noqa: ARG001 - a History
    since_ns: int,  # noqa: ARG001 - a History
) -> AsyncGenerator[tuple[AnyEvent, int, Origin], None]:
    """Yields nothing: the history of a process without storage."""
    no_events: tuple[tuple[AnyEvent, int, Origin], ...] = ()
    for item in no_events:
        yield item


class WholeHistory(Protocol):
    """A :data:`History` of the database and the spool."""

    @property
    def spooled(self) -> dict[EmitterId, SequenceSet]:
        """The events of this process that the last reading found in the spool."""
        ...

    def __call__(
        self, event_types: Sequence[type[Event]], since_ns: int
    ) -> AsyncGenerator[tuple[AnyEvent, int, Origin], None]:
        """See :data:`History`."""
        ...


async def restore(collectors: Sequence[HostedCollector], history: History, now_ns: int) -> bool:
    """Delivers stored events to the collectors that declare ``restored``; returns whether it got them all.

    Errors of a collector are counted as for live events. If reading fails, the error is logged and the
    collectors continue with the events delivered so far: recording without a history is better than not
    recording.
    """
    log = structlog.get_logger(part="sampler")
    delivery = Delivery(collectors)
    try:
        for seconds, routes in spans_of(collectors):
            await delivery.replay(routes, seconds, history, now_ns)
    except Exception as error:
        log.exception("history_restore_failed", events=delivery.events, reason=describe(error))
        return False
    finally:
        delivery.end()
    if delivery.events:
        log.info("history_restored", events=delivery.events)
    return True


class Delivery:
    """Delivers past events to collectors, and tells their key budgets whose events they are."""

    def __init__(self, collectors: Sequence[Checkpointed]) -> None:
        self._budgets = [budget for collector in collectors for budget in collector.budgets]
        self._emitter = ""
        self.events = 0
        """Events read from the history."""

    async def replay(self, routes: Routes, seconds: float, history: History, now_ns: int) -> None:
        """Delivers the stored events of the last ``seconds``. Raises if reading fails.

        It returns to the event loop now and then, as cycles may run meanwhile.
        """
        since_ns = 0 if seconds == math.inf else now_ns - int(seconds * NS_PER_SECOND)
        async with aclosing(history(tuple(routes), since_ns)) as events:
            async for event, received_ns, origin in events:
                self.events += 1
                self.deliver(routes[type(event)], event, received_ns, origin)
                if self.events % _EVENTS_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def deliver(
        self, collectors: Sequence[Checkpointed], event: AnyEvent, received_ns: int, origin: Origin
    ) -> None:
        """Delivers an event; errors are counted."""
        if origin[0] != self._emitter:
            self._emitter = origin[0]
            for budget in self._budgets:
                budget.emitter = origin[0]
        for collector in collectors:
            try:
                on_event: Callable[..., None] = collector.on_event
                if getattr(collector, "takes_origin", False):
                    on_event(event, received_ns, origin)
                else:
                    on_event(event, received_ns)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                collector.event_failed(error)

    def end(self) -> None:
        """Says that all events are delivered: what the budgets have refused is the past."""
        for budget in self._budgets:
            budget.forget_refusals()


Routes: TypeAlias = "dict[type[Event], list[HostedCollector]]"


def spans_of(collectors: Sequence[HostedCollector]) -> list[tuple[float, Routes]]:
    """Groups the collectors by how far back they restore events; the longest time first."""
    spans: dict[float, Routes] = {}
    for collector in collectors:
        for event_type, seconds in collector.events_restored.items():
            spans.setdefault(seconds, {}).setdefault(event_type, []).append(collector)
    return sorted(spans.items(), key=lambda span: -span[0])

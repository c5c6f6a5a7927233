"""Restores the state of collectors from stored events after a restart."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

import structlog

from collectors.host.plugins import describe
from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collectors.host.hosted import HostedCollector
    from decahertz.event import AnyEvent, Event


History: TypeAlias = "Callable[[Sequence[type[Event]], int], AsyncGenerator[tuple[AnyEvent, int, str], None]]"
"""Yields the stored events of these types since a time (ns UTC), with their times of receipt and their
emitters, in order of receipt."""


async def no_history(
    event_types: Sequence[type[Event]],  # noqa: ARG001 - a History
    since_ns: int,  # noqa: ARG001 - a History
) -> AsyncGenerator[tuple[AnyEvent, int, str], None]:
    """Yields nothing: the history of a process without storage."""
    no_events: tuple[tuple[AnyEvent, int, str], ...] = ()
    for item in no_events:
        yield item


async def restore(collectors: Sequence[HostedCollector], history: History, now_ns: int) -> int:
    """Delivers stored events to the collectors that declare ``restored``; returns their number.

    Errors of a collector are counted as for live events. If reading fails, the error is logged and the
    collectors continue with the events delivered so far: recording without a history is better than not
    recording.
    """
    log = structlog.get_logger(part="sampler")
    count, last_emitter = 0, ""
    budgets = [budget for collector in collectors for budget in collector.budgets]
    try:
        for seconds, routes in _spans(collectors):
            since_ns = 0 if seconds == math.inf else now_ns - int(seconds * NS_PER_SECOND)
            async with aclosing(history(tuple(routes), since_ns)) as events:
                async for event, received_ns, emitter in events:
                    count += 1
                    if emitter != last_emitter:
                        last_emitter = emitter
                        for budget in budgets:
                            budget.emitter = emitter
                    _deliver(routes[type(event)], event, received_ns)
    except Exception as error:
        log.exception("history_restore_failed", events=count, reason=describe(error))
    else:
        if count:
            log.info("history_restored", events=count)
    for budget in budgets:
        budget.forget_refusals()
    return count


Routes: TypeAlias = "dict[type[Event], list[HostedCollector]]"


def _spans(collectors: Iterable[HostedCollector]) -> list[tuple[float, Routes]]:
    """Groups the collectors by how far back they restore events; the longest time first."""
    spans: dict[float, Routes] = {}
    for collector in collectors:
        for event_type, seconds in collector.events_restored.items():
            spans.setdefault(seconds, {}).setdefault(event_type, []).append(collector)
    return sorted(spans.items(), key=lambda span: -span[0])


def _deliver(collectors: Sequence[HostedCollector], event: AnyEvent, received_ns: int) -> None:
    for collector in collectors:
        try:
            collector.on_event(event, received_ns)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            collector.event_failed(error)

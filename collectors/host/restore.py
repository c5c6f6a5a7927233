"""Gives collectors back, after a restart, the state that stored events make."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from collectors.host.hosted import describe
from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collectors.host.hosted import HostedCollector
    from decahertz.event import AnyEvent, Event


class History(Protocol):
    """Where stored events come from."""

    def __call__(
        self,
        event_types: Sequence[type[Event]],
        since_ns: int,
    ) -> AsyncGenerator[tuple[AnyEvent, int], None]:
        """Events of these types received since then, with their times of receipt, in the order of these."""
        ...


async def no_history(
    event_types: Sequence[type[Event]],  # noqa: ARG001 - a History
    since_ns: int,  # noqa: ARG001 - a History
) -> AsyncGenerator[tuple[AnyEvent, int], None]:
    """The history of a process that stores nothing."""
    nothing: tuple[tuple[AnyEvent, int], ...] = ()
    for item in nothing:
        yield item


async def restore(collectors: Iterable[HostedCollector], history: History, now_ns: int) -> int:
    """Deliver stored events to the collectors that want them; how many there were.

    A collector that raises is noted as with live events. A history that breaks off is logged, and the
    collectors go on with what they got: a recorder without a past is better than none.
    """
    log = structlog.get_logger(part="sampler")
    count = 0
    try:
        for seconds, routes in _spans(collectors):
            since_ns = 0 if seconds == math.inf else now_ns - int(seconds * NS_PER_SECOND)
            async with aclosing(history(tuple(routes), since_ns)) as events:
                async for event, received_ns in events:
                    count += 1
                    _deliver(routes[type(event)], event, received_ns)
    except Exception as error:
        log.exception("history_not_restored", events=count, reason=describe(error))
    else:
        if count:
            log.info("history_restored", events=count)
    return count


Routes: TypeAlias = "dict[type[Event], list[HostedCollector]]"


def _spans(collectors: Iterable[HostedCollector]) -> list[tuple[float, Routes]]:
    """Who wants which events, by how far back; the longest first."""
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

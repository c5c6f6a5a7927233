"""Sends a reader that has resumed the events it missed: from the ring, and past it from the database.

::

    position ──► older than the ring: pages of the database and the spool, until the ring goes that far back
        └──────► in the ring: the events after it, until fewer than one message batch are missing
                     └──► in one step of the event loop: the rest, and the subscription to new events
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from api.live.client import encode_frames
from api.live.messages import ErrorCode, EventMessage
from decahertz.clock import NS_PER_MICROSECOND, NS_PER_SECOND
from decahertz.event import EVENT_TYPES, AnyEvent, Event, event_topics
from decahertz.topic import Pattern, TopicError, segment, segment_name
from storage.database import DatabaseError
from storage.query.event_log import Numbered, Wanted
from storage.spool.errors import SpoolError

if TYPE_CHECKING:
    from api.live.client import Client
    from api.live.limits import HubLimits
    from api.live.ring import EventRing
    from api.live.self_metrics import HubMetrics
    from decahertz.clock import Clock

_KEYED_TOPICS: Final = frozenset(kind.topic for kind in EVENT_TYPES if kind.topic_key or kind.topic_names)
_KEYED_SEGMENTS = 2
_EVENTS_PER_WRITE = 500
_READERS_AT_ONCE = 2
"""After a restart all readers resume at once; each page takes the database a millisecond or more."""


class EventSource(Protocol):
    """The interface of :class:`storage.query.event_log.EventLog`."""

    @property
    def epoch(self) -> int:
        """The highest number of all earlier processes, or more."""
        ...

    def pages(
        self, wanted: Wanted, after: int, upto: int
    ) -> AsyncGenerator[tuple[list[Numbered], int], None]:
        """See :meth:`storage.query.event_log.EventLog.pages`."""
        ...


class ReplayError(Exception):
    """Raised when a reader cannot resume; it is told the code and the text."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Replay:
    """Replays events to clients."""

    def __init__(
        self, source: EventSource, ring: EventRing, limits: HubLimits, clock: Clock, metrics: HubMetrics
    ) -> None:
        self._source = source
        self._ring = ring
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._readers = asyncio.Semaphore(_READERS_AT_ONCE)

    def check(self, epoch: int, sequence: int, newest: int) -> None:
        """Raises :class:`ReplayError` for a position that is not one of this recorder, or too old."""
        # The sequence may be below the epoch: of an event before the restart that was sent after it.
        if epoch > self._source.epoch or sequence > newest:
            raise ReplayError(ErrorCode.CANNOT_RESUME, "this recorder has not sent such an event")
        oldest = self._clock.time_ns() - round(self._limits.resume_seconds * NS_PER_SECOND)
        if sequence < oldest // NS_PER_MICROSECOND:
            hours = self._limits.resume_seconds / 3600
            raise ReplayError(ErrorCode.CANNOT_RESUME, f"the event is more than {hours:g} hours old")

    async def run(
        self, client: Client, patterns: Sequence[Pattern], after: int, newest: Callable[[], int]
    ) -> None:
        """Sends the events that match, up to the ``newest`` one that has been sent to clients.

        When it returns, nothing is missing until the event loop runs again. Raises :class:`ReplayError`.
        """
        metrics = self._metrics
        from_ring = after >= self._ring.floor
        (metrics.resumed_from_ring if from_ring else metrics.resumed_from_database).inc()
        while not client.is_gone:
            if after < self._ring.floor:  # also when the client reads more slowly than the ring turns
                upto = newest()
                await self._from_database(client, patterns, after, upto)
                after = upto
                continue
            part = list(islice(self._ring.after(after), _EVENTS_PER_WRITE))
            _send(client, patterns, part)
            if len(part) < _EVENTS_PER_WRITE:
                return
            after = part[-1][0]
            await self._room(client)

    async def _from_database(
        self, client: Client, patterns: Sequence[Pattern], after: int, upto: int
    ) -> None:
        wanted = wanted_events(patterns)
        if not wanted:
            return
        try:
            async with aclosing(self._source.pages(wanted, after, upto)) as pages:
                while not client.is_gone:
                    client.is_queued = True
                    async with self._readers:  # for one page: a slow reader does not delay the others
                        page = await anext(pages, None)
                    client.is_queued = False
                    if page is None:
                        return
                    _send(client, patterns, page[0])
                    await self._room(client)
        except (DatabaseError, SpoolError) as error:
            raise ReplayError(
                ErrorCode.UNAVAILABLE,
                "the database does not respond; resume from the last event received",
            ) from error
        finally:
            client.is_queued = False

    async def _room(self, client: Client) -> None:
        await asyncio.sleep(0)
        await client.writable()
        client.last_heard_ns = self._clock.monotonic_ns()  # its pongs wait behind this request


def pattern_of(text: str) -> Pattern:
    """Parses a pattern. Raises :class:`~decahertz.topic.TopicError`, also where a name needs escapes."""
    pattern = Pattern(text)
    segments = pattern.segments
    if segments[0] in _KEYED_TOPICS and len(segments) > _KEYED_SEGMENTS:
        name = text.removeprefix(f"{segments[0]}:")
        raise TopicError(
            f"{text!r} has too many segments: write {segments[0]}:{segment(name)} if it is a name"
        )
    return pattern


def wanted_events(patterns: Iterable[Pattern]) -> dict[type[Event], Sequence[str] | None]:
    """The event types that patterns can match, each with the keys that they name; ``None``: all."""
    wanted: dict[type[Event], Sequence[str] | None] = {}
    for event_type in EVENT_TYPES:
        lengths = {2} if event_type.topic_key else {1, 2} if event_type.topic_names else {1}
        keys: list[str] = []
        for pattern in patterns:
            segments = pattern.segments
            if segments == ("**",):
                wanted[event_type] = None
            elif segments[0] in ("*", event_type.topic) and len(segments) in lengths:
                if not event_type.topic_key or segments[1] in ("*", "**"):
                    wanted[event_type] = None
                else:
                    keys.append(segment_name(segments[1]))
        if keys and event_type not in wanted:
            wanted[event_type] = keys
    return wanted


def _send(client: Client, patterns: Sequence[Pattern], events: Iterable[tuple[int, AnyEvent]]) -> None:
    messages = []
    for number, event in events:
        topics = event_topics(event)
        topic = next((one for one in topics if any(p.matches(one) for p in patterns)), None)
        if topic is not None:
            messages.append(EventMessage(topic=topic, sequence=number, time_ns=event.time_ns, data=event))
    if messages:
        client.put_events(encode_frames(client.codec, messages), len(messages))

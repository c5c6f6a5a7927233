"""One client of the WebSocket, and its two lanes.

*States* (samples) are conflated: while the client is slow, or until its rate allows the next ones, a newer
state of a topic replaces the queued one, and the next message says how many were skipped. *Events* are never
skipped: they queue in order, and when too many are queued the client is disconnected.

::

    not slow ── buffer above ``buffer_bytes`` ──► slow: states conflate, events queue
        ▲                                           │                     │
        └── both lanes written ◄── buffer at 1/4 ───┘                     └── too many ──► disconnected
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from api.live.frames import BINARY, TEXT, join, write
from api.live.limits import HubLimits
from api.live.messages import CloseCode, ServerMessage, TopicUpdate, Update, Updates
from api.live.statistics import ClientStatistics
from decahertz.clock import NS_PER_SECOND
from decahertz.topic import Pattern
from decahertz.wire import Codec, encode

if TYPE_CHECKING:
    from api.live.endpoint import WebSocketTransport

_STATES_PER_WRITE = 100

TopicSample: TypeAlias = tuple[str, int, Any]
"""Topic, time in nanoseconds, sample."""


def encode_frames(codec: Codec, messages: Sequence[ServerMessage]) -> bytes:
    """Encodes messages as consecutive frames."""
    return join(TEXT if codec is Codec.JSON else BINARY, [encode(codec, message) for message in messages])


def write_states(clients: Sequence[Client], frames: bytes, count: int, high_water_bytes: int) -> list[Client]:
    """Writes the frames of ``count`` states to the clients that take every state; returns the others."""
    # Each object that this loop touches is a cache miss per client, after the system call before it.
    others: list[Client] = []
    for client in clients:
        if client.takes_every_state:
            transport = client.transport
            try:
                transport.write(frames)
                client.updates += count
                if transport.get_write_buffer_size() > high_water_bytes:
                    client.become_slow()
            except RuntimeError:
                continue  # uvloop: the connection is lost, and the receiving side has not removed it yet
        else:
            others.append(client)
    return others


class Client:
    """State of one client. Used only inside the event loop."""

    # There are thousands of clients, each touched for every message: smaller is faster.
    __slots__ = (
        "_connection",
        "_draining",
        "_events",
        "_flush",
        "_high_water_bytes",
        "_interval_seconds",
        "_limits",
        "_log",
        "_next_flush",
        "_queued_bytes",
        "_queued_events",
        "_states",
        "client_id",
        "closing",
        "codec",
        "conflated",
        "connected_ns",
        "events",
        "is_batched",
        "is_queued",
        "last_buffered_bytes",
        "last_heard_ns",
        "max_hz",
        "patterns",
        "pinged_ns",
        "received",
        "refused",
        "round_trip_ns",
        "sees_audit",
        "slow",
        "slow_since",
        "takes_every_state",
        "transport",
        "updates",
    )

    def __init__(
        self,
        connection: WebSocketTransport,
        codec: Codec,
        limits: HubLimits,
        *,
        client_id: str,
    ) -> None:
        self.client_id = client_id
        self.codec = codec
        self.patterns: dict[str, Pattern] = {}
        self.closing: CloseCode | None = None
        self.slow = False
        self.slow_since = 0.0
        """Time of the event loop."""
        self.connected_ns = 0
        self.sees_audit = False
        """Whether its key permits the audit log."""
        self.is_queued = False
        """Whether it waits for the database; its pongs wait meanwhile."""
        self.pinged_ns = 0
        self.round_trip_ns: int | None = None
        self.last_heard_ns = 0
        """Monotonic time of the last message or pong."""
        self.last_buffered_bytes = 0
        """Size of the buffer at the last heartbeat; a shrinking buffer counts as a sign of life."""
        self.updates = self.events = self.conflated = self.received = self.refused = 0
        self._connection = connection
        self.transport = connection.transport
        self._limits = limits
        self._high_water_bytes = limits.buffer_bytes
        self.takes_every_state = True
        """False if the client is slow, limited, batched or closing: its states are queued and conflated."""
        self._log = structlog.get_logger(part="websocket")
        self.max_hz: float | None = None
        """Most updates of a topic a second; ``None``: every state."""
        self.is_batched = False
        """Whether its states are sent in ``updates``."""
        self._interval_seconds = 0.0
        self._next_flush = 0.0
        self._flush: asyncio.Handle | None = None
        self._states: dict[str, tuple[int, Any, int]] = {}
        self._events: deque[tuple[bytes, int]] = deque()
        self._queued_events = 0
        self._queued_bytes = 0
        self._draining: asyncio.Task[None] | None = None
        self.transport.set_write_buffer_limits(high=limits.buffer_bytes, low=limits.buffer_bytes // 4)

    def send(self, *messages: ServerMessage) -> None:
        """Writes replies immediately. The caller has awaited :meth:`writable`."""
        self._write(encode_frames(self.codec, messages))

    def limit_rate(self, max_hz: float | None) -> None:
        """Limits the updates of each topic from now on; ``None`` lifts the limit."""
        self.max_hz = max_hz
        self._interval_seconds = 1 / max_hz if max_hz else 0.0
        self._decide_states()
        self._flush_queued()
        self._next_flush = 0.0

    def batch_states(self, *, is_batched: bool) -> None:
        """Sends states many in a message from now on, or each in one of its own."""
        self.is_batched = is_batched
        self.limit_rate(self.max_hz)

    def conflate(self, states: Sequence[TopicSample]) -> int:
        """Queues states for a client that does not take every state; returns how many they replaced."""
        replaced = 0
        queued = self._states
        for topic, time_ns, data in states:
            older = queued.get(topic)
            if older is None:
                queued[topic] = (time_ns, data, 0)
            else:
                queued[topic] = (time_ns, data, older[2] + 1)
                replaced += 1
        self.conflated += replaced
        if self._flush is None and not self.slow and self.closing is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next_flush:
                self._flush = loop.call_soon(self._flush_queued)
            else:
                self._flush = loop.call_at(self._next_flush, self._flush_queued)
        return replaced

    def keep_states(self, patterns: Sequence[Pattern]) -> None:
        """Drops queued states of topics that none of these patterns matches."""
        unwanted = [topic for topic in self._states if not any(one.matches(topic) for one in patterns)]
        for topic in unwanted:
            del self._states[topic]

    def put_events(self, frames: bytes, count: int) -> bool:
        """Writes events, or queues them for a slow client. Returns false if too many are queued."""
        if not self.slow:
            self.events += count
            self._write(frames)
            return True
        self._events.append((frames, count))
        self._queued_events += count
        self._queued_bytes += len(frames)
        return (
            self._queued_events <= self._limits.max_queued_events
            and self._queued_bytes <= self._limits.max_queued_bytes
        )

    async def writable(self) -> None:
        """Waits until the client is not slow, or is being closed."""
        while self._draining is not None and not self._draining.done() and self.closing is None:
            await asyncio.wait([self._draining])

    def close(self, code: CloseCode) -> None:
        """Drops both lanes and starts to close the connection."""
        if self.closing is None:
            self.closing = code
            self._decide_states()
            self.discard()
            self._connection.close(code)

    def discard(self) -> None:
        """Drops both lanes. Safe to call twice."""
        self._states.clear()
        self._events.clear()
        self._queued_events = self._queued_bytes = 0
        if self._draining is not None:
            self._draining.cancel()
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.closing is not None or self.transport.is_closing()

    @property
    def buffered_bytes(self) -> int:
        """Bytes in the transport's buffer."""
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    @property
    def lag_seconds(self) -> float:
        """How long the client has been slow; 0 if it is not."""
        return asyncio.get_running_loop().time() - self.slow_since if self.slow else 0.0

    @property
    def queued_events(self) -> int:
        """Events that wait."""
        return self._queued_events

    @property
    def queued_states(self) -> int:
        """States that wait, one for each topic."""
        return len(self._states)

    def statistics(self) -> ClientStatistics:
        """Figures of this client."""
        round_trip_ns = self.round_trip_ns
        return ClientStatistics(
            client_id=self.client_id,
            protocol=f"decahertz.v1.{self.codec.value}",
            connected_ns=self.connected_ns,
            topics=list(self.patterns),
            max_hz=self.max_hz,
            is_slow=self.slow,
            lag_seconds=self.lag_seconds,
            round_trip_seconds=None if round_trip_ns is None else round_trip_ns / NS_PER_SECOND,
            queued_states=len(self._states),
            queued_events=self._queued_events,
            queued_bytes=self._queued_bytes,
            buffered_bytes=self.buffered_bytes,
            updates=self.updates,
            events=self.events,
            conflated=self.conflated,
            received=self.received,
            refused=self.refused,
        )

    def ping(self, frames: bytes) -> None:
        """Writes a ping or pong, unless the client is slow."""
        if not self.slow and self.closing is None:
            write(self.transport, frames)

    def _write(self, frames: bytes) -> None:
        if self.closing is not None:
            return  # no frame may follow a close frame
        if write(self.transport, frames) > self._high_water_bytes and not self.slow:
            self.become_slow()

    def become_slow(self) -> None:
        """Conflates states and queues events from now on, until the client has read."""
        loop = asyncio.get_running_loop()
        self.slow, self.slow_since = True, loop.time()
        self._decide_states()
        self._draining = loop.create_task(self._drain())

    def _decide_states(self) -> None:
        queues = self.slow or self.is_batched or self.max_hz is not None or self.closing is not None
        self.takes_every_state = not queues

    def _flush_queued(self) -> None:
        """Writes the queued states of a client; those of a slow one follow when it has read."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._next_flush = asyncio.get_running_loop().time() + self._interval_seconds
        while self._states and not self.slow and self.closing is None:
            self._write(self._take_states())

    async def _drain(self) -> None:
        try:
            await self._connection.drained()
            while not self._write_queued():
                await self._connection.drained()
        except ConnectionError:
            return  # the receiving side sees the same error and removes the client
        except Exception as error:  # noqa: BLE001 - an encoding error must not leave the client hanging
            self._log.error("client_failed", client_id=self.client_id, exc_info=error)
            self.close(CloseCode.INTERNAL)
        self.slow = False
        self._decide_states()

    def _write_queued(self) -> bool:
        """Writes both lanes, events first; returns false when the buffer is full again."""
        if self.transport.is_closing():
            raise ConnectionResetError
        buffered = self.transport.get_write_buffer_size()
        while buffered <= self._high_water_bytes:
            if self._events:
                frames, count = self._events.popleft()
                self._queued_events -= count
                self._queued_bytes -= len(frames)
                self.events += count
            elif self._states:
                frames = self._take_states()
            else:
                return True
            buffered = write(self.transport, frames)
        return False

    def _take_states(self) -> bytes:
        topics = list(islice(self._states, _STATES_PER_WRITE))
        self.updates += len(topics)
        make = TopicUpdate if self.is_batched else Update
        updates: list[Any] = []
        for topic in topics:
            time_ns, data, conflated = self._states.pop(topic)
            updates.append(make(topic=topic, time_ns=time_ns, data=data, conflated=conflated))
        return encode_frames(self.codec, [Updates(items=updates)] if self.is_batched else updates)

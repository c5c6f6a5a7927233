"""One reader, and its two lanes.

*States* (samples) are worth only their newest value: while the reader is slow, a newer state of a topic
replaces the waiting one and the next message says how many were left out. *Events* are worth each one: they
wait in order, and when too many wait the reader is disconnected rather than told less than the truth.

A reader is slow while more than ``buffer_bytes`` wait in its transport. Nothing more is written to it until
that has drained to a quarter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol, TypeAlias

import structlog
from msgspec import Struct

from api.live.frames import BINARY, TEXT, frame, join, write
from api.live.limits import HubLimits
from api.live.messages import CloseCode, ServerMessage, Update
from decahertz.topic import Pattern
from decahertz.wire import Codec, encode

_STATES_PER_WRITE = 100

TopicState: TypeAlias = tuple[str, int, Any]
"""Topic, time in nanoseconds, sample."""


class Connection(Protocol):
    """What a client needs of its connection."""

    @property
    def transport(self) -> asyncio.WriteTransport:
        """Where frames are written to."""
        ...

    async def drained(self) -> None:
        """Wait until the transport has room. Raises ``ConnectionError`` when it is lost."""
        ...

    def close(self, code: CloseCode) -> None:
        """Begin to close; never blocks."""
        ...


class ClientStatistics(Struct, frozen=True, kw_only=True):
    """What one client did so far, and how it is now."""

    client_id: str
    remote: str
    codec: Codec
    connected_ns: int
    subscriptions: int
    updates: int
    """States sent."""
    events: int
    """Events sent."""
    conflated: int
    """States left out because a newer one took their place."""
    received: int
    refused: int
    """Messages of the client that were refused."""
    buffered_bytes: int
    queued_events: int
    slow: bool


def encode_frame(codec: Codec, message: ServerMessage) -> bytes:
    """One message as a frame."""
    return frame(TEXT if codec is Codec.JSON else BINARY, encode(codec, message))


def encode_frames(codec: Codec, messages: Sequence[ServerMessage]) -> bytes:
    """Messages as frames in a row."""
    return join(TEXT if codec is Codec.JSON else BINARY, [encode(codec, message) for message in messages])


class Client:
    """One reader. Used by the hub, inside the event loop."""

    # There are many of them, and each is touched for every message: smaller is faster.
    __slots__ = (
        "_connection",
        "_draining",
        "_events",
        "_limits",
        "_log",
        "_mark",
        "_queued_bytes",
        "_queued_events",
        "_states",
        "_transport",
        "buffered_bytes",
        "client_id",
        "closing",
        "codec",
        "conflated",
        "connected_ns",
        "events",
        "heard_ns",
        "patterns",
        "received",
        "refused",
        "remote",
        "slow",
        "updates",
    )

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        limits: HubLimits,
        *,
        client_id: str,
        remote: str,
        connected_ns: int,
    ) -> None:
        """Take over the writing side of an open connection."""
        self.client_id = client_id
        self.codec = codec
        self.remote = remote
        self.connected_ns = connected_ns
        self.patterns: dict[str, Pattern] = {}
        self.closing: CloseCode | None = None
        self.slow = False
        self.heard_ns = 0
        """When something was last heard from it, monotonic."""
        self.buffered_bytes = 0
        """As of the last look; a buffer that shrinks is a sign of life."""
        self.updates = self.events = self.conflated = self.received = self.refused = 0
        self._connection = connection
        self._transport = connection.transport
        self._limits = limits
        self._mark = limits.buffer_bytes
        self._log = structlog.get_logger(part="websocket")
        self._states: dict[str, tuple[int, Any, int]] = {}
        self._events: deque[tuple[bytes, int]] = deque()
        self._queued_events = 0
        self._queued_bytes = 0
        self._draining: asyncio.Task[None] | None = None
        self._transport.set_write_buffer_limits(high=limits.buffer_bytes, low=limits.buffer_bytes // 4)

    def send(self, *messages: ServerMessage) -> None:
        """Write replies at once. The caller has waited for :meth:`ready`."""
        self._write(encode_frames(self.codec, messages))

    def put_states(self, frames: bytes, count: int) -> None:
        """States, for a client that is not slow."""
        self.updates += count
        self._write(frames)

    def conflate(self, states: Sequence[TopicState]) -> int:
        """States for later, of a slow client; returns how many older ones they replaced."""
        replaced = 0
        waiting = self._states
        for topic, time_ns, data in states:
            older = waiting.get(topic)
            if older is None:
                waiting[topic] = (time_ns, data, 0)
            else:
                waiting[topic] = (time_ns, data, older[2] + 1)
                replaced += 1
        self.conflated += replaced
        return replaced

    def put_events(self, frames: bytes, count: int) -> bool:
        """Events; those of a slow client wait. False: too many wait already."""
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

    async def ready(self) -> None:
        """Wait until the client is not slow, or is being closed."""
        while self._draining is not None and not self._draining.done() and self.closing is None:
            await asyncio.wait([self._draining])

    def end(self, code: CloseCode) -> None:
        """Drop what waits and begin to close the connection."""
        if self.closing is None:
            self.closing = code
            self.release()
            self._connection.close(code)

    def release(self) -> None:
        """Free what the client holds. Safe twice."""
        self._states.clear()
        self._events.clear()
        self._queued_events = self._queued_bytes = 0
        if self._draining is not None:
            self._draining.cancel()

    def statistics(self) -> ClientStatistics:
        """How it is now."""
        return ClientStatistics(
            client_id=self.client_id,
            remote=self.remote,
            codec=self.codec,
            connected_ns=self.connected_ns,
            subscriptions=len(self.patterns),
            updates=self.updates,
            events=self.events,
            conflated=self.conflated,
            received=self.received,
            refused=self.refused,
            buffered_bytes=self.waiting_bytes(),
            queued_events=self._queued_events,
            slow=self.slow,
        )

    def waiting_bytes(self) -> int:
        """Bytes in the transport's buffer."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def beat(self, ping: bytes) -> None:
        """Write a ping, unless enough waits already."""
        if not self.slow and self.closing is None:
            write(self._transport, ping)

    def _write(self, frames: bytes) -> None:
        # Several writes of one turn are one call to the kernel: the event loop gathers them.
        if self.closing is not None:
            return  # nothing may follow a close frame
        if write(self._transport, frames) > self._mark and not self.slow:
            self.slow = True
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._connection.drained()
            while not self._write_waiting():
                await self._connection.drained()
        except ConnectionError:
            return  # the receiving side sees the same and says good-bye
        except Exception as error:  # noqa: BLE001 - what cannot be encoded must not leave a reader hanging
            self._log.error("client_failed", client_id=self.client_id, exc_info=error)
            self.end(CloseCode.INTERNAL)
        self.slow = False

    def _write_waiting(self) -> bool:
        """Write until all is written (true) or the buffer is full again (false)."""
        if self._transport.is_closing():
            raise ConnectionResetError
        buffered = self._transport.get_write_buffer_size()
        while buffered <= self._mark:
            if self._events:
                frames, count = self._events.popleft()
                self._queued_events -= count
                self._queued_bytes -= len(frames)
                self.events += count
            elif self._states:
                frames = self._take_states()
            else:
                return True
            buffered = write(self._transport, frames)
        return False

    def _take_states(self) -> bytes:
        topics = list(islice(self._states, _STATES_PER_WRITE))
        self.updates += len(topics)
        messages = []
        for topic in topics:
            time_ns, data, conflated = self._states.pop(topic)
            messages.append(Update(topic=topic, time_ns=time_ns, data=data, conflated=conflated))
        return encode_frames(self.codec, messages)

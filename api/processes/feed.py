"""Feeds API processes: what is published on the bus, encoded once for all of them.

A process gets the present state first (a snapshot with the newest events, samples and alerts), and from then
on every message of the bus. Nothing waits for a process: one that does not read is cut off, and its successor
begins with a snapshot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from api.processes.messages import (
    AlertChanged,
    HaltChanged,
    Recorded,
    RequestChanged,
    Samples,
    SessionChanged,
    SnapshotComplete,
    TablesChanged,
    TradingChanged,
    framed,
)
from decahertz.alert import TOPIC as ALERTS
from decahertz.alert import Alert
from decahertz.bus import RECORDED, Message
from decahertz.event import Arrival
from decahertz.halts import TOPIC as HALTS
from decahertz.halts import HaltChange
from decahertz.order_requests import TOPIC as ORDER_REQUESTS
from decahertz.order_requests import RequestChange
from decahertz.sample import SampleBatch
from decahertz.trading_state import TOPIC as TRADING
from decahertz.trading_state import TradingState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.processes.link import ProcessLink
    from api.security.sessions import Session, Sessions
    from decahertz.bus import Bus, Subscription
    from decahertz.latest import LatestAlerts, LatestSamples

_EVENTS_PER_ITERATION: Final = 2_000
"""A burst is spread over iterations of the event loop, as in the hub."""
_ENCODER: Final = msgspec.msgpack.Encoder()


class LiveFeed:
    """Encodes the messages of the bus and writes them to the links of all processes.

    A message is only queued when it is published; the work is done in the next iteration of the event loop.
    """

    def __init__(
        self,
        bus: Bus,
        latest: LatestSamples,
        alerts: LatestAlerts,
        sessions: Sessions,
        *,
        epoch: int,
        ring_events: int,
    ) -> None:
        """``epoch`` is the highest number of all events so far; ``ring_events`` as in the hub's limits."""
        self.epoch = epoch
        self.sequence = epoch
        """Number of the newest event that was sent."""
        self.floor = epoch
        """The snapshot has every event with a higher number."""
        self.events = 0
        """Events in the snapshot."""
        self._bus = bus
        self._latest = latest
        self._alerts = alerts
        self._sessions = sessions
        sessions.on_change = self._session_changed
        self._ring_events = ring_events
        self._ring: deque[tuple[int, int, bytes]] = deque()
        self._links: set[ProcessLink] = set()
        self._queue: deque[Message] = deque()
        self._scheduled = False
        self._subscriptions: list[Subscription] = []

    def start(self) -> None:
        """Subscribes to the bus."""
        patterns = ("samples:*", RECORDED, ALERTS, ORDER_REQUESTS, HALTS, TRADING)
        self._subscriptions = [self._bus.subscribe(pattern, self._receive) for pattern in patterns]

    def stop(self) -> None:
        """Ends the subscriptions. Safe twice and without ``start``."""
        for subscription in self._subscriptions:
            subscription.cancel()
        self._subscriptions.clear()

    def attach(self, link: ProcessLink) -> None:
        """Sends a process the present state; from now on it gets every message."""
        self.flush()
        for _, _, frame in self._ring:
            link.write(frame)
        for batch in self._latest:
            link.write(_samples(batch))
        for alert in self._alerts:
            link.write(framed(AlertChanged(alert)))
        if self._latest.trading is not None:
            link.write(framed(TradingChanged(self._latest.trading)))
        for digest, session in self._sessions.all():
            link.write(framed(SessionChanged(digest, session)))
        link.write(framed(SnapshotComplete()))
        self._links.add(link)

    def flush(self) -> None:
        """Sends what is queued."""
        while self._queue:
            self._send(self._queue.popleft())

    def detach(self, link: ProcessLink) -> None:
        """Sends a process nothing more. Safe twice and without ``attach``."""
        self._links.discard(link)

    def changed(self, tables: Iterable[str]) -> None:
        """Tells the processes that rows were stored in tables, for their caches."""
        if self._links:
            self._write(framed(TablesChanged(list(tables))))

    def _session_changed(self, digest: bytes, session: Session | None) -> None:
        self._write(framed(SessionChanged(digest, session)))

    def _receive(self, message: Message) -> None:
        if isinstance(message, SampleBatch) and not self._links:
            return
        self._queue.append(message)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send_queued)

    def _send_queued(self) -> None:
        self._scheduled = False
        budget = _EVENTS_PER_ITERATION
        while self._queue and budget > 0:
            message = self._queue.popleft()
            budget -= len(message.batch.events) if isinstance(message, Arrival) else 1
            self._send(message)
        if self._queue:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send_queued)

    def _send(self, message: Message) -> None:
        if isinstance(message, Arrival):
            self._write(self._kept(message))
        elif isinstance(message, Alert) and self._links:
            self._write(framed(AlertChanged(message)))
        elif isinstance(message, RequestChange) and self._links:
            self._write(framed(RequestChanged(message)))
        elif isinstance(message, HaltChange) and self._links:
            self._write(framed(HaltChanged(message)))
        elif isinstance(message, TradingState) and self._links:
            self._write(framed(TradingChanged(message)))
        elif isinstance(message, SampleBatch) and self._links:
            frame = _samples(message)
            for link in tuple(self._links):
                link.write_state(frame)

    def _kept(self, arrival: Arrival) -> bytes:
        """Encodes events, and keeps them for the snapshot."""
        frame = framed(Recorded(arrival))
        count = len(arrival.batch.events)
        self.sequence = arrival.number + count - 1
        self._ring.append((self.sequence, count, frame))
        self.events += count
        while self.events > self._ring_events:
            self.floor, oldest, _ = self._ring.popleft()
            self.events -= oldest
        return frame

    def _write(self, frame: bytes) -> None:
        for link in tuple(self._links):
            link.write(frame)


def _samples(batch: SampleBatch) -> bytes:
    return framed(Samples(batch.schema.collector, batch.time_ns, Raw(_ENCODER.encode(batch.samples))))

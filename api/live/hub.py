"""The hub: from the bus to the readers.

What arrives on the bus is only noted; the work is done in the next turn of the event loop, so that a tick of
the sampler or an answer to an emitter waits for no reader. A message that nobody asked for is not encoded,
one that somebody asked for is encoded once per codec, and the same bytes go to all its readers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import structlog

from api.live.audience import Audience, Subscriptions
from api.live.client import Client, ClientStatistics, TopicState, encode_frames
from api.live.frames import PING, frame
from api.live.limits import HubLimits
from api.live.messages import CloseCode, EventMessage, ServerMessage, Snapshot, State, Update
from decahertz.bus import EVENTS, Message
from decahertz.event import Arrival, event_topic
from decahertz.sample import SampleBatch
from decahertz.topic import Pattern
from decahertz.wire import Codec

if TYPE_CHECKING:
    from api.metrics import HubMetrics
    from decahertz.bus import Bus, Subscription
    from decahertz.clock import Clock
    from decahertz.latest import LatestSamples

_MessageT = TypeVar("_MessageT")
_PING = frame(PING, b"")
_EVENTS_PER_TURN = 2_000
"""A burst is worked off in turns, so that the grid and the sockets get theirs in between."""
_EVENTS_PER_WRITE = 500


class Hub:
    """Routes samples and events to clients. All of it runs in the event loop."""

    def __init__(
        self,
        bus: Bus,
        latest: LatestSamples,
        clock: Clock,
        metrics: HubMetrics,
        limits: HubLimits,
    ) -> None:
        """Take the collaborators; nothing is subscribed to yet."""
        self.limits = limits
        self.epoch = clock.time_ns()
        self.sequence = 0
        """Of the newest event that was routed."""
        self._bus = bus
        self._latest = latest
        self._clock = clock
        self._metrics = metrics
        self._clients: dict[str, Client] = {}
        self._subscriptions: Subscriptions[Client] = Subscriptions()
        self._samples: list[SampleBatch] = []
        self._arrivals: deque[Arrival] = deque()
        self._waiting_events = 0
        self._scheduled = False
        self._stopped = False
        self._failing = False
        self._listening: list[Subscription] = []
        self._heart: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="websocket")

    def start(self) -> None:
        """Listen to the bus and keep the heartbeat."""
        self._listening = [
            self._bus.subscribe("samples:*", self._take),
            self._bus.subscribe(EVENTS, self._take),
        ]
        self._heart = asyncio.get_running_loop().create_task(self._beat())

    def stop(self) -> None:
        """Begin to say good-bye to all clients, and take no new ones. Safe twice and without start."""
        self._stopped = True
        for subscription in self._listening:
            subscription.cancel()
        self._listening.clear()
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        for client in list(self._clients.values()):
            self.disconnect(client, CloseCode.GOING_AWAY)

    def clients(self) -> list[ClientStatistics]:
        """Statistics of every connected client."""
        return [client.statistics() for client in self._clients.values()]

    @property
    def takes_clients(self) -> bool:
        """Whether there is room for one more."""
        return not self._stopped and len(self._clients) < self.limits.max_clients

    def add(self, client: Client) -> None:
        """A client connected."""
        client.heard_ns = self._clock.monotonic_ns()
        self._clients[client.client_id] = client
        self._metrics.clients.set(len(self._clients))

    def remove(self, client: Client) -> None:
        """A client is gone. Safe twice."""
        for pattern in client.patterns.values():
            self._subscriptions.remove(pattern, client)
        client.patterns.clear()
        client.release()
        self._clients.pop(client.client_id, None)
        self._metrics.clients.set(len(self._clients))

    def disconnect(self, client: Client, code: CloseCode) -> None:
        """Stop serving a client and close its connection."""
        if client.closing is None:
            if code is not CloseCode.GOING_AWAY:
                self._log.info(
                    "client_disconnected", client_id=client.client_id, code=int(code), why=code.name
                )
            client.end(code)
            self.remove(client)

    def heard(self, client: Client) -> None:
        """Something came from the client, be it only a pong."""
        client.heard_ns = self._clock.monotonic_ns()

    def subscribe(self, client: Client, patterns: Sequence[Pattern]) -> None:
        """Add patterns and answer with the present state of the topics that are new to the client.

        Between that state and the first update there is no hole and no overlap: what the bus delivered
        before is sent to the earlier subscribers first, and this method does not give way in between.
        """
        self._send_samples()
        known = tuple(client.patterns.values())
        new = [pattern for pattern in patterns if pattern.text not in client.patterns]
        items = tuple(self._states(new, known))
        for pattern in new:
            client.patterns[pattern.text] = pattern
            self._subscriptions.add(pattern, client)
        client.send(*self._snapshot(tuple(pattern.text for pattern in patterns), items))

    def unsubscribe(self, client: Client, patterns: Sequence[str]) -> None:
        """Give patterns up; unknown ones are ignored."""
        for text in patterns:
            pattern = client.patterns.pop(text, None)
            if pattern is not None:
                self._subscriptions.remove(pattern, client)

    def _snapshot(self, patterns: tuple[str, ...], items: tuple[State, ...]) -> Iterator[Snapshot]:
        size = self.limits.snapshot_items
        for start in range(0, max(len(items), 1), size):
            yield Snapshot(
                topics=patterns,
                sequence=self.sequence,
                items=items[start : start + size],
                complete=start + size >= len(items),
            )

    def _states(self, wanted: Sequence[Pattern], known: Sequence[Pattern]) -> Iterator[State]:
        if not wanted:
            return
        for batch in self._latest:
            for sample in batch.samples:
                topic = batch.schema.topic_of(sample)
                if any(p.matches(topic) for p in wanted) and not any(p.matches(topic) for p in known):
                    yield State(topic=topic, time_ns=batch.time_ns, data=sample)

    def _take(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            if not self._clients:
                return
            self._samples.append(message)
        elif self._clients or self._arrivals:
            self._arrivals.append(message)
            self._waiting_events += len(message.batch.events)
        else:
            self.sequence += len(message.batch.events)
            return
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._send_samples()
        # A backlog that grows faster than turns come is worked off in ever larger parts.
        budget = max(_EVENTS_PER_TURN, self._waiting_events // 4)
        while self._arrivals and budget > 0:
            arrival = self._arrivals.popleft()
            self._waiting_events -= len(arrival.batch.events)
            budget -= len(arrival.batch.events)
            self._guarded(self._route_events, arrival)
        if self._arrivals:
            self._schedule()

    def _send_samples(self) -> None:
        batches, self._samples = self._samples, []
        for batch in batches:
            self._guarded(self._route_samples, batch)

    def _guarded(self, route: Callable[[_MessageT], None], message: _MessageT) -> None:
        """Bad data in one message must not cost the readers the next one."""
        try:
            route(message)
        except Exception as error:  # noqa: BLE001 - counted, logged once
            self._metrics.errors.inc()
            if not self._failing:
                self._failing = True
                self._log.error("routing_failed", exc_info=error)
        else:
            if self._failing:
                self._failing = False
                self._log.info("routing_recovered")

    def _route_samples(self, batch: SampleBatch) -> None:
        schema = batch.schema
        if not self._subscriptions.wants("metrics", schema.collector):
            return
        by_audience: dict[Audience[Client], list[TopicState]] = {}
        for sample in batch.samples:
            topic = schema.topic_of(sample)
            audience = self._subscriptions.audience(topic)
            if audience:
                by_audience.setdefault(audience, []).append((topic, batch.time_ns, sample))
        for audience, states in by_audience.items():
            self._put_states(audience, states)

    def _put_states(self, audience: Audience[Client], states: list[TopicState]) -> None:
        count = len(states)
        sent = conflated = 0
        for codec, clients in _by_codec(audience.clients):
            frames = b""
            for client in clients:
                if client.slow:
                    conflated += client.conflate(states)
                    continue
                if not frames:
                    updates = [Update(topic=topic, time_ns=when, data=data) for topic, when, data in states]
                    frames = encode_frames(codec, updates)
                client.put_states(frames, count)
                sent += count
        self._metrics.sent_states.inc(sent)
        self._metrics.conflated.inc(conflated)

    def _route_events(self, arrival: Arrival) -> None:
        events = arrival.batch.events
        first = self.sequence + 1
        self.sequence += len(events)
        wanted = {kind: self._subscriptions.wants(kind.topic) for kind in {type(e) for e in events}}
        audience: Audience[Client] | None = None
        run: list[EventMessage] = []
        for sequence, event in enumerate(events, first):
            if not wanted[type(event)]:
                continue
            topic = event_topic(event)
            listeners = self._subscriptions.audience(topic)
            if not listeners:
                continue
            if audience is not None and (listeners is not audience or len(run) >= _EVENTS_PER_WRITE):
                self._put_events(audience, run)
                run = []
            audience = listeners
            run.append(EventMessage(topic=topic, sequence=sequence, time_ns=event.time_ns, data=event))
        if audience is not None:
            self._put_events(audience, run)

    def _put_events(self, audience: Audience[Client], messages: Sequence[ServerMessage]) -> None:
        count = len(messages)
        sent = 0
        for codec, clients in _by_codec(audience.clients):
            frames = encode_frames(codec, messages)
            for client in clients:
                if client.put_events(frames, count):
                    sent += count
                else:
                    self.disconnect(client, CloseCode.SLOW_CONSUMER)
        self._metrics.sent_events.inc(sent)

    async def _beat(self) -> None:
        limits = self.limits
        last_ping_ns = self._clock.monotonic_ns()
        while True:
            await asyncio.sleep(limits.heartbeat_seconds / 15)
            now_ns = self._clock.monotonic_ns()
            due = now_ns - last_ping_ns >= limits.heartbeat_seconds * 1e9
            if due:
                last_ping_ns = now_ns
            for client in list(self._clients.values()):
                buffered = client.waiting_bytes()
                if buffered < client.buffered_bytes:
                    client.heard_ns = now_ns  # it reads, if slowly
                client.buffered_bytes = buffered
                if now_ns - client.heard_ns >= limits.dead_after_seconds * 1e9:
                    self.disconnect(client, CloseCode.SILENT)
                elif due:
                    client.beat(_PING)


def _by_codec(clients: Sequence[Client]) -> Iterator[tuple[Codec, list[Client]]]:
    for codec in Codec:
        speaking = [client for client in clients if client.codec is codec]
        if speaking:
            yield codec, speaking

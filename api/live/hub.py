"""Routes samples, events, alerts and changes of order requests from the bus to WebSocket clients.

A message from the bus is only queued; the work is done in the next iteration of the event loop, so that
neither a cycle of the sampler nor a response to an emitter waits for clients. A message without subscribers
is not encoded; any other is encoded once per codec, and all its subscribers get the same bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from api.live.audience import Audience, Subscriptions
from api.live.bars import Bars, LiveBar
from api.live.client import Client, TopicSample, encode_frames, write_states
from api.live.frames import PING, frame
from api.live.limits import HubLimits
from api.live.messages import CloseCode, EventMessage, ServerMessage, Snapshot, TopicState, Update
from api.live.replay import EventSource, Replay
from api.live.ring import EventRing
from api.live.statistics import LiveStatistics
from decahertz.alert import TOPIC as ALERTS
from decahertz.alert import Alert
from decahertz.audit import TOPIC as AUDIT
from decahertz.audit import AuditEntry
from decahertz.bus import RECORDED, Message
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.event import AnyEvent, Arrival, Order, Risk, event_topic, event_topics
from decahertz.halts import TOPIC as HALTS
from decahertz.halts import HaltChange
from decahertz.incident import Incident
from decahertz.order_requests import TOPIC as ORDER_REQUESTS
from decahertz.order_requests import RequestChange
from decahertz.sample import SampleBatch
from decahertz.supervision import supervise
from decahertz.topic import Pattern
from decahertz.trading_state import TOPIC as TRADING
from decahertz.trading_state import TradingState
from decahertz.wire import Codec

if TYPE_CHECKING:
    from api.live.self_metrics import HubMetrics
    from decahertz.bus import Bus, Subscription
    from decahertz.clock import Clock
    from decahertz.latest import LatestAlerts, LatestSamples

_MessageT = TypeVar("_MessageT")
_PING = frame(PING, b"")
_EVENTS_PER_ITERATION = 2_000
"""A burst is spread over iterations of the event loop, so that the grid and the sockets keep running."""
_EVENTS_PER_WRITE = 500


class Hub:
    """Routes samples, events and alerts to clients. Runs only inside the event loop."""

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        bus: Bus,
        latest: LatestSamples,
        alerts: LatestAlerts,
        clock: Clock,
        metrics: HubMetrics,
        limits: HubLimits,
        log: EventSource,
        *,
        recorder: str,
        sequence: int | None = None,
    ) -> None:
        """``sequence`` is that of the newest event before the first one on the bus; by default the epoch."""
        self.recorder = recorder
        self.limits = limits
        self.epoch = log.epoch
        self.sequence = log.epoch if sequence is None else sequence
        """That of the newest routed event."""
        self._ring = EventRing(self.sequence, limits.ring_events)
        self.replay = Replay(log, self._ring, limits, clock, metrics)
        self._bars = Bars(log, self._ring, clock)
        self._bars_task: asyncio.Task[None] | None = None
        self._bus = bus
        self._latest = latest
        self._alerts = alerts
        self._clock = clock
        self._metrics = metrics
        self._clients: dict[str, Client] = {}
        self._subscriptions: Subscriptions[Client] = Subscriptions()
        self._samples: list[SampleBatch] = []
        self._arrivals: deque[Message] = deque()
        self._pending_events = 0
        self._scheduled = False
        self._stopped = False
        self._bus_subscriptions: list[Subscription] = []
        self._heartbeat: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="websocket")
        self._routing = Incident("routing", self._log)

    def start(self) -> None:
        """Subscribes to the bus and starts the heartbeat. Safe to call twice."""
        if self._heartbeat is not None:
            return
        self._bus_subscriptions = [
            self._bus.subscribe("samples:*", self._receive),
            self._bus.subscribe(RECORDED, self._receive),
            self._bus.subscribe(ALERTS, self._receive),
            self._bus.subscribe(AUDIT, self._receive),
            self._bus.subscribe(ORDER_REQUESTS, self._receive),
            self._bus.subscribe(HALTS, self._receive),
            self._bus.subscribe(TRADING, self._receive),
        ]
        self._heartbeat = supervise(self._run_heartbeat, "websocket-heartbeat")

    def stop(self) -> None:
        """Starts to disconnect all clients and accepts no new ones. Safe twice and without ``start``."""
        self._stopped = True
        for subscription in self._bus_subscriptions:
            subscription.cancel()
        self._bus_subscriptions.clear()
        for task in (self._heartbeat, self._bars_task):
            if task is not None:
                task.cancel()
        self._heartbeat = self._bars_task = None
        for client in list(self._clients.values()):
            self.disconnect(client, CloseCode.GOING_AWAY)

    @property
    def accepts_clients(self) -> bool:
        """Whether another client may connect."""
        return not self._stopped and len(self._clients) < self.limits.max_clients

    @property
    def slow_clients(self) -> int:
        """Clients that read more slowly than the hub writes."""
        return sum(client.slow for client in self._clients.values())

    def add(self, client: Client) -> None:
        """Adds a client that has connected."""
        client.last_heard_ns = self._clock.monotonic_ns()
        client.connected_ns = self._clock.time_ns()
        self._clients[client.client_id] = client
        self._metrics.clients.set(len(self._clients))

    def remove(self, client: Client) -> None:
        """Removes a client that has disconnected. Safe to call twice."""
        for pattern in client.patterns.values():
            self._subscriptions.remove(pattern, client)
        client.patterns.clear()
        client.discard()
        self._clients.pop(client.client_id, None)
        self._metrics.clients.set(len(self._clients))

    def disconnect(self, client: Client, code: CloseCode) -> None:
        """Stops serving a client and closes its connection."""
        if client.closing is None:
            if code is not CloseCode.GOING_AWAY:
                self._log.info(
                    "client_disconnected",
                    client_id=client.client_id,
                    code=int(code),
                    reason=code.name.lower(),
                    updates=client.updates,
                    events=client.events,
                    conflated=client.conflated,
                )
            client.close(code)
            self.remove(client)

    def touch(self, client: Client) -> None:
        """Notes a sign of life of the client: a message or a pong."""
        client.last_heard_ns = self._clock.monotonic_ns()

    def answered(self, client: Client) -> None:
        """Notes a pong of the client."""
        if client.pinged_ns:
            client.round_trip_ns = self._clock.monotonic_ns() - client.pinged_ns
            client.pinged_ns = 0

    def statistics(self) -> LiveStatistics:
        """Figures of all clients."""
        return LiveStatistics(
            epoch=self.epoch,
            sequence=self.sequence,
            events_in_memory=self._ring.events,
            max_clients=self.limits.max_clients,
            clients=[client.statistics() for client in self._clients.values()],
        )

    async def prepare(self, patterns: Sequence[Pattern]) -> None:
        """Makes the bars that patterns name; :meth:`subscribe` has to follow.

        Raises :class:`~decahertz.topic.TopicError` and :class:`~api.live.replay.ReplayError`.
        """
        loop = asyncio.get_running_loop()
        await self._bars.prepare(patterns, loop.time(), lambda: self.sequence)
        if self._bars.is_active and self._bars_task is None and not self._stopped:
            self._bars_task = supervise(self._run_bars, "websocket-bars")

    def subscribe(self, client: Client, patterns: Sequence[Pattern]) -> None:
        """Adds patterns and sends a snapshot of the topics that are new to the client.

        Between the snapshot and the first update there is neither gap nor overlap: samples already received
        from the bus go to the earlier subscribers first, and this method never awaits.
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
        """Removes patterns; unknown ones are ignored."""
        for text in patterns:
            pattern = client.patterns.pop(text, None)
            if pattern is not None:
                self._subscriptions.remove(pattern, client)
        client.keep_states(tuple(client.patterns.values()))

    def _snapshot(self, patterns: tuple[str, ...], items: tuple[TopicState, ...]) -> Iterator[Snapshot]:
        size = self.limits.snapshot_items
        for start in range(0, max(len(items), 1), size):
            yield Snapshot(
                recorder=self.recorder,
                topics=patterns,
                sequence=self.sequence,
                items=items[start : start + size],
                complete=start + size >= len(items),
            )

    def _states(self, new: Sequence[Pattern], known: Sequence[Pattern]) -> Iterator[TopicState]:
        if not new:
            return
        for batch in self._latest:
            for sample in batch.samples:
                topic = batch.schema.topic_of(sample)
                if _is_new(topic, new, known):
                    yield TopicState(topic=topic, time_ns=batch.time_ns, data=sample)
        for topic, bar in self._bars.states():
            if _is_new(topic, new, known):
                yield TopicState(topic=topic, time_ns=bar.time_ns, data=bar)
        if _is_new(ALERTS, new, known):
            for alert in self._alerts:
                yield TopicState(topic=ALERTS, time_ns=alert.updated_ns, data=alert)
        trading = self._latest.trading
        if trading is not None and _is_new(Risk.topic, new, known):
            yield TopicState(topic=Risk.topic, time_ns=trading.time_ns, data=trading)

    def _receive(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            if not self._clients:
                return
            self._samples.append(message)
        elif self._clients or self._arrivals:
            self._arrivals.append(message)
            self._pending_events += _events(message)
        else:
            if isinstance(message, Arrival):
                self._keep(message)
            return
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._route_pending)

    def _route_pending(self) -> None:
        self._scheduled = False
        self._send_samples()
        # If events arrive faster than iterations, each iteration routes a larger part.
        budget = max(_EVENTS_PER_ITERATION, self._pending_events // 4)
        while self._arrivals and budget > 0:
            arrival = self._arrivals.popleft()
            self._pending_events -= _events(arrival)
            budget -= _events(arrival)
            if isinstance(arrival, Alert):
                self._guarded(self._route_alert, arrival)
            elif isinstance(arrival, AuditEntry):
                self._guarded(self._route_audit, arrival)
            elif isinstance(arrival, RequestChange):
                self._guarded(partial(self._route_change, Order.topic), arrival)
            elif isinstance(arrival, HaltChange | TradingState):
                self._guarded(partial(self._route_change, Risk.topic), arrival)
            elif isinstance(arrival, Arrival):
                self._guarded(self._route_events, arrival)
        if self._arrivals:
            self._schedule()

    def _send_samples(self) -> None:
        if not self._samples:
            return
        batches, self._samples = self._samples, []
        # All collectors' samples of a cycle together: a client gets them in one write.
        by_audience: dict[Audience[Client], list[TopicSample]] = {}
        for batch in batches:
            self._guarded(partial(self._collect_samples, by_audience), batch)
        for audience, states in by_audience.items():
            self._guarded(partial(self._put_states, audience), states)

    def _guarded(self, route: Callable[[_MessageT], None], message: _MessageT) -> None:
        """Isolates a failure: a message that cannot be routed must not affect the next one."""
        try:
            route(message)
        except Exception as error:  # noqa: BLE001 - counted, logged once
            self._metrics.errors.inc()
            self._routing.fail(self._clock.monotonic_ns(), error)

    def _collect_samples(
        self, by_audience: dict[Audience[Client], list[TopicSample]], batch: SampleBatch
    ) -> None:
        schema = batch.schema
        if not self._subscriptions.wants("metrics", schema.collector):
            return
        for sample in batch.samples:
            topic = schema.topic_of(sample)
            audience = self._subscriptions.audience(topic)
            if audience:
                by_audience.setdefault(audience, []).append((topic, batch.time_ns, sample))

    def _put_states(self, audience: Audience[Client], states: list[TopicSample]) -> None:
        sent = conflated = 0
        for codec, clients in audience.parts(_codec_of):
            others: Sequence[Client] = clients
            if any(client.takes_every_state for client in clients):
                frames, count = self._encode_states(codec, states)
                others = write_states(clients, frames, count, self.limits.buffer_bytes)
                sent += count * (len(clients) - len(others))
            for client in others:
                conflated += client.conflate(states)
        self._metrics.sent_states.inc(sent)
        self._metrics.conflated.inc(conflated)

    def _encode_states(self, codec: Codec, states: Sequence[TopicSample]) -> tuple[bytes, int]:
        """The frames of the states, and how many they are: a state that cannot be encoded is left out."""
        updates = [Update(topic=topic, time_ns=when, data=data) for topic, when, data in states]
        try:
            return encode_frames(codec, updates), len(updates)
        except Exception:  # noqa: BLE001 - the next lines find the state and report it
            frames: list[bytes] = []
            for update in updates:
                self._guarded(lambda one: frames.append(encode_frames(codec, [one])), update)
            return b"".join(frames), len(frames)

    def _route_events(self, arrival: Arrival) -> None:
        events = arrival.batch.events
        self._keep(arrival)
        wanted = {kind: self._subscriptions.wants(kind.topic) for kind in {type(e) for e in events}}
        audience: Audience[Client] | None = None
        run: list[EventMessage] = []
        for sequence, event in enumerate(events, arrival.number):
            if not wanted[type(event)]:
                continue
            if event.topic_names:
                if audience is not None:
                    self._put_events(audience.parts(_codec_of), run)
                    audience, run = None, []
                self._route_to_topics(event, sequence)
                continue
            topic = event_topic(event)
            subscribers = self._subscriptions.audience(topic)
            if not subscribers:
                continue
            if audience is not None and (subscribers is not audience or len(run) >= _EVENTS_PER_WRITE):
                self._put_events(audience.parts(_codec_of), run)
                run = []
            audience = subscribers
            run.append(EventMessage(topic=topic, sequence=sequence, time_ns=event.time_ns, data=event))
        if audience is not None:
            self._put_events(audience.parts(_codec_of), run)

    def _route_to_topics(self, event: AnyEvent, sequence: int) -> None:
        """Sends an event with several topics: each client gets it once, under the first that it wants."""
        served: set[Client] = set()
        for topic in event_topics(event):
            parts = self._subscriptions.audience(topic).parts(_codec_of)
            groups = [(codec, [one for one in clients if one not in served]) for codec, clients in parts]
            groups = [(codec, clients) for codec, clients in groups if clients]
            if groups:
                message = EventMessage(topic=topic, sequence=sequence, time_ns=event.time_ns, data=event)
                self._put_events(groups, [message])
                served.update(one for _, clients in groups for one in clients)

    def _keep(self, arrival: Arrival) -> None:
        self._ring.append(arrival)
        self.sequence = arrival.number + len(arrival.batch.events) - 1
        if self._bars.is_active:
            self._bars.take(arrival.batch.events)

    def _route_alert(self, alert: Alert) -> None:
        audience = self._subscriptions.audience(ALERTS)
        if audience:
            message = EventMessage(topic=ALERTS, sequence=self.sequence, time_ns=alert.updated_ns, data=alert)
            self._put_events(audience.parts(_codec_of), [message])

    def _route_change(self, topic: str, change: RequestChange | HaltChange | TradingState) -> None:
        audience = self._subscriptions.audience(topic)
        if audience:
            message = EventMessage(topic=topic, sequence=self.sequence, time_ns=change.time_ns, data=change)
            self._put_events(audience.parts(_codec_of), [message])

    def _route_audit(self, entry: AuditEntry) -> None:
        groups = [
            (codec, permitted)
            for codec, clients in self._subscriptions.audience(AUDIT).parts(_codec_of)
            if (permitted := [client for client in clients if client.sees_audit])
        ]
        if groups:
            message = EventMessage(topic=AUDIT, sequence=self.sequence, time_ns=entry.time_ns, data=entry)
            self._put_events(groups, [message])

    def _put_events(
        self, groups: Iterable[tuple[Codec, Sequence[Client]]], messages: Sequence[ServerMessage]
    ) -> None:
        count = len(messages)
        sent = 0
        for codec, clients in groups:
            frames = encode_frames(codec, messages)
            for client in clients:
                if client.put_events(frames, count):
                    sent += count
                else:
                    self.disconnect(client, CloseCode.SLOW_CONSUMER)
        self._metrics.sent_events.inc(sent)

    async def _run_bars(self) -> None:
        """Sends changed bars, as often as samples."""
        loop = asyncio.get_running_loop()
        while self._bars.is_active:
            await asyncio.sleep(CYCLE_NS / NS_PER_SECOND)
            changed = self._bars.changes(loop.time(), lambda topic: bool(self._subscriptions.audience(topic)))
            for topic, bars in changed.items():
                self._guarded(partial(self._route_bars, topic), bars)
        self._bars_task = None

    def _route_bars(self, topic: str, bars: Sequence[LiveBar]) -> None:
        audience = self._subscriptions.audience(topic)
        if not audience:
            return
        for bar in bars:
            if bar.closed:
                message = EventMessage(topic=topic, sequence=self.sequence, time_ns=bar.time_ns, data=bar)
                self._put_events(audience.parts(_codec_of), [message])
            else:
                self._put_states(audience, [(topic, bar.time_ns, bar)])

    async def _run_heartbeat(self) -> None:
        limits = self.limits
        last_ping_ns = self._clock.monotonic_ns()
        while True:
            await asyncio.sleep(limits.heartbeat_seconds / 15)
            now_ns = self._clock.monotonic_ns()
            due = now_ns - last_ping_ns >= limits.heartbeat_seconds * 1e9
            if due:
                last_ping_ns = now_ns
            self._routing.look(now_ns)
            for client in list(self._clients.values()):
                buffered = client.buffered_bytes
                if buffered < client.last_buffered_bytes or client.is_queued:
                    client.last_heard_ns = now_ns  # it reads, if slowly, or it is our turn
                client.last_buffered_bytes = buffered
                if now_ns - client.last_heard_ns >= limits.dead_after_seconds * 1e9:
                    self.disconnect(client, CloseCode.HEARTBEAT_TIMEOUT)
                elif due:
                    client.pinged_ns = now_ns
                    client.ping(_PING)
            self._metrics.observe(self._clients.values())


def _events(message: Message) -> int:
    return len(message.batch.events) if isinstance(message, Arrival) else 1


def _is_new(topic: str, new: Sequence[Pattern], known: Sequence[Pattern]) -> bool:
    return any(p.matches(topic) for p in new) and not any(p.matches(topic) for p in known)


def _codec_of(client: Client) -> Codec:
    return client.codec

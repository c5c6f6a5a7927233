"""Base class of the live feeds that read a venue's public WebSocket."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from random import Random
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import aiohttp
import structlog
from msgspec import Meta, Struct

from collectors.feeds.messages import MalformedMessageError, MessageT, VenueDecoder
from collectors.feeds.pulse import Pulse
from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import AnyEvent, MarketEvent
from decahertz.feed import BaseFeed, Emit
from decahertz.incident import Incident
from decahertz.settings import Seconds

_CLOSE_SECONDS = 1.0

Url = Annotated[str, Meta(pattern=r"^wss?://[^\s]+$", description="Address of the venue's WebSocket.")]


class WebSocketOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of every WebSocket feed. A venue adds its own and a default for ``url``."""

    url: Url
    confirm_seconds: Annotated[
        Seconds,
        Meta(description="Deadline for connecting, and again for the confirmation of the subscription."),
    ] = 10.0
    stale_seconds: Annotated[
        Seconds,
        Meta(description="Reconnect when the venue sends nothing for this long."),
    ] = 30.0
    idle_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Reconnect when the venue sends no market data for this long, whatever its heartbeats"
            " say; doubles while a reconnect brings none. 0: never.",
        ),
    ] = 60.0
    backoff_seconds: Annotated[
        Seconds,
        Meta(description="Wait before the first reconnect; doubles with each failed attempt, with jitter."),
    ] = 1.0
    backoff_max_seconds: Annotated[Seconds, Meta(description="Longest wait before a reconnect.")] = 60.0
    max_message_bytes: Annotated[
        int,
        Meta(ge=1024, le=2**30, description="Largest message accepted; a larger one ends the connection."),
    ] = 32 * 1024 * 1024


OptionsT = TypeVar("OptionsT", bound=WebSocketOptions)

_RESYNC_NS = 10 * NS_PER_SECOND
"""Shortest time between two new subscriptions of one instrument."""
_MOST_IDLE_DOUBLINGS = 6


class ConnectionLostError(Exception):
    """The connection is no longer usable; the text says why."""


class WebSocketFeed(BaseFeed[OptionsT], Generic[OptionsT, MessageT]):
    """Keeps a subscription at one venue alive and emits its events.

    ::

                                  confirm()
        connect ──► subscribed ───────────────► live ──┐
           ▲             │                             │ silent for stale_seconds, without market data
           │             │ not confirmed in time,      │ for idle_seconds, closed by the venue, refused,
           │             │ refused, closed             │ or a message too large
           └── backoff ◄─┴───── lost ◄─────────────────┘

    While live, a heartbeat a second reports the venue as open, as long as the venue sends messages; a
    connection that is not made yet or is lost is reported by heartbeats of the venue and of each instrument.
    The connection incident begins with the first loss and ends with the next confirmation. The backoff
    starts over after a connection that was live for longer than the longest wait.

    An instrument whose state the decoder finds incomplete is subscribed again, alone, where the venue allows
    it (:meth:`resubscribe`), at most every ten seconds.

    A venue provides its options, its decoder, :meth:`instruments`, :meth:`subscribe` and :meth:`check`.
    """

    decoder_type: ClassVar[Callable[[], VenueDecoder[Any]]]
    has_ping: ClassVar[bool] = False
    """Whether the venue documents regular ping frames; each then counts as a message."""

    def __init__(self, clock: Clock, options: OptionsT) -> None:
        super().__init__(clock, options)
        self.decoder: VenueDecoder[MessageT] = self.make_decoder()
        self._pulse = Pulse(clock, f"feed-{self.name}", self.decoder.venue, self.instruments())
        self._backoff = Backoff(options.backoff_seconds, options.backoff_max_seconds)
        self._random = Random().random  # noqa: S311 - jitter, no secret
        self._attempt = 0
        self._live_since_ns: int | None = None
        self._data_ns = 0
        """When market data arrived last, or the connection was confirmed; of the monotonic clock."""
        self._idle_doublings = 0
        self._resynced_ns: dict[str, int] = {}
        self._last_error: str | None = None
        self._incident = Incident("feed_connection", structlog.get_logger(part="feeds", feed=self.name))

    @property
    def url(self) -> str:
        """Address of the venue's WebSocket."""
        return self.options.url

    def make_decoder(self) -> VenueDecoder[MessageT]:
        """Returns a new decoder."""
        return type(self).decoder_type()

    def instruments(self) -> Sequence[str]:
        """Returns the instruments that the feed subscribes to, by the names that their events have."""
        return ()

    @abstractmethod
    def subscribe(self) -> Sequence[str]:
        """Returns the messages that subscribe a new connection."""

    def resubscribe(self, instrument: str) -> Sequence[str]:  # noqa: ARG002 - of those who can
        """Returns the messages that end and renew the subscription of one instrument; none: not possible."""
        return ()

    @abstractmethod
    def check(self, message: MessageT) -> None:
        """Looks for the venue's answer to the subscription.

        Calls :meth:`confirm` once everything is confirmed; raises :class:`ConnectionLostError` for a refusal.
        """

    def confirm(self) -> None:
        """Records that the venue has confirmed the whole subscription of this connection."""
        if self._live_since_ns is None:
            self._live_since_ns = self._data_ns = self.clock.monotonic_ns()
            self.count("subscriptions")
            self._incident.recover()

    def refused(self, reason: str) -> ConnectionLostError:
        """Counts a refusal; returns the error to raise."""
        self.count("errors")
        return ConnectionLostError(f"the venue refused the subscription: {reason}".rstrip())

    @property
    def is_connected(self) -> bool:
        """Whether the venue has confirmed the subscription of the present connection."""
        return self._live_since_ns is not None

    @property
    def last_error(self) -> str | None:
        """Why the last connection was lost or could not be made."""
        return self._last_error

    @property
    def counters(self) -> dict[str, int]:
        """Counts of the connection (reconnects, subscriptions, errors, malformed) and of the decoder."""
        return {**self._counters, **self.decoder.counts}

    async def run(self, emit: Emit) -> None:
        """Stays connected until cancelled."""
        now_ns = self.clock.time_ns()
        await emit(self._pulse.disconnected(now_ns), now_ns)
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    await self._connect(session, emit)
                except (aiohttp.ClientError, OSError, TimeoutError, ConnectionLostError) as error:
                    await self._lost(error, emit)
                await asyncio.sleep(self._backoff.seconds(self._attempt, self._random))
                self._attempt += 1
                self.count("reconnects")

    async def _connect(self, session: aiohttp.ClientSession, emit: Emit) -> None:
        """Connects, subscribes and reads until the connection is lost, which raises."""
        options = self.options
        async with asyncio.timeout(options.confirm_seconds):
            socket = await session.ws_connect(
                self.url,
                autoping=not self.has_ping,
                max_msg_size=options.max_message_bytes,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
        try:
            self.decoder.reconnected()
            for request in self.subscribe():
                await socket.send_str(request)
            deadline_ns = self.clock.monotonic_ns() + int(options.confirm_seconds * NS_PER_SECOND)
            while True:
                data = await self._receive(socket, deadline_ns)
                await self._handle(data, emit)
                if damaged := self.decoder.take_damaged():
                    await self._resync(socket, damaged)
        finally:
            await socket.close()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse, deadline_ns: int) -> bytes | str | None:
        """Returns the next message; ``None`` for a ping."""
        wait_seconds = self.options.stale_seconds
        if self._live_since_ns is None:
            left_seconds = (deadline_ns - self.clock.monotonic_ns()) / NS_PER_SECOND
            if left_seconds <= 0:
                raise ConnectionLostError("the venue did not confirm the subscription in time")
            wait_seconds = min(wait_seconds, left_seconds)
        try:
            message = await socket.receive(timeout=wait_seconds)
        except TimeoutError:
            raise ConnectionLostError(f"no message for {wait_seconds:.3g} s") from None
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: bytes | str = message.data
            return data
        if message.type is aiohttp.WSMsgType.PING:
            await socket.pong(message.data)
            return None
        if message.type is aiohttp.WSMsgType.ERROR:
            raise ConnectionLostError(str(socket.exception()))
        raise ConnectionLostError(f"the venue closed the connection (code {socket.close_code})")

    async def _handle(self, data: bytes | str | None, emit: Emit) -> None:
        now_ns = self.clock.time_ns()
        events: list[AnyEvent] = []
        if data is not None:
            try:
                message = self.decoder.parse(data)
                events = self.decoder.events(message, now_ns)
            except MalformedMessageError:
                self.count("malformed")
                return
            self.check(message)
        if self._live_since_ns is not None:
            self._check_idle(events, self._live_since_ns)
            events += self._pulse.next(now_ns)
        if events:
            await emit(events, now_ns)

    async def _resync(self, socket: aiohttp.ClientWebSocketResponse, instruments: Sequence[str]) -> None:
        """Renews the subscription of the instruments whose state is not complete."""
        now_ns = self.clock.monotonic_ns()
        for instrument in instruments:
            if now_ns - self._resynced_ns.get(instrument, now_ns - _RESYNC_NS) < _RESYNC_NS:
                continue
            self._resynced_ns[instrument] = now_ns
            for request in self.resubscribe(instrument):
                await socket.send_str(request)
            self.count("resyncs")

    def _check_idle(self, events: Sequence[AnyEvent], live_since_ns: int) -> None:
        """Raises :class:`ConnectionLostError` if the venue has sent no market data for too long."""
        idle_ns = int(self.options.idle_seconds * NS_PER_SECOND)
        now_ns = self.clock.monotonic_ns()
        silence_ns = now_ns - self._data_ns
        if any(isinstance(event, MarketEvent) for event in events):
            if silence_ns < idle_ns < now_ns - live_since_ns:
                self._idle_doublings = 0
            self._data_ns = now_ns
        elif idle_ns and silence_ns >= idle_ns << self._idle_doublings:
            waited = self.options.idle_seconds * 2**self._idle_doublings
            self._idle_doublings = min(self._idle_doublings + 1, _MOST_IDLE_DOUBLINGS)
            self.count("idle_reconnects")
            raise ConnectionLostError(f"no market data for {waited:.3g} s")

    async def _lost(self, error: Exception, emit: Emit) -> None:
        monotonic_ns = self.clock.monotonic_ns()
        self._last_error = str(error) or repr(error)
        self._incident.fail(monotonic_ns, url=self.url, reason=self._last_error)
        since_ns, self._live_since_ns = self._live_since_ns, None
        if (
            since_ns is not None
            and monotonic_ns - since_ns > self.options.backoff_max_seconds * NS_PER_SECOND
        ):
            self._attempt = 0
        now_ns = self.clock.time_ns()
        await emit(self._pulse.disconnected(now_ns), now_ns)

"""The feed ``coinbase``: Coinbase Exchange over its public WebSocket.

It connects, subscribes, and believes that it is subscribed only when the exchange says so. While messages
come, a heartbeat a second says that the venue is open; a connection that says nothing for
``stale_seconds`` is given up. Each lost connection is told by a closing heartbeat, and the next is made
after a jittered wait that doubles. Books begin anew with each connection; sequences and trades go on, so what
was missed meanwhile is told by the first trade after it.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Annotated, ClassVar, Literal

import aiohttp
import msgspec
import structlog
from msgspec import Meta, Struct

from collectors.feeds.coinbase.messages import VENUE, CoinbaseDecoder, Error, Subscriptions, parse
from collectors.feeds.messages import MalformedMessageError
from collectors.feeds.pulse import Pulse
from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import Name
from decahertz.feed import BaseFeed, Emit
from decahertz.settings import Seconds

_CLOSE_SECONDS = 1.0
_ALIASES = {"level2_50": "level2_batch"}
"""What the exchange calls some channels in its answer."""

ChannelName = Literal["ticker", "matches", "level2", "level2_batch", "heartbeat"]


class CoinbaseOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[feeds.coinbase]`` of the settings."""

    url: Annotated[
        str,
        Meta(pattern=r"^wss?://[^\s]+$", description="Where to connect."),
    ] = "wss://ws-feed.exchange.coinbase.com"
    products: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="Products to subscribe to."),
    ] = ("BTC-USD", "ETH-USD")
    channels: Annotated[
        tuple[ChannelName, ...],
        Meta(
            min_length=1,
            description="ticker, matches, level2 (the exchange wants a login), level2_batch, heartbeat.",
        ),
    ] = ("ticker", "matches", "level2_batch", "heartbeat")
    confirm_seconds: Annotated[
        Seconds,
        Meta(description="How long the exchange may take to confirm the subscription."),
    ] = 10.0
    stale_seconds: Annotated[
        Seconds,
        Meta(description="A connection without any message for this long is given up."),
    ] = 30.0
    backoff_seconds: Annotated[
        Seconds,
        Meta(description="About the first wait before connecting again; it doubles."),
    ] = 1.0
    backoff_most_seconds: Annotated[Seconds, Meta(description="The longest wait.")] = 60.0
    max_message_bytes: Annotated[
        int,
        Meta(ge=1024, le=2**30, description="A larger message ends the connection."),
    ] = 32 * 1024 * 1024


class ConnectionLostError(Exception):
    """The connection is of no use any more; the text says why."""


class CoinbaseFeed(BaseFeed[CoinbaseOptions]):
    """Quotes and prints of Coinbase Exchange."""

    name: ClassVar[str] = "coinbase"
    options_type: ClassVar[type[Struct]] = CoinbaseOptions

    def __init__(self, clock: Clock, options: CoinbaseOptions) -> None:
        """Nothing is connected before :meth:`run`."""
        super().__init__(clock, options)
        self._decoder = CoinbaseDecoder()
        self._pulse = Pulse(clock, f"feed-{self.name}", VENUE)
        self._backoff = Backoff(options.backoff_seconds, options.backoff_most_seconds)
        self._random = Random().random  # noqa: S311 - jitter, no secret
        self._attempt = 0
        self._is_failing = False
        self._confirmed_ns: int | None = None
        self._log = structlog.get_logger(part="feeds", feed=self.name)

    @property
    def counters(self) -> dict[str, int]:
        """Connection: reconnects, subscriptions, errors, malformed. Messages: see the decoder."""
        return {**self._counters, **self._decoder.counts}

    async def run(self, emit: Emit) -> None:
        """Stay connected until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    await self._connection(session, emit)
                except (aiohttp.ClientError, OSError, TimeoutError, ConnectionLostError) as error:
                    await self._lost(error, emit)
                await asyncio.sleep(self._backoff.seconds(self._attempt, self._random))
                self._attempt += 1
                self.count("reconnects")

    async def _lost(self, error: Exception, emit: Emit) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._log.warning("feed_disconnected", url=self.options.url, reason=str(error) or repr(error))
        confirmed_ns, self._confirmed_ns = self._confirmed_ns, None
        # One that held for a while was good: the next attempt is a first one.
        held_ns = 0 if confirmed_ns is None else self.clock.monotonic_ns() - confirmed_ns
        if held_ns > self._backoff.most_seconds * NS_PER_SECOND:
            self._attempt = 0
        now_ns = self.clock.time_ns()
        await emit([self._pulse.closed(now_ns)], now_ns)

    async def _connection(self, session: aiohttp.ClientSession, emit: Emit) -> None:
        """Connect, subscribe and read until the connection is lost, which is raised."""
        options = self.options
        async with asyncio.timeout(options.confirm_seconds):
            socket = await session.ws_connect(
                options.url,
                max_msg_size=options.max_message_bytes,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
        try:
            self._decoder.reconnected()
            await socket.send_str(_subscription(options))
            deadline_ns = self.clock.monotonic_ns() + int(options.confirm_seconds * NS_PER_SECOND)
            while True:
                data = await self._receive(socket, deadline_ns)
                await self._take(data, emit)
        finally:
            await socket.close()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse, deadline_ns: int) -> bytes | str:
        wait_seconds = self.options.stale_seconds
        if self._confirmed_ns is None:
            left_seconds = (deadline_ns - self.clock.monotonic_ns()) / NS_PER_SECOND
            if left_seconds <= 0:
                raise ConnectionLostError("the subscription was not confirmed in time")
            wait_seconds = min(wait_seconds, left_seconds)
        try:
            message = await socket.receive(timeout=wait_seconds)
        except TimeoutError:
            raise ConnectionLostError(f"no message for {wait_seconds:.3g} s") from None
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: bytes | str = message.data
            return data
        if message.type is aiohttp.WSMsgType.ERROR:
            raise ConnectionLostError(str(socket.exception()))
        raise ConnectionLostError(f"the exchange closed the connection (code {socket.close_code})")

    async def _take(self, data: bytes | str, emit: Emit) -> None:
        now_ns = self.clock.time_ns()
        try:
            message = parse(data)
            events = [] if message is None else self._decoder.events(message, now_ns)
        except MalformedMessageError:
            self.count("malformed")
            return
        if isinstance(message, Error):
            self.count("errors")
            raise ConnectionLostError(f"the exchange refused: {message.message} {message.reason}".rstrip())
        if isinstance(message, Subscriptions) and _is_confirmed(message, self.options):
            self._opened()
        if self._confirmed_ns is not None and (beat := self._pulse.beat(now_ns)) is not None:
            events.append(beat)
        if events:
            await emit(events, now_ns)

    def _opened(self) -> None:
        if self._confirmed_ns is not None:
            return
        self.count("subscriptions")
        self._confirmed_ns = self.clock.monotonic_ns()
        if self._is_failing:
            self._is_failing = False
            self._log.info("feed_reconnected", url=self.options.url)


def _subscription(options: CoinbaseOptions) -> str:
    request = {"type": "subscribe", "product_ids": options.products, "channels": options.channels}
    return msgspec.json.encode(request).decode()


def _is_confirmed(answer: Subscriptions, options: CoinbaseOptions) -> bool:
    """Whether every product is named under every channel that was asked for."""
    named: dict[str, set[str]] = {}
    for channel in answer.channels:
        named.setdefault(_ALIASES.get(channel.name, channel.name), set()).update(channel.product_ids)
    wanted = set(options.products)
    return all(wanted <= named.get(channel, set()) for channel in options.channels)

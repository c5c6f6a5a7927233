"""The WebSocket endpoint: handshake, what the client says, good-bye."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import WSMessage, WSMsgType, web

from api.http.errors import ProblemError
from api.live.client import Client
from api.live.frames import CLOSE, PONG, frame, write
from api.live.messages import (
    PROTOCOLS,
    AnyClientMessage,
    CloseCode,
    Connected,
    Error,
    ErrorCode,
    Ping,
    Pong,
    Subscribe,
    Unsubscribe,
)
from decahertz.topic import Pattern, TopicError
from decahertz.wire import Codec, Decoder, decoder

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from api.live.hub import Hub
    from api.live.limits import HubLimits
    from api.metrics import HubMetrics
    from decahertz.clock import Clock

_UNSENT_BYTES = 128 * 1024
"""What the kernel may hold unsent for one reader. Its default is megabytes: seconds of stale states."""
_MESSAGES_PER_TURN = 64
_DECODERS: Final[dict[Codec, Decoder[AnyClientMessage]]] = {c: decoder(c, AnyClientMessage) for c in Codec}
_OTHER_TYPE: Final = {
    Codec.JSON: (WSMsgType.BINARY, "this connection speaks JSON, in text messages"),
    Codec.MSGPACK: (WSMsgType.TEXT, "this connection speaks MessagePack, in binary messages"),
}


class SocketConnection:
    """The connection of one client, as :class:`~api.live.client.Client` needs it."""

    def __init__(
        self,
        socket_response: web.WebSocketResponse,
        writer: AbstractStreamWriter,
        transport: asyncio.WriteTransport,
        limits: HubLimits,
    ) -> None:
        """Wrap a prepared WebSocket."""
        self.transport = transport
        self._socket = socket_response
        self._writer = writer
        self._limits = limits
        self._closing = False

    async def drained(self) -> None:
        """Wait until the transport has room."""
        await self._writer.drain()
        while not self.transport.is_closing() and self.transport.get_write_buffer_size() > (
            self._limits.buffer_bytes
        ):
            await asyncio.sleep(0.01)  # not paused yet although above the mark
            await self._writer.drain()

    def close(self, code: CloseCode) -> None:
        """Begin the closing handshake: the reader finds the code behind what it has not read yet."""
        if not self._closing:
            self._closing = True
            reason = code.name.lower().replace("_", " ").encode()
            write(self.transport, frame(CLOSE, code.to_bytes(2, "big") + reason))
            limits = self._limits
            self._cut_after(
                limits.linger_seconds if code is CloseCode.SLOW_CONSUMER else limits.close_seconds
            )

    async def finish(self) -> None:
        """The reader is gone or has answered our good-bye; answer its own, and let go of the connection."""
        self._cut_after(self._limits.close_seconds)
        if not self._closing:
            await self._socket.close(drain=False)
        self.transport.close()

    def _cut_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.transport.abort)


class LiveEndpoint:
    """``GET /ws``."""

    def __init__(self, hub: Hub, clock: Clock, metrics: HubMetrics, version: str) -> None:
        """Serve the hub."""
        self._hub = hub
        self._clock = clock
        self._metrics = metrics
        self._version = version
        self._numbers = itertools.count(1)
        self._open: set[asyncio.Future[None]] = set()

    async def stop(self) -> None:
        """Say good-bye to all clients and wait for their answers, but not longer than the limit for that."""
        self._hub.stop()
        if self._open:
            await asyncio.wait(self._open, timeout=self._hub.limits.close_seconds)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """One client from handshake to good-bye."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.add(done)
        try:
            return await self._serve(request)
        finally:
            self._open.discard(done)
            done.set_result(None)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        limits = self._hub.limits
        name = _agree_on_protocol(request)
        if not self._hub.takes_clients:
            raise ProblemError("overloaded", f"no more than {limits.max_clients} WebSocket clients are taken")
        websocket = web.WebSocketResponse(
            protocols=PROTOCOLS,
            autoping=False,
            autoclose=False,
            compress=False,
            max_msg_size=limits.max_message_bytes,
            timeout=limits.close_seconds,
        )
        async with asyncio.timeout(limits.prepare_seconds):
            writer = await websocket.prepare(request)
        transport = request.transport
        if transport is None:
            return websocket
        _keep_little_unsent(transport)
        connection = SocketConnection(websocket, writer, transport, limits)
        client = Client(
            connection,
            PROTOCOLS[name],
            limits,
            client_id=f"c{next(self._numbers)}",
            remote=request.remote or "",
            connected_ns=self._clock.time_ns(),
        )
        self._hub.add(client)
        try:
            client.send(self._hello(client, name))
            await self._listen(websocket, client)
        finally:
            self._hub.remove(client)
            code = client.closing
            self._metrics.closed.labels(code.name.lower() if code else "client").inc()
            await connection.finish()
        return websocket

    def _hello(self, client: Client, name: str) -> Connected:
        limits = self._hub.limits
        return Connected(
            client_id=client.client_id,
            protocol=name,
            version=self._version,
            time_ns=self._clock.time_ns(),
            epoch=self._hub.epoch,
            heartbeat_seconds=limits.heartbeat_seconds,
            dead_after_seconds=limits.dead_after_seconds,
        )

    async def _listen(self, websocket: web.WebSocketResponse, client: Client) -> None:
        while True:
            message = await websocket.receive()
            self._hub.heard(client)
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                # A reader that does not take its answers is not listened to either.
                await client.ready()
                self._take(client, message)
                if client.received % _MESSAGES_PER_TURN == 0:
                    await asyncio.sleep(0)
            elif message.type is WSMsgType.PING:
                client.beat(frame(PONG, message.data))
            elif message.type is not WSMsgType.PONG:
                return

    def _take(self, client: Client, message: WSMessage) -> None:
        if client.closing is not None:
            return  # it has not read our good-bye yet
        client.received += 1
        refusal = self._refusal_of(client, message)
        if refusal is None:
            return
        client.refused += 1
        self._metrics.refused.inc()
        client.send(refusal)
        if client.refused >= self._hub.limits.max_bad_messages:
            self._hub.disconnect(client, CloseCode.ABUSE)

    def _refusal_of(self, client: Client, message: WSMessage) -> Error | None:
        wrong_type, text = _OTHER_TYPE[client.codec]
        if message.type is wrong_type:
            return Error(code=ErrorCode.MALFORMED, text=text)
        try:
            request = _DECODERS[client.codec].decode(message.data)
        except msgspec.ValidationError as error:
            return Error(code=ErrorCode.INVALID, text=str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Error(code=ErrorCode.MALFORMED, text=str(error))
        return self._obey(client, request)

    def _obey(self, client: Client, request: AnyClientMessage) -> Error | None:
        match request:
            case Subscribe(topics=texts):
                return self._subscribe(client, texts)
            case Unsubscribe(topics=texts):
                self._hub.unsubscribe(client, texts)
            case Ping(id=identifier):
                client.send(Pong(time_ns=self._clock.time_ns(), id=identifier))
        return None

    def _subscribe(self, client: Client, texts: tuple[str, ...]) -> Error | None:
        try:
            patterns = [Pattern(text) for text in dict.fromkeys(texts)]
        except TopicError as error:
            return Error(code=ErrorCode.BAD_TOPIC, text=str(error))
        limit = self._hub.limits.max_subscriptions
        if len(client.patterns.keys() | {pattern.text for pattern in patterns}) > limit:
            return Error(
                code=ErrorCode.TOO_MANY_SUBSCRIPTIONS,
                text=f"a client has at most {limit} patterns; a pattern with * or ** takes many topics",
            )
        self._hub.subscribe(client, patterns)
        return None


def _agree_on_protocol(request: web.Request) -> str:
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        raise ProblemError(
            "upgrade-required", "this address speaks WebSocket", headers={"Upgrade": "websocket"}
        )
    offered = [
        name.strip()
        for value in request.headers.getall("Sec-WebSocket-Protocol", ())
        for name in value.split(",")
        if name.strip()
    ]
    known = [name for name in offered if name in PROTOCOLS]
    if offered and not known:
        raise ProblemError("subprotocol", f"none of the subprotocols is one of {', '.join(PROTOCOLS)}")
    return known[0] if known else next(iter(PROTOCOLS))


def _keep_little_unsent(transport: asyncio.BaseTransport) -> None:
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    sock = transport.get_extra_info("socket")
    if option is not None and sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)

"""The WebSocket endpoint: opening handshake, client messages, closing handshake."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import HttpVersion11, WSMessage, WSMsgType, web
from msgspec import UNSET, UnsetType

from api.http.access import Caller, Scope
from api.http.problems import ProblemError, field_problem
from api.live.client import Client
from api.live.frames import CLOSE, PONG, frame, write
from api.live.messages import (
    PROTOCOLS,
    AnyClientMessage,
    Authenticate,
    CloseCode,
    Connected,
    Error,
    ErrorCode,
    Ping,
    Pong,
    Resume,
    Subscribe,
    Unsubscribe,
)
from api.live.replay import ReplayError, pattern_of
from decahertz.audit import TOPIC as AUDIT
from decahertz.decode_errors import DECODE_ERRORS, malformed_in_words
from decahertz.topic import Pattern, TopicError
from decahertz.wire import Codec, Decoder, decoder

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from api.live.hub import Hub
    from api.live.limits import HubLimits
    from api.live.self_metrics import HubMetrics
    from api.live.topics import KnownTopics
    from api.security.access import KeyAccess
    from decahertz.clock import Clock

_MAX_UNSENT_BYTES = 64 * 1024
"""Unsent bytes in the kernel per client. Its default is megabytes: seconds of stale states."""
_MESSAGES_PER_ITERATION = 64
_KEY_BYTES = 16
_DATA: Final = (WSMsgType.TEXT, WSMsgType.BINARY)
_DECODERS: Final[dict[Codec, Decoder[AnyClientMessage]]] = {c: decoder(c, AnyClientMessage) for c in Codec}
_WRONG_TYPE: Final = {
    Codec.JSON: (WSMsgType.BINARY, "this connection uses JSON in text messages"),
    Codec.MSGPACK: (WSMsgType.TEXT, "this connection uses MessagePack in binary messages"),
}


class WebSocketTransport:
    """The connection of a client: the transport of aiohttp's WebSocket, to which frames are written."""

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        writer: AbstractStreamWriter,
        transport: asyncio.WriteTransport,
        limits: HubLimits,
    ) -> None:
        self.transport = transport
        self._websocket = websocket
        self._writer = writer
        self._limits = limits
        self._closing = False

    async def drained(self) -> None:
        """Waits until the transport has room. Raises ``ConnectionError`` when the connection is lost."""
        await self._writer.drain()
        while not self.transport.is_closing() and self.transport.get_write_buffer_size() > (
            self._limits.buffer_bytes
        ):
            await asyncio.sleep(0.01)  # above the limit, but writing is not paused yet
            await self._writer.drain()

    def close(self, code: CloseCode) -> None:
        """Starts the closing handshake; never blocks. The client reads the code after the buffered frames."""
        if not self._closing:
            self._closing = True
            reason = code.name.lower().replace("_", " ").encode()
            write(self.transport, frame(CLOSE, code.to_bytes(2, "big") + reason))
            limits = self._limits
            self._abort_after(
                limits.linger_seconds if code is CloseCode.SLOW_CONSUMER else limits.close_seconds
            )

    async def finish(self) -> None:
        """Completes the closing handshake after the client has left, and closes the connection."""
        self._abort_after(self._limits.close_seconds)
        if not self._closing:
            await self._websocket.close(drain=False)
        self.transport.close()

    def _abort_after(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.transport.abort)


class WebSocketEndpoint:
    """``GET /ws``."""

    def __init__(
        self,
        hub: Hub,
        access: KeyAccess,
        clock: Clock,
        metrics: HubMetrics,
        version: str,
        topics: KnownTopics,
        client_prefix: str = "c",
    ) -> None:
        """``client_prefix`` begins the names of the clients."""
        self._topics = topics
        self._hub = hub
        self._access = access
        self._clock = clock
        self._metrics = metrics
        self._version = version
        self._numbers = itertools.count(1)
        self._client_prefix = client_prefix
        self._open: set[asyncio.Future[None]] = set()
        self._callers: dict[Client, Caller] = {}
        self._unauthenticated: set[Client] = set()

    async def stop(self) -> None:
        """Closes all connections and waits for the closing handshakes, at most ``close_seconds``."""
        self._hub.stop()
        for client in list(self._unauthenticated):
            client.close(CloseCode.GOING_AWAY)
        if self._open:
            await asyncio.wait(self._open, timeout=self._hub.limits.close_seconds)

    def disconnect_invalid(self, is_valid: Callable[[Caller], bool]) -> None:
        """Disconnects the clients whose keys or sessions have expired or were revoked."""
        for client, caller in list(self._callers.items()):
            if not is_valid(caller):
                self._hub.disconnect(client, CloseCode.UNAUTHORIZED)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Serves one client from the opening to the closing handshake."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.add(done)
        try:
            return await self._serve(request)
        finally:
            self._open.discard(done)
            done.set_result(None)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        limits = self._hub.limits
        protocol = _negotiate_protocol(request)
        if not self._hub.accepts_clients:
            raise ProblemError(
                "overloaded", f"the limit of {limits.max_clients} WebSocket clients is reached"
            )
        caller = await self._caller(request)
        websocket = web.WebSocketResponse(
            protocols=PROTOCOLS,
            autoping=False,
            autoclose=False,
            compress=False,
            max_msg_size=limits.max_message_bytes + 1,  # aiohttp refuses this size already
            timeout=limits.close_seconds,
        )
        async with asyncio.timeout(limits.prepare_seconds):
            writer = await websocket.prepare(request)
        transport = request.transport
        if transport is None:
            return websocket
        _limit_unsent(transport)
        connection = WebSocketTransport(websocket, writer, transport, limits)
        client = Client(
            connection,
            PROTOCOLS[protocol],
            limits,
            client_id=f"{self._client_prefix}{next(self._numbers)}",
        )
        try:
            caller = caller or await self._authenticated(websocket, client)
            if caller is not None and client.closing is None:
                self._callers[client] = caller
                client.sees_audit = Scope.ADMIN in caller.scopes
                self._hub.add(client)
                client.send(self._connected(client, protocol))
                await self._listen(
                    websocket, client, self._access.quotas.message_meter(request, caller.key_id)
                )
        finally:
            self._callers.pop(client, None)
            self._hub.remove(client)
            code = client.closing
            self._metrics.closed.labels(code.name.lower() if code else "client").inc()
            await connection.finish()
        return websocket

    async def _caller(self, request: web.Request) -> Caller | None:
        """The sender of a request; ``None``: its first message has to bring the key."""
        access = self._access
        if access.required and not access.has_credentials(request):
            if len(self._unauthenticated) >= self._hub.limits.max_unauthenticated:
                raise ProblemError("overloaded", "too many WebSocket clients have not sent their key yet")
            return None
        return access.known(request, Scope.READ) or await access.verify(request, Scope.READ)

    async def _authenticated(self, websocket: web.WebSocketResponse, client: Client) -> Caller | None:
        """The sender of the first message; ``None``: it has no valid key and is being disconnected."""
        self._unauthenticated.add(client)
        try:
            async with asyncio.timeout(self._hub.limits.authenticate_seconds):
                message = await websocket.receive()
                if message.type not in _DATA:
                    return None
                request = _decode(client.codec, message)
                if isinstance(request, Authenticate):
                    caller = await self._access.verify_key(request.key)
                    caller.check(Scope.READ)
                    return caller
            text = (
                request.text
                if isinstance(request, Error)
                else "a key is required: send authenticate as the first message"
            )
        except TimeoutError:
            text = "no key arrived in time"
        except ProblemError as problem:
            text = problem.detail
        finally:
            self._unauthenticated.discard(client)
        if client.closing is not None:
            return None  # the server is stopping
        client.send(Error(code=ErrorCode.UNAUTHORIZED, text=text))
        client.close(CloseCode.UNAUTHORIZED)
        return None

    def _connected(self, client: Client, protocol: str) -> Connected:
        limits = self._hub.limits
        return Connected(
            recorder=self._hub.recorder,
            client_id=client.client_id,
            protocol=protocol,
            version=self._version,
            time_ns=self._clock.time_ns(),
            epoch=self._hub.epoch,
            heartbeat_seconds=limits.heartbeat_seconds,
            dead_after_seconds=limits.dead_after_seconds,
        )

    async def _listen(
        self, websocket: web.WebSocketResponse, client: Client, refusal: Callable[[], str]
    ) -> None:
        while True:
            message = await websocket.receive()
            self._hub.touch(client)
            if message.type in _DATA:
                # A client that does not read its replies has to wait with further requests.
                await client.writable()
                await self._receive(client, message, refusal())
                if client.received % _MESSAGES_PER_ITERATION == 0:
                    await asyncio.sleep(0)
            elif message.type is WSMsgType.PING:
                client.ping(frame(PONG, message.data))
            elif message.type is WSMsgType.PONG:
                self._hub.answered(client)
            else:
                return

    async def _receive(self, client: Client, message: WSMessage, refusal: str) -> None:
        if client.closing is not None:
            return  # it has not read the close frame yet
        client.received += 1
        error = (
            Error(code=ErrorCode.RATE_LIMITED, text=refusal)
            if refusal
            else await self._process(client, message)
        )
        if error is None:
            return
        client.refused += 1
        self._metrics.refused.inc()
        client.send(error)
        if client.refused >= self._hub.limits.max_bad_messages:
            self._hub.disconnect(client, CloseCode.ABUSE)

    async def _process(self, client: Client, message: WSMessage) -> Error | None:
        request = _decode(client.codec, message)
        return request if isinstance(request, Error) else await self._execute(client, request)

    async def _execute(self, client: Client, request: AnyClientMessage) -> Error | None:
        match request:
            case Subscribe():
                return await self._subscribe(client, request)
            case Resume():
                return await self._resume(client, request)
            case Unsubscribe(topics=texts):
                self._hub.unsubscribe(client, texts)
            case Authenticate():
                pass  # no key is required, or it was the first message
            case Ping(id=identifier):
                client.send(Pong(time_ns=self._clock.time_ns(), id=identifier))
        return None

    def _patterns(self, client: Client, texts: tuple[str, ...]) -> list[Pattern] | Error:
        try:
            patterns = [pattern_of(text) for text in dict.fromkeys(texts)]
            for pattern in patterns:
                self._topics.check(pattern)
        except TopicError as error:
            return Error(code=ErrorCode.BAD_TOPIC, text=str(error), field="topics")
        if not client.sees_audit and any(pattern.text == AUDIT for pattern in patterns):
            return Error(
                code=ErrorCode.INSUFFICIENT_SCOPE,
                text=f"the topic {AUDIT!r} requires a key with the scope admin",
                field="topics",
            )
        limit = self._hub.limits.max_subscriptions
        if len(client.patterns.keys() | {pattern.text for pattern in patterns}) > limit:
            return Error(
                code=ErrorCode.TOO_MANY_SUBSCRIPTIONS,
                text=f"a client may have at most {limit} patterns; one with * or ** matches many topics",
                field="topics",
            )
        return patterns

    async def _resume(self, client: Client, request: Resume) -> Error | None:
        patterns = self._patterns(client, request.topics)
        if isinstance(patterns, Error):
            return patterns
        hub = self._hub
        if client.patterns.keys() & {pattern.text for pattern in patterns}:
            return Error(
                code=ErrorCode.CANNOT_RESUME,
                text="unsubscribe first: their events are being sent",
                field="topics",
            )
        try:
            await hub.prepare(patterns)
            hub.replay.check(request.epoch, request.sequence, hub.sequence)
            await hub.replay.run(client, patterns, request.sequence, lambda: hub.sequence)
        except TopicError as error:
            return Error(code=ErrorCode.BAD_TOPIC, text=str(error), field="topics")
        except ReplayError as error:
            return Error(code=error.code, text=str(error))
        _set_lane(client, request)
        hub.subscribe(client, patterns)
        return None

    async def _subscribe(self, client: Client, request: Subscribe) -> Error | None:
        patterns = self._patterns(client, request.topics)
        if isinstance(patterns, Error):
            return patterns
        try:
            await self._hub.prepare(patterns)
        except TopicError as error:
            return Error(code=ErrorCode.BAD_TOPIC, text=str(error), field="topics")
        except ReplayError as error:
            return Error(code=error.code, text=str(error))
        _set_lane(client, request)
        self._hub.subscribe(client, patterns)
        return None


def _set_lane(client: Client, request: Subscribe | Resume) -> None:
    if not isinstance(request.batch, UnsetType):
        client.batch_states(is_batched=request.batch)
    if not isinstance(request.max_hz, UnsetType):
        client.limit_rate(request.max_hz)


def _decode(codec: Codec, message: WSMessage) -> AnyClientMessage | Error:
    wrong_type, text = _WRONG_TYPE[codec]
    if message.type is wrong_type:
        return Error(code=ErrorCode.MALFORMED, text=text)
    try:
        return _DECODERS[codec].decode(message.data)
    except msgspec.ValidationError as error:
        problem = field_problem(error, AnyClientMessage)
        where = f"{problem.field}: " if problem.field else "a message "
        return Error(code=ErrorCode.INVALID, text=f"{where}{problem.reason}", field=problem.field or UNSET)
    except DECODE_ERRORS as error:
        text = f"not valid {codec.media_type}: {malformed_in_words(error)}"
        return Error(code=ErrorCode.MALFORMED, text=text)


def _negotiate_protocol(request: web.Request) -> str:
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        raise ProblemError(
            "upgrade-required", "this endpoint speaks WebSocket only", headers={"Upgrade": "websocket"}
        )
    if request.version < HttpVersion11 or request.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        raise ProblemError(
            "upgrade-required",
            "this endpoint speaks version 13 of WebSocket over HTTP/1.1",
            headers={"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        )
    if not _is_key(request.headers.getall("Sec-WebSocket-Key", ())):
        raise ProblemError(
            "bad-request", "the header Sec-WebSocket-Key must be there once: 16 bytes in base64"
        )
    offered = [
        name.strip()
        for value in request.headers.getall("Sec-WebSocket-Protocol", ())
        for name in value.split(",")
        if name.strip()
    ]
    supported = [name for name in offered if name in PROTOCOLS]
    if offered and not supported:
        raise ProblemError("unsupported-subprotocol", f"supported subprotocols: {', '.join(PROTOCOLS)}")
    return supported[0] if supported else next(iter(PROTOCOLS))


def _is_key(values: Sequence[str]) -> bool:
    if len(values) != 1:
        return False
    try:
        return len(base64.b64decode(values[0].strip(), validate=True)) == _KEY_BYTES
    except ValueError:
        return False


def _limit_unsent(transport: asyncio.BaseTransport) -> None:
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    sock = transport.get_extra_info("socket")
    if option is not None and sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, _MAX_UNSENT_BYTES)

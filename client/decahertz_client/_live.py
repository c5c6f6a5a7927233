"""Live data over the WebSocket: the protocol, and iterators that open a lost connection again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Union

import msgpack  # type: ignore[import-untyped]  # it ships no types

from decahertz_client._errors import NoAnswerError, ProblemError, ReaderError
from decahertz_client._rest import Session

_PROTOCOL = "decahertz.v1.msgpack"
_MAX_MESSAGE_BYTES = 64 << 20
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 5.0
_REFUSED = 1008
"""Close code of a client whose messages were refused."""
_RETRIED = (429, 502, 503, 504)


class State(NamedTuple):
    """The state of a topic, such as ``metrics:market:coinbase:BTC-USD``, at a cycle."""

    topic: str
    time_ns: int
    data: dict[str, Any]
    conflated: int
    """States of this topic that were skipped because this reader was slow, or by ``max_hz``."""


class Event(NamedTuple):
    """An event of a topic, such as ``fills``, as it was emitted."""

    topic: str
    time_ns: int
    data: dict[str, Any]
    sequence: int


class Gap(NamedTuple):
    """The connection was lost and is there again: events in between are missing."""

    after_ns: int | None
    """Time of the last event before; ``None``: there was none. Read the rest from lists or exports."""
    reason: str


LiveMessage = Union[State, Event, Gap]


class _Protocol:
    """One subscription across connections: says what to send, and turns messages into what is yielded."""

    def __init__(self, session: Session, topics: Sequence[str], max_hz: float | None) -> None:
        if not topics:
            raise ValueError("live needs a topic: 'fills', 'metrics:market:**', …")
        endpoint = session.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        port = "" if endpoint.port is None else f":{endpoint.port}"
        self.url = f"{'wss' if endpoint.is_secure else 'ws'}://{host}{port}{endpoint.path}/ws"
        self.options: dict[str, Any] = {
            "subprotocols": [_PROTOCOL],
            "additional_headers": session.headers,
            "compression": None,
            "max_size": _MAX_MESSAGE_BYTES,
            "proxy": None,
        }
        self._subscription: dict[str, object] = {"type": "subscribe", "topics": list(topics)}
        if max_hz is not None:
            self._subscription["max_hz"] = max_hz
        self._failures = 0
        self._was_connected = False
        self._after_ns: int | None = None
        self._lost = ""

    def opening(self) -> bytes:
        """The first message of a connection."""
        opening: bytes = msgpack.packb(self._subscription)
        return opening

    def received(self, data: Any) -> list[LiveMessage]:  # noqa: ANN401 - bytes
        """Returns what a message of the server says. Raises :class:`ReaderError` if it refuses the topics."""
        message = msgpack.unpackb(data)
        kind = message["type"]
        if kind == "update":
            return [State(message["topic"], message["time_ns"], message["data"], message["conflated"])]
        if kind == "event":
            self._after_ns = message["time_ns"]
            return [Event(message["topic"], message["time_ns"], message["data"], message["sequence"])]
        if kind == "snapshot":
            gap: list[LiveMessage] = [Gap(self._after_ns, self._lost)] if self._lost else []
            self._failures, self._lost, self._was_connected = 0, "", True
            return gap + [State(item["topic"], item["time_ns"], item["data"], 0) for item in message["items"]]
        if kind == "error":
            raise ReaderError(f"the server refuses the topics: {message['code']}: {message['text']}")
        return []

    def lost(self, error: Exception) -> float:
        """Returns the seconds until the next attempt. Raises :class:`ReaderError` for a final error."""
        response = getattr(error, "response", None)  # of a refused handshake
        if response is not None and response.status_code not in _RETRIED:
            raise _problem(response) from error
        close = getattr(error, "rcvd", None)
        if close is not None and close.code == _REFUSED:
            raise ReaderError(f"the server closed the connection: {close.reason}") from error
        text = str(error) or type(error).__name__
        if not self._was_connected and response is None:
            raise NoAnswerError(f"no connection to {self.url}: {text}") from error
        self._lost = text
        delay: float = min(_FIRST_DELAY_SECONDS * 2**self._failures, _LONGEST_DELAY_SECONDS)
        self._failures += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads readers that were cut off together


def _problem(response: Any) -> ProblemError:  # noqa: ANN401 - a response of websockets
    try:
        document = json.loads(response.body)
    except ValueError:
        document = {}
    return ProblemError(response.status_code, document, response.reason_phrase, 0.0)


class Live:
    """Iterates over live data, in a thread of its caller; connects again when the connection is lost."""

    def __init__(self, session: Session, topics: Sequence[str], max_hz: float | None) -> None:
        _websockets()
        self._protocol = _Protocol(session, topics, max_hz)
        self._connection: Any = None
        self._open = contextlib.ExitStack()
        self._waiting: deque[LiveMessage] = deque()
        self._is_closed = False

    def __enter__(self) -> Live:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[LiveMessage]:
        return self

    def __next__(self) -> LiveMessage:
        while not self._waiting:
            if self._is_closed:
                raise StopIteration
            self._receive()
        return self._waiting.popleft()

    def close(self) -> None:
        """Closes the connection and ends the iteration; safe from another thread, and twice."""
        self._is_closed = True
        self._open.close()

    def _receive(self) -> None:
        from websockets.exceptions import WebSocketException  # noqa: PLC0415 - optional
        from websockets.sync.client import connect  # noqa: PLC0415 - optional

        try:
            if self._connection is None:
                socket = connect(self._protocol.url, **self._protocol.options)
                self._connection = self._open.enter_context(socket)
                self._connection.send(self._protocol.opening())
            self._waiting.extend(self._protocol.received(self._connection.recv()))
        except (OSError, WebSocketException) as error:
            self._connection = None
            self._open.close()
            if not self._is_closed:
                time.sleep(self._protocol.lost(error))


async def live_messages(
    session: Session, topics: Sequence[str], max_hz: float | None
) -> AsyncIterator[LiveMessage]:
    """Yields the same in asyncio."""
    _websockets()
    from websockets.asyncio.client import connect  # noqa: PLC0415 - optional
    from websockets.exceptions import WebSocketException  # noqa: PLC0415 - optional

    protocol = _Protocol(session, topics, max_hz)
    while True:
        try:
            async with connect(protocol.url, **protocol.options) as connection:
                await connection.send(protocol.opening())
                while True:
                    for message in protocol.received(await connection.recv()):
                        yield message
        except (OSError, WebSocketException) as error:  # noqa: PERF203 - a connection
            await asyncio.sleep(protocol.lost(error))


def _websockets() -> None:
    try:
        import websockets  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise ImportError("live data needs websockets: pip install 'decahertz-client[live]'") from error

"""Live data over the WebSocket: the protocol, and iterators that open a lost connection again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Union

import msgpack  # type: ignore[import-untyped]  # it ships no types

from decahertz_client._backoff import delay_seconds
from decahertz_client._errors import NoAnswerError, ProblemError, ReaderError
from decahertz_client._rest import Session
from decahertz_client._tls import tls_failure

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
    """The connection was lost, and the recorder cannot resume it: events in between are missing."""

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
        self.url = f"{'ws' if endpoint.tls is None else 'wss'}://{host}{port}{endpoint.path}/ws"
        self.options: dict[str, Any] = {
            "subprotocols": [_PROTOCOL],
            "additional_headers": session.headers,
            "compression": None,
            "max_size": _MAX_MESSAGE_BYTES,
            "proxy": None,
        }
        if endpoint.tls is not None:
            self.options["ssl"] = endpoint.tls
        self._topics = list(topics)
        self._rate = {} if max_hz is None else {"max_hz": max_hz}
        self._failures = 0
        self._epoch = 0
        self._position: dict[str, int] | None = None
        self._is_resuming = False
        self._after_ns: int | None = None
        self._gap = ""

    def opening(self) -> list[bytes]:
        """Returns the first messages of a connection."""
        self._is_resuming = self._position is not None
        if self._position is None:
            return [self._subscribe()]
        return [msgpack.packb({"type": "resume", "topics": self._topics, **self._position})]

    def _subscribe(self) -> bytes:
        message: bytes = msgpack.packb({"type": "subscribe", "topics": self._topics, **self._rate})
        return message

    def received(self, data: Any) -> tuple[list[LiveMessage], list[bytes]]:  # noqa: ANN401 - bytes
        """Returns what a message of the server says, and the replies to it.

        Raises :class:`ReaderError` if the server refuses the topics, ``OSError`` if it has to be asked later.
        """
        message = msgpack.unpackb(data)
        kind = message["type"]
        if kind == "update":
            return [State(message["topic"], message["time_ns"], message["data"], message["conflated"])], []
        if kind == "event":
            self._after_ns = message["time_ns"]
            self._position = {"epoch": self._epoch, "sequence": message["sequence"]}
            return [Event(message["topic"], message["time_ns"], message["data"], message["sequence"])], []
        if kind == "snapshot":
            return self._snapshot(message)
        if kind == "error":
            return [], self._refused(message["code"], message["text"])
        if kind == "connected":
            self._epoch = message["epoch"]
        return [], []

    def _snapshot(self, message: dict[str, Any]) -> tuple[list[LiveMessage], list[bytes]]:
        gap: list[LiveMessage] = [Gap(self._after_ns, self._gap)] if self._gap else []
        # A resumed subscription has no rate yet; the same patterns once more only set it.
        replies = [self._subscribe()] if self._is_resuming and message["complete"] and self._rate else []
        self._failures, self._gap = 0, ""
        self._is_resuming = self._is_resuming and not message["complete"]
        self._position = {"epoch": self._epoch, "sequence": message["sequence"]}
        return gap + [
            State(item["topic"], item["time_ns"], item["data"], 0) for item in message["items"]
        ], replies

    def _refused(self, code: str, text: str) -> list[bytes]:
        if not self._is_resuming:
            raise ReaderError(f"the server refuses the topics: {code}: {text}")
        if code == "unavailable":
            raise ConnectionError(text)
        self._gap, self._position, self._is_resuming = f"{code}: {text}", None, False
        return [self._subscribe()]

    def lost(self, error: Exception) -> float:
        """Returns the seconds until the next attempt. Raises :class:`ReaderError` for a final error."""
        response = getattr(error, "response", None)  # of a refused handshake
        if response is not None and response.status_code not in _RETRIED:
            raise _problem(response) from error
        close = getattr(error, "rcvd", None)
        if close is not None and close.code == _REFUSED:
            raise ReaderError(f"the server closed the connection: {close.reason}") from error
        text = tls_failure(error) or str(error) or type(error).__name__
        if self._position is None and not self._gap and response is None:
            raise NoAnswerError(f"no connection to {self.url}: {text}") from error
        self._failures += 1
        return delay_seconds(self._failures - 1, _FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)


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
                self._send(self._protocol.opening())
            messages, replies = self._protocol.received(self._connection.recv())
            self._waiting.extend(messages)
            self._send(replies)
        except (OSError, WebSocketException) as error:
            self._connection = None
            self._open.close()
            if not self._is_closed:
                time.sleep(self._protocol.lost(error))

    def _send(self, messages: list[bytes]) -> None:
        for message in messages:
            self._connection.send(message)


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
                replies = protocol.opening()
                while True:
                    for reply in replies:
                        await connection.send(reply)
                    messages, replies = protocol.received(await connection.recv())
                    for message in messages:
                        yield message
        except (OSError, WebSocketException) as error:  # noqa: PERF203 - a connection
            await asyncio.sleep(protocol.lost(error))


def _websockets() -> None:
    try:
        import websockets  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise ImportError("live data needs websockets: pip install 'decahertz-client[live]'") from error

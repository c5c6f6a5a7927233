"""Serves a request that repeats an earlier one of its connection without parsing and routing it again.

Clients that poll send the same bytes on the same connection each time. Half of the cost of a small response
is aiohttp's: parse the head, make a request, find the route, prepare the response. A connection therefore
remembers the heads of its last requests, byte for byte, with what aiohttp made of each, and its handler. If
the same bytes arrive, that handler serves the same request again, with all checks; everything else goes to
aiohttp. ::

      bytes ── a remembered head, and no request in progress? ── no ──> aiohttp, which may remember it
                              │ yes
                              v
          the handler responds ──> head and body in one write ──> bytes that arrived meanwhile, as above

Only ``GET`` without a body is remembered. The bytes may be a head only where a message begins: everything
that the connection received so far was heads of ``GET``, each whole and without a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_writer import _serialize_headers
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from api.http.connections import ConnectionLimit
from api.http.masked_frames import MaskedFrames
from api.http.problems import ProblemError
from api.http.raw_problem import raw_problem
from decahertz.http_server import HEAD_SECONDS, TimedConnection, TimedRunner, TimedServer

if TYPE_CHECKING:
    from aiohttp._websocket.reader import WebSocketReader

Respond: TypeAlias = Callable[[], Awaitable[web.StreamResponse]]
"""Handles the remembered request once more."""

_MAX_HEADS: Final = 8
"""Requests that a connection remembers: a page polls a handful."""
_MAX_HEAD_BYTES: Final = 4096
_MAX_WAITING_BYTES: Final = 64 * 1024
"""Bytes that may arrive while a request is in progress; then the connection is not read."""
_FRAMING: Final = (b"content-length", b"transfer-encoding", b"upgrade", b"expect")
"""Parts of a head that change where the next message begins."""
_HARMLESS: Final = b"upgrade-insecure-requests"
"""A header of browsers, which has one of these words in its name."""
_END: Final = b"\r\n\r\n"
REPEATABLE: Final[web.RequestKey[bool]] = web.RequestKey("repeatable", bool)
"""Key under which a request says that its handler returns a plain response each time."""
WAITS: Final[web.RequestKey[bool]] = web.RequestKey("waits", bool)
"""Key under which a request says that its handler ends when the client disconnects."""


class RepeatRunner(TimedRunner):
    """Runs an application whose connections are :class:`Connection`."""

    connections: ConnectionLimit | None = None
    """Counts the connections; ``None``: nothing does."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(made.request_handler, request_factory=made.request_factory, **made._kwargs)  # noqa: SLF001 - no public way
        server.limit = self.connections
        return server


class _Server(TimedServer):
    limit: ConnectionLimit | None = None

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self.limit is not None:
            self.limit.opened(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if self.limit is not None:
            self.limit.closed(handler)

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(TimedConnection):
    """A connection of a client, which remembers its last requests."""

    __slots__ = ("_head", "_is_aligned", "_known", "_repeat", "_waiting")

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # those of the base class
        self._is_aligned = True
        """Whether the next byte begins a message."""
        self._head = b""
        """The head that aiohttp handles now; empty: one that cannot be remembered."""
        self._known: dict[bytes, Respond] = {}
        """The remembered heads, the oldest first."""
        self._repeat: asyncio.Task[None] | None = None
        """A remembered request, in progress."""
        self._waiting = b""
        """Bytes that arrived meanwhile."""

    def data_received(self, data: bytes) -> None:
        """Handles a remembered request once more, or gives the bytes to aiohttp."""
        if self._repeat is not None:
            self._wait(data)
        elif (respond := self._known.get(data)) is not None and self._is_idle():
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self._repeat = self._loop.create_task(self._repeat_request(respond))
        else:
            if data and self._is_aligned:
                self._is_aligned = _is_whole_get(data)
                is_first = self._is_aligned and len(data) <= _MAX_HEAD_BYTES and self._is_idle()
                self._head = data if is_first else b""
            super().data_received(data)

    def remember(self, request: web.Request, respond: Respond) -> None:
        """Remembers a request that aiohttp handles now; ``respond`` handles it once more.

        ``respond`` returns a :class:`~aiohttp.web.Response` that is not prepared, with a body of bytes.
        """
        head, self._head = self._head, b""
        if not head or self._messages or request.can_read_body:
            return  # the bytes are more than this request
        if request.version == HttpVersion11 and request.keep_alive:
            if len(self._known) >= _MAX_HEADS:
                del self._known[next(iter(self._known))]
            self._known[head] = respond

    def set_parser(self, parser: WebSocketReader, data_received_cb: Callable[[], None] | None = None) -> None:
        """Begins to read WebSocket frames."""
        super().set_parser(MaskedFrames(parser), data_received_cb)  # type: ignore[arg-type] # does the same

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Responds to bytes that are not a request, without repeating them: a key may be among them."""
        super().handle_error(request, status, exc, message)  # logs and counts it
        if status == web.HTTPBadRequest.status_code:
            detail = "the request is not valid HTTP/1.1"
            if isinstance(exc, LineTooLong):
                detail = "a line of the head of the request is too long"
            problem = ProblemError("bad-request", detail)
        else:
            problem = ProblemError("internal-error", "an unexpected error; see the server's log")
        response = problem.response("")
        response.headers["Server"] = "decahertz"
        response.force_close()
        return response

    def late_head_response(self) -> bytes:
        """A problem document."""
        detail = f"the head of the request did not arrive within {HEAD_SECONDS:g} s"
        return raw_problem("request-timeout", "Request Timeout", detail)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - of the base class
        """Ends the connection after the request in progress, at the latest after ``timeout`` seconds."""
        if self._repeat is not None:
            _, late = await asyncio.wait([self._repeat], timeout=timeout)
            for task in late:
                task.cancel()
        await super().shutdown(timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forgets the requests, and stops to read for a client that is gone.

        A request that changes something goes on to its end: its client may ask later what became of it.
        """
        request, task = self._current_request, self._task_handler
        super().connection_lost(exc)
        self._known, self._waiting = {}, b""
        if self._repeat is not None:
            self._repeat.cancel()
        elif task is not None and request is not None and (_only_reads(request) or WAITS in request):
            task.cancel()

    def _is_idle(self) -> bool:
        """Whether aiohttp waits for the next request."""
        waiter = self._waiter
        return (
            not (self._close or self._force_close or self._messages)
            # Without a waiter the task of the connection has not begun yet, or it handles a request.
            and (waiter is None or not waiter.done())
            and (waiter is not None or self._request_count == 0)
        )

    def _wait(self, data: bytes) -> None:
        was_full = len(self._waiting) >= _MAX_WAITING_BYTES
        self._waiting += data
        if len(self._waiting) >= _MAX_WAITING_BYTES and not was_full and self.transport is not None:
            self.transport.pause_reading()

    async def _repeat_request(self, respond: Respond) -> None:
        try:
            self._write(await respond())
            await self._drain_helper()
        except ConnectionError:
            self.force_close()
        except Exception as error:  # noqa: BLE001 - as aiohttp does
            self.log_exception("Unhandled exception", exc_info=error)
            self.force_close()
        finally:
            self._repeat = None
            self._go_on()

    def _go_on(self) -> None:
        """Handles what arrived while the request was in progress."""
        data, self._waiting = self._waiting, b""
        if self.transport is None or not data:
            return
        if len(data) >= _MAX_WAITING_BYTES:
            self.transport.resume_reading()
        self.data_received(data)

    def _write(self, response: web.StreamResponse) -> None:
        if self.transport is None:
            raise ConnectionResetError("the client has disconnected")
        self.transport.write(rendered(response))


def remember(request: web.Request, respond: Respond) -> None:
    """Lets the connection of a request remember it, if its handler has marked it as :data:`REPEATABLE`."""
    if REPEATABLE in request and isinstance(request.protocol, Connection):
        request.protocol.remember(request, respond)


def ends_with_client(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Wraps a handler that ends when its client disconnects, whatever its method."""

    async def marked(request: web.Request) -> web.StreamResponse:
        request[WAITS] = True
        return await handler(request)

    return marked


def rendered(response: web.StreamResponse) -> bytes:
    """A response that is not prepared, as it is sent: head and body. Line breaks in headers are an error."""
    if type(response) is not web.Response or response.prepared or response._cookies:  # noqa: SLF001 - making them costs
        raise TypeError(f"{response!r} cannot be sent again")
    body = response.body or b""
    if not isinstance(body, bytes):
        raise TypeError("the body is not bytes")
    headers = response.headers
    headers["Date"] = rfc822_formatted_time()
    if response.status != web.HTTPNotModified.status_code:
        headers["Content-Length"] = str(len(body))
    return _serialize_headers(f"HTTP/1.1 {response.status} {response.reason}", headers) + body


def _only_reads(request: BaseRequest) -> bool:
    # A WebSocket closes itself in order.
    return request.method in {"GET", "HEAD"} and "Upgrade" not in request.headers


def _is_whole_get(data: bytes) -> bool:
    """Whether the data ends with the end of a message, as far as its first line and headers tell."""
    if not (data.startswith(b"GET ") and data.endswith(_END)):
        return False
    lower = data.lower().replace(_HARMLESS, b"")
    return not any(word in lower for word in _FRAMING)

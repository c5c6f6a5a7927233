"""The HTTP server of the program's listeners: aiohttp's, with a time limit for the head of a request.

A client that sends a part of a head, or nothing, would otherwise keep its connection as long as one that is
idle between requests may be kept.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from decahertz.listener import Listener

HEAD_SECONDS: Final = 10.0
"""From the first byte of a head to its last one, and from the opening of a connection to its first head."""
IDLE_SECONDS: Final = 75.0
"""How long a connection may be idle between requests; aiohttp's default is an hour."""


class TimedRunner(web.AppRunner):
    """Runs an application whose connections are :class:`TimedConnection`."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return TimedServer(made.request_handler, request_factory=made.request_factory, **made._kwargs)  # noqa: SLF001 - no public way


class Site(web.BaseSite):
    """Serves the clients of listening sockets, which it closes when it stops."""

    __slots__ = ("_sockets",)

    def __init__(
        self, runner: web.AppRunner, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._sockets = sockets

    @property
    def name(self) -> str:
        """The addresses."""
        return ", ".join(str(sock.getsockname()) for sock in self._sockets)

    async def start(self) -> None:
        """Begins to accept connections."""
        await super().start()
        server = self._runner.server
        assert server is not None  # noqa: S101 - the runner is set up, or there is no site
        listener = Listener(self._sockets, server, self._ssl_context)
        listener.start()
        self._server = listener  # type: ignore[assignment] # has all of a server that aiohttp uses


class TimedServer(web.Server):
    """Makes the connections."""

    def __call__(self) -> RequestHandler:
        """Makes a connection."""
        return TimedConnection(self, loop=self._loop, **self._kwargs)


class TimedConnection(RequestHandler):
    """A connection that is closed when a head takes too long."""

    __slots__ = ("_has_begun", "_head_timer")

    _head_timer: asyncio.TimerHandle | None
    _has_begun: bool
    """Whether a part of a head has arrived."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to wait for the first head."""
        super().connection_made(transport)
        self._has_begun = False
        self._head_timer = self._loop.call_later(HEAD_SECONDS, self._close_late)

    def data_received(self, data: bytes) -> None:
        """Gives the bytes to aiohttp, and times a head that they begin and do not end."""
        count = self._request_count
        try:
            super().data_received(data)
        except BaseException:
            # Out of memory, say. The bytes are lost, and the client would wait for a response to them.
            self.force_close()
            raise
        timer = self._head_timer
        if self._request_count != count:
            if timer is not None:
                timer.cancel()
                self._head_timer = None
                self._has_begun = False
        elif data and self._waits_for_head():
            self._has_begun = True
            if timer is None:
                self._head_timer = self._loop.call_later(HEAD_SECONDS, self._close_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Ends the timer."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    def late_head_response(self) -> bytes:
        """Returns the response to a head that took too long; nothing by default."""
        return b""

    def _waits_for_head(self) -> bool:
        waiter = self._waiter
        return not (self._close or self._force_close or self._messages) and (
            self._request_count == 0 or (waiter is not None and not waiter.done())
        )

    def _close_late(self) -> None:
        self._head_timer = None
        if not self._waits_for_head():
            return
        # A browser opens connections in advance; a response to no request would confuse it.
        if self._has_begun and self.transport is not None and (response := self.late_head_response()):
            self.transport.write(response)
        self.force_close()

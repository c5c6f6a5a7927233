"""A local WebSocket server that plays the exchange: what it says on each connection is given as a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, TypeAlias

from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer

Request: TypeAlias = dict[str, Any]


class Act(Enum):
    """Actions of the exchange other than sending messages."""

    CONFIRM = "say that everything asked for is subscribed"
    PING = "send a ping frame"
    HOLD = "say nothing more until the client leaves"
    CUT = "cut the connection without a word"


Script: TypeAlias = Sequence[str | bytes | Act]


def coinbase_confirmation(asked: Request) -> list[str]:
    """Coinbase's answer that names everything that was asked for."""
    channels = [{"name": name, "product_ids": asked["product_ids"]} for name in asked["channels"]]
    return [json.dumps({"type": "subscriptions", "channels": channels})]


class Exchange:
    """Plays one script per connection, then closes; connections without a script are refused.

    ``requests_expected`` messages of the client come before the script.
    """

    def __init__(
        self,
        *scripts: Script,
        confirmation: Callable[[Request], list[str]] = coinbase_confirmation,
        requests_expected: int = 1,
    ) -> None:
        self.scripts = list(scripts)
        self.requests: list[Request] = []
        self.held = 0
        self.left = 0
        """Connections that the client closed while they were held."""
        self.refused = 0
        self._confirmation = confirmation
        self._requests_expected = requests_expected

    @asynccontextmanager
    async def serving(self, port: int | None = None) -> AsyncIterator[str]:
        """The URL at which it listens."""
        app = web.Application()
        app.router.add_get("/", self._handle)
        server = TestServer(app, port=port)
        await server.start_server(shutdown_timeout=1.0)
        try:
            yield f"ws://127.0.0.1:{server.port}/"
        finally:
            await server.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not self.scripts:
            self.refused += 1
            raise web.HTTPServiceUnavailable
        script = self.scripts.pop(0)
        socket = web.WebSocketResponse(max_msg_size=1024)
        await socket.prepare(request)
        asked = [await socket.receive_json() for _ in range(self._requests_expected)]
        self.requests += asked
        for step in script:
            if step is Act.CUT:
                assert request.transport is not None
                request.transport.abort()
                return socket
            if step is Act.HOLD:
                self.held += 1
                await socket.receive()
                self.left += 1
                break
            if step is Act.PING:
                await socket.ping(b"are you there")
            elif step is Act.CONFIRM:
                for message in asked:
                    for answer in self._confirmation(message):
                        await socket.send_str(answer)
            elif isinstance(step, bytes):
                await socket.send_bytes(step)
            else:
                assert isinstance(step, str)
                await socket.send_str(step)
        await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket

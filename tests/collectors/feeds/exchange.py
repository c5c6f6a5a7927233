"""A local WebSocket server that plays the exchange: what it says on each connection is given as a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, TypeAlias

from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer


class Act(Enum):
    """What the exchange does besides sending messages."""

    CONFIRM = "say that everything asked for is subscribed"
    HOLD = "say nothing more until the client leaves"
    CUT = "cut the connection without a word"


Script: TypeAlias = Sequence[str | bytes | Act]


class Exchange:
    """Plays one script per connection, then closes; connections without a script are refused."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[dict[str, Any]] = []
        self.held = 0
        self.left = 0
        """Connections that the client closed while they were held."""
        self.refused = 0

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
        asked = await socket.receive_json()
        self.requests.append(asked)
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
            if isinstance(step, bytes):
                await socket.send_bytes(step)
            else:
                await socket.send_str(confirmation(asked) if isinstance(step, Act) else step)
        await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket


def confirmation(asked: dict[str, Any], **renamed: str) -> str:
    """The answer that names everything that was asked for."""
    channels = [
        {"name": renamed.get(name, name), "product_ids": asked["product_ids"]} for name in asked["channels"]
    ]
    return json.dumps({"type": "subscriptions", "channels": channels})

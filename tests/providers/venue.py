"""A venue on this machine with the ticker of Coinbase: slow, failing, lying or limiting, as a test wants."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from decahertz.clock import Clock, SystemClock, format_time

Response = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Venue:
    """Answers each call with the next of ``answers``; without one, with a ticker."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[str] = []
        """Paths and queries, in the order of the calls."""
        self.answers: deque[Response] = deque()
        self.bodies: dict[str, Any] = {}
        """JSON by path, for those that ask several; ``answers`` come first."""
        self.is_open = asyncio.Event()
        """Cleared, every ticker waits."""
        self.is_open.set()
        self.clock: Clock = SystemClock()
        self.ticker: dict[str, Any] = {}
        """Fields of the ticker that differ from the usual ones."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(request.path_qs)
        if self.answers:
            return await self.answers.popleft()(request)
        await self.is_open.wait()
        if request.path in self.bodies:
            return web.json_response(self.bodies[request.path])
        body = {
            "ask": "50000.15",
            "bid": "50000.10",
            "volume": "1234.00000001",
            "price": "50000.12",
            "size": "0.01",
            "trade_id": 1,
            "time": format_time(self.clock.time_ns()),
        }
        return web.json_response(body | self.ticker)

    def fail(self, *statuses: int, **headers: str) -> None:
        """Answers the next calls with these statuses."""
        for status in statuses:
            self.answers.append(answer(status, headers=headers))


def answer(status: int = 200, body: object = None, headers: dict[str, str] | None = None) -> Response:
    """A response: JSON, or the bytes as they are."""

    async def respond(_: web.Request) -> web.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=data, headers=headers)

    return respond


@asynccontextmanager
async def venue() -> AsyncIterator[Venue]:
    """A running venue."""
    made = Venue()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        made.is_open.set()
        await runner.cleanup()

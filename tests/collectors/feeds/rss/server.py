"""A local web server of a publisher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from xml.sax.saxutils import escape

from aiohttp import web
from aiohttp.test_utils import TestServer

from decahertz.clock import to_datetime

Item = tuple[str, str, int]
"""Id, title, and time of publication in nanoseconds."""


def rss(*items: Item, title: str = "The Wire") -> str:
    entries = "".join(
        f"<item><guid isPermaLink='false'>{escape(one)}</guid><title>{escape(headline)}</title>"
        f"<link>http://wire.example/{escape(one)}</link><pubDate>{format_datetime(to_datetime(at))}</pubDate></item>"
        for one, headline, at in items
    )
    return f"<?xml version='1.0'?><rss version='2.0'><channel><title>{title}</title>{entries}</channel></rss>"


def atom(*items: Item, title: str = "The Ticker") -> str:
    entries = "".join(
        f"<entry><id>{escape(one)}</id><title type='html'>{escape(headline)}</title>"
        f"<link href='http://ticker.example/{escape(one)}'/><updated>{to_datetime(at).isoformat()}</updated></entry>"
        for one, headline, at in items
    )
    return f"<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'><title>{title}</title>{entries}</feed>"


@dataclass
class Page:
    """The answer of the server at one path."""

    body: str | bytes = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    is_silent: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request."""


@dataclass
class Publisher:
    """Serves pages, and answers 304 where the reader has the current one."""

    pages: dict[str, Page] = field(default_factory=dict)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The base URL."""
        app = web.Application()
        app.router.add_get("/{path}", self._handle)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        try:
            yield str(server.make_url("/"))
        finally:
            await server.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        page = self.pages[request.match_info["path"]]
        page.asked.append(dict(request.headers))
        if page.is_silent:
            await asyncio.sleep(3600)
        if page.etag and request.headers.get("If-None-Match") == page.etag:
            return web.Response(status=304)
        headers = page.headers | ({"ETag": page.etag} if page.etag else {})
        body = page.body if isinstance(page.body, bytes) else page.body.encode()
        return web.Response(status=page.status, body=body, headers=headers, content_type="application/xml")

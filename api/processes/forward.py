"""Forwards a request from an API process to the recorder, over a Unix socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from api.http.access import CLIENT_ADDRESS
from api.http.body_memory import BodyMemory
from api.http.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECTIONS: Final = 64
"""Requests in progress at the recorder; others wait here."""
_OF_ONE_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade", "expect"}
)
_OWN: Final = _OF_ONE_HOP | {"date", "server", "server-timing", "x-request-id"}
"""Headers of a response that this process sets itself."""


class Forwarder:
    """The handler of the routes that only the recorder can answer."""

    def __init__(self, path: str, max_body_bytes: int, bodies: BodyMemory) -> None:
        """``path`` is the socket of the recorder's API; ``bodies`` counts those of this process."""
        self._bodies = bodies
        self._path = path
        self._max_body_bytes = max_body_bytes
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Prepares connections, which are opened when needed."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(self._path, limit=_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def stop(self) -> None:
        """Closes the connections. Safe twice and without ``start``."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __call__(self, request: web.Request) -> web.Response:
        """Forwards one request. Raises :class:`~api.http.problems.ProblemError`."""
        session = self._session
        if session is None:
            raise _unavailable()
        with self._bodies.hold() as held:
            body = await held.read(request, self._max_body_bytes) if request.can_read_body else None
            return await self._forwarded(session, request, body)

    async def _forwarded(
        self, session: aiohttp.ClientSession, request: web.Request, body: bytes | None
    ) -> web.Response:
        try:
            async with session.request(
                request.method,
                URL(f"http://{request.host}{request.raw_path}", encoded=True),
                headers=_request_headers(request),
                data=body,
                allow_redirects=False,
            ) as answer:
                return await _passed_on(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable() from error


async def _passed_on(answer: aiohttp.ClientResponse) -> web.Response:
    headers = _without(answer.headers, _OWN)
    if answer.method == "HEAD" and "Content-Length" in answer.headers:
        headers["Content-Length"] = answer.headers["Content-Length"]
    return web.Response(status=answer.status, body=await answer.read(), headers=headers)


def _request_headers(request: web.Request) -> CIMultiDict[str]:
    headers = _without(request.headers, _OF_ONE_HOP)
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id is not None:
        headers["X-Request-ID"] = request_id
    headers[CLIENT_ADDRESS] = request.remote or ""
    return headers


def _without(headers: Mapping[str, str], names: frozenset[str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in names)


def _unavailable() -> ProblemError:
    return ProblemError("overloaded", "the recorder does not answer; try again")

"""A route is declared once.

From a :class:`Route` come the handler that aiohttp calls (parsing, decoding, validation, encoding), the part
of the OpenAPI document, and the tests that validate every answer against it.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, Literal, TypeVar

from aiohttp import web
from msgspec import Struct

from api.http.body import BodyReader
from api.http.errors import ProblemError, too_large
from api.http.negotiation import accepted_codec, accepts_gzip, check_content_encoding, content_codec
from api.http.query import Extra, NoQuery, QueryParser, QueryT
from api.http.stream import Stream, streamed
from api.parts import ApiParts
from decahertz.wire import Codec, encode

BodyT = TypeVar("BodyT")
ResponseT = TypeVar("ResponseT")

_BODY_SECONDS = 30.0
"""A client that takes longer to send its body is told so."""
_COMPRESS_FROM = 4096
_COMPRESS_APART_FROM = 64 * 1024
"""Beyond this compression takes longer than the event loop should: a thread does it."""
_IN_PATH: Final = re.compile(r"\{([a-z_]+)\}")
_GZIP_LEVEL = 4
_GZIP_WINDOW = 31


class Scope(StrEnum):
    """What a key must be allowed to do. Keys come later; until then only this machine can connect."""

    PUBLIC = "public"
    READ = "read"
    INGEST = "ingest"
    TRADE = "trade"
    ADMIN = "admin"


class Call(Struct, Generic[QueryT, BodyT], frozen=True, gc=False):
    """One request as its handler sees it."""

    parts: ApiParts
    query: QueryT
    extra: Extra
    body: BodyT


class Answer(Struct, Generic[ResponseT], frozen=True):
    """An answer with a status other than 200."""

    body: ResponseT
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[QueryT, BodyT, ResponseT]):
    """The declaration. ``handler``'s docstring is the description in the OpenAPI document."""

    method: Literal["GET", "POST"]
    path: str
    summary: str
    handler: Callable[[Call[QueryT, BodyT]], Awaitable[ResponseT | Answer[ResponseT]]]
    response: Any
    """The type of the answer's body; :class:`~api.http.stream.Stream` for what is streamed."""
    streams: tuple[str, ...] = ()
    """The media types of what is streamed."""
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "The answer."})
    """Statuses that carry that body, with a description of each."""
    query: type[QueryT] = NoQuery  # type: ignore[assignment]  # mypy wants defaults to fit every QueryT
    extra_query: str = ""
    """Where parameters beyond the declared ones are taken: what they mean."""
    body: BodyReader[BodyT] | None = None
    scope: Scope = Scope.READ
    cache_seconds: int = 0
    """How long an answer may be reused; 0: not at all."""
    problems: tuple[str, ...] = ()
    """Kinds of problems of its own; those of parsing and decoding follow from the rest."""

    @property
    def name(self) -> str:
        """A unique name: the handler's."""
        return self.handler.__name__

    @property
    def path_names(self) -> tuple[str, ...]:
        """The fields of the query that stand in the path, in braces: ``/bars/{instrument}``."""
        return tuple(_IN_PATH.findall(self.path))

    @property
    def pattern(self) -> str:
        """The path as aiohttp's router takes it. What is in braces may contain slashes, as instruments do."""
        return _IN_PATH.sub(r"{\1:.+}", self.path)


_HEADERS: Final = {
    codec: {"Content-Type": codec.media_type, "Vary": "Accept, Accept-Encoding"} for codec in Codec
}


class Endpoint(Generic[QueryT, BodyT, ResponseT]):
    """A route, ready to serve."""

    def __init__(self, route: Route[QueryT, BodyT, ResponseT], parts: ApiParts, max_body_bytes: int) -> None:
        """Make once what every request needs."""
        self._parts = parts
        self._handler = route.handler
        self._streams = bool(route.streams)
        self._query = QueryParser(route.query, takes_extra=bool(route.extra_query), in_path=route.path_names)
        self._body = route.body
        self._max_body_bytes = max_body_bytes
        caching = f"private, max-age={route.cache_seconds}" if route.cache_seconds else "no-store"
        self._headers = {codec: {**headers, "Cache-Control": caching} for codec, headers in _HEADERS.items()}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Serve one request. Raises what :func:`api.http.errors.problem_of` maps."""
        headers = request.headers
        codec = Codec.JSON if self._streams else accepted_codec(headers.get("Accept"))
        query, extra = self._query.parse(request.rel_url.raw_query_string, request.match_info)
        body = await self._read(request) if self._body is not None else None
        answer = await self._handler(Call(self._parts, query, extra, body))  # type: ignore[arg-type]
        if isinstance(answer, Stream):
            return await streamed(request, answer)
        status = 200
        if isinstance(answer, Answer):
            status, answer = answer.status, answer.body
        data = encode(codec, answer)
        answer_headers = self._headers[codec]
        if len(data) >= _COMPRESS_FROM and accepts_gzip(headers.get("Accept-Encoding")):
            data = await compressed(data)
            answer_headers = {**answer_headers, "Content-Encoding": "gzip"}
        return web.Response(status=status, body=data, headers=answer_headers)

    async def _read(self, request: web.Request) -> BodyT:
        assert self._body is not None  # noqa: S101 - the caller looked
        check_content_encoding(request.headers.getall("Content-Encoding", ()))
        codec = content_codec(request.headers.get("Content-Type"))
        if (request.content_length or 0) > self._max_body_bytes:
            raise too_large(self._max_body_bytes)
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                data = await request.read()
        except TimeoutError as error:
            raise ProblemError("timeout", f"the body did not arrive within {_BODY_SECONDS:g} s") from error
        return await self._body.read(data, codec)


async def compressed(data: bytes) -> bytes:
    """``data`` in gzip format; what is large is compressed in a thread."""
    if len(data) < _COMPRESS_APART_FROM:
        return gzipped(data)
    return await asyncio.get_running_loop().run_in_executor(None, gzipped, data)


def gzipped(data: bytes) -> bytes:
    """``data`` in gzip format (RFC 1952)."""
    return zlib.compress(data, _GZIP_LEVEL, _GZIP_WINDOW)

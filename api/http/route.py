"""Route declarations and their endpoints.

A :class:`Route` declares a route once. From it follow the endpoint (parsing, decoding, validation,
encoding), its part of the OpenAPI document, and the tests that validate every response.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from api.http.access import ANONYMOUS, Access, Caller, Scope, client_address
from api.http.body import BodyReader
from api.http.body_memory import BodyMemory, HeldBody
from api.http.cache import Cached, Caching, Key, ResponseCache, Watch
from api.http.cache_headers import UNCACHED, cache_headers, insists
from api.http.csv_format import CSV_MEDIA_TYPE, list_columns, to_csv
from api.http.negotiation import accepted_codec, check_content_encoding, content_codec
from api.http.presentation import (
    AnyPresentation,
    ListFormat,
    ListPresentation,
    Presentation,
    encoded,
)
from api.http.query import Extra, NoQuery, ParsedQuery, QueryParser, QueryT
from api.http.repeats import REPEATABLE
from api.http.request_times import RequestTimes
from api.http.revalidation import entity_tag, is_known
from api.http.stream import Stream, stream_response
from decahertz.clock import Clock
from decahertz.negotiation import accepts_gzip, gzipped
from decahertz.query_times import QUERY_TIMES
from decahertz.wire import Codec

PartsT = TypeVar("PartsT")
BodyT = TypeVar("BodyT")
ContentT = TypeVar("ContentT")

_MIN_GZIP_BYTES = 4096
_MIN_GZIP_THREAD_BYTES = 64 * 1024
"""Larger responses are compressed in a thread: it would hold up the event loop for too long."""
_PATH_FIELD: Final = re.compile(r"\{([a-z_]+)\}")
GZIP_LEVEL = 4


def _never() -> bool:
    return False


class Request(Struct, Generic[PartsT, QueryT, BodyT], frozen=True, gc=False):
    """A parsed and validated request; ``parts`` are the collaborators of the handlers."""

    parts: PartsT
    query: QueryT
    extra: Extra
    body: BodyT
    caller: Caller = ANONYMOUS
    """Who sends it. A cached response is the same for all callers, so its handler does not learn who asks."""
    address: str = ""
    """Where it comes from."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """For cookies: what else handlers need is in the other fields."""
    is_disconnected: Callable[[], bool] = _never
    """Whether nobody hears the answer any more: for handlers that wait."""


class StatusResponse(Struct, Generic[ContentT], frozen=True):
    """A response with a status other than 200."""

    content: ContentT
    status: int
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[PartsT, QueryT, BodyT, ContentT]):
    """Declaration of a route. The docstring of ``handler`` is its description in the OpenAPI document."""

    method: Literal["GET", "POST", "PUT", "DELETE"] = "GET"
    path: str
    summary: str
    handler: Callable[[Request[PartsT, QueryT, BodyT]], Awaitable[ContentT | StatusResponse[ContentT]]]
    response: Any
    """Type of the response body; :class:`~api.http.stream.Stream` for a streamed one."""
    streams: tuple[str, ...] = ()
    """Media types of a streamed response."""
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "Success."})
    """Statuses with that body, each with a description."""
    query: type[QueryT] = NoQuery  # type: ignore[assignment]  # mypy wants defaults to fit every QueryT
    extra_query: str = ""
    """Meaning of undeclared parameters, on a route that accepts them."""
    body: BodyReader[BodyT] | None = None
    scope: Scope = Scope.READ
    audit: str = ""
    """Action in the audit log, on a route that changes something; its handler stores the entry."""
    anywhere: bool = False
    """Whether a process that has only the database, the newest samples and the schemas can respond. API
    processes forward requests to all other routes to the recorder."""
    cache_seconds: int = 0
    """How long clients may cache a response; 0: not at all."""
    caching: Caching | None = None
    """How the server caches responses; ``None``: not at all. Clients ask again each time."""
    waits: bool = False
    """Whether the answer may wait for news. When its client has gone, an API process ends such a request at
    the recorder; others that change something go on to their end."""
    revalidates: bool = False
    """Whether responses have an ``ETag`` because they often stay the same; cached ones always have."""
    problems: tuple[str, ...] = ()
    """Kinds of problems beyond those of parsing and decoding, which follow from the other fields."""

    @property
    def name(self) -> str:
        """Unique name: that of the handler."""
        return self.handler.__name__

    @property
    def path_names(self) -> tuple[str, ...]:
        """Fields of the query that are parts of the path, in braces: ``/bars/{instrument}``."""
        return tuple(_PATH_FIELD.findall(self.path))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the response in CSV, if it is a list."""
        return () if self.streams else list_columns(self.response)

    @property
    def presentation(self) -> type[AnyPresentation] | None:
        """Parameters beyond the query that choose how the response is written; ``None`` for a stream."""
        if self.streams:
            return None
        return ListPresentation if self.columns else Presentation

    @property
    def has_tag(self) -> bool:
        """Whether responses have an ``ETag``."""
        return self.revalidates or self.caching is not None

    @property
    def pattern(self) -> str:
        """Path for the router of aiohttp. The last field in braces may contain slashes, as instruments do."""
        *others, last = self.path_names or ("",)
        pattern = self.path.replace(f"{{{last}}}", f"{{{last}:.+}}")
        for name in others:
            pattern = pattern.replace(f"{{{name}}}", f"{{{name}:[^/]+}}")
        return pattern


AnyRoute: TypeAlias = Route[Any, Any, Any, Any]

_HEADERS: Final = {
    codec: {"Content-Type": codec.media_type, "Vary": "Accept, Accept-Encoding"} for codec in Codec
}


class Endpoint(Generic[PartsT, QueryT, BodyT, ContentT]):
    """Serves the requests of a route."""

    def __init__(
        self,
        route: Route[PartsT, QueryT, BodyT, ContentT],
        parts: PartsT,
        clock: Clock,
        access: Access,
        max_body_bytes: int,
        bodies: BodyMemory,
        cache: ResponseCache | None = None,
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._access = access
        self._scope = route.scope
        self._handler = route.handler
        self._streams = bool(route.streams)
        self._columns = route.columns
        self._has_tag = route.has_tag
        self._is_repeatable = route.method == "GET" and not route.streams
        self._query = QueryParser(
            route.query,
            clock,
            presentation=route.presentation,
            takes_extra=bool(route.extra_query),
            in_path=route.path_names,
        )
        self._body = route.body
        self._max_body_bytes = max_body_bytes
        self._bodies = bodies
        self._cache = cache
        self._watch: Watch | None = None
        if cache is not None and route.caching is not None:
            self._watch = cache.watch(route.caching)
        control = "private, no-cache" if route.has_tag else "no-store"
        if route.cache_seconds:
            control = f"private, max-age={route.cache_seconds}"
        self._headers = {codec: {**headers, "Cache-Control": control} for codec, headers in _HEADERS.items()}

    async def __call__(self, http_request: web.Request) -> web.StreamResponse:
        """Serves one request. Errors become problem documents in the middleware."""
        access, scope = self._access, self._scope
        caller = access.known(http_request, scope) or await access.verify(http_request, scope)
        if self._is_repeatable:
            http_request[REPEATABLE] = True
        headers = http_request.headers
        parsed = self._query.parse(http_request.rel_url.raw_query_string, http_request.match_info)
        form = parsed.presentation.format
        if form is ListFormat.CSV:
            return await self._csv(http_request, parsed, caller)
        if form is not None:
            codec = Codec(form)
        else:
            codec = Codec.JSON if self._streams else accepted_codec(headers.get("Accept"))
        if self._watch is not None:
            return await self._cached(http_request, parsed, codec, self._watch)
        if self._body is None:
            return await self._respond(http_request, parsed, codec, caller, None)
        with self._bodies.hold() as held:
            body = await self._read(http_request, held)
            return await self._respond(http_request, parsed, codec, caller, body)

    async def _respond(
        self,
        http_request: web.Request,
        parsed: ParsedQuery[QueryT],
        codec: Codec,
        caller: Caller,
        body: BodyT | None,
    ) -> web.StreamResponse:
        headers = http_request.headers
        times = RequestTimes(self._clock)
        address = client_address(http_request)
        gone = partial(_is_disconnected, http_request)
        handled = Request(self._parts, parsed.query, parsed.extra, body, caller, address, headers, gone)
        content = await self._handled(handled, times)  # type: ignore[arg-type]
        if isinstance(content, Stream):
            return await stream_response(http_request, content)
        status, response_headers = 200, dict(self._headers[codec])
        if isinstance(content, StatusResponse):
            status = content.status
            response_headers.update(content.headers)
            content = content.content
        began_ns = times.now_ns()
        data = encoded(content, codec, parsed.presentation)
        if self._has_tag and status == web.HTTPOk.status_code:
            response_headers["ETag"] = tag = entity_tag(data)
            if is_known(headers.get("If-None-Match"), tag):
                return web.Response(status=web.HTTPNotModified.status_code, headers=response_headers)
        data = await _compressed(http_request, data, response_headers)
        times.encoded(began_ns)
        response_headers["Server-Timing"] = times.header()
        return web.Response(status=status, body=data, headers=response_headers)

    async def _handled(
        self, request: Request[PartsT, QueryT, BodyT], times: RequestTimes
    ) -> ContentT | StatusResponse[ContentT]:
        """The content of the response; ``times`` gets the times of its queries."""
        token = QUERY_TIMES.set(times)
        try:
            return await self._handler(request)
        finally:
            QUERY_TIMES.reset(token)

    async def _csv(
        self, http_request: web.Request, parsed: ParsedQuery[QueryT], caller: Caller
    ) -> web.Response:
        """Serves a list as CSV. It is computed for each request: spreadsheets do not poll."""
        times = RequestTimes(self._clock)
        content: Any = await self._handled(
            Request(self._parts, parsed.query, parsed.extra, None, caller),  # type: ignore[arg-type]
            times,
        )
        began_ns = times.now_ns()
        data = await asyncio.to_thread(to_csv, self._columns, content.items)
        response_headers = {**self._headers[Codec.JSON], "Content-Type": CSV_MEDIA_TYPE}
        if self._watch is not None:
            response_headers |= UNCACHED
        next_cursor = getattr(content, "next_cursor", None)
        if next_cursor is not None:
            following = http_request.rel_url.update_query(cursor=next_cursor)
            response_headers["Link"] = f'<{following}>; rel="next"'
        if self._has_tag:  # of the link too: a list that goes on has not stayed the same
            tag = entity_tag(f"{next_cursor}\n".encode() + data)
            response_headers["ETag"] = tag
            if is_known(http_request.headers.get("If-None-Match"), tag):
                return web.Response(status=web.HTTPNotModified.status_code, headers=response_headers)
        data = await _compressed(http_request, data, response_headers)
        times.encoded(began_ns)
        response_headers["Server-Timing"] = times.header()
        return web.Response(body=data, headers=response_headers)

    async def _cached(
        self, http_request: web.Request, parsed: ParsedQuery[QueryT], codec: Codec, watch: Watch
    ) -> web.Response:
        """Serves a request out of the cache, or the computation of another one."""
        assert self._cache is not None  # noqa: S101 - there is a watch
        headers = http_request.headers
        key = (http_request.raw_path, codec)
        bypass = insists(headers.get("Cache-Control"))
        cached = None if bypass else self._cache.lookup(key, watch)
        times = None
        if cached is None:
            times = RequestTimes(self._clock)
            cached = await self._cache.respond(
                key, watch, partial(self._produce, parsed, codec, times), bypass=bypass
            )
        entry = cached.entry
        response_headers = self._headers[codec] | cache_headers(cached)
        if is_known(headers.get("If-None-Match"), entry.tag):
            return web.Response(status=web.HTTPNotModified.status_code, headers=response_headers)
        data = entry.data
        if len(data) >= _MIN_GZIP_BYTES and accepts_gzip(headers.get("Accept-Encoding")):
            data = await self._compressed(key, cached)
            response_headers["Content-Encoding"] = "gzip"
        if times is not None and times.encode_ns:  # this request computed the response
            response_headers["Server-Timing"] = times.header()
        return web.Response(body=data, headers=response_headers)

    async def _produce(self, parsed: ParsedQuery[QueryT], codec: Codec, times: RequestTimes) -> bytes:
        content = await self._handled(
            Request(self._parts, parsed.query, parsed.extra, None),  # type: ignore[arg-type]
            times,
        )
        began_ns = times.now_ns()
        data = encoded(content, codec, parsed.presentation)
        times.encoded(began_ns)
        return data

    async def _compressed(self, key: Key, cached: Cached) -> bytes:
        assert self._cache is not None  # noqa: S101 - as above
        entry = cached.entry
        if entry.compressed is None:
            data = await compress(entry.data)
            if entry.compressed is None:  # by another request meanwhile
                self._cache.compressed(key, entry, data)
        return entry.compressed or b""

    async def _read(self, http_request: web.Request, held: HeldBody) -> BodyT:
        assert self._body is not None  # noqa: S101 - checked by the caller
        check_content_encoding(http_request.headers.getall("Content-Encoding", ()))
        codec = content_codec(http_request.headers.get("Content-Type"))
        return await self._body.read(await held.read(http_request, self._max_body_bytes), codec)


def _is_disconnected(http_request: web.Request) -> bool:
    transport = http_request.transport
    return transport is None or transport.is_closing()


async def _compressed(http_request: web.Request, data: bytes, headers: dict[str, str]) -> bytes:
    """The body as it is sent: compressed if that saves something and the client accepts it."""
    if len(data) < _MIN_GZIP_BYTES or not accepts_gzip(http_request.headers.get("Accept-Encoding")):
        return data
    headers["Content-Encoding"] = "gzip"
    return await compress(data)


async def compress(data: bytes) -> bytes:
    """Compresses ``data`` with gzip, in a thread if it is large."""
    if len(data) < _MIN_GZIP_THREAD_BYTES:
        return gzipped((data,), GZIP_LEVEL)
    return await asyncio.get_running_loop().run_in_executor(None, gzipped, (data,), GZIP_LEVEL)

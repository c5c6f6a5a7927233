"""The API server: aiohttp with the REST routes and the WebSocket endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from aiohttp import web

from api.error_mapping import domain_problem
from api.http.body_memory import BodyMemory
from api.http.cache import ResponseCache
from api.http.cors import Cors
from api.http.guard import Guard
from api.http.middleware import Handler, request_middleware
from api.http.repeats import RepeatRunner, ends_with_client
from api.http.revalidation import entity_tag, is_known
from api.http.route import GZIP_LEVEL, Endpoint
from api.http.self_metrics import HttpMetrics
from api.http.server_log import server_logger
from api.live.endpoint import WebSocketEndpoint
from api.live.hub import Hub
from api.live.limits import HubLimits
from api.live.self_metrics import HubMetrics
from api.live.topics import KnownTopics
from api.pages import docs, page
from api.parts import ApiParts
from api.routes.table import ROUTES, api_document
from api.security.access import KeyAccess
from api.security.audit import audited
from api.security.quotas import Quotas
from api.security.tls import ServerTls
from api.settings import ApiSettings
from decahertz.addresses import UnsafeAddressError, listening_sockets, unix_socket
from decahertz.health import ComponentStatus, Health
from decahertz.http_server import IDLE_SECONDS, Site
from decahertz.negotiation import accepts_gzip, gzipped
from decahertz.settings import SettingsError
from decahertz.shared_cache import SharedCache

__all__ = ["Api", "ApiParts", "Place"]

_SHUTDOWN_SECONDS = 2.0
_OPENAPI_CACHE_SECONDS = 300
LISTEN_BACKLOG: Final = 1024
"""After a restart all clients reconnect at once."""
_MAX_REQUEST_LINE_BYTES = 64 * 1024
"""Above the limit of the query parser, which responds with a problem document where aiohttp would not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an API listens; by default at the address of its settings, for all routes."""

    path: str | None = None
    """A Unix socket, at which API processes ask for their clients: no WebSocket, no page."""
    sockets: Sequence[socket.socket] = ()
    """Sockets that the recorder listens on, in an API process."""
    forward: Handler | None = None
    """The handler of the routes that only the recorder can answer, in an API process."""
    bodies: BodyMemory | None = None
    """Counts the bodies in memory, with those that ``forward`` reads, in an API process."""
    sequence: int | None = None
    """That of the newest event before the first one on the bus; ``None``: the epoch."""
    client_prefix: str = "c"
    """Begins the names of WebSocket clients, which differ between API processes."""

    @property
    def has_clients(self) -> bool:
        """Whether clients connect to it."""
        return self.path is None


class Api:
    """REST and WebSocket. Call ``start`` once; ``stop`` is safe without it, and twice."""

    def __init__(
        self,
        parts: ApiParts,
        settings: ApiSettings,
        limits: HubLimits | None = None,
        shared: SharedCache | None = None,
        place: Place | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        """``shared`` is the second level of the cache; the API closes it. ``tls`` is started already."""
        self._place = place or Place()
        self._tls = tls
        self._metrics = HttpMetrics(parts.registry)
        self._bodies = self._place.bodies or BodyMemory(settings.max_inflight_bytes, parts.registry)
        self._settings = settings
        hub_metrics = HubMetrics(parts.registry)
        self.hub = Hub(
            parts.bus,
            parts.latest,
            parts.alerts,
            parts.clock,
            hub_metrics,
            limits or HubLimits(),
            parts.event_log,
            recorder=parts.recorder,
            sequence=self._place.sequence,
        )
        self._parts = parts
        if self._place.has_clients:
            self._parts = dataclasses.replace(parts, live=self.hub.statistics, requests=self._metrics.figures)
        self._quotas = Quotas(
            parts.clock,
            parts.registry,
            key_per_second=settings.key_requests_per_second,
            # API processes have counted the addresses of their clients already.
            address_per_second=settings.address_requests_per_second if self._place.has_clients else 0.0,
            limit_loopback=settings.limit_loopback,
        )
        self._access = KeyAccess(parts.keys, parts.sessions, self._quotas, required=settings.require_keys)
        self._websocket = WebSocketEndpoint(
            self.hub,
            self._access,
            parts.clock,
            hub_metrics,
            parts.version,
            KnownTopics(parts.schemas),
            self._place.client_prefix,
        )
        parts.keys.on_refresh = lambda: self._websocket.disconnect_invalid(parts.sessions.is_valid)
        parts.sessions.on_end = parts.keys.on_refresh
        self.cache = ResponseCache(parts.clock, parts.registry, settings.cache_bytes, shared)
        """Call its ``changed`` with the tables in which rows were stored."""
        self._logger = server_logger(parts.registry)
        self._log = structlog.get_logger(part="api")
        self._runner: web.AppRunner | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port it listens on; assigned by the system if the setting is 0."""
        if self._port is None:
            raise RuntimeError("the API is not started")
        return self._port

    @property
    def url(self) -> str:
        """Base URL for clients on this machine: ``http://127.0.0.1:8000``, or ``https`` with TLS."""
        return self._settings.url(self.port)

    async def start(self) -> None:
        """Starts to listen.

        Raises :class:`~decahertz.settings.SettingsError`; also for an address that other machines can reach
        while there is no valid key.
        """
        await self._require_keys()
        # On the event loop, the routes would take more than a cycle.
        application = await asyncio.to_thread(self._application)
        runner = RepeatRunner(
            application,
            access_log=None,  # metrics count requests; failures are logged
            logger=self._logger,
            max_line_size=_MAX_REQUEST_LINE_BYTES,
            handle_signals=False,
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            # A few kilobytes could decompress to gigabytes on the event loop; rejected bodies are not read.
            auto_decompress=False,
            lingering_time=0.0,
        )
        if self._place.has_clients and self._settings.address_connections:
            runner.connections = self._quotas.connection_limit(self._settings.address_connections)
        await runner.setup()
        if self._place.has_clients:
            self.hub.start()
        try:
            sockets = await self._listening()
        except (OSError, SettingsError):
            await runner.cleanup()
            raise
        tls = self._tls if self._place.path is None else None
        await Site(runner, sockets, None if tls is None else tls.context).start()
        if self._place.has_clients:
            self._port = runner.addresses[0][1]
        self._runner = runner

    async def _listening(self) -> Sequence[socket.socket]:
        place, settings = self._place, self._settings
        if place.path is not None:
            return [unix_socket(place.path, LISTEN_BACKLOG)]
        if place.sockets:
            return place.sockets
        return await asyncio.to_thread(listening_sockets, "api", settings.host, settings.port, LISTEN_BACKLOG)

    async def _require_keys(self) -> None:
        self._access.required = await asyncio.to_thread(self._settings.requires_keys)
        if self._place.sockets:
            return  # the recorder has checked it before it listened
        keys = self._parts.keys
        if self._access.required and keys.is_read and not keys.has_valid_keys():
            if await asyncio.to_thread(self._settings.is_exposed):
                raise UnsafeAddressError(
                    "api.host",
                    f"Other machines can reach {self._settings.host!r}, and there is no valid API key: make"
                    " one with `decahertz keys create`, or use 127.0.0.1",
                )
            self._log.warning("api_keys_missing", hint="make one with `decahertz keys create`")

    async def stop(self) -> None:
        """Stops listening, closes WebSockets with 1001 and lets requests finish; bounded in time."""
        if self._runner is not None:
            for site in tuple(self._runner.sites):
                await site.stop()
        await self._websocket.stop()
        await self.cache.stop()
        runner, self._runner = self._runner, None
        if runner is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SHUTDOWN_SECONDS * 2):
                    await runner.cleanup()
        self._port = None

    def status(self) -> ComponentStatus:
        """Failed while it does not listen."""
        listening = self._runner is not None
        return ComponentStatus(
            name="api",
            health=Health.OK if listening else Health.FAILED,
            detail="" if listening else "not listening",
        )

    def _application(self) -> web.Application:
        limit = self._settings.max_body_bytes
        guard = Guard((self._settings.host, *self._settings.host_names), Cors(self._settings.cors_origins))
        app = web.Application(
            middlewares=[
                request_middleware(
                    guard, self._quotas.admit, self._parts.clock, self._metrics, domain_problem
                )
            ],
            client_max_size=limit,
        )
        for route in sorted(ROUTES, key=lambda route: "{" in route.path):  # a field takes any path
            endpoint = Endpoint(
                route, self._parts, self._parts.clock, self._access, limit, self._bodies, self.cache
            )
            handler: Handler = endpoint.__call__
            if self._place.forward is not None and not route.anywhere:
                handler = self._place.forward
                if route.waits:
                    handler = ends_with_client(handler)
            elif route.audit:
                handler = audited(
                    route.audit, handler, self._parts.auditor, self._access.sender, domain_problem
                )
            if route.method == "GET":
                app.router.add_get(route.pattern, handler)
            else:
                app.router.add_route(route.method, route.pattern, handler)
        if not self._place.has_clients:
            return app
        app.router.add_get("/api/v1/openapi.json", _document_handler(self._parts.version))
        app.router.add_get("/ws", self._websocket.__call__, allow_head=False)
        for files, paths in ((page(), ("/", "/page/{file:.+}")), (docs(), ("/docs", "/docs/{file:.+}"))):
            for path in paths:
                app.router.add_get(path, files.__call__)
        return app


def _document_handler(version: str) -> Handler:
    headers = {
        "Content-Type": "application/json",
        "Vary": "Accept-Encoding",
        "Cache-Control": f"private, max-age={_OPENAPI_CACHE_SECONDS}",
    }

    async def openapi(request: web.Request) -> web.Response:
        # The first request builds the document, in a thread: few recorders need it.
        plain, compressed, tag = await asyncio.to_thread(_document, version)
        tagged = {**headers, "ETag": tag}
        if is_known(request.headers.get("If-None-Match"), tag):
            return web.Response(status=304, headers=tagged)
        if accepts_gzip(request.headers.get("Accept-Encoding")):
            return web.Response(body=compressed, headers={**tagged, "Content-Encoding": "gzip"})
        return web.Response(body=plain, headers=tagged)

    return openapi


@functools.cache
def _document(version: str) -> tuple[bytes, bytes, str]:
    """The OpenAPI document: plain, compressed, and its entity tag. Blocks for a third of a cycle."""
    plain = msgspec.json.encode(api_document(version))
    return plain, gzipped((plain,), GZIP_LEVEL), entity_tag(plain)

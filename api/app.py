"""The API as a part of the process: an aiohttp server with the routes and the WebSocket hub."""

from __future__ import annotations

import asyncio
import contextlib
import errno

import msgspec
from aiohttp import web

from api.http.envelope import Handler, envelope
from api.http.guard import Guard, PortInUseError, check_loopback
from api.http.httplog import http_logger
from api.http.negotiation import accepts_gzip
from api.http.openapi import openapi_document
from api.http.route import Endpoint, gzipped
from api.live.client import ClientStatistics
from api.live.hub import Hub
from api.live.limits import HubLimits
from api.live.socket import LiveEndpoint
from api.metrics import HttpMetrics, HubMetrics
from api.parts import ApiParts
from api.routes.table import ROUTES
from api.settings import ApiSettings
from decahertz.health import ComponentStatus, Health
from decahertz.settings import SettingsError

__all__ = ["Api", "ApiParts"]

_SHUTDOWN_SECONDS = 2.0
_OPENAPI_CACHE_SECONDS = 300
_BACKLOG = 1024
"""After a restart all readers come back at once."""
_LONGEST_LINE = 64 * 1024
"""Longer queries than we take are refused by us, with a problem document, and not by aiohttp."""


class Api:
    """REST and WebSocket. ``start`` once; ``stop`` is safe without it, and twice."""

    def __init__(self, parts: ApiParts, settings: ApiSettings, limits: HubLimits | None = None) -> None:
        """Make the application. Nothing listens yet."""
        self._parts = parts
        self._settings = settings
        hub_metrics = HubMetrics(parts.registry)
        self.hub = Hub(parts.bus, parts.latest, parts.clock, hub_metrics, limits or HubLimits())
        self._live = LiveEndpoint(self.hub, parts.clock, hub_metrics, parts.version)
        self._metrics = HttpMetrics(parts.registry)
        self._logger = http_logger(parts.registry)
        self._runner: web.AppRunner | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port it listens on; with the setting 0 the one it was given."""
        if self._port is None:
            raise RuntimeError("the API is not started")
        return self._port

    @property
    def url(self) -> str:
        """Where it is: ``http://127.0.0.1:8000``."""
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises :class:`~api.http.guard.UnsafeAddressError` for an address that other machines reach and
        :class:`~api.http.guard.PortInUseError`; both are :class:`~decahertz.settings.SettingsError`.
        """
        host, port = self._settings.host, self._settings.port
        await check_loopback(host)
        runner = web.AppRunner(
            self._application(),
            access_log=None,  # requests are counted; what fails is logged
            logger=self._logger,
            max_line_size=_LONGEST_LINE,
            handle_signals=False,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            # A few kilobytes can unpack to gigabytes, on the event loop; and what is refused is not read on.
            auto_decompress=False,
            lingering_time=0.0,
        )
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError("api.port", f"{port} on {host} is in use by another program") from error
            key = "api.port" if isinstance(error, PermissionError) else "api.host"
            raise SettingsError(key, f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._port = runner.addresses[0][1]
        self._runner = runner
        self.hub.start()

    async def stop(self) -> None:
        """Close WebSockets with 1001, let requests finish, and stop listening; bounded in time."""
        await self._live.stop()
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

    def clients(self) -> list[ClientStatistics]:
        """Statistics of the WebSocket clients."""
        return self.hub.clients()

    def _application(self) -> web.Application:
        limit = self._settings.max_body_bytes
        guard = Guard(self._settings.host)
        app = web.Application(
            middlewares=[envelope(guard, self._parts.clock, self._metrics)],
            client_max_size=limit,
        )
        for route in ROUTES:
            endpoint = Endpoint(route, self._parts, limit)
            if route.method == "GET":
                app.router.add_get(route.pattern, endpoint.__call__)
            else:
                app.router.add_route(route.method, route.pattern, endpoint.__call__)
        app.router.add_get("/api/v1/openapi.json", _document_handler(self._parts.version))
        app.router.add_get("/ws", self._live.__call__, allow_head=False)
        return app


def _document_handler(version: str) -> Handler:
    plain = msgspec.json.encode(openapi_document(version=version))
    packed = gzipped(plain)
    headers = {
        "Content-Type": "application/json",
        "Vary": "Accept-Encoding",
        "Cache-Control": f"private, max-age={_OPENAPI_CACHE_SECONDS}",
    }

    async def openapi(request: web.Request) -> web.Response:
        if accepts_gzip(request.headers.get("Accept-Encoding")):
            return web.Response(body=packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=plain, headers=headers)

    return openapi

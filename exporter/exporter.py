"""The HTTP endpoint that Prometheus scrapes.

A scrape runs in the event loop that also keeps the grid. It is rendered in slices of about a millisecond,
with other work of the loop in between, and only one scrape is rendered at a time. Threads compress the body
and read ``/proc``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, ProcessCollector

from decahertz.addresses import listening_sockets
from decahertz.bus import Bus, Message
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock
from decahertz.health import ComponentStatus, Health
from decahertz.host_names import HostNames
from decahertz.http_server import IDLE_SECONDS, Site, TimedRunner
from decahertz.incident import Incident
from decahertz.negotiation import accepts_gzip, gzipped
from decahertz.sample import SampleBatch
from decahertz.settings import SettingsError
from decahertz.words import counted
from exporter.exposition import Exposition, Limits, Source
from exporter.negotiation import Format, choose_format
from exporter.registry import RegistryRenderer
from exporter.self_metrics import ExporterMetrics
from exporter.settings import ExporterSettings

SLICE_NS = 1_000_000
"""After this long the scrape yields to the event loop."""

_SHUTDOWN_SECONDS = 1.0
_LISTEN_BACKLOG = 128
_GZIP_LEVEL = 1  # a fifth of the size; higher levels take five times as long for little gain
_END = b"# EOF\n"
_SELF_METRICS = "self-metrics"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Decahertz exporter</title></head>
<body><h1>Decahertz exporter</h1><p><a href="/metrics">Metrics</a></p></body></html>
"""


class Exporter:
    """Serves the newest samples and the self-metrics as ``GET /metrics``.

    ``sources`` are all collectors, in order of appearance; ``registry`` holds the self-metrics of all parts,
    and its families take precedence over samples of the same name. Every series has the constant label
    ``recorder``.
    """

    def __init__(
        self,
        bus: Bus,
        sources: Sequence[Source],
        registry: CollectorRegistry,
        settings: ExporterSettings,
        clock: Clock | None = None,
        *,
        recorder: str,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._clock = clock or SystemClock()
        limits = Limits(
            window_ns=round(settings.window_seconds * NS_PER_SECOND),
            max_keys=settings.max_keys,
            ttl_ns=round(settings.key_ttl_seconds * NS_PER_SECOND),
        )
        self._exposition = Exposition(sources, recorder, limits)
        self._registry_renderer = RegistryRenderer(recorder)
        self._metrics = ExporterMetrics(registry, self._exposition.refused, self._clock.time_ns())
        self._rendering = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._process_registry: CollectorRegistry | None = None
        self._log = structlog.get_logger(part="exporter")
        self._incidents = {
            source: Incident("exposition", self._log.bind(source=source))
            for source in (_SELF_METRICS, *self._exposition.collectors)
        }
        for family in self._exposition.colliding:
            self._log.error("family_omitted", family=family.name, reason="another metric has this name")
        self._subscription = bus.subscribe("samples:*", self._take)

    async def start(self) -> None:
        """Starts to listen. Raises :class:`~decahertz.settings.SettingsError` if that fails or is unsafe."""
        await asyncio.to_thread(self._settings.check_exposure)
        self._process_registry = await asyncio.to_thread(_make_process_registry)
        app = web.Application(middlewares=[_host_check(self._settings)])
        app.router.add_get("/", _serve_page)
        app.router.add_get("/metrics", self._serve_metrics)
        runner = TimedRunner(
            app, access_log=None, keepalive_timeout=IDLE_SECONDS, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            sockets = await asyncio.to_thread(listening_sockets, "exporter", host, port, _LISTEN_BACKLOG)
        except (OSError, SettingsError):
            await runner.cleanup()
            raise
        await Site(runner, sockets).start()
        self._runner = runner
        self._log.info("exporter_started", host=self._settings.host, port=self.port)

    async def stop(self) -> None:
        """Closes the listener and its connections. Safe without ``start``, and twice."""
        self._subscription.cancel()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def port(self) -> int:
        """Port of the listener; before the start that of the settings."""
        if self._runner is None or not self._runner.addresses:
            return self._settings.port
        return int(self._runner.addresses[0][1])

    def status(self) -> ComponentStatus:
        """Failed while it does not listen, degraded while something cannot be rendered."""
        health, detail = Health.OK, ""
        if self._runner is None:
            health, detail = Health.FAILED, "not listening"
        elif problems := [
            f"{source}: {one.problem}" for source, one in self._incidents.items() if one.active
        ]:
            health, detail = Health.DEGRADED, "; ".join(problems)
        elif self._exposition.colliding:
            names = ", ".join(family.name for family in self._exposition.colliding)
            health, detail = Health.DEGRADED, f"omitted because another metric has this name: {names}"
        elif over := {name: now for name, (now, _) in self._exposition.refused().items() if now}:
            keys = ", ".join(f"{counted(number, 'key')} of {name}" for name, number in over.items())
            health, detail = Health.DEGRADED, f"{keys} have no series: more than exporter.max_keys"
        return ComponentStatus(name="exporter", health=health, detail=detail)

    def _take(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            now_ns = self._clock.monotonic_ns()
            try:
                self._exposition.take(message, now_ns)
            except Exception as error:  # noqa: BLE001 - values of plugins may be anything
                self._fail(message.schema.collector, error)

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        form = choose_format(",".join(request.headers.getall("Accept", ())))
        headers = {
            "Content-Type": form.value,
            "Vary": "Accept, Accept-Encoding",
            "Cache-Control": "no-store",
        }
        started_ns = self._clock.monotonic_ns()
        async with self._rendering:
            chunks = await self._render(form)
        if accepts_gzip(",".join(request.headers.getall("Accept-Encoding", ()))):
            headers["Content-Encoding"] = "gzip"
            body = await asyncio.to_thread(gzipped, chunks, _GZIP_LEVEL)
        else:
            body = b"".join(chunks)
        self._metrics.scraped(form, (self._clock.monotonic_ns() - started_ns) / 1e9)
        return web.Response(body=body, headers=headers)

    async def _render(self, form: Format) -> list[bytes]:
        # All collectors are read at once, so that a scrape shows a single cycle.
        frames = self._exposition.freeze(self._clock.monotonic_ns())
        taken: set[str] = set()
        renderer = self._registry_renderer
        self_metrics = await self._in_slices(
            self._guarded(_SELF_METRICS, renderer.render(self._registry, form, taken))
        )
        if self._process_registry is not None:
            self_metrics += await asyncio.to_thread(
                lambda registry: list(renderer.render(registry, form, taken)), self._process_registry
            )
        body = []
        for collector, frame in frames.items():
            samples = self._exposition.render(collector, frame, form, taken)
            body += await self._in_slices(self._guarded(collector, samples))
        body += self_metrics
        if form is Format.OPENMETRICS:
            body.append(_END)
        return body

    def _guarded(self, source: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yields the chunks up to a failure: one broken plugin must not hide the others."""
        try:
            yield from chunks
        except Exception as error:  # noqa: BLE001 - values and collectors of plugins may raise anything
            self._fail(source, error)
        else:
            self._incidents[source].recover()

    def _fail(self, source: str, error: Exception) -> None:
        self._metrics.failed()
        self._incidents[source].fail(self._clock.monotonic_ns(), error)

    async def _in_slices(self, chunks: Iterable[bytes]) -> list[bytes]:
        rendered = []
        end_ns = self._clock.monotonic_ns() + SLICE_NS
        for chunk in chunks:
            rendered.append(chunk)
            if self._clock.monotonic_ns() >= end_ns:
                await asyncio.sleep(0)
                end_ns = self._clock.monotonic_ns() + SLICE_NS
        return rendered


def _host_check(settings: ExporterSettings) -> Middleware:
    """Refuses requests whose header Host does not name this machine."""
    names = HostNames((settings.host, *settings.host_names))

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not names.accepts(request.headers.get("Host", "")):
            text = "421: the header Host does not name this machine (exporter.host_names)"
            return web.Response(status=421, text=text)
        return await handler(request)

    return check


async def _serve_page(_: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


def _make_process_registry() -> CollectorRegistry:
    """Makes the registry of the standard ``process_*`` metrics; separate, because it reads files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry

"""The listener that Prometheus scrapes.

A scrape runs in the event loop that also keeps the grid, so it is cut into slices of about a
millisecond with the loop's other work between them, and only one scrape is rendered at a time.
Compression and the reading of ``/proc`` happen in threads that release the interpreter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector

from decahertz.addresses import listen_error
from decahertz.clock import Clock, SystemClock
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.latest import LatestSamples
from decahertz.negotiation import accepts_gzip, gzipped
from decahertz.sample import SampleBatch, SampleSchema
from exporter.exposition import Exposition
from exporter.metrics import ExporterMetrics
from exporter.negotiation import Format, choose_format
from exporter.registry import family_texts
from exporter.settings import ExporterSettings

SLICE_NS = 1_000_000
"""After this long the event loop gets its turn."""

_SHUTDOWN_SECONDS = 1.0
_GZIP_LEVEL = 1  # a fifth of the size; the higher levels take five times as long for little more
_END = b"# EOF\n"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Decahertz exporter</title></head>
<body><h1>Decahertz exporter</h1><p><a href="/metrics">Metrics</a></p></body></html>
"""


class Exporter:
    """Serves the newest samples and the self-metrics as ``GET /metrics``.

    ``schemas`` are those of all collectors, in the order in which they are to be shown; ``registry``
    holds the self-metrics of all parts. Families of the registry win over samples of the same name.
    """

    def __init__(
        self,
        latest: LatestSamples,
        schemas: Sequence[SampleSchema],
        registry: CollectorRegistry,
        settings: ExporterSettings,
        clock: Clock | None = None,
    ) -> None:
        """Derive the families; listen only after :meth:`start`. ``clock`` is by default the machine's."""
        self._latest = latest
        self._registry = registry
        self._settings = settings
        self._clock = clock or SystemClock()
        self._exposition = Exposition(schemas)
        self._metrics = ExporterMetrics(registry)
        self._rendering = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._process: CollectorRegistry | None = None
        self._log = structlog.get_logger(part="exporter")
        self._incidents: dict[str, Incident] = {}
        for family in self._exposition.left_out:
            self._log.error("family_left_out", family=family.name, reason="another metric has this name")

    async def start(self) -> None:
        """Start to listen. Raises :class:`~decahertz.settings.SettingsError` if that fails."""
        self._process = await asyncio.to_thread(_process_registry)
        app = web.Application()
        app.router.add_get("/", _show_page)
        app.router.add_get("/metrics", self._show_metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.port).start()
        except OSError as error:
            await runner.cleanup()
            host, port = self._settings.host, self._settings.port
            raise listen_error("exporter", host, port, error) from error
        self._runner = runner
        self._log.info("exporter_started", host=self._settings.host, port=self.port)

    async def stop(self) -> None:
        """Close the listener and its connections. Safe without ``start``, and twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def port(self) -> int:
        """The port that is listened on; before the start the one of the settings."""
        if self._runner is None or not self._runner.addresses:
            return self._settings.port
        return int(self._runner.addresses[0][1])

    def status(self) -> ComponentStatus:
        """Failed while it does not listen, degraded while something cannot be shown."""
        health, detail = Health.OK, ""
        if self._runner is None:
            health, detail = Health.FAILED, "not listening"
        elif problems := [f"{part}: {one.problem}" for part, one in self._incidents.items() if one.active]:
            health, detail = Health.DEGRADED, "; ".join(problems)
        elif self._exposition.left_out:
            names = ", ".join(family.name for family in self._exposition.left_out)
            health, detail = Health.DEGRADED, f"left out, the name is taken: {names}"
        return ComponentStatus(name="exporter", health=health, detail=detail)

    async def _show_metrics(self, request: web.Request) -> web.Response:
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
        # The batches are taken at once, so that all of a scrape belongs to the same instant.
        batches = {batch.schema.collector: batch for batch in self._latest}
        taken: set[str] = set()
        own = await self._in_slices(self._guarded("self-metrics", family_texts(self._registry, form, taken)))
        if self._process is not None:
            own += await asyncio.to_thread(_all_of, self._process, form, taken)
        body = []
        for collector in self._exposition.collectors:
            if collector in batches:
                body += await self._in_slices(self._samples(batches[collector], form, taken))
        body += own
        if form is Format.OPENMETRICS:
            body.append(_END)
        return body

    def _samples(self, batch: SampleBatch, form: Format, taken: set[str]) -> Iterator[bytes]:
        return self._guarded(batch.schema.collector, self._exposition.render(batch, form, taken))

    def _guarded(self, part: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks up to the first that fails: one bad plugin must not hide the others."""
        try:
            yield from chunks
        except Exception as error:  # noqa: BLE001 - whatever a plugin's values or collectors raise
            self._metrics.failed()
            if part not in self._incidents:
                self._incidents[part] = Incident("exposition", self._log.bind(source=part))
            self._incidents[part].fail(0, error)
        else:
            if part in self._incidents:
                self._incidents[part].recover()

    async def _in_slices(self, chunks: Iterable[bytes]) -> list[bytes]:
        taken = []
        end_ns = self._clock.monotonic_ns() + SLICE_NS
        for chunk in chunks:
            taken.append(chunk)
            if self._clock.monotonic_ns() >= end_ns:
                await asyncio.sleep(0)
                end_ns = self._clock.monotonic_ns() + SLICE_NS
        return taken


async def _show_page(_: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


def _process_registry() -> CollectorRegistry:
    """The usual ``process_*`` metrics, apart from the others because reading them takes files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _all_of(registry: CollectorRegistry, form: Format, taken: set[str]) -> list[bytes]:
    return list(family_texts(registry, form, taken))

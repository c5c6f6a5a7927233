"""The composition root: assembles all parts of the process.

:meth:`Pipeline.start` starts them in order, from the database to the feeds; they stop in reverse, so that
nothing new arrives while data is on its way to the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct
from prometheus_client import CollectorRegistry

from api.alertmanager.firing import FiringAlerts
from api.alertmanager.silences import Silences
from api.app import Api, Place
from api.http.shared_cache import SharedCache
from api.live.statistics import no_statistics
from api.parts import ApiParts
from api.security.audit import Auditor
from api.security.keyring import KeyRing
from api.security.sessions import Sessions
from api.security.tls import ServerTls
from collectors.feeds.host import FeedHost
from collectors.host.plugins import LoadedCollector, LoadedFeed, PluginFailure, load_collectors, load_feeds
from collectors.host.sampler import Sampler
from collectors.host.timer import GridTimer
from collectors.strategy.collector import StrategyCollector
from decahertz import __version__
from decahertz.addresses import check_port, reachable_address
from decahertz.app.api_processes import ApiProcesses
from decahertz.app.database import open_database, start_errors
from decahertz.app.own_keys import own_key
from decahertz.app.self_metrics import ProgramMetrics
from decahertz.app.settings import check_contradictions
from decahertz.bus import Bus, LocalBus
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock
from decahertz.collector import BaseCollector
from decahertz.conditions import CONDITION_BY_ALERT
from decahertz.health import Component, ComponentStatus, FeedStatus, Health, ProcessFigures, RunState
from decahertz.ingest import Ingest
from decahertz.latest import LatestAlerts, LatestSamples
from decahertz.supervision import Supervision
from decahertz.watchdog.probes import CycleCounts
from decahertz.watchdog.readings import Figures
from decahertz.watchdog.self_metrics import export_thresholds
from decahertz.watchdog.watchdog import Watchdog
from exporter.exporter import Exporter
from exporter.exposition import Source
from storage.postgres.supervisor import PostgresSupervisor
from storage.query.event_history import EventHistory, newest_sample_ns
from storage.query.event_log import EventLog
from storage.query.queries import Queries
from storage.schema.emitters import recently_stored_events
from storage.spool import Spool
from storage.tiers.worker import RollUpWorker
from storage.write.alert_queue import AlertQueue, FiringElsewhere
from storage.write.alerts import AlertStore
from storage.write.api_keys import ApiKeyStore
from storage.write.lease import HolderFile, RecorderLease
from storage.write.writer import Writer

if TYPE_CHECKING:
    from api.http.access import Scope
    from decahertz.app.settings import Settings
    from decahertz.feed import Progress
    from decahertz.thresholds import AlertsSettings

_PartT = TypeVar("_PartT", bound="_Part")
_CollectorT = TypeVar("_CollectorT", bound=BaseCollector[Any])


class _Part(Component, Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class StatusFigures(Struct, frozen=True, kw_only=True):
    """The figures of the status line."""

    cycles: int
    missed_cycles: int
    lateness_p99_seconds: float
    samples_stored: int
    events: int
    dropped: int
    unhealthy: list[ComponentStatus]
    """Parts that are degraded or failed."""


def _silences(settings: AlertsSettings) -> Silences | None:
    url = settings.alertmanager_url
    return Silences(url, settings.alertmanager_timeout_seconds) if url else None


def _firing_alerts(settings: AlertsSettings, clock: Clock) -> FiringElsewhere | None:
    url = settings.alertmanager_url
    return FiringAlerts(url, settings.alertmanager_timeout_seconds, clock).fingerprints if url else None


def _instance(plugins: Sequence[LoadedCollector], type_: type[_CollectorT]) -> _CollectorT | None:
    """The built-in collector of a type, if it is enabled."""
    return next((plugin.collector for plugin in plugins if isinstance(plugin.collector, type_)), None)


def _source(plugin: LoadedCollector) -> Source:
    collector = plugin.collector
    # A plugin that does not derive from BaseCollector may not declare histograms.
    return Source(plugin.schema, getattr(collector, "histograms", ()), collector.every)


def _check(settings: Settings) -> None:
    check_port("api", settings.api.host, settings.api.port)
    check_port("exporter", settings.exporter.host, settings.exporter.port)
    settings.exporter.check_exposure()
    check_contradictions(settings)


class Pipeline:
    """All parts of the process. Call :meth:`start` once; :meth:`stop` is safe at any time."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self.supervision = Supervision(self._clock)
        self._components: list[Component] = []
        self._api_processes: ApiProcesses | None = None
        self._supervisor: PostgresSupervisor | None = None
        self._loaded_feeds: tuple[LoadedFeed, ...] = ()
        self._failed_feeds: tuple[PluginFailure, ...] = ()
        self.started = False

    async def start(self) -> None:
        """Start all parts, from the database to the feeds.

        Raises :class:`~decahertz.app.start_error.StartError` or
        :class:`~decahertz.settings.SettingsError`; :meth:`stop` stops the parts started before the error.
        """
        settings, clock = self._settings, self._clock
        _check(settings)
        self._stack.enter_context(self.supervision.watching())
        registry, bus = CollectorRegistry(), LocalBus()
        collectors = load_collectors(settings.collectors.enabled, settings.sources, clock)
        feeds = load_feeds(settings.feeds.enabled, settings.sources, clock)
        self._loaded_feeds, self._failed_feeds = feeds.plugins, feeds.failures
        recorder = settings.recorder
        schemas = tuple(loaded.schema for loaded in collectors.plugins)
        latest, alerts = LatestSamples(bus), LatestAlerts(bus)
        export_thresholds(registry, settings.alerts)
        with start_errors():
            opened = await self._stack.enter_async_context(open_database(settings))
            self._database, self._supervisor = opened
            if self._supervisor is not None:
                self._components.append(self._supervisor)
            holder = await asyncio.to_thread(HolderFile, settings.data_dir / "holder")
            self._stack.callback(holder.close)
            self._lease = await self._run(
                RecorderLease(self._database, recorder, holder.holder, standby=settings.standby)
            )
            await self._run(
                RollUpWorker(self._database, clock, registry, settings.tiers, settings.retention, schemas)
            )
            alert_store = AlertStore(self._database, recorder)
            alerts.load(await alert_store.firing())
            await self._run(
                AlertQueue(
                    alert_store,
                    bus,
                    clock,
                    registry,
                    expire_seconds=settings.alerts.expire_hours * 3600,
                    alertmanager=_firing_alerts(settings.alerts, clock),
                )
            )
            queries = Queries(
                self._database,
                clock,
                settings.retention,
                settings.recorder,
                max_exports=settings.storage.max_exports,
            )
            stored = await recently_stored_events(self._database)
            sampled_ns = await newest_sample_ns(self._database, schemas, recorder, clock.time_ns())
            self._spool = await self._run(
                Spool(
                    settings.data_dir / "spool",
                    bus,
                    clock,
                    registry,
                    settings.spool,
                    schemas,
                    stored=stored,
                    queue_rows=settings.storage.queue_rows,
                ),
            )
            self._writer = Writer(
                self._database,
                self._spool,
                self._lease,
                clock,
                registry,
                schemas,
                backlog_rows_per_second=settings.spool.backlog_rows_per_second,
            )
            self._stack.push_async_callback(self._writer.stop)  # after the last cycle of the sampler
            self._ingest = Ingest(
                bus,
                self._spool,
                clock,
                max_future_ns=int(settings.ingest.max_future_seconds * NS_PER_SECOND),
                timeout_seconds=settings.ingest.timeout_seconds,
                known=self._spool.known(),
            )
            self._sampler = await self._run(
                Sampler(
                    bus,
                    clock,
                    GridTimer(
                        clock,
                        int(settings.sampler.step_seconds * NS_PER_SECOND),
                        sampled_ns=max(sampled_ns or 0, self._spool.newest_sample_ns or 0),
                    ),
                    registry,
                    settings.sampler,
                    collectors.plugins,
                    failures=collectors.failures,
                    history=EventHistory(self._database, recorder, self._spool),
                ),
            )
            # Only now: the collectors had to restore from the spool the events that the database lacks.
            await self._writer.start()
            self._components += [self._ingest, self._writer]
            sources = [_source(plugin) for plugin in collectors.plugins]
            self._exporter = await self._run(
                Exporter(bus, sources, registry, settings.exporter, clock, recorder=recorder)
            )
            await self._run(self._watchdog(bus, alerts, registry))
            keys = await self._run_keys()
            self._feeds = FeedHost(self._ingest, clock, registry, feeds.plugins)
            is_secure = self.api_certificate is not None
            sessions = Sessions(keys, clock, hours=settings.api.session_hours, secure=is_secure)
            if settings.api.processes:
                self._api_processes = ApiProcesses(
                    settings, self._database.url, bus, latest, alerts, schemas, self._spool, sessions
                )
            apart = self._api_processes
            # The figures of the processes take the place of those of the API in this one.
            api_registry = registry if apart is None else CollectorRegistry()
            await self._run_api(
                Api(
                    ApiParts(
                        recorder=settings.recorder,
                        clock=clock,
                        bus=bus,
                        keys=keys,
                        auditor=await self._auditor(bus, registry),
                        sessions=sessions,
                        ingest=self._ingest,
                        queries=queries,
                        latest=latest,
                        alerts=alerts,
                        alert_store=alert_store,
                        silences=_silences(settings.alerts),
                        schemas=schemas,
                        collectors=self._sampler.collectors,
                        feeds=self.feeds,
                        components=self.components,
                        ready=self.is_ready,
                        strategy=_instance(collectors.plugins, StrategyCollector),
                        ledger=self._spool.ledger,
                        process=self.process_figures,
                        threshold=self._threshold,
                        registry=api_registry,
                        version=__version__,
                        event_log=EventLog(self._database, recorder, self._spool),
                        live=no_statistics if apart is None else apart.figures.live,
                        requests=list if apart is None else apart.figures.routes,
                    ),
                    settings.api,
                    shared=self._shared_cache(api_registry),
                    place=None if apart is None else Place(path=apart.path),
                    tls=await self._tls(registry),
                ),
                registry,
            )
            await self._run(self._feeds)
            registry.register(ProgramMetrics(self.components, self.feeds))
        self.started = True

    async def _run_keys(self) -> KeyRing:
        self._keys = KeyRing(ApiKeyStore(self._database), self._clock)
        self._stack.push_async_callback(self._keys.stop)
        await self._keys.start()
        return self._keys

    async def _run_api(self, api: Api, registry: CollectorRegistry) -> None:
        self._api = await self._run(api)
        self._writer.on_stored = self._stored
        apart = self._api_processes
        if apart is not None:
            self._stack.push_async_callback(apart.stop)
            await apart.start()
            registry.register(apart.figures)

    def _stored(self, tables: Iterable[str]) -> None:
        self._api.cache.changed(tables)
        if self._api_processes is not None:
            self._api_processes.feed.changed(tables)

    async def _auditor(self, bus: Bus, registry: CollectorRegistry) -> Auditor:
        auditor = Auditor(self._database, bus, self._clock, registry, recorder=self._settings.recorder)
        self._stack.push_async_callback(auditor.stop)
        await auditor.start()
        return auditor

    def _watchdog(self, bus: Bus, alerts: LatestAlerts, registry: CollectorRegistry) -> Watchdog:
        figures = Figures(
            cycles=lambda: CycleCounts(self._sampler.cycles, self._sampler.missed_cycles),
            unbalanced=self._spool.unbalanced,
            database_lost_seconds=lambda: self._writer.lost_seconds,
            keys_over_budget=self._sampler.keys_over_budget,
        )
        settings = self._settings
        return Watchdog(
            bus, alerts, self._clock, registry, settings.alerts, figures, recorder=settings.recorder
        )

    async def _tls(self, registry: CollectorRegistry) -> ServerTls | None:
        files = self._settings.api.certificate()
        return None if files is None else await self._run(ServerTls(files, self._clock, registry))

    def _shared_cache(self, registry: CollectorRegistry) -> SharedCache | None:
        url = self._settings.api.redis_url
        return SharedCache(url, self._database.url, self._clock, registry) if url else None

    async def _run(self, part: _PartT) -> _PartT:
        self._stack.push_async_callback(part.stop)
        await part.start()
        self._components.append(part)
        return part

    async def stop(self) -> None:
        """Stop the started parts in reverse order. Safe without :meth:`start`, and twice."""
        self.started = False
        await self._stack.aclose()

    async def key_file(self, name: str, *scopes: Scope) -> Path | None:
        """A file with a key for a program that runs next to the recorder; ``None``: it needs none.

        Raises :class:`~decahertz.app.start_error.StartError`.
        """
        if not await asyncio.to_thread(self._settings.api.requires_keys):
            return None
        file = self._settings.data_dir.absolute() / "keys" / f"{name}.key"
        with start_errors():
            return await own_key(file, scopes, self._keys, ApiKeyStore(self._database), self._clock)

    def abandon(self) -> None:
        """Kill the embedded database when a stop takes too long. Its next start recovers."""
        if self._supervisor is not None:
            self._supervisor.kill()

    async def feeds_finished(self) -> None:
        """Wait until every feed has ended; forever if one has no end."""
        await self._feeds.wait_finished()

    async def lease_lost(self) -> None:
        """Raise :class:`~storage.write.lease.LeaseLostError` once another process takes over the name."""
        raise await self._lease.lost()

    def is_ready(self) -> bool:
        """Whether all parts have started, none has failed, and the database is reachable."""
        healthy = all(part.health is not Health.FAILED for part in self.components())
        return self.started and healthy and not self._writer.is_database_lost

    def components(self) -> list[ComponentStatus]:
        """Status of each part; a feed that could not be loaded counts as a degraded part."""
        failed = [
            ComponentStatus(name=f"feed {failure.name}", health=Health.DEGRADED, detail=failure.reason)
            for failure in self._failed_feeds
        ]
        apart = [] if self._api_processes is None else self._api_processes.components()
        tasks = self.supervision.status()
        return [*(part.status() for part in self._components), tasks, *apart, *failed]

    def feeds(self) -> list[FeedStatus]:
        """Status of every enabled feed; those that could not be loaded come last."""
        failed = [
            FeedStatus(name=failure.name, state=RunState.FAILED, last_error=failure.reason)
            for failure in self._failed_feeds
        ]
        return [*self._feeds.feeds(), *failed]

    def feed_progress(self) -> dict[str, Progress]:
        """Progress of the feeds that end."""
        found = {loaded.name: loaded.feed.progress for loaded in self._loaded_feeds}
        return {name: progress for name, progress in found.items() if progress is not None}

    def figures(self) -> StatusFigures:
        """Figures of the status line."""
        return StatusFigures(
            cycles=self._sampler.cycles,
            missed_cycles=self._sampler.missed_cycles,
            lateness_p99_seconds=self._sampler.lateness_seconds(0.99) or 0.0,
            samples_stored=self._writer.samples_stored,
            events=self._ingest.events,
            dropped=self._spool.dropped,
            unhealthy=[part for part in self.components() if part.health is not Health.OK],
        )

    def process_figures(self) -> ProcessFigures:
        """Figures of the process for the API."""
        return ProcessFigures(
            cycles=self._sampler.cycles,
            missed_cycles=self._sampler.missed_cycles,
            lateness_p50_seconds=self._sampler.lateness_seconds(0.5),
            lateness_p99_seconds=self._sampler.lateness_seconds(0.99),
            events=self._ingest.events,
            samples_stored=self._writer.samples_stored,
            dropped=self._spool.dropped,
        )

    def _threshold(self, alert: str) -> float | None:
        condition = CONDITION_BY_ALERT.get(alert)
        return None if condition is None else self._settings.alerts.threshold(condition)

    @property
    def api_url(self) -> str:
        """Base URL of the API: ``http://127.0.0.1:8000``, or ``https`` with TLS."""
        return self._api.url if self._api_processes is None else self._api_processes.url

    @property
    def api_certificate(self) -> Path | None:
        """File with the certificate of the API; ``None``: it speaks plain HTTP."""
        files = self._settings.api.certificate()
        return None if files is None else files.certificate.absolute()

    @property
    def exporter_url(self) -> str:
        """Base URL of the exporter."""
        return f"http://{reachable_address(self._settings.exporter.host, self._exporter.port)}"

    @property
    def shown_database_url(self) -> str:
        """URL of the database, without the password."""
        return self._database.name

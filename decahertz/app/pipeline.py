"""The composition root: assembles all parts of the process.

:meth:`Pipeline.start` starts them in order, from the database to the feeds; they stop in reverse, so that
nothing new arrives while data is on its way to the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from api.alertmanager.firing import FiringAlerts
from collectors.execution.collector import ExecutionCollector
from collectors.execution.self_metrics import OrderEndMetrics
from collectors.feeds.gap_ledger import GapLedger
from collectors.feeds.host import FeedHost
from collectors.host.plugins import (
    Loaded,
    LoadedCollector,
    LoadedGenerator,
    load_collectors,
    load_feeds,
    load_generators,
    load_scorer,
)
from collectors.host.sampler import Sampler
from collectors.host.timer import GridTimer
from collectors.news.self_metrics import NewsMetrics
from collectors.portfolio.collector import PortfolioCollector
from collectors.risk.collector import RiskCollector
from collectors.strategy.collector import StrategyCollector
from control.checks import PreTradeChecks
from control.halts import Halts
from control.queue import RequestQueue
from control.schedules import Schedules
from control.self_metrics import ControlMetrics
from control.signals.schedule import SignalSchedules, check_schedules
from control.signals.service import Generators, SignalService
from control.templates import Templates
from decahertz.addresses import check_port, reachable_address
from decahertz.app.api_server import ApiServer, ControlParts
from decahertz.app.database import start_errors
from decahertz.app.database_opening import Step
from decahertz.app.database_parts import DatabaseParts
from decahertz.app.instruments import InstrumentsFile
from decahertz.app.overview import Overview, StatusFigures
from decahertz.app.provider_loading import enabled_providers
from decahertz.app.running_parts import CommonParts, RunningParts
from decahertz.app.self_metrics import ProgramMetrics
from decahertz.app.settings import check_contradictions
from decahertz.bus import LocalBus
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock
from decahertz.contracts import Contracts
from decahertz.ingest import Ingest
from decahertz.latest import LatestAlerts, LatestSamples
from decahertz.news_scorer import NewsScores
from decahertz.risk.monitor import RiskMonitor
from decahertz.supervision import Supervision
from decahertz.trading_days import TradingDays
from decahertz.watchdog.probes import CycleCounts
from decahertz.watchdog.readings import Figures
from decahertz.watchdog.self_metrics import export_thresholds
from decahertz.watchdog.watchdog import Watchdog
from exporter.exporter import Exporter
from exporter.exposition import Source
from providers.gateway import Gateway
from storage.query.event_history import EventHistory
from storage.query.queries import Queries
from storage.spool import Spool
from storage.spool.checkpoints import SpoolCheckpoints
from storage.write.alert_queue import AlertQueue
from storage.write.lease import HolderFile
from storage.write.order_quality import OrderQualityWorker
from storage.write.round_trip_worker import RoundTripWorker
from storage.write.writer import Writer

if TYPE_CHECKING:
    from api.http.access import Scope
    from decahertz.app.settings import Settings
    from decahertz.feed import Progress
    from decahertz.health import ComponentStatus


class Pipeline:
    """All parts of the process. Call :meth:`start` once; :meth:`stop` is safe at any time."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._running = RunningParts()
        self.supervision = Supervision(self._clock)
        self._kill_server: Callable[[], None] = lambda: None
        self.rows_left: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Returns the rows that the spool keeps for the next start, and those that are not on disk."""
        self._expect_child_ends: list[Callable[[], None]] = []

    @property
    def started(self) -> bool:
        """Whether all parts have started."""
        return self._running.started

    async def start(self) -> None:
        """Starts all parts, from the database to the feeds.

        Raises :class:`~decahertz.app.start_error.StartError` or
        :class:`~decahertz.settings.SettingsError`; :meth:`stop` stops the parts started before the error.
        """
        settings, clock = self._settings, self._clock
        _check(settings)
        self._running.stack.enter_context(self.supervision.watching())
        collectors = load_collectors(
            settings.collectors.enabled, settings.sources, clock, accounting=settings.accounting
        )
        feeds = load_feeds(settings.feeds.enabled, settings.sources, clock, data_dir=settings.data_dir)
        generators = _generators(settings)
        with start_errors():
            await self._prepare(collectors)
            common = self._common
            is_open = await self._stored.opening.start()
            common.alerts.load(self._stored.past.firing)
            export_thresholds(common.registry, settings.alerts)
            await self._running.run(self._alert_queue())
            await self._run_spool(is_open=is_open)
            await self._run_sampler(collectors, is_open=is_open)
            self._contracts.adopt(self._stored.past.definitions)
            self._running.components += [self._ingest, self._contracts, self._scores, self._writer]
            await self._running.run(
                InstrumentsFile(settings.instruments_file, self._ingest, self._contracts, clock)
            )
            self._exporter = await self._running.run(self._make_exporter(collectors))
            self._watchdog = await self._running.run(self._make_watchdog())
            # Only now: the collectors had to restore from the spool the events that the database lacks.
            await self._stored.opening.finish(self._last_steps(is_open=is_open))
            self._feeds = FeedHost(self._ingest, clock, common.registry, feeds.plugins)
            self._api = ApiServer(common, self._running, self._spool)
            if self._api.processes is not None:
                self._expect_child_ends.append(self._api.processes.expect_end)
            overview = self._overview = Overview(
                self._running,
                self.supervision,
                feeds,
                sampler=self._sampler,
                writer=self._writer,
                spool=self._spool,
                ingest=self._ingest,
                feed_host=self._feeds,
                api_processes=self._api.processes,
            )
            self._risk = await self._running.run(self._make_risk_monitor(overview))
            halts = self._make_halts()
            queue = self._make_queue(halts)
            gateway = self._make_gateway()
            templates = self._make_templates(queue, halts)
            common.registry.register(ControlMetrics(queue, templates, clock))
            signals = self._make_signals(generators)
            await self._api.start(
                self._ingest,
                self._stored.alert_store,
                self._sampler,
                overview,
                self._risk,
                ControlParts(queue, halts, templates),
                gateway,
                signals,
            )
            self._running.stack.callback(self._risk.release)  # the API's clients may wait for it
            await self._running.run(halts)
            await self._running.run(gateway)  # it stops before the API, which closes the shared cache
            self._writer.on_stored = queue.on_changed = self._api.stored
            self._qualities.on_stored = self._round_trips.on_stored = self._api.stored
            await self._running.run(templates)
            await self._running.run(queue)  # it stops before the API, whose clients may wait for it
            gaps = GapLedger(common.bus, self._ingest, clock)
            self._running.stack.push_async_callback(gaps.stop)
            await gaps.start()
            await self._running.run(signals[1])
            await self._running.run(self._feeds)
            common.registry.register(ProgramMetrics(overview.components, overview.feeds))
            common.registry.register(OrderEndMetrics(partial(self._sampler.collector, ExecutionCollector)))
        self._running.started = True

    async def _prepare(self, collectors: Loaded[LoadedCollector]) -> None:
        """Locks the data folder, and makes what opens the database and what most parts share."""
        settings, clock, registry, bus = self._settings, self._clock, CollectorRegistry(), LocalBus()
        self._scores = _scores(settings.news.scorer, clock)
        registry.register(NewsMetrics(bus, self._scores, clock))
        holder = await asyncio.to_thread(HolderFile, settings.data_dir / "holder")
        self._running.stack.callback(holder.close)
        schemas = tuple(loaded.schema for loaded in collectors.plugins)
        self._stored = DatabaseParts(settings, clock, registry, schemas, holder)
        self._stored.add_to(self._running)
        self._kill_server = self._stored.kill_server
        self._expect_child_ends.append(self._stored.expect_server_end)
        self._common = CommonParts(
            settings=settings,
            clock=clock,
            registry=registry,
            bus=bus,
            latest=LatestSamples(bus),
            alerts=LatestAlerts(bus),
            schemas=schemas,
            database=self._stored.database,
            reads=self._stored.reads,
        )

    def _last_steps(self, *, is_open: bool) -> list[Step]:
        """Steps that need the open database and precede the writer's start."""
        catches_up = Step("restoring the collectors", self._catch_up)
        starts = Step("starting the writer", self._writer.start)
        measures = Step("starting to compute costs and excursions", self._start_computing)
        if is_open:
            return [*([catches_up] if self._sampler.behind else []), starts, measures]
        adopts = Step("taking over what earlier processes have left", self._adopt_past)
        return [adopts, catches_up, starts, measures]

    async def _start_computing(self) -> None:
        await self._qualities.start()
        await self._round_trips.start()

    async def _catch_up(self) -> None:
        """Restores the collectors that lack a part of their past."""
        if self._stored.lease.was_elsewhere:  # what the other recorder had recorded is in the database only
            self._sampler.outdate()
        if self._sampler.behind:
            history = EventHistory(self._common.database, self._settings.recorder, self._spool)
            await self._sampler.catch_up(history)

    async def _adopt_past(self) -> None:
        """Tells the parts that started without the database what it has."""
        self._common.alerts.load(self._stored.past.firing)
        self._watchdog.adopt()
        self._ingest.adopt(self._stored.past.events)
        self._contracts.adopt(self._stored.past.definitions)
        await self._spool.adopt(self._stored.past.events)

    def _alert_queue(self) -> AlertQueue:
        common, settings = self._common, self._settings.alerts
        url, seconds = settings.alertmanager_url, settings.alertmanager_timeout_seconds
        return AlertQueue(
            self._stored.alert_store,
            common.bus,
            common.clock,
            common.registry,
            expire_seconds=settings.expire_hours * 3600,
            alertmanager=FiringAlerts(url, seconds, common.clock).fingerprints if url else None,
        )

    async def _run_spool(self, *, is_open: bool) -> None:
        """Starts the spool; makes the writer, which empties it, and the ingest, which fills it."""
        common, settings = self._common, self._settings
        self._spool = await self._running.run(
            Spool(
                settings.data_dir / "spool",
                common.bus,
                common.clock,
                common.registry,
                settings.spool,
                common.schemas,
                stored=self._stored.past.events,
                queue_rows=settings.storage.queue_rows,
            ),
        )
        spool = self._spool
        self._stored.disk.tell_expired(spool.set_expired)
        self.rows_left = lambda: (spool.kept_rows, spool.unkept_rows)
        self._writer = Writer(
            common.database,
            self._spool,
            self._stored.lease,
            common.clock,
            common.registry,
            common.schemas,
            backlog_rows_per_second=settings.spool.backlog_rows_per_second,
            accounting=settings.accounting,
        )
        self._qualities = OrderQualityWorker(
            common.database, settings.recorder, common.clock, lambda: spool.oldest_seconds
        )
        self._round_trips = RoundTripWorker(
            common.database,
            settings.recorder,
            common.clock,
            lambda: spool.oldest_seconds,
            settings.accounting.cost,
        )
        for worker in (self._qualities, self._round_trips):
            self._running.stack.push_async_callback(worker.stop)
        if not is_open:
            self._writer.await_database()
        self._running.stack.push_async_callback(self._writer.stop)  # after the last cycle of the sampler
        self._contracts = Contracts(settings.accounting, common.clock)
        self._ingest = Ingest(
            common.bus,
            self._spool,
            common.clock,
            max_future_ns=int(settings.ingest.max_future_seconds * NS_PER_SECOND),
            timeout_seconds=settings.ingest.timeout_seconds,
            known=self._spool.known(),
            contracts=self._contracts,
            scores=self._scores,
        )

    async def _run_sampler(self, collectors: Loaded[LoadedCollector], *, is_open: bool) -> None:
        common, settings = self._common, self._settings
        timer = GridTimer(
            common.clock,
            int(settings.sampler.step_seconds * NS_PER_SECOND),
            sampled_ns=max(self._stored.past.sampled_ns or 0, self._spool.newest_sample_ns or 0),
        )
        self._sampler = await self._running.run(
            Sampler(
                common.bus,
                common.clock,
                timer,
                common.registry,
                settings.sampler,
                collectors.plugins,
                failures=collectors.failures,
                history=EventHistory(common.database if is_open else None, settings.recorder, self._spool),
                is_whole=is_open,
                checkpoints=SpoolCheckpoints(
                    self._spool, settings.recorder, lambda: self._stored.lease.was_elsewhere
                ),
                others=(self._contracts,),
            ),
        )
        portfolio = self._sampler.collector(PortfolioCollector)
        if portfolio is not None:
            portfolio.strategies = partial(self._sampler.collector, StrategyCollector)

    def _make_exporter(self, collectors: Loaded[LoadedCollector]) -> Exporter:
        common, settings = self._common, self._settings
        sources = [_source(plugin) for plugin in collectors.plugins]
        return Exporter(
            common.bus,
            sources,
            common.registry,
            settings.exporter,
            common.clock,
            recorder=settings.recorder,
        )

    def _make_watchdog(self) -> Watchdog:
        figures = Figures(
            cycles=lambda: CycleCounts(self._sampler.cycles, self._sampler.missed_cycles),
            unbalanced=self._spool.unbalanced,
            database_lost_seconds=lambda: self._writer.lost_seconds,
            keys_over_budget=self._sampler.keys_over_budget,
            behind=lambda: self._sampler.behind,
        )
        common, settings = self._common, self._settings
        return Watchdog(
            common.bus,
            common.alerts,
            common.clock,
            common.registry,
            settings.alerts,
            figures,
            recorder=settings.recorder,
        )

    def _make_risk_monitor(self, overview: Overview) -> RiskMonitor:
        common, sampler = self._common, self._sampler
        return RiskMonitor(
            common.bus,
            common.clock,
            self._ingest,
            self._settings.risk,
            common.latest,
            strategies=partial(sampler.collector, StrategyCollector),
            risks=partial(sampler.collector, RiskCollector),
            behind=lambda: sampler.behind,
            components=overview.components,
        )

    def _make_halts(self) -> Halts:
        common, settings = self._common, self._settings
        halts = Halts(
            self._stored.halt_store, common.bus, common.clock, settings.control, recorder=settings.recorder
        )
        halts.may_halt = self._api.can_resume
        self._risk.halted = halts.objections
        if settings.risk.orders.halt_on_hard_limits:
            self._risk.on_hard = halts.exceeded
        return halts

    def _make_queue(self, halts: Halts) -> RequestQueue:
        common, settings = self._common, self._settings
        return RequestQueue(
            self._stored.request_store,
            common.bus,
            common.clock,
            settings.control,
            recorder=settings.recorder,
            checks=PreTradeChecks(settings.risk.orders, common.latest, common.clock, self._contracts),
            halts=halts,
        )

    def _make_gateway(self) -> Gateway:
        common, settings = self._common, self._settings
        loaded = enabled_providers(settings, common.clock, common.latest, self._contracts)
        return Gateway(
            loaded.plugins,
            loaded.failures,
            settings.providers,
            common.clock,
            common.registry,
            common.database,
            self._api.shared,
        )

    def _make_templates(self, queue: RequestQueue, halts: Halts) -> Templates:
        common, settings = self._common, self._settings
        schedules = Schedules(common.clock, settings.accounting.timezone)
        templates = Templates(
            self._stored.template_store,
            queue,
            schedules,
            common.clock,
            settings.control,
            recorder=settings.recorder,
        )
        templates.may_submit = lambda: halts.is_read and self._api.can_resume()
        return templates

    def _make_signals(self, loaded: Loaded[LoadedGenerator]) -> tuple[SignalService, SignalSchedules]:
        common, settings = self._common, self._settings
        service = SignalService(
            Queries(common.database, common.clock, settings.retention, settings.recorder),
            self._ingest,
            common.clock,
            Generators(loaded.plugins, TradingDays(settings.accounting)),
            common.registry,
            settle_seconds=settings.signals.settle_seconds,
            behind_seconds=lambda: self._spool.oldest_seconds,
        )
        return service, SignalSchedules(service, common.clock, settings.signals, loaded.failures)

    def expect_end(self) -> None:
        """Takes the end of child processes for a part of the stop: a signal may go to all of them."""
        for expect_end in self._expect_child_ends:
            expect_end()

    async def stop(self) -> None:
        """Stops the started parts in reverse order. Safe without :meth:`start`, and twice."""
        self._running.started = False
        self.expect_end()
        await self._running.stack.aclose()

    async def key_file(self, name: str, *scopes: Scope, exists: bool = False) -> Path | None:
        """See :meth:`~decahertz.app.api_server.ApiServer.key_file`."""
        return await self._api.key_file(name, *scopes, exists=exists)

    def abandon(self) -> None:
        """Kills the embedded database when a stop takes too long. Its next start recovers."""
        self._kill_server()

    async def feeds_finished(self) -> None:
        """Waits until every feed has ended; forever if one has no end."""
        await self._feeds.wait_finished()

    async def lease_lost(self) -> None:
        """See :meth:`~decahertz.app.database_parts.DatabaseParts.lost`."""
        await self._stored.lost()

    def feed_progress(self) -> dict[str, Progress]:
        """Progress of the feeds that end."""
        return self._overview.feed_progress()

    def components(self) -> list[ComponentStatus]:
        """Status of each part."""
        return self._overview.components()

    def figures(self) -> StatusFigures:
        """Figures of the status line."""
        return self._overview.figures()

    @property
    def api_url(self) -> str:
        """Base URL of the API: ``http://127.0.0.1:8000``, or ``https`` with TLS."""
        return self._api.url

    @property
    def api_certificate(self) -> Path | None:
        """File with the certificate of the API; ``None``: it speaks plain HTTP."""
        return self._api.certificate

    @property
    def exporter_url(self) -> str:
        """Base URL of the exporter."""
        return f"http://{reachable_address(self._settings.exporter.host, self._exporter.port)}"

    @property
    def shown_database_url(self) -> str:
        """URL of the database, without the password."""
        return self._common.database.name


def _generators(settings: Settings) -> Loaded[LoadedGenerator]:
    """Raises :class:`~decahertz.settings.SettingsError` for a schedule that cannot run."""
    generators = load_generators(settings.signals.enabled)
    check_schedules(settings.signals, settings.accounting, generators)
    return generators


def _scores(name: str, clock: Clock) -> NewsScores:
    loaded = load_scorer(name)
    scorer = loaded.plugins[0].scorer if loaded.plugins else None
    failure = loaded.failures[0].reason if loaded.failures else ""
    return NewsScores(name, scorer, clock, failure)


def _check(settings: Settings) -> None:
    check_port("api", settings.api.host, settings.api.port)
    check_port("exporter", settings.exporter.host, settings.exporter.port)
    settings.exporter.check_exposure()
    check_contradictions(settings)


def _source(plugin: LoadedCollector) -> Source:
    collector = plugin.collector
    # A plugin that does not derive from BaseCollector may not declare histograms.
    return Source(plugin.schema, getattr(collector, "histograms", ()), collector.every)

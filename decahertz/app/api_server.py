"""The API with everything that only the API needs: keys, sessions, audit log, and its processes if any."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry

from api.alertmanager.silences import Silences
from api.app import Api, Place
from api.http.access import Scope
from api.live.statistics import no_statistics
from api.parts import ApiParts
from api.security.audit import Auditor
from api.security.keyring import REFRESH_SECONDS, KeyRing, KeysUnreadError
from api.security.sessions import Sessions
from api.security.tls import ServerTls
from collectors.execution.collector import ExecutionCollector
from collectors.market.collector import MarketCollector
from collectors.strategy.collector import StrategyCollector
from decahertz import __version__
from decahertz.app.api_processes import ApiProcesses
from decahertz.app.database import start_errors
from decahertz.app.own_keys import own_key
from decahertz.conditions import CONDITION_BY_ALERT
from decahertz.shared_cache import SharedCache
from decahertz.supervision import supervise
from decahertz.trading_days import TradingDays
from storage.database import DatabaseUnavailableError
from storage.query.event_log import EventLog
from storage.query.queries import Queries
from storage.write.api_keys import ApiKeyStore

if TYPE_CHECKING:
    from pathlib import Path

    from collectors.host.sampler import Sampler
    from control.halts import Halts
    from control.queue import RequestQueue
    from control.signals.schedule import SignalSchedules
    from control.signals.service import SignalService
    from control.templates import Templates
    from decahertz.app.overview import Overview
    from decahertz.app.running_parts import CommonParts, RunningParts
    from decahertz.ingest import Ingest
    from decahertz.risk.monitor import RiskMonitor
    from decahertz.thresholds import AlertsSettings
    from providers.gateway import Gateway
    from storage.spool import Spool
    from storage.write.alerts import AlertStore


class ControlParts(NamedTuple):
    """The parts of the control side."""

    queue: RequestQueue
    halts: Halts
    templates: Templates


class ApiServer:
    """Starts the API in this process, and the API processes."""

    def __init__(self, common: CommonParts, running: RunningParts, spool: Spool) -> None:
        self._common = common
        self._running = running
        self._spool = spool
        self._settings = common.settings.api
        self._store = ApiKeyStore(common.database)
        self._keys = KeyRing(self._store, common.clock)
        self._sessions = Sessions(
            self._keys,
            common.clock,
            hours=self._settings.session_hours,
            secure=self.certificate is not None,
        )
        self.processes = self._processes() if self._settings.processes else None
        # The figures of the processes take the place of those of the API in this one.
        self._registry = common.registry if self.processes is None else CollectorRegistry()
        self.shared = self._shared_cache()
        """The second level of the caches, which the API closes; ``None``: there is none."""

    def _processes(self) -> ApiProcesses:
        common = self._common
        return ApiProcesses(
            common.settings,
            common.database.url,
            common.bus,
            common.latest,
            common.alerts,
            common.schemas,
            self._spool,
            self._sessions,
        )

    async def start(
        self,
        ingest: Ingest,
        alert_store: AlertStore,
        sampler: Sampler,
        overview: Overview,
        risk: RiskMonitor,
        control: ControlParts,
        gateway: Gateway,
        signals: tuple[SignalService, SignalSchedules],
    ) -> None:
        """Start to listen, and the API processes. Raises as its parts do."""
        common, settings, apart = self._common, self._common.settings, self.processes
        self._running.stack.push_async_callback(self._keys.stop)
        await self._keys.start()
        registry, database = self._registry, common.database
        parts = ApiParts(
            recorder=settings.recorder,
            clock=common.clock,
            bus=common.bus,
            keys=self._keys,
            auditor=await self._auditor(),
            sessions=self._sessions,
            ingest=ingest,
            queries=Queries(
                common.reads,
                common.clock,
                settings.retention,
                settings.recorder,
                max_exports=settings.storage.max_exports,
            ),
            latest=common.latest,
            alerts=common.alerts,
            alert_store=alert_store,
            silences=_silences(settings.alerts),
            schemas=common.schemas,
            collectors=sampler.collectors,
            feeds=overview.feeds,
            components=overview.components,
            ready=overview.is_ready,
            strategy=partial(sampler.collector, StrategyCollector),
            risk=risk,
            queue=control.queue,
            halts=control.halts,
            templates=control.templates,
            gateway=gateway,
            signals=signals,
            market=partial(sampler.collector, MarketCollector),
            execution=partial(sampler.collector, ExecutionCollector),
            ledger=self._spool.ledger,
            process=overview.process_figures,
            threshold=self._threshold,
            registry=registry,
            version=__version__,
            days=TradingDays(settings.accounting),
            accounting=settings.accounting,
            event_log=EventLog(database, settings.recorder, self._spool),
            live=no_statistics if apart is None else apart.figures.live,
            requests=list if apart is None else apart.figures.routes,
        )
        place = None if apart is None else Place(path=apart.path)
        self._api = await self._running.run(
            Api(parts, self._settings, shared=self.shared, place=place, tls=await self._tls())
        )
        if apart is not None:
            self._running.stack.push_async_callback(apart.stop)
            await apart.start()
            common.registry.register(apart.figures)

    def can_resume(self) -> bool:
        """Whether somebody has a key to resume trading with."""
        return self._keys.permits(Scope.TRADE)

    def stored(self, tables: Iterable[str]) -> None:
        """Say that rows were stored in these tables."""
        self._api.cache.changed(tables)
        if self.processes is not None:
            self.processes.feed.changed(tables)

    async def key_file(self, name: str, *scopes: Scope, exists: bool = False) -> Path | None:
        """A file with a key for a program that runs next to the recorder; ``None``: it needs none.

        While the database is away, the file may be missing until it is back. With ``exists`` there is a key
        even where programs need none, because some routes are off without. Raises
        :class:`~decahertz.app.start_error.StartError`.
        """
        needs_key = await asyncio.to_thread(self._settings.requires_keys)
        if not (needs_key or exists):
            return None
        file = self._common.settings.data_dir.absolute() / "keys" / f"{name}.key"
        make = partial(own_key, file, scopes, self._keys, self._store, self._common.clock)
        with start_errors():
            try:
                await make()
            except (DatabaseUnavailableError, KeysUnreadError):
                making = supervise(partial(_until_made, make), "own-key")
                self._running.stack.callback(making.cancel)
        return file if needs_key else None

    @property
    def url(self) -> str:
        """Base URL of the API: ``http://127.0.0.1:8000``, or ``https`` with TLS."""
        return self._api.url if self.processes is None else self.processes.url

    @property
    def certificate(self) -> Path | None:
        """File with the certificate of the API; ``None``: it speaks plain HTTP."""
        files = self._settings.certificate()
        return None if files is None else files.certificate.absolute()

    async def _auditor(self) -> Auditor:
        common = self._common
        auditor = Auditor(
            common.database, common.bus, common.clock, common.registry, recorder=common.settings.recorder
        )
        self._running.stack.push_async_callback(auditor.stop)
        await auditor.start()
        return auditor

    async def _tls(self) -> ServerTls | None:
        files = self._settings.certificate()
        if files is None:
            return None
        return await self._running.run(ServerTls(files, self._common.clock, self._common.registry))

    def _shared_cache(self) -> SharedCache | None:
        common, url = self._common, self._settings.redis_url
        return SharedCache(url, common.reads.url, common.clock, self._registry) if url else None

    def _threshold(self, alert: str) -> float | None:
        condition = CONDITION_BY_ALERT.get(alert)
        return None if condition is None else self._common.settings.alerts.threshold(condition)


async def _until_made(make: Callable[[], Awaitable[Path]]) -> None:
    """Makes a key as soon as the database is there."""
    while True:
        with suppress(DatabaseUnavailableError, KeysUnreadError):
            await make()
            return
        await asyncio.sleep(REFRESH_SECONDS)


def _silences(settings: AlertsSettings) -> Silences | None:
    url = settings.alertmanager_url
    return Silences(url, settings.alertmanager_timeout_seconds) if url else None

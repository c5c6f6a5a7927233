"""The gateway: market data of providers behind one interface."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from collectors.host.plugins import PluginFailure, describe
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.provider import ProviderError
from decahertz.supervision import supervise
from providers.breaker import BreakerState
from providers.cached import FAILURES, Answer, Ask, CachedProvider
from providers.errors import GatewayError
from providers.jobs import Job, Jobs, JobState
from providers.scheduler import CallPriority
from providers.self_metrics import GatewayMetrics, call_seconds
from providers.upstream import Upstream
from storage.database import DatabaseUnavailableError
from storage.write.provider_costs import ProviderCostStore

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from decahertz.clock import Clock
    from decahertz.provider import Provider
    from decahertz.shared_cache import SharedCache
    from providers.settings import ProvidersSettings
    from storage.database import Database

RECORDER_KEY: Final = "recorder"
"""Key name that calls of the recorder itself are charged to."""
_WARM_TIMEOUT_SECONDS: Final = 60.0
_WARM_JOBS: Final = 8
"""Jobs at a time."""


class UnknownProviderError(LookupError):
    """Raised for a provider that is not enabled."""


class Gateway:
    """All enabled providers. Call ``start`` once; ``stop`` is safe without it, and twice."""

    def __init__(
        self,
        providers: Sequence[Provider],
        failures: Sequence[PluginFailure],
        settings: ProvidersSettings,
        clock: Clock,
        registry: CollectorRegistry,
        database: Database,
        shared: SharedCache | None = None,
    ) -> None:
        """``failures``: providers that could not be loaded; ``shared``: the second level of the cache."""
        seconds = call_seconds(registry)
        costs = ProviderCostStore(database)
        self.providers: dict[str, CachedProvider] = {
            provider.name: CachedProvider(
                provider, Upstream(provider, settings, clock, costs, seconds), settings, clock, shared
            )
            for provider in providers
        }
        self.jobs = Jobs(clock)
        self.failures = list(failures)
        """Providers that could not be loaded."""
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._log = structlog.get_logger(part="providers")
        self._incident = Incident("provider_warming", self._log)
        registry.register(GatewayMetrics(lambda: list(self.providers.values()), clock.time_ns()))

    async def start(self) -> None:
        """Starts the providers, and warming on a schedule. One that cannot start is shown as failed."""
        for name, cached in list(self.providers.items()):
            try:
                await cached.provider.start()
            except ProviderError as error:
                self._log.error("provider_failed", name=name, reason=str(error))
                self._fail(name, str(error))
                continue
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises
                self._log.exception("provider_failed", name=name)
                self._fail(name, describe(error))
                continue
            if cached.provider.options.warm or self._settings.warm_popular:
                self._run(supervise(partial(self._keep_warm, cached), f"warming {cached.name}"))

    def _fail(self, name: str, reason: str) -> None:
        self.failures.append(PluginFailure(name, "", reason))
        del self.providers[name]

    async def stop(self) -> None:
        """Stops; requests that wait get an error."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for cached in self.providers.values():
            await cached.stop()
            await cached.provider.stop()

    def status(self) -> ComponentStatus:
        """Degraded while a circuit breaker is not closed, or a provider could not be loaded."""
        details = [f"{failure.name}: {failure.reason}" for failure in self.failures]
        for name, cached in self.providers.items():
            breaker = cached.upstream.breaker
            if breaker.state is not BreakerState.CLOSED:
                details.append(f"{name}: circuit breaker {breaker.state.value}: {breaker.reason}")
        health = Health.DEGRADED if details else Health.OK
        return ComponentStatus(name="providers", health=health, detail="; ".join(details))

    def provider(self, name: str) -> CachedProvider:
        """A provider.

        Raises :class:`UnknownProviderError`, and :class:`~providers.errors.GatewayError` for one that is
        enabled and could not be started.
        """
        found = self.providers.get(name)
        if found is not None:
            return found
        for failure in self.failures:
            if failure.name == name:
                raise GatewayError(f"{name} was not started: {failure.reason}")
        raise UnknownProviderError(name)

    async def get(self, provider: str, ask: Ask) -> Answer:
        """The newest data of a symbol; raises as :meth:`~providers.cached.CachedProvider.get` does."""
        return await self.provider(provider).get(ask)

    def warm(self, provider: str, symbols: Sequence[str], key: str) -> Job:
        """Fetches symbols in the background, so that they are in the cache; returns the job.

        Raises :class:`UnknownProviderError`, and :class:`~providers.errors.GatewayError` while too many jobs
        run.
        """
        cached = self.provider(provider)
        if self.jobs.running >= _WARM_JOBS:
            raise GatewayError(f"{_WARM_JOBS} jobs run already")
        job = self.jobs.begin("warm-cache", provider, key, len(symbols))
        self._run(asyncio.create_task(self._do(job, cached, symbols, key), name=f"job {job.job_id}"))
        return job

    def _run(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, job: Job, cached: CachedProvider, symbols: Sequence[str], key: str) -> None:
        state = JobState.CANCELLED
        try:
            for symbol in symbols:
                reason = await self._warm(cached, symbol, key)
                if reason:
                    job.fail(symbol, reason)
                else:
                    job.succeed()
            state = JobState.DONE
        finally:
            self.jobs.end(job, state)

    async def _warm(self, cached: CachedProvider, symbol: str, key: str) -> str:
        """Fetches a symbol unless it is fresh; returns why it failed, or an empty text."""
        ask = Ask(
            symbol=symbol,
            priority=CallPriority.BACKGROUND,
            key=key,
            timeout_seconds=_WARM_TIMEOUT_SECONDS,
            takes_stale=False,
        )
        try:
            answer = await cached.get(ask)
        except FAILURES as error:
            return _text(error)
        return answer.reason

    async def _keep_warm(self, cached: CachedProvider) -> None:
        while True:
            symbols = [*cached.provider.options.warm, *cached.popular(self._settings.warm_popular)]
            for symbol in dict.fromkeys(symbols):
                reason = await self._warm(cached, symbol, RECORDER_KEY)
                if reason:
                    self._incident.fail(self._clock.monotonic_ns(), symbol=symbol, reason=reason)
            self._incident.look(self._clock.monotonic_ns())
            await asyncio.sleep(self._settings.warm_seconds)


def _text(error: Exception) -> str:
    return "the database does not respond" if isinstance(error, DatabaseUnavailableError) else str(error)

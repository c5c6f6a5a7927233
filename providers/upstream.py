"""The way from the gateway to a provider: what each call has to pass."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Final

import structlog

from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND
from decahertz.incident import Incident
from decahertz.provider import ProviderError, UpstreamRateLimitedError, UpstreamTimeoutError
from providers.breaker import Breaker
from providers.budget import Budget
from providers.errors import GatewayError, ThrottledError
from providers.scheduler import Scheduler, Ticket
from providers.token_bucket import TokenBucket
from providers.validation import validated

if TYPE_CHECKING:
    from prometheus_client import Histogram

    from decahertz.clock import Clock
    from decahertz.provider import MarketData, Provider
    from providers.settings import ProvidersSettings
    from storage.write.provider_costs import ProviderCostStore

_RETRY: Final = Backoff(first_seconds=0.1, most_seconds=2.0)


class Upstream:
    """Calls one provider, within all limits.

        scheduler ─► attempts ─► breaker ─► budget ─► token bucket ─► time-out ─► fetch ─► validation
                        ▲                                                │
                        └──────────── retry after a wait with jitter ────┘

    A retry is a call of its own: it is charged, and takes a token.
    """

    def __init__(
        self,
        provider: Provider,
        settings: ProvidersSettings,
        clock: Clock,
        costs: ProviderCostStore,
        seconds: Histogram,
    ) -> None:
        """``seconds`` observes how long calls take."""
        options = provider.options
        self._random = Random().random  # noqa: S311 - jitter, no secret
        self._provider = provider
        self._clock = clock
        self._timeout_seconds = settings.timeout_seconds
        self._attempts = settings.attempts
        self._seconds = seconds.labels(provider.name)
        self.scheduler = Scheduler(settings.max_calls, settings.queue_limit)
        self.budget = Budget(provider.name, options, clock, costs)
        self.bucket = TokenBucket(clock, options.requests_per_second, options.burst)
        self.breaker = Breaker(clock, settings.breaker_failures, settings.breaker_seconds, self._random)
        self.outcomes: Counter[str] = Counter()
        """Ends of calls, and refusals before one."""
        self.retries = 0
        self.token_wait_seconds = 0.0
        """Time that calls have waited for tokens, all together."""
        self._incident = Incident("provider", structlog.get_logger(part="providers", provider=provider.name))

    @property
    def problem(self) -> str:
        """The newest failure; empty after a success."""
        return self.breaker.reason

    async def call(self, symbol: str, ticket: Ticket, key: str) -> MarketData:
        """Fetches the newest data of a symbol, charged to a key.

        Raises :class:`~decahertz.provider.ProviderError`, :class:`~providers.errors.GatewayError` and
        :class:`~storage.database.DatabaseUnavailableError`.
        """
        try:
            await self.scheduler.acquire(ticket)
        except GatewayError as error:
            self.outcomes[error.outcome] += 1
            raise
        try:
            return await self._attempt(symbol, key)
        finally:
            self.scheduler.release()

    async def _attempt(self, symbol: str, key: str) -> MarketData:
        attempt = 0
        while True:
            try:
                return await self._once(symbol, key)
            except GatewayError as error:
                self.outcomes[error.outcome] += 1
                raise
            except ProviderError as error:
                attempt += 1
                if not error.can_retry or attempt >= self._attempts:
                    raise
            self.retries += 1
            await asyncio.sleep(_RETRY.seconds(attempt - 1, self._random))

    async def _once(self, symbol: str, key: str) -> MarketData:
        self.breaker.admit()
        try:
            self._check_rate()
            await self.budget.charge(key)
            await self._take_token()
            data = await self._timed(symbol)
        except ProviderError as error:
            self.outcomes[error.outcome] += 1
            self._failed(error)
            raise
        except BaseException:
            self.breaker.abandoned()
            raise
        self.outcomes["ok"] += 1
        self._succeeded()
        return data

    def _check_rate(self) -> None:
        """Raises :class:`ThrottledError` before a call is charged that the rate limit refuses anyway."""
        seconds = self.bucket.wait_seconds
        if seconds > self._timeout_seconds:
            raise ThrottledError(seconds, is_paused=self.bucket.pause_seconds > self._timeout_seconds)

    async def _take_token(self) -> None:
        seconds = self.bucket.take(self._timeout_seconds)
        if seconds > self._timeout_seconds:
            raise ThrottledError(seconds, is_paused=self.bucket.pause_seconds > self._timeout_seconds)
        if seconds:
            self.token_wait_seconds += seconds
            await asyncio.sleep(seconds)

    async def _timed(self, symbol: str) -> MarketData:
        began_ns = self._clock.monotonic_ns()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                data = await self._provider.fetch(symbol)
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"no answer within {self._timeout_seconds:g} s") from error
        except ProviderError:
            raise
        except Exception as error:
            # The log has the whole error, once; its text may have secrets that no client should see.
            raise ProviderError(f"the provider raises {type(error).__name__}") from error
        finally:
            self._seconds.observe((self._clock.monotonic_ns() - began_ns) / NS_PER_SECOND)
        return validated(data, symbol, self._clock.time_ns())

    def _succeeded(self) -> None:
        self.breaker.succeeded()
        self._incident.recover()

    def _failed(self, error: ProviderError) -> None:
        if isinstance(error, UpstreamRateLimitedError):
            self.bucket.pause(error.retry_seconds)
            self.breaker.abandoned()
        elif error.is_failure:
            self.breaker.failed(str(error))
            unexpected = error.__cause__ if type(error) is ProviderError else None
            self._incident.fail(self._clock.monotonic_ns(), unexpected, reason=str(error))
        else:
            self._succeeded()

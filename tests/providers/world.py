"""Gateways in front of a venue on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from decahertz.clock import Clock
from decahertz.fakes import ManualClock
from decahertz.provider import Provider
from decahertz.shared_cache import SharedCache
from providers.cached import Answer, Ask
from providers.coinbase import CoinbaseOptions, CoinbaseProvider
from providers.gateway import Gateway
from providers.scheduler import CallPriority
from providers.settings import ProvidersSettings
from storage.database import Database
from storage.settings import StorageSettings
from tests.providers.venue import Venue

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
SYMBOL = "BTC-USD"


class World:
    """A venue, and gateways with the provider ``coinbase`` that call it. The clock stands still."""

    def __init__(self, upstream: Venue, stack: AsyncExitStack) -> None:
        self.venue = upstream
        self.clock = ManualClock()
        upstream.clock = self.clock
        self._stack = stack

    async def gateway(
        self,
        *,
        database: Database | None = None,
        shared: SharedCache | None = None,
        provider: Callable[[Clock, CoinbaseOptions], Provider] = CoinbaseProvider,
        settings: Mapping[str, object] | None = None,
        warm: tuple[str, ...] = (),
        url: str = "",
        **options: float,
    ) -> Gateway:
        """A running gateway; without retries unless the settings say so."""
        chosen = CoinbaseOptions(
            url=url or self.venue.url,
            warm=warm,
            **{"requests_per_second": 0, "fresh_seconds": 10.0, **options},  # type: ignore[arg-type]
        )
        gateway = Gateway(
            [provider(self.clock, chosen)],
            [],
            ProvidersSettings(**{"attempts": 1, **(settings or {})}),  # type: ignore[arg-type]
            self.clock,
            CollectorRegistry(),
            database or Database(NOWHERE, StorageSettings()),
            shared,
        )
        self._stack.push_async_callback(gateway.stop)
        await gateway.start()
        return gateway

    def pass_seconds(self, seconds: float) -> None:
        self.clock.advance(round(seconds * 1e9))


async def ask(
    gateway: Gateway,
    symbol: str = SYMBOL,
    *,
    key: str = "desk",
    priority: CallPriority = CallPriority.INTERACTIVE,
    timeout_seconds: float = 15.0,
) -> Answer:
    """The answer of the provider ``coinbase``."""
    request = Ask(symbol=symbol, key=key, priority=priority, timeout_seconds=timeout_seconds)
    return await gateway.get("coinbase", request)

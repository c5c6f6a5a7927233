"""A call to a provider passes retries, the circuit breaker, the rate limit and the queue."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from decahertz.clock import Clock
from decahertz.provider import (
    MarketData,
    ProviderError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from providers.cached import Found
from providers.coinbase import CoinbaseOptions, CoinbaseProvider
from providers.errors import CircuitOpenError, GatewayError, QueueFullError, ThrottledError
from providers.scheduler import CallPriority
from tests.api.helpers import wait_for
from tests.providers.world import SYMBOL, World, ask


async def test_a_failure_that_may_pass_is_retried_and_others_are_not(world: World) -> None:
    gateway = await world.gateway(settings={"attempts": 3, "breaker_failures": 100})
    upstream = gateway.provider("coinbase").upstream
    world.venue.fail(503, 502)
    assert (await ask(gateway)).found is Found.MISS
    assert (upstream.retries, upstream.outcomes) == (2, {"unavailable": 2, "ok": 1})
    world.venue.fail(503, 503, 503)
    with pytest.raises(UpstreamUnavailableError):
        await ask(gateway, "A-USD")
    world.venue.calls.clear()
    for status in (400, 401, 403):
        world.venue.fail(status)
        with pytest.raises(UpstreamRefusedError, match=f"answers {status}"):
            await ask(gateway, "B-USD")
    assert len(world.venue.calls) == 3


async def test_the_breaker_opens_tries_once_and_closes(world: World) -> None:
    gateway = await world.gateway(settings={"breaker_failures": 3, "breaker_seconds": 10.0})
    breaker = gateway.provider("coinbase").upstream.breaker
    world.venue.fail(500, 500, 500)
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(UpstreamUnavailableError):
                await ask(gateway)
        assert str(breaker.state) == "open"
        assert "circuit breaker open" in gateway.status().detail
        with pytest.raises(CircuitOpenError, match="answers 500") as refused:
            await ask(gateway)
        assert 5.0 <= refused.value.retry_seconds <= 10.0
        assert len(world.venue.calls) == 3

        world.pass_seconds(10)
        assert str(breaker.state) == "half_open"
        world.venue.is_open.clear()
        trial = asyncio.create_task(ask(gateway))
        await wait_for(lambda: len(world.venue.calls) == 4, "one call passes")
        with pytest.raises(CircuitOpenError):
            await ask(gateway, "ETH-USD")
        world.venue.is_open.set()
        assert (await trial).found is Found.MISS
    assert str(breaker.state) == "closed"
    assert gateway.status().detail == ""
    events = [line["event"] for line in logs if line["event"].startswith("provider_")]
    assert events == ["provider_failed", "provider_recovered"]


async def test_a_failed_trial_opens_the_breaker_for_longer(world: World) -> None:
    gateway = await world.gateway(settings={"breaker_failures": 1, "breaker_seconds": 10.0})
    breaker = gateway.provider("coinbase").upstream.breaker
    seconds = []
    for _ in range(3):
        world.venue.fail(500)
        with pytest.raises(UpstreamUnavailableError):
            await ask(gateway)
        seconds.append(breaker.retry_seconds)
        world.pass_seconds(breaker.retry_seconds)
    assert 5 <= seconds[0] <= 10 <= seconds[1] <= 20 <= seconds[2] <= 40
    assert breaker.opened == 3


async def test_a_stale_answer_is_served_while_the_breaker_is_open(world: World) -> None:
    gateway = await world.gateway(settings={"breaker_failures": 1})
    await ask(gateway)
    world.venue.fail(500)
    with pytest.raises(UpstreamUnavailableError):
        await ask(gateway, "ETH-USD")
    world.pass_seconds(41)
    world.venue.fail(500)
    await ask(gateway)  # the trial fails
    kept = await ask(gateway)
    assert kept.found is Found.STALE_IF_ERROR
    assert "circuit breaker is open" in kept.reason


async def test_the_rate_limit_is_kept_and_what_would_wait_too_long_is_refused(world: World) -> None:
    settings = {"timeout_seconds": 0.05}
    gateway = await world.gateway(settings=settings, requests_per_second=0.5, burst=2)
    upstream = gateway.provider("coinbase").upstream
    for symbol in ("A-USD", "B-USD"):
        await ask(gateway, symbol)
    with pytest.raises(ThrottledError) as refused:
        await ask(gateway, "C-USD")
    assert (refused.value.retry_seconds, upstream.bucket.tokens, len(world.venue.calls)) == (2.0, 0, 2)
    world.pass_seconds(2)
    await ask(gateway, "C-USD")
    assert upstream.outcomes == {"ok": 3, "throttled": 1}


async def test_the_venue_is_left_alone_for_as_long_as_it_asks(world: World) -> None:
    gateway = await world.gateway(settings={"attempts": 3})
    world.venue.fail(429, **{"Retry-After": "30"})
    with pytest.raises(ThrottledError) as refused:
        await ask(gateway)
    assert refused.value.retry_seconds == 30.0
    with pytest.raises(ThrottledError):
        await ask(gateway)
    breaker = gateway.provider("coinbase").upstream.breaker
    assert (len(world.venue.calls), breaker.failures) == (1, 0)  # it is well, only busy
    world.pass_seconds(30)
    assert (await ask(gateway)).found is Found.MISS


async def test_a_full_queue_refuses_calls_of_its_priority_only(world: World) -> None:
    gateway = await world.gateway(settings={"max_calls": 1, "queue_limit": 1})
    world.venue.is_open.clear()
    background = [
        asyncio.create_task(ask(gateway, symbol, priority=CallPriority.BACKGROUND))
        for symbol in ("A-USD", "B-USD")
    ]
    scheduler = gateway.provider("coinbase").upstream.scheduler
    await wait_for(lambda: scheduler.waiting(CallPriority.BACKGROUND) == 1, "one call waits")
    with pytest.raises(QueueFullError, match="1 background calls wait"):
        await ask(gateway, "C-USD", priority=CallPriority.BACKGROUND)
    interactive = asyncio.create_task(ask(gateway, "D-USD"))
    await wait_for(lambda: scheduler.waiting(CallPriority.INTERACTIVE) == 1, "an interactive one waits too")
    world.venue.is_open.set()
    await asyncio.gather(*background, interactive)
    assert gateway.provider("coinbase").upstream.outcomes["queue_full"] == 1


class Broken(CoinbaseProvider):
    """A plugin with an error."""

    async def fetch(self, symbol: str) -> MarketData:
        raise KeyError(f"password-of-{symbol}")


class Careless(CoinbaseProvider):
    """A plugin that mixes symbols up."""

    async def fetch(self, symbol: str) -> MarketData:
        return await super().fetch(f"X{symbol}")


async def test_an_error_of_a_plugin_is_logged_once_and_its_text_shown_to_nobody(world: World) -> None:
    gateway = await world.gateway(provider=Broken)
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(ProviderError, match=r"^the provider raises KeyError$"):
                await ask(gateway)
    assert [line["event"] for line in logs] == ["provider_failed"]
    with pytest.raises(ProviderError, match="the answer is about 'XBTC-USD'"):
        await ask(await world.gateway(provider=Careless))


async def test_a_provider_that_cannot_start_is_shown_and_stops_nothing(world: World) -> None:
    class Faulty(CoinbaseProvider):
        def __init__(self, clock: Clock, options: CoinbaseOptions) -> None:
            super().__init__(clock, options)

        async def start(self) -> None:
            raise OSError("no such file")

    gateway = await world.gateway(provider=Faulty)
    assert gateway.status().detail == "coinbase: OSError: no such file"
    with pytest.raises(GatewayError, match="coinbase was not started: OSError: no such file"):
        await ask(gateway, SYMBOL)

"""The provider ``ccxt``, with the library itself and its Kraken, whose answers come from this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from decahertz.event import InstrumentKind
from decahertz.fakes import ManualClock
from decahertz.provider import (
    InvalidAnswerError,
    UnknownSymbolError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from decahertz.settings import SettingsError
from providers.ccxt import CcxtOptions, CcxtProvider
from tests.api.helpers import wait_for
from tests.providers.venue import Venue, answer, venue

PAIR: dict[str, Any] = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "aclass_base": "currency",
    "base": "XXBT",
    "aclass_quote": "currency",
    "quote": "ZUSD",
    "pair_decimals": 1,
    "cost_decimals": 5,
    "lot_decimals": 8,
    "lot_multiplier": 1,
    "leverage_buy": [],
    "leverage_sell": [],
    "fees": [[0, 0.4]],
    "fees_maker": [[0, 0.25]],
    "fee_volume_currency": "ZUSD",
    "ordermin": "0.00005",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}
TICKER: dict[str, Any] = {
    "a": ["50000.20000", "1", "1.500"],
    "b": ["0.00000", "0", "0.000"],
    "c": ["50000.10000", "0.00010000"],
    "v": ["900.1", "1600.25000001"],
    "p": ["50100.1", "50050.2"],
    "t": [100, 200],
    "l": ["49000.0", "49000.0"],
    "h": ["51000.0", "51000.0"],
    "o": "49000.0",
}


def asset(name: str) -> dict[str, Any]:
    return {"aclass": "currency", "altname": name, "decimals": 10, "display_decimals": 5, "status": "enabled"}


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Venue]:
    async with venue() as running:
        running.bodies = {
            "/0/public/Assets": {"error": [], "result": {"XXBT": asset("XBT"), "ZUSD": asset("USD")}},
            "/0/public/AssetPairs": {"error": [], "result": {"XXBTZUSD": PAIR}},
            "/0/public/Ticker": {"error": [], "result": {"XXBTZUSD": TICKER}},
        }
        yield running


@pytest_asyncio.fixture
async def provider(upstream: Venue) -> AsyncIterator[CcxtProvider]:
    made = CcxtProvider(ManualClock(), CcxtOptions(exchange="kraken", url=upstream.url))
    await made.start()
    made._exchange.enableRateLimit = False  # a second for each call of Kraken
    yield made
    await made.stop()


async def test_a_ticker_in_the_normal_form(upstream: Venue, provider: CcxtProvider) -> None:
    found = await provider.fetch("BTC/USD")
    assert (found.price, found.bid, found.ask) == ("50000.10000", None, "50000.20000")
    assert (found.ask_size, found.volume_24h) == ("1.500", "1600.25000001")
    assert (found.currency, found.kind, found.exchange) == ("USD", InstrumentKind.SPOT, "kraken")
    assert (Decimal(found.price or 0), found.time_ns) == (Decimal("50000.1"), None)
    calls = len(upstream.calls)
    await provider.fetch("BTC/USD")
    assert upstream.calls[calls:] == ["/0/public/Ticker?pair=XXBTZUSD"], "the markets are loaded once"


async def test_the_markets_are_loaded_although_the_call_that_wanted_them_ended(
    upstream: Venue, provider: CcxtProvider
) -> None:
    upstream.is_open.clear()
    first = asyncio.create_task(provider.fetch("BTC/USD"))
    await wait_for(lambda: upstream.calls, "the venue is called")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    upstream.is_open.set()
    assert (await provider.fetch("BTC/USD")).price == "50000.10000"
    paths = [call.partition("?")[0] for call in upstream.calls]
    assert sorted(paths) == ["/0/public/AssetPairs", "/0/public/Assets", "/0/public/Ticker"]


async def test_a_new_symbol_is_found_after_an_hour(upstream: Venue, provider: CcxtProvider) -> None:
    clock = provider.clock
    assert isinstance(clock, ManualClock)
    pairs = upstream.bodies["/0/public/AssetPairs"]["result"]
    with pytest.raises(UnknownSymbolError, match="kraken does not have 'BTC/EUR'"):
        await provider.fetch("BTC/EUR")
    pairs["XXBTZEUR"] = PAIR | {"altname": "XBTEUR", "wsname": "XBT/EUR", "quote": "ZEUR"}
    upstream.bodies["/0/public/Ticker"]["result"] = {"XXBTZEUR": TICKER}
    clock.advance(3601 * 10**9)
    with pytest.raises(UnknownSymbolError):
        await provider.fetch("BTC/EUR")
    assert (await provider.fetch("BTC/EUR")).currency == "EUR"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, {"error": ["EAPI:Rate limit exceeded"]}, UpstreamRateLimitedError),
        (429, {}, UpstreamRateLimitedError),
        (200, {"error": ["EService:Unavailable"]}, UpstreamUnavailableError),
        (503, {}, UpstreamUnavailableError),
        (200, {"error": ["EGeneral:Permission denied"]}, UpstreamRefusedError),
        (
            200,
            {"error": [], "result": {"XXBTZUSD": TICKER | {"c": ["nan", "1"]}}},
            InvalidAnswerError,
        ),
    ],
)
async def test_errors(
    upstream: Venue, provider: CcxtProvider, status: int, body: object, error: type[Exception]
) -> None:
    await provider.fetch("BTC/USD")
    upstream.answers.append(answer(status, body, {"Content-Type": "application/json"}))
    with pytest.raises(error) as raised:
        await provider.fetch("BTC/USD")
    assert "127.0.0.1" not in str(raised.value), "the text shows no address"


async def test_a_failed_list_of_markets_is_loaded_again(upstream: Venue, provider: CcxtProvider) -> None:
    upstream.answers.append(answer(503, {}))
    with pytest.raises(UpstreamUnavailableError):
        await provider.fetch("BTC/USD")
    assert (await provider.fetch("BTC/USD")).ask == "50000.20000"
    await provider.stop()
    with pytest.raises(UpstreamUnavailableError, match="stopped"):
        await provider.fetch("BTC/USD")


@pytest.mark.parametrize("exchange", ["", "nowhere"])
async def test_an_exchange_that_ccxt_does_not_have(exchange: str) -> None:
    provider = CcxtProvider(ManualClock(), CcxtOptions(exchange=exchange))
    with pytest.raises(SettingsError, match=r"providers\.ccxt\.exchange"):
        await provider.start()
    await provider.stop()

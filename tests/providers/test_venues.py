"""The built-in providers, against answers in the format of their venues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from collectors.market.sample import MarketSample
from decahertz.accounting import AccountingSettings
from decahertz.bus import LocalBus, samples_topic
from decahertz.clock import NS_PER_SECOND
from decahertz.contracts import Contracts
from decahertz.event import Instrument, InstrumentKind
from decahertz.fakes import ManualClock
from decahertz.latest import LatestSamples
from decahertz.provider import (
    InvalidAnswerError,
    MarketData,
    ProviderError,
    UnknownSymbolError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    decimal_text,
    read_secret,
)
from decahertz.sample import SampleBatch, schema_of
from decahertz.settings import SettingsError
from providers.binance import BinanceOptions, BinanceProvider
from providers.coinbase import CoinbaseOptions, CoinbaseProvider
from providers.kraken import KrakenOptions, KrakenProvider
from providers.recorder import RecorderOptions, RecorderProvider
from providers.replay import ReplayOptions, ReplayProvider
from providers.validation import validated
from tests.providers.venue import Venue, answer, venue

TICKER: dict[str, Any] = {
    "a": ["50000.20000", "1", "1.500"],
    "b": ["50000.10000", "2", "2.000"],
    "c": ["50000.10000", "0.00010000"],
    "v": ["900.1", "1600.25000000"],
    "p": ["50100.1", "50050.2"],
    "t": [100, 200],
    "o": "49000.0",
}
COINBASE: dict[str, Any] = {
    "ask": "63212.98",
    "bid": "63212.97",
    "volume": "4916.94797396",
    "trade_id": 1040406588,
    "price": "63212.97",
    "size": "0.00782662",
    "time": "2026-06-19T16:43:33.016274911Z",
    "rfq_volume": "31.625279",
}
DAY = {
    "symbol": "BTCUSDT",
    "lastPrice": "50000.00000001",
    "bidPrice": "49999.99",
    "bidQty": "4.00",
    "askPrice": "50000.01",
    "askQty": "2.5",
    "volume": "8913.30000000",
    "closeTime": 1767225600123,
    "priceChange": "-94.99",
}


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Venue]:
    async with venue() as running:
        yield running


@pytest_asyncio.fixture
async def kraken(upstream: Venue) -> AsyncIterator[KrakenProvider]:
    provider = KrakenProvider(ManualClock(), KrakenOptions(url=upstream.url))
    await provider.start()
    yield provider
    await provider.stop()


@pytest_asyncio.fixture
async def binance(upstream: Venue) -> AsyncIterator[BinanceProvider]:
    provider = BinanceProvider(ManualClock(), BinanceOptions(url=upstream.url))
    await provider.start()
    yield provider
    await provider.stop()


@pytest_asyncio.fixture
async def coinbase(upstream: Venue) -> AsyncIterator[CoinbaseProvider]:
    provider = CoinbaseProvider(ManualClock(), CoinbaseOptions(url=upstream.url))
    await provider.start()
    yield provider
    await provider.stop()


async def test_coinbase_in_the_normal_form(upstream: Venue, coinbase: CoinbaseProvider) -> None:
    upstream.answers.append(answer(body=COINBASE))
    found = await coinbase.fetch("BTC-USD")
    assert upstream.calls == ["/products/BTC-USD/ticker"]
    assert (found.price, found.bid, found.ask) == ("63212.97", "63212.97", "63212.98")
    assert (found.currency, found.volume_24h) == ("USD", "4916.94797396")
    assert found.time_ns == 1781887413016274911
    upstream.answers.append(answer(404, {"message": "NotFound"}))
    with pytest.raises(UnknownSymbolError):
        await coinbase.fetch("BTC-USD")


async def test_a_zero_of_a_venue_is_no_price(
    upstream: Venue, coinbase: CoinbaseProvider, kraken: KrakenProvider, binance: BinanceProvider
) -> None:
    upstream.answers.append(answer(body=COINBASE | {"ask": "0", "volume": "0"}))
    found = [await coinbase.fetch("BTC-USD")]
    upstream.answers.append(
        answer(body={"error": [], "result": {"A": TICKER | {"a": ["0.00000", "0", "0.000"]}}})
    )
    found.append(await kraken.fetch("XBT/USD"))
    upstream.answers.append(answer(body=DAY | {"askPrice": "0.00000000", "askQty": "0.00000000"}))
    found.append(await binance.fetch("BTC/USDT"))
    assert [one.ask for one in found] == [None, None, None]
    for one in found:
        assert validated(one, one.symbol, 2 * 10**18).bid is not None
    nothing = dict.fromkeys(("lastPrice", "bidPrice", "askPrice"), "0.00000000")
    upstream.answers.append(answer(body=DAY | nothing))
    with pytest.raises(UnknownSymbolError, match="no price"):
        validated(await binance.fetch("BTC/USDT"), "BTC/USDT", 2 * 10**18)


async def test_kraken_in_the_normal_form(upstream: Venue, kraken: KrakenProvider) -> None:
    upstream.answers.append(answer(body={"error": [], "result": {"XXBTZUSD": TICKER}}))
    found = await kraken.fetch("XBT/USD")
    assert upstream.calls == ["/0/public/Ticker?pair=XBTUSD"]
    assert (found.price, found.bid, found.ask) == ("50000.10000", "50000.10000", "50000.20000")
    assert (found.bid_size, found.ask_size, found.volume_24h) == ("2.000", "1.500", "1600.25000000")
    assert (found.currency, found.time_ns) == ("USD", None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("EQuery:Unknown asset pair", UnknownSymbolError),
        ("EAPI:Rate limit exceeded", UpstreamRateLimitedError),
        ("EService:Unavailable", UpstreamUnavailableError),
        ("EService: Throttled", UpstreamRateLimitedError),
        ("EGeneral:Permission denied", UpstreamRefusedError),
    ],
)
async def test_errors_of_kraken_come_with_status_200(
    upstream: Venue, kraken: KrakenProvider, text: str, error: type[Exception]
) -> None:
    upstream.answers.append(answer(body={"error": [text]}))
    with pytest.raises(error, match=text):
        await kraken.fetch("XBT/USD")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("EGeneral:Too many requests", 5),
        ("EGeneral:Temporary lockout", 900),
        ("EService: Throttled: {in_a_minute}", 60),
        ("EService:Throttled: 1", 5),
    ],
)
async def test_a_limit_of_kraken_says_how_long_to_wait(
    upstream: Venue, kraken: KrakenProvider, text: str, seconds: float
) -> None:
    in_a_minute = kraken.clock.time_ns() // NS_PER_SECOND + 60
    upstream.answers.append(answer(body={"error": [text.format(in_a_minute=in_a_minute)]}))
    with pytest.raises(UpstreamRateLimitedError) as limited:
        await kraken.fetch("XBT/USD")
    assert limited.value.retry_seconds == pytest.approx(seconds, abs=1)


async def test_a_warning_of_kraken_is_no_error(upstream: Venue, kraken: KrakenProvider) -> None:
    upstream.answers.append(answer(body={"error": ["WGeneral:Deprecated"], "result": {"XXBTZUSD": TICKER}}))
    assert (await kraken.fetch("XBT/USD")).price == "50000.10000"


async def test_kraken_with_two_pairs_or_none_is_not_understood(
    upstream: Venue, kraken: KrakenProvider
) -> None:
    for result in ({}, {"A": TICKER, "B": TICKER}, {"A": TICKER | {"a": ["1"]}}):
        upstream.answers.append(answer(body={"error": [], "result": result}))
        with pytest.raises(InvalidAnswerError):
            await kraken.fetch("XBT/USD")


async def test_binance_in_the_normal_form(upstream: Venue, binance: BinanceProvider) -> None:
    upstream.answers.append(answer(body=DAY))
    found = await binance.fetch("BTC/USDT")
    assert upstream.calls == ["/api/v3/ticker/24hr?symbol=BTCUSDT"]
    assert (found.price, found.bid, found.ask) == ("50000.00000001", "49999.99", "50000.01")
    assert (found.currency, found.time_ns) == ("USDT", 1767225600123000000)


async def test_errors_of_binance(upstream: Venue, binance: BinanceProvider) -> None:
    upstream.answers.append(answer(400, {"code": -1121, "msg": "Invalid symbol."}))
    with pytest.raises(UnknownSymbolError):
        await binance.fetch("BTC/USDT")
    assert binance.is_symbol("币安人生/USDT")
    upstream.answers.append(answer(400, {"code": -1100, "msg": "Illegal characters found in parameter"}))
    with pytest.raises(UnknownSymbolError):
        await binance.fetch("A" * 20 + "/USDT")
    upstream.answers.append(answer(400, {"code": -1102, "msg": "Mandatory parameter"}))
    with pytest.raises(UpstreamRefusedError):
        await binance.fetch("BTC/USDT")
    upstream.answers.append(answer(418, {"code": -1003, "msg": "banned"}, {"Retry-After": "120"}))
    with pytest.raises(UpstreamRateLimitedError) as limited:
        await binance.fetch("BTC/USDT")
    assert limited.value.retry_seconds == 120
    upstream.answers.append(answer(body=DAY | {"symbol": "ETHUSDT"}))
    with pytest.raises(InvalidAnswerError, match="ETHUSDT"):
        await binance.fetch("BTC/USDT")


@pytest.mark.parametrize("header", [None, "soon", "nan", "-5", "1e9"])
async def test_a_strange_retry_after_does_no_harm(
    upstream: Venue, binance: BinanceProvider, header: str | None
) -> None:
    upstream.answers.append(answer(429, {}, {"Retry-After": header} if header else {}))
    with pytest.raises(UpstreamRateLimitedError) as limited:
        await binance.fetch("BTC/USDT")
    assert 0 <= limited.value.retry_seconds <= 3 * 86_400


def sample(**values: Any) -> MarketSample:  # noqa: ANN401 - of any field
    """A sample of the market collector; fields not named are null or zero."""
    usual: dict[str, Any] = {"venue": "kraken", "instrument": "BTC-USD", "verdict": "live"}
    raw: dict[str, Any] = {}
    for field in msgspec.structs.fields(MarketSample):
        is_optional = "None" in str(field.type)
        raw[field.name] = None if is_optional else 0
    raw |= {"verdict_reason": "messages_arrive", "crossed": False, "locked": False} | usual | values
    return msgspec.convert(raw, MarketSample, strict=False)


async def test_the_recorder_serves_its_live_data() -> None:
    bus, clock = LocalBus(), ManualClock()
    contracts = Contracts(AccountingSettings(), clock)
    provider = RecorderProvider(
        clock, RecorderOptions(), latest=LatestSamples(bus), definitions=contracts.definitions
    )
    with pytest.raises(UpstreamUnavailableError, match="no sample yet"):
        await provider.fetch("BTC-USD")
    contracts.adopt(
        [
            Instrument(
                time_ns=1,
                venue="kraken",
                instrument="BTC-USD",
                kind=InstrumentKind.SPOT,
                base_currency="BTC",
                quote_currency="USD",
            )
        ]
    )
    schema = schema_of(MarketSample)
    samples = (
        sample(bid=0.1 + 0.2, ask=1e-7, last=50000.0, bid_size=2.0, age_seconds=1.5),
        sample(instrument="ETH-USD", bid=1.0, verdict="stale", verdict_reason="disconnected"),
        sample(instrument="EUR/USD", bid=1.0),
        sample(instrument="EUR/USD", venue="ecn", bid=2.0),
        sample(instrument="NEW"),
    )
    now_ns = clock.time_ns()
    bus.publish(samples_topic(schema.collector), SampleBatch(schema, now_ns, samples))
    found = await provider.fetch("BTC-USD")
    assert (found.price, found.bid, found.ask) == ("50000.0", "0.30000000000000004", "0.0000001")
    assert (found.currency, found.kind, found.exchange) == ("USD", InstrumentKind.SPOT, "kraken")
    assert (found.time_ns, found.is_current) == (now_ns - 1_500_000_000, True)
    stale = await provider.fetch("ETH-USD")
    assert (stale.is_current, stale.detail, stale.currency) == (
        False,
        "the feed is stale: disconnected",
        None,
    )
    with pytest.raises(UnknownSymbolError, match="ask for one of kraken:EUR/USD, ecn:EUR/USD"):
        await provider.fetch("EUR/USD")
    assert (await provider.fetch("ecn:EUR/USD")).bid == "2.0"
    for symbol in ("NEW", "nothing"):
        with pytest.raises(UnknownSymbolError):
            await provider.fetch(symbol)


def recorded(time_ns: int, price: str) -> bytes:
    data = MarketData(symbol="BTC-USD", exchange="x", source="file", price=price, time_ns=time_ns)
    return msgspec.json.encode(data)


async def test_a_recording_is_played_at_its_speed_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    file.write_bytes(
        b"\n".join([recorded(3 * 10**9, "3"), b"", recorded(10**9, "1"), recorded(2 * 10**9, "2")])
    )
    clock = ManualClock()
    provider = ReplayProvider(clock, ReplayOptions(file=file, speed=2.0))
    await provider.start()
    prices = []
    for _ in range(5):
        found = await provider.fetch("BTC-USD")
        prices.append((found.price, found.is_current))
        clock.advance(300_000_000)
    assert prices == [("1", True), ("1", True), ("2", True), ("2", True), ("3", False)]
    with pytest.raises(UnknownSymbolError):
        await provider.fetch("ETH-USD")
    # Answers of the recorder's own API make a recording too.
    lines = (
        '"time_ns":null,"received_ns":7000000000,"quality":"good"',
        '"time_ns":8000000000,"received_ns":8000000001,"quality":"not_current"',
    )
    answer = '{"provider":"k","symbol":"XBT/USD","exchange":"k","price":"1","source":"s","found":"hit",'
    file.write_text("".join(f'{answer}"priority":"background",{line}}}\n' for line in lines))
    await (provider := ReplayProvider(clock, ReplayOptions(file=file))).start()
    found = await provider.fetch("XBT/USD")
    assert (found.time_ns, found.is_current) == (7 * 10**9, True)
    clock.advance(10**9)
    assert not (await provider.fetch("XBT/USD")).is_current
    file.write_text(f'{answer}"time_ns":null}}')
    for wrong, reason in ((file, "line 1"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(ProviderError, match=reason):
            await ReplayProvider(clock, ReplayOptions(file=wrong)).start()


def test_numbers_become_texts_without_exponents() -> None:
    assert [decimal_text(value) for value in (1e-7, 1e22, 0.1, 5, -0.0)] == [
        "0.0000001",
        "10000000000000000000000",
        "0.1",
        "5",
        "0.0",
    ]
    for value in (float("nan"), float("inf"), 1e300, 1e-300):
        with pytest.raises(InvalidAnswerError):
            decimal_text(value)


def test_a_secret_comes_from_its_file_and_an_error_does_not_show_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("swordfish\n")
    assert read_secret("providers.x.token", "", file) == "swordfish"
    assert read_secret("providers.x.token", "given", Path()) == "given"
    file.write_text("sword\nfish\n")
    for wrong in (file, tmp_path / "none"):
        with pytest.raises(SettingsError, match=r"providers\.x\.token_file") as error:
            read_secret("providers.x.token", "", wrong)
        assert "sword" not in str(error.value)

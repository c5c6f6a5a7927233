from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from collectors.feeds.recordings.captures import open_recording
from collectors.feeds.recordings.replay import ReplayFeed, ReplayOptions, speed_of
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import AnyEvent, ConnectionState, Heartbeat, MarketEvent, Quote, Tick
from decahertz.settings import SettingsError, Source, Sources
from tests.collectors.feeds.parts import Pipeline, texts_of, until

START_NS = 1_618_677_817 * NS_PER_SECOND


def a_capture(folder: Path, *arrivals: tuple[float, float], name: str = "coinbase.ws") -> Path:
    """A capture of matches: (seconds after the start, age in seconds)."""
    lines = ["wss://ws-feed.pro.coinbase.com <-> 1618677816.8"]
    for number, (at, age) in enumerate(arrivals, start=1):
        message = {
            "type": "match",
            "trade_id": number,
            "sequence": number,
            "product_id": "A-B",
            "price": str(number),
            "size": "1",
            "side": "buy",
            "time": str(START_NS + round((at - age) * NS_PER_SECOND)),
        }
        lines.append(f"{1_618_677_817 + at:.6f}: {json.dumps(message)}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


async def a_feed(path: Path, speed: str = "max") -> ReplayFeed:
    """The constructor looks into the file, as the start of the process may and a running loop may not."""
    return await asyncio.to_thread(ReplayFeed, SystemClock(), ReplayOptions(file=path, speed=speed))


def received(pipeline: Pipeline) -> list[tuple[int, Tick]]:
    return [
        (arrival.received_ns, event)
        for arrival in pipeline.published
        for event in arrival.batch.events
        if isinstance(event, Tick)
    ]


async def test_ages_on_receipt_are_those_of_the_recording(pipeline: Pipeline, tmp_path: Path) -> None:
    path = a_capture(tmp_path, (0.0, 0.25), (0.05, -0.018), (0.1, 7.5))
    await pipeline.play(await a_feed(path, "original"))
    ages = [(received_ns - tick.time_ns) / NS_PER_SECOND for received_ns, tick in received(pipeline)]
    assert ages == pytest.approx([0.25, -0.018, 7.5], abs=1e-6)


async def test_the_original_pace_is_never_ahead_of_the_recording(pipeline: Pipeline, tmp_path: Path) -> None:
    moments = [0.0, 0.02, 0.02, 0.3, 0.31]
    path = a_capture(tmp_path, *((at, 0.01) for at in moments))
    await pipeline.play(await a_feed(path, "original"))
    times = [received_ns for received_ns, _ in received(pipeline)]
    slack_ns = 20_000_000  # the wall clock that stamps is not the monotonic one that paces
    for at, received_ns in zip(moments, times, strict=True):
        assert received_ns - times[0] >= at * NS_PER_SECOND - slack_ns


async def test_faster_means_that_an_hour_does_not_take_an_hour(pipeline: Pipeline, tmp_path: Path) -> None:
    path = a_capture(tmp_path, (0.0, 0.01), (3_600.0, 0.01))
    await pipeline.play(await a_feed(path, "36000"))
    assert [tick.price for tick in pipeline.of(Tick)] == [1.0, 2.0]


async def test_heartbeats_say_when_it_begins_and_ends(pipeline: Pipeline, tmp_path: Path) -> None:
    path = a_capture(tmp_path, (0.0, 0.0), (1.2, 0.0))
    await pipeline.play(await a_feed(path, "original"))
    heartbeats = pipeline.of(Heartbeat)
    states = [ConnectionState.OPEN, ConnectionState.OPEN, ConnectionState.CLOSED]
    assert [heartbeat.connection for heartbeat in heartbeats] == states
    assert {(beat.component, beat.venue) for beat in heartbeats} == {("feed-replay", "coinbase")}
    assert pipeline.events[0] is heartbeats[0]
    assert pipeline.events[-1] is heartbeats[-1]


async def test_progress_is_bytes_read(tmp_path: Path) -> None:
    path = a_capture(tmp_path, *[(0.0, 0.0)] * 1_000)
    feed = await a_feed(path)
    assert feed.progress is None
    shares: list[float] = []

    async def emit(events: Sequence[AnyEvent], received_ns: int) -> None:  # noqa: ARG001 - the shape of emit
        assert feed.progress is not None
        shares.append(feed.progress.done / feed.progress.total)

    await feed.run(emit)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == 1.0


async def test_after_a_failure_it_goes_on_behind_what_was_handed_over(tmp_path: Path) -> None:
    feed = await a_feed(a_capture(tmp_path, *[(0.0, 0.0)] * 1_000))
    prices: list[float] = []

    async def emit(events: Sequence[AnyEvent], received_ns: int) -> None:  # noqa: ARG001 - the shape of emit
        prices.extend(event.price for event in events if isinstance(event, Tick))
        if len(prices) in (256, 512):
            raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            await feed.run(emit)
    await feed.run(emit)
    assert prices == [float(number) for number in range(1, 1_001)]


async def test_it_can_be_cancelled_while_it_waits(pipeline: Pipeline, tmp_path: Path) -> None:
    feed = await a_feed(a_capture(tmp_path, (0.0, 0.0), (3_600.0, 0.0)), "original")
    async with pipeline.running(feed):
        await until(lambda: pipeline.of(Tick))
    assert len(pipeline.of(Tick)) == 1


async def test_a_file_that_vanished_is_told_by_the_status(pipeline: Pipeline, tmp_path: Path) -> None:
    path = a_capture(tmp_path, (0.0, 0.0))
    feed = await a_feed(path)
    path.unlink()
    async with pipeline.running(feed) as host:
        await until(lambda: host.feeds()[0].last_error is not None)
        assert str(path) in (host.feeds()[0].last_error or "")
    assert pipeline.published == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.ws", "No such file"),
        ("bars.csv", "it holds bars"),
        ("poem.csv", "neither a WebSocket"),
    ],
)
def test_a_file_that_cannot_be_played_is_a_wrong_setting(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "bars.csv").write_text("timestamp,open,high,low,close\n")
    (tmp_path / "poem.csv").write_text("Shall I compare thee to a summer's day?\n")
    with pytest.raises(SettingsError, match=rf"feeds\.replay\.file: .*{reason}"):
        ReplayFeed(SystemClock(), ReplayOptions(file=tmp_path / name))


@pytest.mark.parametrize(
    ("text", "speed"),
    [("original", 1.0), ("1", 1.0), ("2.5", 2.5), ("0.25", 0.25), ("100", 100.0), ("max", math.inf)],
)
def test_a_speed_is_original_a_number_or_max(text: str, speed: float) -> None:
    options = options_of({"feeds.replay.file": "x", "feeds.replay.speed": text})
    assert options.file == Path("x")
    assert speed_of(options.speed) == speed


def test_a_file_must_be_set() -> None:
    with pytest.raises(SettingsError, match=r"feeds\.replay\.file: is not set"):
        options_of({})


def options_of(values: dict[str, object]) -> ReplayOptions:
    return Sources((Source("the command line", values),)).plugin_options("feeds", "replay", ReplayOptions)


@pytest.mark.recordings
@pytest.mark.parametrize(
    "name",
    [
        "coinbase.ws",
        "kraken.ws",
        "binance.ws",
        "eurusd-quotes-20200101.csv",
        "usdjpy-quotes-20130101.csv",
        "btcusdt-trades-20210108.csv",
    ],
)
async def test_a_recording_is_played_whole_and_in_order(
    pipeline: Pipeline,
    recordings: Path,
    name: str,
) -> None:
    feed = await a_feed(recordings / name)
    await pipeline.play(feed)
    recorded, counts = await asyncio.to_thread(read_whole, recordings / name)
    assert facts(pipeline.events) == facts(recorded)
    assert feed.counters == counts


@pytest.mark.recordings
async def test_the_coinbase_recording_holds_its_matches_tickers_and_last_prices(
    pipeline: Pipeline,
    recordings: Path,
) -> None:
    await pipeline.play(await a_feed(recordings / "coinbase.ws"))
    matches = [tick for tick in pipeline.of(Tick) if tick.sequence is not None]
    tickers = [quote for quote in pipeline.of(Quote) if quote.sequence is not None]
    assert len({(tick.instrument, tick.trade_id) for tick in matches}) == len(matches) == 97
    assert len({(quote.instrument, quote.sequence) for quote in tickers}) == len(tickers) == 107
    # The newest by event time is also the newest of the file, although all was played at once.
    newest: dict[str, Tick] = {}
    for tick in pipeline.of(Tick):
        if tick.instrument not in newest or tick.time_ns >= newest[tick.instrument].time_ns:
            newest[tick.instrument] = tick
    said = [json.loads(text) for text in await texts_of(recordings / "coinbase.ws")]
    trades = [message for message in said if message["type"] in ("match", "last_match")]
    prices = {trade["product_id"]: float(trade["price"]) for trade in trades}
    assert {instrument: tick.price for instrument, tick in newest.items()} == prices
    assert len(prices) == 10


def read_whole(path: Path) -> tuple[list[AnyEvent], dict[str, int]]:
    recording = open_recording(path)
    return [event for record in recording.records() for event in record.events], recording.counts


def facts(events: list[AnyEvent]) -> list[tuple[object, ...]]:
    """The fields of market events that a replay keeps: all but the times."""
    return [
        structs.astuple(structs.replace(event, time_ns=1))
        for event in events
        if isinstance(event, MarketEvent)
    ]

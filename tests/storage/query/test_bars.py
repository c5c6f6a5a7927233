"""Bars from prints, beside a computation in plain Python."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from collectors.feeds.recordings.captures import recorded_events
from decahertz.accounting import AccountingSettings
from decahertz.bar import Bar
from decahertz.clock import format_time, parse_time
from decahertz.event import Instrument, InstrumentKind, Tick
from decahertz.trading_days import TradingDays
from storage.database import Database
from storage.query.bars import BarFilter
from storage.query.pagination import CursorError
from storage.query.queries import Queries
from tests.storage_examples import START_NS, arrival, quote, store

RECORDING = Path(__file__).parents[3].parent / "shared" / "data" / "btcusdt-trades-20210108.csv"
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
recorded = pytest.mark.skipif(
    not RECORDING.exists(), reason="the recordings of real markets are not beside the checkout"
)


def tick(
    time_ns: int, price: float, size: float = 1.0, venue: str = "sim", instrument: str = "EUR/USD"
) -> Tick:
    return Tick(time_ns=time_ns, venue=venue, instrument=instrument, price=price, size=size)


async def store_ticks(database: Database, ticks: Sequence[Tick], part: int = 500) -> None:
    for first in range(0, len(ticks), part):
        await store(database, arrival(1 + first, ticks[first : first + part]))


def rounded(bar: Bar) -> Bar:
    """Without the last digits, which depend on the order of adding."""
    assert bar.volume is not None
    assert bar.vwap is not None
    return msgspec.structs.replace(bar, volume=round(bar.volume, 9), vwap=round(bar.vwap, 9))


def naive(ticks: Sequence[Tick], width_ns: int) -> list[Bar]:
    """Newest first; the ticks in order of time."""
    prints: dict[int, list[Tick]] = {}
    for one in ticks:
        prints.setdefault(one.time_ns // width_ns * width_ns, []).append(one)
    return [
        Bar(
            time_ns=time_ns,
            open=found[0].price,
            high=max(one.price for one in found),
            low=min(one.price for one in found),
            close=found[-1].price,
            trades=len(found),
            volume=sum(one.size for one in found),
            vwap=sum(one.price * one.size for one in found) / sum(one.size for one in found),
        )
        for time_ns, found in sorted(prints.items(), reverse=True)
    ]


async def all_bars(database: Database, which: BarFilter, limit: int) -> list[Bar]:
    """Page by page."""
    queries, found = Queries(database), list[Bar]()
    cursor: str | None = None
    while True:
        page = await queries.bars(which, limit=limit, cursor=cursor)
        assert len(page.items) == limit or page.next_cursor is None
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


@recorded
@pytest.mark.recordings
@pytest.mark.parametrize("width_ns", [10**6, 250 * 10**6, SECOND_NS, 7 * SECOND_NS, MINUTE_NS, 24 * HOUR_NS])
async def test_bars_of_a_real_market_are_those_of_an_independent_computation(
    database: Database, width_ns: int
) -> None:
    events = [one for _, batch in recorded_events(RECORDING) for one in batch if isinstance(one, Tick)]
    assert len(events) > 2000
    await store_ticks(database, events)
    expected: dict[int, list[tuple[Decimal, Decimal]]] = {}
    with RECORDING.open(encoding="ascii") as stream:
        for row in csv.DictReader(stream):
            seconds = Decimal(str(datetime.fromisoformat(row["timestamp"]).timestamp()))
            bucket = int(seconds * SECOND_NS) // width_ns * width_ns
            expected.setdefault(bucket, []).append((Decimal(row["price"]), Decimal(row["quantity"])))
    which = BarFilter(instrument="BTCUSDT", timeframe_ns=width_ns, venues=["binance"])
    bars = await all_bars(database, which, limit=100)
    assert [bar.time_ns for bar in bars] == sorted(expected, reverse=True)
    for bar in bars:
        prints = expected[bar.time_ns]
        prices = [float(price) for price, _ in prints]
        volume = sum(size for _, size in prints)
        assert (bar.open, bar.high, bar.low, bar.close) == (prices[0], max(prices), min(prices), prices[-1])
        assert bar.trades == len(prints)
        assert bar.volume == pytest.approx(float(volume), rel=1e-12)
        vwap = sum(price * size for price, size in prints) / volume
        assert bar.vwap == pytest.approx(float(vwap), rel=1e-12)


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_pages_cross_long_silences_and_leave_nothing_out(database: Database, limit: int) -> None:
    chance = random.Random(limit)
    times = sorted(START_NS + int(10 ** chance.uniform(0, 15.5)) for _ in range(40))
    ticks = [tick(time_ns, chance.uniform(1, 2), chance.uniform(0.1, 9)) for time_ns in times]
    await store_ticks(database, ticks)
    for width_ns in (SECOND_NS, MINUTE_NS, HOUR_NS):
        which = BarFilter(instrument="EUR/USD", timeframe_ns=width_ns)
        bars = await all_bars(database, which, limit)
        assert list(map(rounded, bars)) == list(map(rounded, naive(ticks, width_ns)))


@pytest.mark.parametrize(
    ("ticks", "part", "expected"),
    [
        pytest.param(
            [tick(START_NS, price) for price in (3.0, 1.0, 4.0, 2.0)],
            2,
            {"open": 3.0, "high": 4.0, "low": 1.0, "close": 2.0},
            id="ticks of one instant keep the order in which they were emitted",
        ),
        pytest.param(
            [tick(START_NS + number, float(number)) for number in (5, 1, 9, 3)],
            1,
            {"open": 1.0, "close": 9.0},
            id="late ticks count where they belong",
        ),
        pytest.param(
            [tick(START_NS, 5.0, size=0.0)],
            1,
            {"volume": 0.0, "vwap": None},
            id="without a size there is no weighted price",
        ),
        pytest.param(
            [tick(START_NS, 9e299, size=9e299)],
            1,
            {"close": 9e299, "volume": None, "vwap": None},
            id="sums beyond all numbers are null",
        ),
    ],
)
async def test_ticks_of_one_bar(
    database: Database, ticks: list[Tick], part: int, expected: dict[str, float | None]
) -> None:
    await store_ticks(database, ticks, part)
    (bar,) = (await Queries(database).bars(BarFilter(instrument="EUR/USD", timeframe_ns=1000), limit=9)).items
    assert {name: getattr(bar, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("venues", "prices"),
    [([], [3.0, 2.0]), (["a"], [1.0]), (["b"], [3.0, 2.0]), (["a", "b"], [3.0, 2.0]), (["c"], [])],
)
async def test_venues_are_told_apart_or_taken_together(
    database: Database, venues: list[str], prices: list[float]
) -> None:
    await store_ticks(
        database,
        [
            tick(START_NS, 1.0, venue="a"),
            tick(START_NS + 1, 2.0, venue="b"),
            tick(START_NS + MINUTE_NS, 3.0, venue="b"),
            tick(START_NS, 9.0, venue="a", instrument="other"),
        ],
    )
    which = BarFilter(instrument="EUR/USD", timeframe_ns=MINUTE_NS, venues=venues)
    assert [bar.close for bar in (await Queries(database).bars(which, limit=9)).items] == prices


async def test_bars_that_touch_the_range_are_answered_whole(database: Database) -> None:
    begin = START_NS // MINUTE_NS * MINUTE_NS
    await store_ticks(database, [tick(begin + n * MINUTE_NS // 2, float(n)) for n in range(8)])

    async def between(start_ns: int | None, end_ns: int | None) -> list[float]:
        which = BarFilter(instrument="EUR/USD", timeframe_ns=MINUTE_NS, start_ns=start_ns, end_ns=end_ns)
        return [bar.open for bar in (await Queries(database).bars(which, limit=9)).items]

    assert await between(None, None) == [6.0, 4.0, 2.0, 0.0]
    assert await between(begin + MINUTE_NS, begin + 2 * MINUTE_NS) == [2.0]
    assert await between(begin + MINUTE_NS - 1, begin + 2 * MINUTE_NS + 1) == [4.0, 2.0, 0.0]
    assert await between(begin + 2 * MINUTE_NS, begin + MINUTE_NS) == []
    assert await between(0, 2**63 - 1) == [6.0, 4.0, 2.0, 0.0]


async def test_an_instrument_that_is_only_quoted_or_defined_has_no_bars(database: Database) -> None:
    definition = Instrument(time_ns=START_NS, venue="sim", instrument="a", kind=InstrumentKind.SPOT)
    await store(database, arrival(1, [quote(1), definition]))
    for instrument in ("EUR/USD", "a", "nothing", "a\0b", "\ud800"):
        page = await Queries(database).bars(BarFilter(instrument=instrument, timeframe_ns=1000), limit=9)
        assert (page.items, page.next_cursor) == ([], None)


async def test_a_cursor_of_other_bars_is_refused(database: Database) -> None:
    await store_ticks(database, [tick(START_NS + n * SECOND_NS, 1.0) for n in range(3)])
    queries = Queries(database)
    which = BarFilter(instrument="EUR/USD", timeframe_ns=SECOND_NS)
    cursor = (await queries.bars(which, limit=1)).next_cursor
    for other in (
        BarFilter(instrument="EUR/USD", timeframe_ns=MINUTE_NS),
        BarFilter(instrument="other", timeframe_ns=SECOND_NS),
    ):
        with pytest.raises(CursorError):
            await queries.bars(other, limit=1, cursor=cursor)
    with pytest.raises(CursorError):
        await queries.bars(which, limit=1, cursor="AAAA")


# Bars of days and weeks.


def calendar_of(zone: str, day_start: str = "00:00", week_start: int = 0) -> TradingDays:
    return TradingDays(AccountingSettings(timezone=zone, day_start=day_start, week_start=week_start))


async def starts(
    database: Database, days: int, calendar: TradingDays, limit: int = 2
) -> list[tuple[str, int]]:
    """Start and number of ticks of each bar, oldest first."""
    which = BarFilter(instrument="EUR/USD", timeframe_ns=days * 24 * HOUR_NS, days=calendar)
    bars = await all_bars(database, which, limit)
    return [(format_time(bar.time_ns)[:16], bar.trades) for bar in reversed(bars)]


async def test_bars_of_a_week_begin_on_monday(database: Database) -> None:
    # Every day at noon UTC, for four weeks from Saturday, 2026-02-28.
    noon_ns = parse_time("2026-02-28T12:00:00Z")
    await store_ticks(database, [tick(noon_ns + day * 24 * HOUR_NS, 1.0) for day in range(28)])
    utc = calendar_of("UTC")
    weeks = [
        "2026-02-23T00:00",
        "2026-03-02T00:00",
        "2026-03-09T00:00",
        "2026-03-16T00:00",
        "2026-03-23T00:00",
    ]
    assert await starts(database, 7, utc) == list(zip(weeks, [2, 7, 7, 7, 5], strict=True))
    sunday = calendar_of("UTC", week_start=6)
    assert [start for start, _ in await starts(database, 7, sunday)][:2] == [
        "2026-02-22T00:00",
        "2026-03-01T00:00",
    ]
    # The clocks of New York change on Sunday, 2026-03-08.
    new_york = calendar_of("America/New_York", "17:00", week_start=6)
    assert (await starts(database, 7, new_york))[:3] == [
        ("2026-02-22T22:00", 2),
        ("2026-03-01T22:00", 7),
        ("2026-03-08T21:00", 7),
    ]


async def test_bars_of_a_day_have_23_or_25_hours_when_the_clocks_change(database: Database) -> None:
    first_ns = parse_time("2026-03-06T00:30:00Z")
    await store_ticks(database, [tick(first_ns + hour * HOUR_NS, 1.0) for hour in range(24 * 5)])
    found = await starts(database, 1, calendar_of("America/New_York"))
    assert found[1:4] == [("2026-03-06T05:00", 24), ("2026-03-07T05:00", 24), ("2026-03-08T05:00", 23)]
    assert [count for _, count in await starts(database, 1, calendar_of("UTC"))] == [24] * 5
    assert sum(count for _, count in await starts(database, 2, calendar_of("Asia/Kolkata"))) == 24 * 5


async def test_a_range_of_days_has_whole_bars(database: Database) -> None:
    first_ns = parse_time("2026-03-06T00:30:00Z")
    await store_ticks(database, [tick(first_ns + hour * HOUR_NS, 1.0) for hour in range(24 * 5)])
    which = BarFilter(
        instrument="EUR/USD",
        timeframe_ns=24 * HOUR_NS,
        start_ns=parse_time("2026-03-07T12:00:00Z"),
        end_ns=parse_time("2026-03-08T05:00:00Z"),
        days=calendar_of("America/New_York"),
    )
    (bar,) = await all_bars(database, which, 9)
    assert (format_time(bar.time_ns)[:16], bar.trades) == ("2026-03-07T05:00", 24)


async def test_a_cursor_of_other_days_is_refused(database: Database) -> None:
    await store_ticks(database, [tick(START_NS + day * 24 * HOUR_NS, 1.0) for day in range(3)])
    which = BarFilter(instrument="EUR/USD", timeframe_ns=24 * HOUR_NS)
    page = await Queries(database).bars(which, limit=1)
    other = BarFilter(instrument="EUR/USD", timeframe_ns=24 * HOUR_NS, days=calendar_of("Asia/Tokyo"))
    with pytest.raises(CursorError):
        await Queries(database).bars(other, limit=1, cursor=page.next_cursor)

"""Analytics and bars of real markets, beside independent computations with pandas.

The recording of one-minute bars has no ticks, and bars cannot be imported. Each of its minutes is stored as
four ticks: open, high, low and close, a quarter of the minute apart, each with a quarter of the volume. So
prices and volume of a range of whole minutes are those of the file. The order of a minute's high and low is
not known, and no test here depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from collectors.feeds.recordings.captures import recorded_events
from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Side, Tick
from decahertz.trading_days import DAY_NS, TradingDays
from storage.database import Database
from storage.query.analytics.opening_range import Sessions
from storage.query.analytics.tick_selection import LATEST_NS, TickFilter
from storage.query.analytics.volume_profile import TooManyBinsError, point_of_control, value_area
from storage.query.bars import BarFilter
from storage.query.queries import Queries
from tests.storage.query.test_bars import store_ticks, tick
from tests.storage_examples import START_NS

DATA = Path(__file__).parents[3].parent / "shared" / "data"
TRADES, MINUTES = DATA / "btcusdt-trades-20210108.csv", DATA / "btc-perp-1m-202201.csv"
recorded = pytest.mark.skipif(
    not TRADES.exists(), reason="the recordings of real markets are not beside the checkout"
)
MINUTE_NS = 60 * NS_PER_SECOND


def trades_frame() -> pd.DataFrame:
    """The recorded trades, as pandas reads them."""
    frame = pd.read_csv(TRADES, parse_dates=["timestamp"])
    frame["time_ns"] = frame["timestamp"].astype("datetime64[ns, UTC]").astype("int64")
    return frame.sort_values(["time_ns", "trade_id"], kind="stable")


def minutes_frame(days: int) -> pd.DataFrame:
    """The first days of the recorded minutes, with the start of each in UTC as index."""
    frame = pd.read_csv(MINUTES, parse_dates=["timestamp"]).set_index("timestamp").tz_localize("UTC")
    return frame[frame.index < frame.index[0] + pd.Timedelta(days=days)]


def ticks_of(minutes: pd.DataFrame) -> list[Tick]:
    """Four ticks a minute."""
    starts = minutes.index.astype("datetime64[ns, UTC]").astype("int64")
    return [
        Tick(
            time_ns=int(start) + part * MINUTE_NS // 4,
            venue="perp",
            instrument="BTC-PERP",
            price=getattr(row, name),
            size=row.volume / 4,
        )
        for start, row in zip(starts, minutes.itertuples(index=False), strict=True)
        for part, name in enumerate(("open", "high", "low", "close"))
    ]


@pytest.fixture
async def trades(database: Database) -> Queries:
    events = [one for _, batch in recorded_events(TRADES) for one in batch if isinstance(one, Tick)]
    await store_ticks(database, events)
    return Queries(database)


@pytest.fixture
async def minutes(database: Database) -> Queries:
    await store_ticks(database, ticks_of(minutes_frame(9)), part=5_000)
    return Queries(database)


def days_of(zone: str = "UTC", day_start: str = "00:00") -> TradingDays:
    return TradingDays(AccountingSettings(timezone=zone, day_start=day_start))


def nanoseconds(index: pd.DatetimeIndex) -> list[int]:
    return [int(start.value) for start in index.as_unit("ns")]


def resampled(frame: pd.DataFrame, rule: str, **options: Any) -> pd.DataFrame:  # noqa: ANN401 - of pandas
    """Bars of bars, without the empty ones, newest first."""
    bars = frame.resample(rule, **options).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )
    return bars.dropna()[::-1]


# Bars.


@recorded
@pytest.mark.recordings
async def test_bars_of_recorded_minutes_are_those_of_pandas(minutes: Queries) -> None:
    weekly = {"closed": "left", "label": "left"}
    for width_ns, rule, options in (
        (5 * MINUTE_NS, "5min", {}),
        (DAY_NS, "1D", {}),
        (7 * DAY_NS, "W-MON", weekly),
    ):
        expected = resampled(minutes_frame(9), rule, **options)
        which = BarFilter(instrument="BTC-PERP", timeframe_ns=width_ns)
        bars = (await minutes.bars(which, limit=5_000)).items
        assert [bar.time_ns for bar in bars] == nanoseconds(expected.index)
        for name in ("open", "high", "low", "close"):
            assert [getattr(bar, name) for bar in bars] == list(expected[name])
        assert [bar.volume for bar in bars] == pytest.approx(list(expected["volume"]), rel=1e-12)


# Days.


@recorded
@pytest.mark.recordings
async def test_statistics_of_days_are_those_of_pandas(minutes: Queries) -> None:
    for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
        frame = minutes_frame(9).tz_convert(zone)
        expected = resampled(frame, "1D")
        which = BarFilter(instrument="BTC-PERP", timeframe_ns=DAY_NS, days=days_of(zone))
        days, cursor = await minutes.days(which, limit=100)
        assert cursor is None
        assert [day.bar.time_ns for day in days] == nanoseconds(expected.index)
        assert [day.bar.close for day in days] == list(expected["close"])
        assert [day.previous_close for day in days[:-1]] == list(expected["close"][1:])
        assert days[-1].previous_close is None
        for day, (start, group) in zip(reversed(days), frame.groupby(frame.index.normalize()), strict=True):
            assert day.bar.time_ns == start.value
            closes = group["close"].resample("5min").last().ffill()
            prices = np.concatenate([[group["open"].iloc[0]], closes.to_numpy()])
            assert day.variance == pytest.approx(float((np.diff(np.log(prices)) ** 2).sum()), rel=1e-9)
            assert day.returns == len(closes)
        # Pages know the day before.
        found = []
        while True:
            page, cursor = await minutes.days(which, limit=4, cursor=cursor)
            found += page
            if cursor is None:
                break
        assert found == days
        later = BarFilter(
            instrument="BTC-PERP", timeframe_ns=DAY_NS, days=days_of(zone), start_ns=days[2].bar.time_ns
        )
        assert (await minutes.days(later, limit=100))[0] == days[:3]


# Opening ranges.


def orb(
    frame: pd.DataFrame, zone: str, at: str, length: pd.Timedelta, opening: pd.Timedelta
) -> list[dict[str, Any]]:
    """Opening ranges, oldest session first, made from bars of a minute."""
    hour, minute = map(int, at.split(":"))
    local, found = frame.tz_convert(zone), []
    for day in pd.date_range(local.index[0].normalize() - pd.Timedelta(days=1), local.index[-1], freq="D"):
        start = day.replace(hour=hour, minute=minute)
        session = local[(local.index >= start) & (local.index < start + length)]
        first, rest = session[session.index < start + opening], session[session.index >= start + opening]
        if first.empty:
            continue
        low, high = first["low"].min(), first["high"].max()
        broken = rest[(rest["high"] > high) | (rest["low"] < low)]
        found.append(
            {
                "start": start,
                "low": low,
                "high": high,
                "volume": first["volume"].sum(),
                "lowest": rest["low"].min() if len(rest) else None,
                "highest": rest["high"].max() if len(rest) else None,
                "close": session["close"].iloc[-1],
                "broken": broken.index[0] if len(broken) else None,
                "up": bool(len(broken) and broken["high"].iloc[0] > high),
            }
        )
    return found


@recorded
@pytest.mark.recordings
async def test_opening_ranges_of_recorded_minutes_are_those_of_pandas(minutes: Queries) -> None:
    for zone, at, length, opening in (
        ("America/New_York", "09:30", 390, 30),
        ("UTC", "00:00", 1440, 15),
        ("Asia/Tokyo", "23:00", 120, 5),
    ):
        length_ns, range_ns = length * MINUTE_NS, opening * MINUTE_NS
        expected = orb(minutes_frame(9), zone, at, pd.Timedelta(length_ns), pd.Timedelta(range_ns))
        sessions = Sessions(days_of(zone, at), time.fromisoformat(at), range_ns=range_ns, length_ns=length_ns)
        which = TickFilter(instrument="BTC-PERP")
        found = await minutes.opening_ranges(which, sessions, 0, LATEST_NS, limit=100)
        assert len(found) == len(expected) >= 9
        assert sum(one["broken"] is not None for one in expected) >= 5
        for one, right in zip(reversed(found), expected, strict=True):
            assert one.start_ns == right["start"].value
            assert (one.low, one.high, one.close) == (right["low"], right["high"], right["close"])
            assert (one.lowest, one.highest) == (right["lowest"], right["highest"])
            assert one.opening_volume == pytest.approx(right["volume"], rel=1e-12)
            if right["broken"] is None:
                assert one.broken_ns is None
                continue
            assert one.broken_ns is not None
            assert one.broken_price is not None
            assert one.broken_ns // MINUTE_NS * MINUTE_NS == right["broken"].value
            assert (one.broken_price > one.high) == right["up"]


@recorded
@pytest.mark.recordings
async def test_the_opening_range_of_recorded_trades_is_that_of_pandas(trades: Queries) -> None:
    frame = trades_frame()
    start_ns = int(frame["time_ns"].iloc[0]) // DAY_NS * DAY_NS
    range_ns = 5 * NS_PER_SECOND
    rest = frame[frame["time_ns"] >= start_ns + range_ns]
    first = frame[frame["time_ns"] < start_ns + range_ns]
    assert len(first) > 10
    assert len(rest) > 1000
    sessions = Sessions(days_of(), time(0), range_ns=range_ns, length_ns=DAY_NS)
    (one,) = await trades.opening_ranges(TickFilter(instrument="BTCUSDT"), sessions, 0, LATEST_NS, limit=9)
    assert (one.low, one.high) == (first["price"].min(), first["price"].max())
    assert (one.opening_trades, one.trades) == (len(first), len(rest))
    assert one.opening_volume == pytest.approx(first["quantity"].sum(), rel=1e-12)
    broken = rest[(rest["price"] > one.high) | (rest["price"] < one.low)].iloc[0]
    assert (one.broken_ns, one.broken_price) == (broken["time_ns"], broken["price"])
    assert one.close == frame["price"].iloc[-1]


async def test_sessions_begin_with_the_newest_and_pass_days_without_ticks(database: Database) -> None:
    hour_ns = 60 * MINUTE_NS
    first_ns = START_NS // DAY_NS * DAY_NS
    at = [(0, 1.0), (1, 2.0), (3, 5.0), (400, 1.0), (402, 3.0), (403, 3.0)]  # days
    await store_ticks(database, [tick(first_ns + day * DAY_NS + hour_ns // 2, price) for day, price in at])
    queries, which = Queries(database), TickFilter(instrument="EUR/USD")
    sessions = Sessions(days_of(), time(0), range_ns=hour_ns, length_ns=DAY_NS)

    async def days(start_ns: int = 0, end_ns: int = LATEST_NS, limit: int = 9) -> list[int]:
        found = await queries.opening_ranges(which, sessions, start_ns, end_ns, limit=limit)
        return [(one.start_ns - first_ns) // DAY_NS for one in found]

    assert await days() == [403, 402, 400, 3, 1, 0]
    assert await days(limit=4) == [403, 402, 400, 3]
    assert await days(first_ns + DAY_NS, first_ns + 402 * DAY_NS) == [400, 3, 1]
    assert await days(first_ns + DAY_NS + 1, first_ns + 402 * DAY_NS + 1) == [402, 400, 3]
    outside = Sessions(days_of(), time(12), range_ns=hour_ns, length_ns=6 * hour_ns)
    assert await queries.opening_ranges(which, outside, 0, LATEST_NS, limit=9) == []
    assert await queries.opening_ranges(TickFilter(instrument="?"), sessions, 0, LATEST_NS, limit=9) == []


# Volume profiles.


@recorded
@pytest.mark.recordings
async def test_volume_profiles_of_recorded_trades_are_those_of_numpy(trades: Queries) -> None:
    frame = trades_frame()
    for bins in (1, 7, 50, 1000):
        await check_profile(trades, frame, bins)


async def check_profile(trades: Queries, frame: pd.DataFrame, bins: int) -> None:
    prices, sizes = frame["price"].to_numpy(), frame["quantity"].to_numpy()
    low, high = prices.min(), prices.max()
    places = np.minimum(np.floor((prices - low) / ((high - low) / bins)).astype(int), bins - 1)
    volumes = np.bincount(places, sizes, bins)
    bought = np.bincount(places, np.where(frame["buyer_maker"], 0, sizes), bins)
    found = await trades.volume_profile(TickFilter(instrument="BTCUSDT"), 0, LATEST_NS, bins=bins)
    assert (found.low, found.high, found.trades) == (low, high, len(frame))
    assert [one.volume for one in found.bins] == pytest.approx(list(volumes), rel=1e-9)
    assert [one.bought for one in found.bins] == pytest.approx(list(bought), rel=1e-9)
    assert [one.sold for one in found.bins] == pytest.approx(list(volumes - bought), rel=1e-9, abs=1e-9)
    assert [one.trades for one in found.bins] == list(np.bincount(places, minlength=bins))
    assert found.volume == pytest.approx(sizes.sum(), rel=1e-12)
    assert found.point_of_control == int(volumes.argmax())
    assert found.value_area is not None
    first, last = found.value_area
    assert first <= found.point_of_control <= last
    assert volumes[first : last + 1].sum() >= 0.7 * volumes.sum()


@recorded
@pytest.mark.recordings
async def test_a_volume_profile_of_recorded_minutes_is_that_of_pandas(minutes: Queries) -> None:
    frame = minutes_frame(9)
    start = pd.Timestamp("2022-01-03", tz="UTC")
    day = frame[(frame.index >= start) & (frame.index < start + pd.Timedelta(days=1))]
    levels = pd.concat([day[name] for name in ("open", "high", "low", "close")])
    volumes = pd.concat([day["volume"] / 4] * 4)
    expected = volumes.groupby((levels // 25).astype(int).to_numpy()).sum()
    found = await minutes.volume_profile(
        TickFilter(instrument="BTC-PERP"), start.value, start.value + DAY_NS, bins=1, width=25.0
    )
    assert [one.low for one in found.bins if one.trades] == [25.0 * n for n in expected.index]
    traded = [one.volume for one in found.bins if one.trades]
    assert traded == pytest.approx(list(expected), rel=1e-9)
    assert found.point_of_control is not None
    assert found.bins[found.point_of_control].low == 25.0 * expected.idxmax()


async def test_a_price_at_the_edge_of_a_bin_falls_into_it(database: Database) -> None:
    prices = [0.1, 0.2, 0.3, 0.30000001, 0.7]
    await store_ticks(database, [tick(START_NS + n, price, 2.0**n) for n, price in enumerate(prices)])
    queries, which = Queries(database), TickFilter(instrument="EUR/USD")
    found = await queries.volume_profile(which, 0, LATEST_NS, bins=1, width=0.1)
    assert [one.volume for one in found.bins] == [1.0, 2.0, 12.0, 0.0, 0.0, 0.0, 16.0]
    assert [one.low for one in found.bins] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    with pytest.raises(TooManyBinsError, match="more than 1000 bins"):
        await queries.volume_profile(which, 0, LATEST_NS, bins=1, width=1e-4)


async def test_profiles_without_volume_have_no_point_of_control(database: Database) -> None:
    await store_ticks(database, [tick(START_NS, 5.0, 0.0), tick(START_NS + 1, 5.0, 0.0)])
    queries, which = Queries(database), TickFilter(instrument="EUR/USD")
    found = await queries.volume_profile(which, 0, LATEST_NS, bins=20)
    assert (found.trades, found.volume, len(found.bins)) == (2, 0.0, 1)
    assert (found.point_of_control, found.value_area) == (None, None)
    empty = await queries.volume_profile(which, 0, START_NS, bins=20)
    assert (empty.trades, empty.low, empty.bins) == (0, None, ())


async def test_prices_of_no_market_are_left_out(database: Database) -> None:
    sides = [Side.BUY, Side.SELL, None]
    ticks = [
        Tick(time_ns=START_NS + n, venue="sim", instrument="A", price=price, size=size, side=sides[n % 3])
        for n, (price, size) in enumerate([(9e299, 1.0), (1.0, 9e299), (2.0, 3.0), (-1.0, 4.0)])
    ]
    await store_ticks(database, ticks)
    queries = Queries(database)
    found = await queries.volume_profile(TickFilter(instrument="A"), 0, LATEST_NS, bins=2)
    assert (found.low, found.high, found.volume) == (-1.0, 2.0, 7.0)
    assert [(one.bought, one.sold) for one in found.bins] == [(4.0, 0.0), (0.0, 0.0)]
    (day,), _ = await queries.days(BarFilter(instrument="A", timeframe_ns=DAY_NS), limit=9)
    assert (day.variance, day.returns) == (0.0, 1)


@pytest.mark.parametrize(
    ("volumes", "share", "point", "area"),
    [
        ([1, 2, 3, 10, 4, 2, 1], 0.69, 3, (3, 5)),  # 6 above against 5 below
        ([5, 6, 1, 10, 1, 1, 1], 0.7, 3, (0, 3)),  # below twice: 7 against 2, and 5 against 2
        ([3, 3, 3], 0.6, 1, (1, 2)),  # as much above as below: above
        ([1, 1, 9], 1.0, 2, (0, 2)),
        ([7], 0.7, 0, (0, 0)),
        ([4, 0, 0, 4], 0.5, 0, (0, 0)),  # equals, as far from the middle: the lower one
        ([9, 1, 9, 9], 0.1, 2, (2, 2)),  # equals: the closest to the middle
    ],
)
def test_point_of_control_and_value_area_by_hand(
    volumes: Sequence[float], share: float, point: int, area: tuple[int, int]
) -> None:
    assert point_of_control(volumes) == point
    assert value_area(volumes, point, share) == area
    held = math.fsum(volumes[area[0] : area[1] + 1])
    assert held >= share * math.fsum(volumes)

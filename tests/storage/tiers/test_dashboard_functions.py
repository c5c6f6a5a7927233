"""The SQL functions of the dashboards."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import asyncpg
import msgspec

from collectors.market.sample import MarketSample
from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.sample import schema_of
from storage.settings import RetentionSettings
from tests.storage_examples import RECORDER, START_NS
from tests.tiered_database import TieredDatabase

MARKET = schema_of(MarketSample)
STEP_NS = 10 * NS_PER_SECOND
MINUTES = 10
_BARS = """
SELECT (extract(epoch FROM time) * 1000000000)::bigint AS time_ns, open, high, low, close, volume, vwap
FROM decahertz_bars($1, $2, $3, $4, $5, $6, $7)
"""


async def test_steps_begin_at_multiples_since_1970(tiered_database: TieredDatabase) -> None:
    for step_ms in (100, 250, 1000, 60_000, 86_400_000):
        found = await tiered_database.value(
            "SELECT decahertz_bucket($1, $2)", to_datetime(START_NS + 123_456_000), step_ms
        )
        width_ns = step_ms * 1_000_000
        assert found == to_datetime((START_NS + 123_456_000) // width_ns * width_ns), step_ms
    fine = await tiered_database.value("SELECT decahertz_bucket($1, 0)", to_datetime(START_NS + 123_456_000))
    assert fine == to_datetime(START_NS + 100_000_000)  # no step is shorter than a cycle


async def test_a_line_reads_coarser_buckets_than_its_steps_once_these_are_long(
    tiered_database: TieredDatabase,
) -> None:
    for step_ms, tier in (
        (100, "raw"),
        (1000, "1s"),
        (14_999, "1s"),
        (15_000, "1m"),
        (899_999, "1m"),
        (900_000, "1h"),
    ):
        found = await tiered_database.value("SELECT decahertz_line_tier(now(), $1)", step_ms)
        assert found == tier, step_ms


async def test_bars_of_ticks_are_those_of_every_single_tick(tiered_database: TieredDatabase) -> None:
    await _prepare(tiered_database)
    ticks = _ticks()
    await _store_ticks(tiered_database, ticks)
    found = await _bars(tiered_database, "ticks", MINUTES * 60)
    expected: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    for tick in ticks:
        expected[tick[0] // STEP_NS * STEP_NS].append(tick)
    assert [bar["time_ns"] for bar in found] == sorted(expected)
    for bar in found:
        in_bar = expected[bar["time_ns"]]
        prices = [price for _, price, _ in in_bar]
        values = (prices[0], max(prices), min(prices), prices[-1])
        assert (bar["open"], bar["high"], bar["low"], bar["close"]) == values
        volume = math.fsum(size for *_, size in in_bar)
        assert math.isclose(bar["volume"], volume)
        assert math.isclose(bar["vwap"], math.fsum(price * size for _, price, size in in_bar) / volume)


async def test_bars_of_samples_are_continuous_and_lose_no_volume(tiered_database: TieredDatabase) -> None:
    await _prepare(tiered_database)
    chance = random.Random(7)
    rows, price, traded = [], 100.0, 0.0
    for second in range(4 * 3600):
        price += chance.uniform(-0.1, 0.1)
        traded += (size := chance.random())
        rows.append((second, price, price + 0.5, traded if second else 0.0, size))
    await _store_samples(tiered_database, rows)
    for source, column in (("ticks", 1), ("quotes", 2)):
        found = await _bars(tiered_database, source, 4 * 3600, step_ms=600_000)
        assert len(found) == 25  # the first and the last one are in part before and after the range
        for bar, newer in pairwise(found):
            assert newer["open"] == bar["close"]
        for bar in found:
            assert (
                bar["low"] <= min(bar["open"], bar["close"]) <= max(bar["open"], bar["close"]) <= bar["high"]
            )
        assert max(bar["high"] for bar in found) == max(row[column] for row in rows)
        assert min(bar["low"] for bar in found) == min(row[column] for row in rows)
        assert found[-1]["close"] == rows[-1][column]
        assert math.isclose(math.fsum(bar["volume"] for bar in found), rows[-1][3], rel_tol=0.01)


async def test_a_market_without_ticks_has_bars_of_quotes_alone(tiered_database: TieredDatabase) -> None:
    await _prepare(tiered_database)
    await _store_samples(tiered_database, [(second, None, 1.5, 0.0, None) for second in range(60)])
    assert await _bars(tiered_database, "ticks", 60) == []
    found = await _bars(tiered_database, "quotes", 60)
    assert {(bar["open"], bar["high"], bar["low"], bar["close"]) for bar in found} == {(1.5, 1.5, 1.5, 1.5)}


async def test_the_newest_step_depends_on_what_is_kept(tiered_database: TieredDatabase) -> None:
    for days, seconds in ((0, 5), (20, 5), (100, 60), (1000, 3600)):
        found = await tiered_database.value(
            "SELECT extract(epoch FROM at - decahertz_newest(at))::int"
            " FROM (SELECT now() - make_interval(days => $1) AS at) AS range",
            days,
        )
        assert found == seconds, days


async def test_positions_are_the_newest_of_each_strategy_and_instrument(
    tiered_database: TieredDatabase,
) -> None:
    chance = random.Random(3)
    columns = ["time", "recorder", "strategy", "venue", "instrument", "quantity", "held_by"]
    identity = ["time_ns", "received_ns", "source", "epoch", "sequence"]
    keys = [(s, v, i) for s in ("s1", "s2") for v in ("sim", "desk") for i in ("EUR/USD", "GBP/USD", "X")]
    rows = [(START_NS + n * NS_PER_SECOND, *chance.choice(keys), chance.uniform(-5, 5)) for n in range(500)]
    records = [
        (to_datetime(ns), RECORDER, *key, quantity, "bot", ns, ns, "trader", 1, number)
        for number, (ns, *key, quantity) in enumerate(rows, start=1)
    ]
    async with tiered_database.database.query() as connection:
        await connection.copy_records_to_table("positions", records=records, columns=columns + identity)
    for end in (250, 499):
        newest = {row[1:4]: row[4] for row in rows[: end + 1]}
        found = await tiered_database.rows(
            "SELECT strategy, venue, instrument, quantity FROM decahertz_positions($1)",
            to_datetime(START_NS + end * NS_PER_SECOND),
        )
        assert {tuple(row)[:3]: row["quantity"] for row in found} == newest
        assert len(found) == len(newest)


async def _prepare(tiered: TieredDatabase) -> None:
    """The market's tables, with all tiers kept forever: the rows of the tests are old."""
    forever = RetentionSettings(raw_days=0, one_second_days=0, one_minute_days=0, one_hour_days=0)
    tiered.settings = msgspec.structs.replace(tiered.settings, retention=forever)
    await tiered.prepare([MARKET])


def _ticks() -> list[tuple[int, float, float]]:
    chance = random.Random(1)
    times = sorted(chance.sample(range(MINUTES * 60_000), 3000))
    return [
        (START_NS + at * 1_000_000, round(chance.uniform(99, 101), 4), chance.uniform(0.1, 5)) for at in times
    ]


async def _store_ticks(tiered: TieredDatabase, ticks: Sequence[tuple[int, float, float]]) -> None:
    identity = ["time_ns", "received_ns", "source", "epoch", "sequence"]
    columns = ["time", "recorder", "venue", "instrument", "price", "size", "missed", *identity]
    rows = [
        (to_datetime(ns), RECORDER, "sim", "EUR/USD", price, size, 0, ns, ns, "feed", 1, number)
        for number, (ns, price, size) in enumerate(ticks, start=1)
    ]
    # What is not asked for: another venue, instrument and recorder.
    others = (("desk", "other", "EUR/USD"), ("desk", "sim", "GBP/USD"), ("spare", "sim", "EUR/USD"))
    rows += [(rows[0][0], *other, 1e6, 1e6, *rows[0][6:]) for other in others]
    async with tiered.database.query() as connection:
        await connection.copy_records_to_table("ticks", records=rows, columns=columns)


async def _store_samples(
    tiered: TieredDatabase, rows: Sequence[tuple[int, float | None, float, float, float | None]]
) -> None:
    columns = ["time", "recorder", "venue", "instrument", "last", "mid", "traded", "vwap"]
    records = [
        (to_datetime(START_NS + second * NS_PER_SECOND), RECORDER, "sim", "EUR/USD", last, mid, traded, vwap)
        for second, last, mid, traded, vwap in rows
    ]
    async with tiered.database.query() as connection:
        await connection.copy_records_to_table("market_samples", records=records, columns=columns)
    await tiered.worker.run_once()


async def _bars(
    tiered: TieredDatabase, source: str, seconds: int, *, step_ms: float = STEP_NS / 1e6
) -> list[asyncpg.Record]:
    start, end = to_datetime(START_NS), to_datetime(START_NS + seconds * NS_PER_SECOND)
    return list(
        await tiered.rows(_BARS, start, end, step_ms, source, [RECORDER], ["sim"], ["EUR/USD"]),
    )

"""Two recorders in one database: series of their own everywhere, and a filter."""

from __future__ import annotations

from typing import Any

import pytest

from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.event import Tick
from storage.database import Database
from storage.query.bars import BarFilter
from storage.query.export import ExportRequest, events_request, samples_request
from storage.query.export_format import ExportFormat
from storage.query.history.history import UnknownFieldError
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import FillFilter, Queries, RoundTripFilter
from storage.tiers.names import ROLLED, Tier
from tests.storage.query.exports import exported, rows_of
from tests.storage_examples import BOOK, CYCLE_NS, START_NS
from tests.tiered_database import TieredDatabase

END_NS = START_NS + 100 * CYCLE_NS
INSTANT = START_NS + 3600 * NS_PER_SECOND
_TICK = """
INSERT INTO ticks
    (time, recorder, venue, instrument, price, size, missed, time_ns, received_ns, source, epoch, sequence)
VALUES ($1, $2, 'sim', 'EUR/USD', 1.5, 4, 0, $3, $3, $2, 1, 1)
"""
_FILL = """
INSERT INTO fills
    (time, recorder, strategy, venue, instrument, order_id, fill_id, side, price, quantity, fee,
     time_ns, received_ns, source, epoch, sequence)
VALUES ($1, $2, 'trend', 'sim', 'EUR/USD', 'o', 'f', 'buy', 1.5, 4, 0, $3, $3, $2, 1, 1)
"""


@pytest.fixture
async def two(tiered_database: TieredDatabase) -> TieredDatabase:
    """The same instrument, recorded by ``paris`` and by ``tokyo`` with ten times its values."""
    rows = [
        (to_datetime(START_NS + number * CYCLE_NS), recorder, "sim", "EUR/USD", number * factor)
        for recorder, factor in (("paris", 1.0), ("tokyo", 10.0))
        for number in range(20)
    ]
    async with tiered_database.database.query() as connection:
        columns = ("time", "recorder", "venue", "instrument", "mid")
        await connection.copy_records_to_table("book_samples", records=rows, columns=columns)
    return tiered_database


async def test_each_recorder_has_rows_of_its_own_in_every_tier(two: TieredDatabase) -> None:
    for _ in range(2):
        for tier in ROLLED:
            found = await two.rows(
                f"SELECT recorder, sum(samples), sum(mid_sum) FROM book_samples_{tier}"  # noqa: S608 - ours
                " GROUP BY recorder ORDER BY recorder"
            )
            assert [tuple(r) for r in found] == [("paris", 20, 190.0), ("tokyo", 20, 1900.0)]
        await two.worker.run_once()


@pytest.mark.parametrize("tier", list(Tier))
async def test_a_history_names_the_recorder_and_filters_by_it(two: TieredDatabase, tier: Tier) -> None:
    queries, request = Queries(two.database), ResolutionRequest(tier)
    every = await queries.history(BOOK, ["mid"], {}, START_NS, END_NS, request=request)
    assert [series.key for series in every.series] == [
        {"recorder": name, "venue": "sim", "instrument": "EUR/USD"} for name in ("paris", "tokyo")
    ]
    one = await queries.history(BOOK, ["mid"], {"recorder": ["tokyo"]}, START_NS, END_NS, request=request)
    assert one.series == every.series[1:]
    with pytest.raises(UnknownFieldError):
        await queries.history(BOOK, ["mid"], {"recorders": ["tokyo"]}, START_NS, END_NS, request=request)


async def test_bars_are_made_of_the_ticks_of_one_recorder(two: TieredDatabase) -> None:
    await two.execute(
        "INSERT INTO instruments (time, venue, instrument, first_ns, last_ns)"
        " VALUES (now(), 'sim', 'EUR/USD', $1, $1)",
        INSTANT,
    )
    for recorder in ("paris", "tokyo"):
        await two.execute(_TICK, to_datetime(INSTANT), recorder, INSTANT)

    async def volumes(queries: Queries, recorder: str | None = None) -> list[float | None]:
        which = BarFilter(instrument="EUR/USD", timeframe_ns=NS_PER_SECOND, recorder=recorder)
        return [bar.volume for bar in (await queries.bars(which, limit=9)).items]

    paris = Queries(two.database, recorder="paris")
    assert await volumes(paris) == [4.0]
    assert await volumes(paris, "tokyo") == [4.0]
    assert await volumes(paris, "rome") == []
    assert await volumes(Queries(two.database)) == [8.0]


async def test_fills_and_trades_name_the_recorder_and_filter_by_it(two: TieredDatabase) -> None:
    for recorder in ("paris", "tokyo"):
        await two.execute(_FILL, to_datetime(INSTANT), recorder, INSTANT)
    queries = Queries(two.database)
    found = (await queries.fills(FillFilter(), limit=9)).items
    assert {fill["recorder"] for fill in found} == {"paris", "tokyo"}
    (fill,) = (await queries.fills(FillFilter(recorder="tokyo"), limit=9)).items
    assert fill["recorder"] == "tokyo"
    assert (await queries.trades(RoundTripFilter(recorder="tokyo"), limit=9)).items == []


async def rows_in(database: Database, request: ExportRequest) -> list[dict[str, Any]]:
    return rows_of(await exported(database, request, ExportFormat.CSV), ExportFormat.CSV, request)


async def test_exports_name_the_recorder_and_filter_by_it(two: TieredDatabase) -> None:
    rows = await rows_in(two.database, samples_request(BOOK, ["mid"], {"recorder": ["tokyo"]}))
    assert {row["recorder"] for row in rows} == {"tokyo"}
    assert len(rows) == 20
    await two.execute(_TICK, to_datetime(INSTANT), "paris", INSTANT)
    rows = await rows_in(two.database, events_request(Tick.table, ["price"], {"recorder": ["paris"]}))
    assert rows == [{"time_ns": INSTANT, "recorder": "paris", "price": 1.5}]
    assert await rows_in(two.database, events_request(Tick.table, [], {"recorder": ["tokyo"]})) == []

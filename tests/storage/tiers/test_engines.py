"""Bars and exports where the tables are partitions or hypertables: the same answers on both engines."""

from __future__ import annotations

from collections import Counter

import pyarrow.parquet
import pytest

from storage.query.bars import BarFilter
from storage.query.export import Exports, events_request
from storage.query.export_format import ExportFormat
from storage.query.queries import Queries
from tests.storage_examples import START_NS
from tests.tiered_database import TieredDatabase

HOUR_NS = 3600 * 10**9
COUNT = 300
_FILL = """
INSERT INTO ticks
    (time, recorder, venue, instrument, price, size, missed, time_ns, received_ns, source, epoch, sequence)
SELECT to_timestamp(time_ns / 1000000000.0), 'desk', 'sim', 'EUR/USD', n, 1, 0, time_ns, time_ns, 'loop', 1, n
FROM (SELECT n, $1::bigint + n * 3600000000000 AS time_ns FROM generate_series(-300, -1) AS n) AS made
"""


@pytest.fixture
async def filled(tiered_database: TieredDatabase) -> TieredDatabase:
    """A print an hour for many days; on TimescaleDB the older ones compressed."""
    await tiered_database.execute(_FILL, START_NS)
    await tiered_database.execute(
        "INSERT INTO instruments (time, venue, instrument, first_ns, last_ns)"
        " VALUES (now(), 'sim', 'EUR/USD', $1, $2)",
        START_NS - COUNT * HOUR_NS,
        START_NS,
    )
    if tiered_database.engine == "timescaledb":
        await tiered_database.execute(
            "SELECT compress_chunk(chunk) FROM show_chunks('ticks', older_than => to_timestamp($1)) AS chunk",
            (START_NS - 100 * HOUR_NS) / 1e9,
        )
    return tiered_database


async def test_bars_over_many_days_are_whole(filled: TieredDatabase) -> None:
    queries, found = Queries(filled.database), list[float]()
    which = BarFilter(instrument="EUR/USD", timeframe_ns=HOUR_NS)
    cursor: str | None = None
    while True:
        page = await queries.bars(which, limit=70, cursor=cursor)
        found += [bar.close for bar in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [float(n) for n in range(-1, -COUNT - 1, -1)]
    day_ns, begin_ns = 24 * HOUR_NS, START_NS - 99 * HOUR_NS
    prints = Counter((START_NS + n * HOUR_NS) // day_ns * day_ns for n in range(-COUNT, 0))
    span = BarFilter(instrument="EUR/USD", timeframe_ns=day_ns, start_ns=begin_ns, end_ns=START_NS)
    days = {bar.time_ns: bar.trades for bar in (await queries.bars(span, limit=10)).items}
    assert days == {time_ns: count for time_ns, count in prints.items() if time_ns + day_ns > begin_ns}


@pytest.mark.parametrize("form", list(ExportFormat))
async def test_an_export_over_many_days_is_whole_and_in_order(
    filled: TieredDatabase, form: ExportFormat
) -> None:
    pieces: list[bytes] = []

    async def keep(data: bytes) -> None:
        pieces.append(data)

    question = events_request("ticks", ["price"], {"instrument": ["EUR/USD"]})
    await Exports(filled.database).run(question, form, keep)
    data = b"".join(pieces)
    if form is ExportFormat.CSV:
        prices = [float(line.rpartition(b",")[2]) for line in data.splitlines()[1:]]
    else:
        prices = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).column("price").to_pylist()
    assert prices == [float(n) for n in range(-COUNT, 0)]

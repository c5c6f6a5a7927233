"""Decades of history on plain PostgreSQL: few partitions, and questions lock those of their range."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import asyncpg
import pytest
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.event import Arrival, EventBatch, Tick
from decahertz.trading_days import TradingDays
from storage.database import Snapshot
from storage.query.analytics.opening_range import Sessions, opening_ranges
from storage.query.analytics.tick_selection import TickFilter
from storage.query.bars import BarFilter, newest_bars
from storage.query.bulk_list import newest_of_bulk
from storage.query.export import Exports, events_request
from storage.query.export_format import ExportFormat
from storage.query.history.buckets import BucketQuery
from storage.query.history.resolution import Resolution
from storage.query.stored_events import TICKS
from storage.tiers import lock_room
from storage.tiers.lock_room import shortage
from storage.tiers.names import ROLLED, Tier
from storage.tiers.plain.partitions import Partition, Partitioned, partitions_of
from storage.tiers.plain.table import PlainTable
from storage.tiers.schema import tier_schema_of
from storage.write.bulk_import import DirectWriter
from tests.storage.query.exports import exported
from tests.storage_examples import BOOK, START_NS
from tests.tier_checks import row, store
from tests.tiered_database import TieredDatabase

DAY_NS = 86_400 * NS_PER_SECOND
YEARS = 20
WEEKDAYS = [-day for day in range(YEARS * 365, 0, -1) if day % 7 < 5]
_SPARSE = """
INSERT INTO ticks
    (time, recorder, venue, instrument, price, size, missed, time_ns, received_ns, source, epoch, sequence)
SELECT to_timestamp(time_ns / 1000000000), 'desk', 'sim', 'EUR/USD', n, 1, 0, time_ns, time_ns, 'loop', 1, n
FROM (SELECT n, $1::bigint - (n - 1) * 86400000000000 AS time_ns FROM generate_series(1, 6000) AS n) AS made
"""
_DAYS_BEFORE = """
DO $$ BEGIN
    FOR day IN 100..500 LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF ticks_recent FOR VALUES FROM (%L) TO (%L)',
            'ticks_p' || to_char(timestamptz '{0}' - day * interval '1 day', 'YYYYMMDD'),
            timestamptz '{0}' - day * interval '1 day', timestamptz '{0}' - (day - 1) * interval '1 day'
        );
    END LOOP;
END $$
"""
"""Partitions of a day each, as versions before ADR 0012 created them."""
_SEEN = """
INSERT INTO instruments (time, venue, instrument, first_ns, last_ns)
SELECT now(), venue, instrument, min(time_ns), max(time_ns) FROM ticks GROUP BY venue, instrument
"""
_LOCKED = """
SELECT count(*) FROM pg_locks JOIN pg_inherits ON inhrelid = relation
WHERE pid = pg_backend_pid() AND inhparent IN ('ticks_recent'::regclass, 'ticks_packed'::regclass)
"""

_FEW = 24
"""Two partitions of each tier, or one, and of recent and packed samples, with two indexes each."""
_LOCKED_TIERS = """
SELECT count(*) FROM pg_locks JOIN pg_inherits ON inhrelid = relation
WHERE pid = pg_backend_pid() AND starts_with(inhparent::regclass::text, 'book_samples')
"""


@pytest.fixture
def engine() -> str:
    return "plain"


async def found_partitions(tiered: TieredDatabase, table: str) -> list[Partition]:
    async with tiered.database.query() as connection:
        return await partitions_of(connection, Partitioned(table))


async def days_of(tiered: TieredDatabase, table: str) -> list[int]:
    return [(one.high - one.low).days for one in await found_partitions(tiered, table)]


async def test_prints_on_thousands_of_days_have_few_partitions_and_a_start_does_not_wait_for_them(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    await tiered.execute(_SPARSE, START_NS)
    await tiered.prepare()
    assert await days_of(tiered, "ticks_recent") == [1]
    assert await tiered.value("SELECT count(*) FROM ticks_recent_default") == 5_999
    await tiered.worker.run_once()
    found = await found_partitions(tiered, "ticks_recent")
    assert len(found) < 31 + 24 + 6_000 / 360 + 3
    assert all(one.high <= later.low for one, later in pairwise(found))
    assert await tiered.value("SELECT count(*) FROM ticks_recent_default") == 0
    assert await tiered.value("SELECT count(*) FROM ticks") == 6_000
    young = found[-1].high - timedelta(days=30)
    assert all((one.high - one.low).days == 1 for one in found if one.low > young)


async def test_imported_events_are_written_into_partitions_of_their_own(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    stored: list[int] = []
    events = tuple(
        Tick(time_ns=START_NS + day * DAY_NS, venue="sim", instrument="EUR/USD", price=1.0, size=1.0)
        for day in WEEKDAYS
    )
    arrivals = [
        Arrival(
            batch=EventBatch(source="import-1", epoch=1, first_sequence=1 + first, events=events[first:last]),
            received_ns=START_NS,
        )
        for first, last in ((0, 2_000), (2_000, len(events)))
    ]
    writer = DirectWriter(tiered.database, "desk", tiered.clock)
    await writer.store(arrivals, 10.0, lambda place, _: stored.append(place))
    await writer.close()
    assert stored == [0, 1]
    assert await tiered.value("SELECT count(*) FROM ticks") == len(WEEKDAYS)
    assert await tiered.value("SELECT count(*) FROM ticks_recent_default") == 0
    assert len(await days_of(tiered, "ticks_recent")) < 31 + 24 + YEARS + 3


async def test_questions_lock_the_partitions_of_their_range_alone(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await tiered.execute(_SPARSE, START_NS)
    await tiered.worker.run_once()
    await tiered.execute(_SEEN)
    every = sum([len(await found_partitions(tiered, f"ticks_{kind}")) for kind in ("recent", "packed")])
    of_one = {"instrument": "EUR/USD", "venue": ["sim"]}

    async def bars(connection: asyncpg.Connection[asyncpg.Record]) -> int:
        which = BarFilter(instrument="EUR/USD", timeframe_ns=DAY_NS)
        return len((await newest_bars(connection, which, 3, None))[0])

    async def ticks(connection: asyncpg.Connection[asyncpg.Record]) -> int:
        page = await newest_of_bulk(Snapshot(connection), TICKS, of_one, 3, None, newest_ns=START_NS)
        return len(page.items)

    async def sessions(connection: asyncpg.Connection[asyncpg.Record]) -> int:
        evening = Sessions(TradingDays(), time(22), range_ns=DAY_NS // 24, length_ns=DAY_NS)
        which = TickFilter(instrument="EUR/USD")
        return len(await opening_ranges(connection, which, evening, 0, START_NS + 1, 3))

    for question in (bars, ticks, sessions):
        async with tiered.database.query() as connection, connection.transaction():
            assert await question(connection) == 3
            assert await connection.fetchval(_LOCKED) <= 15 < every
    async with tiered.database.query() as connection, connection.transaction():
        await connection.fetch("SELECT count(*) FROM ticks")
        assert await connection.fetchval(_LOCKED) == every + 2


async def test_an_export_of_everything_knows_its_range_and_is_whole(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await tiered.execute(_SPARSE, START_NS)
    await tiered.worker.run_once()
    request = events_request("ticks", ["price"])
    bounds = await Exports(tiered.database).bounds(request)
    assert bounds is not None
    assert bounds[0] <= START_NS - 5_999 * DAY_NS
    assert START_NS < bounds[1] <= START_NS + 3 * DAY_NS
    data = await exported(tiered.database, request, ExportFormat.CSV)
    assert data.count(b"\n") == 6_001


async def test_what_is_kept_for_years_gets_wide_partitions(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    kept = replace(tiered.settings.retention, ticks_days=0, one_second_days=730, one_minute_days=0)
    tiers = replace(tiered.settings.tiers, pack_after_hours=0.0)  # else recent rows move within a day
    tiered.settings = replace(tiered.settings, retention=kept, tiers=tiers)
    await tiered.prepare()  # of a table that had partitions of a day so far
    await tiered.worker.run_once()
    assert await days_of(tiered, "quotes_recent") == [1, 1, 1]
    for table, days in (("ticks_recent", 90), ("book_samples_1s_rolled", 30)):
        first, second = await found_partitions(tiered, table)
        assert (second.low, (first.high - first.low).days) == (first.high, 1)
        assert (second.high - datetime(1970, 1, 1, tzinfo=UTC)).days % days == 0
    tiered.clock.advance(YEARS * 365 * DAY_NS)
    await tiered.worker.run_once()
    assert (await days_of(tiered, "ticks_recent"))[-1] == 90


async def test_rows_of_the_future_wait_for_their_day(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await store(tiered, [row(10 * 864_000)])
    await tiered.worker.run_once()
    assert await tiered.value("SELECT count(*) FROM book_samples_recent_default") == 1
    assert len(await days_of(tiered, "book_samples_recent")) == 3
    tiered.clock.advance(8 * DAY_NS)
    await tiered.worker.run_once()
    assert await tiered.value("SELECT count(*) FROM book_samples_recent_default") == 0


async def test_partitions_end_where_the_database_was_created(tiered_database: TieredDatabase) -> None:
    """Older events were imported: they are kept, and later ones go in their time."""
    tiered = tiered_database
    created = to_datetime(START_NS - 50 * DAY_NS)
    await tiered.execute("UPDATE schema_migrations SET time = $1", created)
    await tiered.execute(_SPARSE.replace("6000", "80"), START_NS)
    await tiered.worker.run_once()
    tiered.clock.advance(10 * DAY_NS)
    await tiered.worker.run_once()
    days = [n - 1 for (n,) in await tiered.rows("SELECT price::int FROM ticks ORDER BY 1")]
    assert days == [*range(21), *range(51, 80)]


async def test_histories_and_the_roll_up_lock_the_partitions_of_their_range_alone(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    kept = replace(tiered.settings.retention, raw_days=0, one_second_days=0, one_minute_days=0)
    tiered.settings = replace(tiered.settings, retention=kept)
    await tiered.prepare()
    years = [row(-864_000 * day, mid=float(day)) for day in range(0, 3_000, 30)]
    await store(tiered, years)
    await tiered.worker.run_once()
    every = {tier: len(await found_partitions(tiered, f"book_samples_{tier}_rolled")) for tier in ROLLED}
    assert min(every.values()) > 8
    await store(tiered, [row(5), row(-864_000 * 2_000 + 5)])  # dirty buckets, in and out of the range
    span = (START_NS - 10 * DAY_NS, START_NS + 3600 * NS_PER_SECOND)
    seconds = {Tier.S1: 1, Tier.M1: 60, Tier.H1: 3600}
    schema = tier_schema_of(BOOK)
    for tier in ROLLED:
        resolution = Resolution(tier, seconds[tier] * NS_PER_SECOND)
        query = BucketQuery(BOOK, BOOK.metrics, {}, resolution, plain=True)
        async with tiered.database.query() as connection, connection.transaction():
            found, _ = await query.run(connection, *span, 1_000)
            assert [len(columns[0]) for columns in found.values()] == [1]
            assert await connection.fetchval(_LOCKED_TIERS) <= _FEW
    async with tiered.database.query() as connection, connection.transaction():
        buckets = [to_datetime(START_NS // (3600 * NS_PER_SECOND) * 3600 * NS_PER_SECOND)]
        bounds = buckets[0], buckets[0] + timedelta(hours=1)
        statement = PlainTable(schema).roll_up(Tier.H1).partition(" SELECT ")[2]
        assert len(await connection.fetch(f"SELECT {statement}", buckets, *bounds)) == 1
        assert await connection.fetchval(_LOCKED_TIERS) <= _FEW
    async with tiered.database.query() as connection, connection.transaction():
        await connection.fetch("SELECT count(*) FROM book_samples_1h WHERE time >= $1", to_datetime(START_NS))
        assert (
            await connection.fetchval(_LOCKED_TIERS) > 4 * _FEW
        )  # the view knows no bounds of the finer tiers


async def test_a_database_with_hundreds_of_partitions_of_a_day_goes_on(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    today = to_datetime(START_NS // DAY_NS * DAY_NS)
    await tiered.execute(_DAYS_BEFORE.format(today.isoformat()))
    old = await found_partitions(tiered, "ticks_recent")
    await tiered.execute(_SPARSE.replace("6000", "900"), START_NS)
    assert await tiered.value("SELECT count(*) FROM ticks_recent_default") == 900 - len(old)
    await tiered.prepare()
    await tiered.worker.run_once()
    found = await found_partitions(tiered, "ticks_recent")
    assert [one for one in found if one in old] == old  # kept as they are
    assert all(one.high <= later.low for one, later in pairwise(found))
    assert len(found) < len(old) + 31 + 5 + 16
    assert await tiered.value("SELECT count(*) FROM ticks_recent_default") == 0
    assert await tiered.value("SELECT count(DISTINCT sequence) FROM ticks") == 900
    # Age drops nothing of before the database was created, and afterwards days and wide partitions alike.
    await tiered.execute("UPDATE schema_migrations SET time = $1", today - timedelta(days=450))
    await tiered.worker.run_once()
    days = [n - 1 for (n,) in await tiered.rows("SELECT price::int FROM ticks ORDER BY 1")]
    assert days[:30] == [*range(30)]
    assert [day for day in days if day > 61] == [*range(451, 900)]


def test_a_server_with_too_few_locks_is_told_what_to_set() -> None:
    assert shortage(6_400, 64, 100) == []
    (text,) = shortage(20_000, 64, 100)
    assert "room for 6,400 locks" in text
    assert "max_locks_per_transaction to 448" in text


async def test_health_says_that_there_are_too_few_locks(
    tiered_database: TieredDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = lock_room._ROOM.replace("::bigint AS locks", "::bigint / 256 AS locks")
    monkeypatch.setattr(lock_room, "_ROOM", few)
    await tiered_database.worker.run_once()
    assert "max_locks_per_transaction" in tiered_database.worker.problem
    monkeypatch.undo()
    await tiered_database.worker.run_once()
    assert tiered_database.worker.problem == ""

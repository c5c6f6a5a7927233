"""A database of the version before the tiers becomes one with them, with all its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from decahertz.clock import to_datetime
from storage.database import Database
from storage.schema.migrate import migrate
from storage.settings import StorageSettings
from tests.storage_examples import START_NS
from tests.tier_checks import Row, assert_tiers, raw_rows, row, store
from tests.tiered_database import TieredDatabase

FIRST_SCHEMA = Path(__file__).with_name("first_schema.sql")
QUOTES = """
INSERT INTO quotes (time, venue, instrument, missed, time_ns, received_ns, source, epoch, sequence)
SELECT $1::timestamptz + n * interval '1 hour', 'sim', 'EUR/USD', 0, n, n, 'old', 1, n
FROM generate_series($2::bigint, $3::bigint) AS n
"""
DAY = 864_000
"""Ticks of a day."""
ROWS: list[Row] = [
    row(tick, name, mid=tick / 8, gaps=tick % 7)
    for day in (-40, -2, -1, 0)
    for tick in range(day * DAY, day * DAY + 3000, 4)
    for name in ("EUR/USD", "GBP/USD")
]


@pytest_asyncio.fixture
async def old(engine: str, engine_url: str) -> AsyncIterator[TieredDatabase]:
    """A database as the first version left it: flat tables with rows."""
    connection = await asyncpg.connect(engine_url)
    await connection.execute(FIRST_SCHEMA.read_text())
    await connection.execute("SET search_path = public")
    await connection.execute(QUOTES, to_datetime(START_NS), -100, 0)
    await connection.close()
    database = Database(engine_url, StorageSettings(flush_seconds=0.01))
    await database.open()
    tiered = TieredDatabase(database, engine)
    await store(tiered, ROWS)
    yield tiered
    await tiered.close()
    await database.close()


async def upgrade(tiered: TieredDatabase) -> None:
    await migrate(tiered.database)
    await tiered.prepare()


async def test_every_row_is_kept_and_is_in_every_tier(old: TieredDatabase) -> None:
    before = Counter(await raw_rows(old))
    await upgrade(old)
    assert Counter(await raw_rows(old)) == before
    await assert_tiers(old)
    await old.worker.run_once()
    await assert_tiers(old) if old.engine == "timescaledb" else None
    assert await old.value("SELECT sum(samples) FROM book_samples_1h") == len(ROWS)
    assert await old.value("SELECT count(*) FROM quotes") == 101


async def test_it_goes_on_as_if_it_had_always_been_so(old: TieredDatabase) -> None:
    await upgrade(old)
    await store(old, [row(1, mid=9999.0), row(-DAY + 1, mid=-99.0), row(5000)])
    await old.execute(QUOTES, to_datetime(START_NS), 1, 3)
    await upgrade(old)
    await old.worker.run_once()
    assert await old.value("SELECT sum(samples) FROM book_samples_1m") == len(ROWS) + 3
    assert await old.value("SELECT max(mid_max) FROM book_samples_1h") == 9999.0
    assert await old.value("SELECT count(*) FROM quotes") == 104


async def test_those_who_could_read_a_table_still_can(old: TieredDatabase) -> None:
    reader = f"reader_{old.engine}"
    await old.execute(f"DROP ROLE IF EXISTS {reader}")
    await old.execute(f"CREATE ROLE {reader}")
    await old.execute(f"GRANT SELECT ON book_samples, quotes TO {reader}")
    await upgrade(old)
    for table in ("book_samples", "quotes"):
        assert await old.value("SELECT has_table_privilege($1, $2, 'SELECT')", reader, table)
    await old.execute(f"DROP OWNED BY {reader}")
    await old.execute(f"DROP ROLE {reader}")


async def test_an_upgrade_that_breaks_off_leaves_the_old_tables_and_begins_again(
    old: TieredDatabase,
) -> None:
    before = Counter(await raw_rows(old))
    await migrate(old.database)
    # In the way of the last thing that is made of a table.
    await old.execute("CREATE TABLE book_samples_1h (in_the_way int)")
    with pytest.raises(Exception, match="book_samples_1h"):
        await old.prepare()
    assert Counter(await raw_rows(old)) == before
    await old.execute("DROP TABLE book_samples_1h")
    await old.prepare()
    assert Counter(await raw_rows(old)) == before
    await assert_tiers(old)


async def test_the_progress_is_told(old: TieredDatabase, capsys: pytest.CaptureFixture[str]) -> None:
    await upgrade(old)
    shown = capsys.readouterr().out
    assert "table_converting" in shown
    assert shown.count("until=") >= 4  # a line for each day with rows

"""PgBouncer in transaction mode: nothing of ours needs a session, and nothing of ours stays in one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from decahertz.fakes import ManualClock
from storage.database import Database
from storage.schema import connection as schema_module
from storage.schema.connection import SchemaLockedError, lock_schema, schema_connection
from storage.settings import RetentionSettings, StorageSettings, TiersSettings
from storage.tiers.worker import RollUpWorker
from tests.servers import pgbouncer
from tests.storage_examples import START_NS

SETTINGS = StorageSettings(connect_timeout_seconds=5.0)


@pytest_asyncio.fixture
async def pooled_url(migrated_url: str) -> AsyncIterator[str]:
    """A database with all migrations applied, through six sessions in turn."""
    async with pgbouncer(migrated_url, default_pool_size="6") as url:
        yield url


async def test_a_pooler_is_found(migrated_url: str, pooled_url: str) -> None:
    assert (await Database(pooled_url, SETTINGS).check()).is_pooled
    assert not (await Database(migrated_url, SETTINGS).check()).is_pooled


async def test_statements_work_through_sessions_in_turn_and_leave_nothing_in_them(pooled_url: str) -> None:
    database = Database(pooled_url, SETTINGS)
    await database.open()

    async def ask(number: int) -> tuple[int, str, str]:
        (row,) = await database.fetch(
            "SELECT $1::bigint AS number, current_setting('statement_timeout') AS limit_,"
            " current_setting('timezone') AS zone",
            (number,),
        )
        return row["number"], row["limit_"], row["zone"]

    assert await asyncio.gather(*map(ask, range(60))) == [(n, "4500ms", "UTC") for n in range(60)]
    async with database.query() as connection:
        await connection.execute("CREATE TABLE kept (number bigint)")
        await connection.executemany("INSERT INTO kept VALUES ($1)", [(1,), (2,)])
        await connection.copy_records_to_table("kept", records=[(3,)])
        assert await connection.execute("DELETE FROM kept WHERE number = $1", 2) == "DELETE 1"
        assert await connection.fetchval("SELECT sum(number) FROM kept") == 4
        async with connection.transaction():
            assert await connection.fetchval("SHOW statement_timeout") == "4500ms"
    await database.close()
    for _ in range(12):  # each session in turn, as another program finds it
        other = await asyncpg.connect(pooled_url, statement_cache_size=0)
        async with other.transaction():
            assert await other.fetchval("SHOW statement_timeout") == "0"
            assert await other.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        await other.close()


async def test_the_schema_is_changed_by_one_process_at_a_time(
    pooled_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_module, "LOCK_SECONDS", 1)
    database = Database(pooled_url, SETTINGS)

    async with schema_connection(database, "one") as one, schema_connection(database, "two") as two:
        await lock_schema(one)
        await one.fetchval("SELECT 1")  # another session may answer
        with pytest.raises(SchemaLockedError):
            await lock_schema(two)
    async with schema_connection(database, "three") as three:
        await lock_schema(three)


async def test_one_process_rolls_up_until_it_ends(pooled_url: str) -> None:
    database = Database(pooled_url, SETTINGS)
    await database.open()

    def make() -> RollUpWorker:
        return RollUpWorker(
            database,
            ManualClock(START_NS),
            CollectorRegistry(),
            TiersSettings(engine="plain"),
            RetentionSettings(),
            (),
        )

    first, second = make(), make()
    try:
        await first.prepare()
        await second.prepare()
        assert await first.run_once()
        assert not await second.run_once()
        assert await first.run_once()
        await first.stop()
        async with asyncio.timeout(20):  # PostgreSQL notices the end of a session a moment later
            while not await second.run_once():  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0.05)
    finally:
        await first.stop()
        await second.stop()
        await database.close()

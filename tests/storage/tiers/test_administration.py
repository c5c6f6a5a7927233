"""Administration: cancelled with its caller, reconnected after a lost connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from storage.database import Database, DatabaseError, DatabaseUnavailableError
from storage.tiers.administration import AdminSession
from tests.storage_examples import until

if TYPE_CHECKING:
    from storage.database import AnyConnection

_SLEEPING = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
)


async def is_sleeping(database: Database) -> bool:
    async with database.query() as connection:
        return bool(await connection.fetchval(_SLEEPING + " AND datname = current_database()"))


async def is_idle(database: Database) -> bool:
    return not await is_sleeping(database)


async def test_a_cancelled_caller_cancels_the_statement_and_the_event_loop_never_waits(
    database: Database,
) -> None:
    session = AdminSession(database, "test")
    work = asyncio.create_task(session.run(lambda connection: connection.execute("SELECT pg_sleep(60)")))
    await until(lambda: is_sleeping(database))
    start = time.monotonic()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert time.monotonic() - start < 5
    await until(lambda: is_idle(database))
    assert await session.run(lambda connection: connection.fetchval("SELECT 1")) == 1
    await session.close()


async def test_work_of_several_statements_ends_with_the_first_that_is_cancelled(database: Database) -> None:
    session, done, ended = AdminSession(database, "test"), list[int](), asyncio.Event()

    async def many(connection: AnyConnection) -> None:
        try:
            for number in range(1000):
                await connection.execute("SELECT pg_sleep(0.01)")
                done.append(number)
        finally:
            ended.set()

    work = asyncio.create_task(session.run(many))
    await until(lambda: bool(done))
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert ended.is_set()
    assert len(done) < 1000
    await session.close()


async def test_a_lost_connection_is_opened_again(database: Database) -> None:
    session = AdminSession(database, "test")
    pid = await session.run(lambda connection: connection.fetchval("SELECT pg_backend_pid()"))
    async with database.query() as connection:
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
    with suppress(DatabaseUnavailableError):  # unless the end of the connection is known already
        await session.run(lambda connection: connection.fetchval("SELECT 1"))
    assert await session.run(lambda connection: connection.fetchval("SELECT pg_backend_pid()")) != pid
    await session.close()


async def test_an_error_of_postgresql_is_one_line(database: Database) -> None:
    session = AdminSession(database, "test")
    with pytest.raises(DatabaseError, match='relation "missing" does not exist') as refused:
        await session.run(lambda connection: connection.execute("SELECT * FROM missing"))
    assert "\n" not in str(refused.value)
    await session.close()

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack

import asyncpg
import psutil
import pytest

from storage import database as module
from storage.database import (
    Database,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseTooOldError,
    DatabaseUnavailableError,
    DatabaseUnsuitableError,
    blames_database,
    blames_row,
    within,
)
from storage.database_url import redact
from storage.settings import StorageSettings
from tests.postgres_server import PostgresServer

SETTINGS = StorageSettings(connect_timeout_seconds=5.0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgres://me:p@ss/w:rd@host/db?sslmode=require", "postgres://me:***@host/db?sslmode=require"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql:///db?sslpassword=secret", "postgresql:///db?sslpassword=***"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_what_is_no_postgresql_url_is_refused() -> None:
    with pytest.raises(DatabaseError, match="postgresql://"):
        Database("mysql://me:secret@host/db", SETTINGS)


async def test_a_database_that_does_not_answer_is_one_clear_line(unused_tcp_port: int) -> None:
    database = Database(f"postgresql://me:secret@127.0.0.1:{unused_tcp_port}/db", SETTINGS)
    with pytest.raises(DatabaseUnavailableError) as caught:
        await database.open()
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_database_that_does_not_exist_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises(DatabaseUnavailableError, match="nowhere"):
        await Database(postgres_server.url_of("nowhere"), SETTINGS).open()


async def test_an_old_server_is_refused_with_its_version(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OLDEST_MAJOR", 99)
    with pytest.raises(DatabaseTooOldError, match=r"is PostgreSQL \d+, too old: 99 or newer is required"):
        await Database(database_url, SETTINGS).open()


async def test_a_database_that_cannot_hold_every_character_is_refused(
    postgres_server: PostgresServer,
) -> None:
    name = f"ascii_{uuid.uuid4().hex}"
    await postgres_server.execute(f"CREATE DATABASE {name} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(DatabaseUnsuitableError, match="SQL_ASCII"):
            await Database(postgres_server.url_of(name), SETTINGS).open()
    finally:
        await postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_who_waits_for_a_query_that_hangs_goes_on_in_time() -> None:
    hangs = asyncio.Event()

    async def query() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await hangs.wait()  # as asyncpg does, which waits for the server
        raise DatabaseUnavailableError("too late")

    with pytest.raises(DatabaseTimeoutError, match=r"did not answer within 0\.05 s"):
        await within(0.05, query())
    hangs.set()


async def test_a_query_that_answers_or_fails_in_time_does_so() -> None:
    async def query(answer: int | None) -> int:
        if answer is None:
            raise DatabaseUnavailableError("gone")
        return answer

    assert await within(1.0, query(1)) == 1
    with pytest.raises(DatabaseUnavailableError, match="gone"):
        await within(1.0, query(None))


async def test_a_result_that_comes_when_its_caller_was_cancelled_is_discarded() -> None:
    """A connection that a client waited for who has gone away would stay open for ever."""
    discarded: list[int] = []

    async def query() -> int:
        waiting.cancel()
        return 7

    waiting = asyncio.ensure_future(within(60.0, query(), discarded.append))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert discarded == [7]


async def test_parameters_that_only_libpq_knows_do_no_harm(database_url: str) -> None:
    database = Database(database_url + "&connect_timeout=3&channel_binding=prefer", SETTINGS)
    assert (await database.check()).database.startswith("test_")


async def test_sessions_say_who_they_are_and_think_in_utc(database: Database) -> None:
    async with database.query() as connection:
        row = await connection.fetchrow(
            "SELECT current_setting('application_name'), current_setting('timezone'),"
            " current_setting('statement_timeout')"
        )
    assert row is not None
    assert tuple(row) == ("decahertz queries", "UTC", "54s")  # of the 60 s that tests set


async def test_a_question_that_takes_too_long_is_ended(database_url: str) -> None:
    database = Database(database_url, StorageSettings(read_timeout_seconds=0.05))
    await database.open()
    try:
        with pytest.raises(DatabaseTimeoutError):
            async with database.query() as connection:
                await connection.execute("SELECT pg_sleep(30)")
    finally:
        await database.close()


@pytest.fixture
def hasty(database_url: str) -> Database:
    """One with short time limits."""
    return Database(database_url, StorageSettings(statement_timeout_seconds=0.2, read_timeout_seconds=0.3))


async def test_reads_of_a_frozen_server_end_in_time(hasty: Database) -> None:
    await hasty.open()
    try:
        (row,) = await hasty.fetch("SELECT pg_backend_pid() AS pid")
        backend = psutil.Process(row["pid"])
        backend.suspend()
        try:
            async with asyncio.timeout(5):
                with pytest.raises(DatabaseTimeoutError):
                    await hasty.fetch("SELECT 1")
                # The next one does not wait for it.
                assert [row["n"] for row in await hasty.fetch("SELECT 1 AS n")] == [1]
        finally:
            backend.resume()
    finally:
        await hasty.close()


async def test_a_copy_into_a_server_that_takes_no_more_ends_in_time(
    hasty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.1)
    connection = await hasty.connect("test")
    await connection.execute("CREATE TABLE texts (text text)")
    backend = psutil.Process(connection.get_server_pid())
    rows = [("x" * 100_000,)] * 200  # more than the buffers of a socket hold

    async def copy() -> None:
        with hasty.errors():
            async with connection.transaction():
                backend.suspend()
                await connection.copy_records_to_table("texts", records=rows)

    try:
        async with asyncio.timeout(5):
            with pytest.raises(DatabaseTimeoutError, match="took too long"):
                await copy()
        assert connection.is_closed()
    finally:
        backend.resume()


@pytest.mark.parametrize(
    ("error", "is_of_database", "is_of_row"),
    [
        (asyncpg.ObjectNotInPrerequisiteStateError(), True, False),
        (asyncpg.InsufficientPrivilegeError(), True, False),
        (asyncpg.InternalServerError(), True, False),
        (asyncpg.QueryCanceledError(), True, False),
        (asyncpg.InterfaceError("closed"), True, False),
        (ConnectionResetError(), True, False),
        (asyncpg.UndefinedTableError(), False, False),
        (asyncpg.FeatureNotSupportedError(), False, False),
        (asyncpg.CheckViolationError(), False, True),
        (asyncpg.NumericValueOutOfRangeError(), False, True),
        (asyncpg.RaiseError(), False, True),
        (ValueError("a text with NUL"), False, True),
    ],
    ids=repr,
)
def test_who_is_to_blame_for_an_error(error: Exception, *, is_of_database: bool, is_of_row: bool) -> None:
    assert (blames_database(error), blames_row(error)) == (is_of_database, is_of_row)


async def test_a_value_that_asyncpg_cannot_encode_is_of_its_row(database: Database) -> None:
    with pytest.raises(asyncpg.DataError, match="out of") as caught:
        async with database.query() as connection:
            await connection.fetchval("SELECT $1::int", 2**40)
    assert blames_row(caught.value)


async def test_a_database_that_takes_no_connections_is_unavailable(
    database_url: str, postgres_server: PostgresServer
) -> None:
    name = database_url.partition("?")[0].rpartition("/")[2]
    await postgres_server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    with pytest.raises(DatabaseUnavailableError, match="not currently accepting connections"):
        await Database(database_url, SETTINGS).open()


async def test_a_lost_connection_is_said_once_and_made_again(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError):
        async with database.query() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    async with database.query() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_questions_beyond_the_pool_wait_their_turn(database: Database) -> None:
    async def ask(number: int) -> int:
        async with database.query() as connection:
            return int(await connection.fetchval("SELECT $1::int FROM pg_sleep(0.001)", number))

    assert await asyncio.gather(*map(ask, range(50))) == list(range(50))


async def test_orders_do_not_wait_for_the_queries_of_readers(database: Database) -> None:
    async with AsyncExitStack() as readers:
        for _ in range(module._POOL_SIZE):
            await readers.enter_async_context(database.query())
        reading = asyncio.create_task(database.fetch("SELECT 1"))
        (row,) = await database.fetch("SELECT current_setting('application_name')", reserved=True)
        assert row[0] == "decahertz orders"
        async with database.query(reserved=True) as connection:
            assert await connection.fetchval("SELECT 2") == 2
        assert not reading.done()
    assert len(await reading) == 1


async def test_mistakes_in_a_question_are_not_taken_for_an_outage(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with database.query() as connection:
            await connection.fetch("SELECT * FROM nothing_like_it")


async def test_closing_twice_or_unopened_does_no_harm(database_url: str) -> None:
    database = Database(database_url, SETTINGS)
    await database.close()
    await database.open()
    await database.close()
    await database.close()
    with pytest.raises(DatabaseUnavailableError, match="not open"):
        async with database.query():
            pass

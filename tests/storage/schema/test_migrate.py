from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path

import pytest

from storage.database import Database, DatabaseError, DatabaseUnavailableError
from storage.schema.migrate import (
    Migration,
    MigrationError,
    SchemaTooNewError,
    migrate,
    read_migrations,
    shipped_migrations,
)
from storage.settings import StorageSettings
from tests.postgres_server import PostgresServer
from tests.storage_examples import BOOK, until
from tests.tables import ensure_tables

FIRST = Migration(1, "first", "CREATE TABLE first (n int); INSERT INTO first VALUES (1);")
SECOND = Migration(2, "second", "ALTER TABLE first ADD COLUMN m int;")


@pytest.fixture
def empty(database_url: str) -> Database:
    return Database(database_url, StorageSettings())


async def count(database: Database, table: str) -> int:
    connection = await database.connect("test")
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608 - the test's own
    finally:
        await database.disconnect(connection)


async def test_each_migration_is_applied_once(empty: Database) -> None:
    assert await migrate(empty, [FIRST]) == [FIRST]
    assert await migrate(empty, [FIRST, SECOND]) == [SECOND]
    assert await migrate(empty, [FIRST, SECOND]) == []
    assert await count(empty, "first") == 1


async def test_processes_that_start_at_once_do_it_once(empty: Database) -> None:
    slow = Migration(1, "first", "SELECT pg_sleep(0.2); " + FIRST.sql)
    applied = await asyncio.gather(*(migrate(empty, [slow, SECOND]) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, 2]
    assert await count(empty, "first") == 1


async def test_what_a_killed_process_had_begun_does_not_hold_the_next_one_up(empty: Database) -> None:
    program = (
        "import asyncio, sys; from storage.settings import StorageSettings;"
        "from storage.database import Database; from storage.schema.migrate import Migration, migrate;"
        "asyncio.run(migrate(Database(sys.argv[1], StorageSettings()), [Migration(1, 'first', sys.argv[2])]))"
    )
    endless = "SELECT pg_sleep(3600);"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty.url, endless)
    at_work = "pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()"

    async def has_begun() -> bool:
        return bool(await count(empty, at_work))

    await until(has_begun)
    process.kill()
    await process.wait()
    async with asyncio.timeout(30):  # less than a lock is waited for
        assert await migrate(empty, [FIRST]) == [FIRST]


async def test_a_migration_that_fails_leaves_nothing(empty: Database) -> None:
    broken = Migration(2, "broken", "CREATE TABLE half (n int); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"0002_broken failed: division by zero"):
        await migrate(empty, [FIRST, broken])
    assert await count(empty, "pg_tables WHERE tablename = 'half'") == 0
    assert await migrate(empty, [FIRST, SECOND]) == [SECOND]


async def test_a_table_that_is_not_ours_is_told_with_what_to_do(empty: Database) -> None:
    connection = await empty.connect("test")
    await connection.execute("CREATE TABLE first (something_else text)")
    await empty.disconnect(connection)
    with pytest.raises(MigrationError, match="already exists, and it is not Decahertz's: use"):
        await migrate(empty, (FIRST,))


async def test_a_changed_file_and_a_newer_database_are_noticed(empty: Database) -> None:
    await migrate(empty, [FIRST, SECOND])
    with pytest.raises(MigrationError, match="0001_first is not the one that was applied"):
        await migrate(empty, [Migration(1, "first", FIRST.sql + " "), SECOND])
    with pytest.raises(SchemaTooNewError, match="0002_second"):
        await migrate(empty, [FIRST])


async def test_a_missing_number_is_an_error_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "0003_c.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="0002 was expected"):
        read_migrations(tmp_path)


async def test_line_ends_do_not_change_a_migration(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    assert read_migrations(tmp_path)[0].checksum == Migration(1, "a", "SELECT 1;\nSELECT 2;\n").checksum


async def test_an_unreachable_database_is_said_so(unused_tcp_port: int) -> None:
    database = Database(f"postgresql://me:secret@127.0.0.1:{unused_tcp_port}/db", StorageSettings())
    with pytest.raises(DatabaseUnavailableError) as caught:
        await migrate(database)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_role_that_may_not_make_tables_is_told_so(
    empty: Database, postgres_server: PostgresServer
) -> None:
    role = f"limited_{uuid.uuid4().hex}"
    await postgres_server.execute(f"CREATE ROLE {role}")
    try:
        limited = Database(f"{empty.url}&options=-crole%3D{role}", StorageSettings())
        with pytest.raises(MigrationError, match="permission denied for schema public"):
            await migrate(limited)
        await migrate(empty)
        await limited.open()
        with pytest.raises(DatabaseError, match="permission denied for schema public"):
            await ensure_tables(limited, [BOOK])
        await limited.close()
    finally:
        await postgres_server.execute(f"DROP ROLE {role}")


async def test_the_shipped_migrations_apply_to_an_empty_database(empty: Database) -> None:
    assert await migrate(empty) == list(shipped_migrations())
    assert await migrate(empty) == []

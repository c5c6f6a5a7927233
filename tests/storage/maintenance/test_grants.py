"""Read-only access for another program."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from storage.database import Database, DatabaseError
from storage.maintenance.grants import UnknownRoleError, grant_read

PASSWORD = "it's a \\ p@ss"  # noqa: S105 - of a role that this test makes


async def test_a_new_role_reads_what_is_there_and_what_comes_and_changes_nothing(database: Database) -> None:
    role = 'grafana "1"'
    assert grant_read(database, role, "first")
    assert not grant_read(database, role, PASSWORD)  # again, with a new password
    async with database.query() as connection:
        await connection.execute("CREATE TABLE later (a integer)")
    reader = await asyncpg.connect(_url_of(database, role))
    try:
        assert await reader.fetchval("SELECT count(*) FROM fills") == 0
        assert await reader.fetchval("SELECT count(*) FROM later") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch("SELECT hash FROM api_keys")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch("SELECT actor FROM audit")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("DELETE FROM fills")
        await reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("DELETE FROM fills")
        hashed = "SELECT rolpassword FROM pg_authid WHERE rolname = $1"
    finally:
        await reader.close()
    async with database.query() as connection:
        assert (await connection.fetchval(hashed, role)).startswith("SCRAM-SHA-256$")
        await connection.execute(f"DROP OWNED BY {_quoted(role)}; DROP ROLE {_quoted(role)}")


def test_a_role_without_a_password_has_to_exist(database: Database) -> None:
    with pytest.raises(UnknownRoleError, match="no role 'nobody'"):
        grant_read(database, "nobody")
    with pytest.raises(DatabaseError, match="refused the grants"):
        grant_read(database, "pg_reserved", "secret")


def _quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'


def _url_of(database: Database, role: str) -> str:
    parts = urlsplit(database.url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role, safe='')}:{quote(PASSWORD, safe='')}@{host}"))

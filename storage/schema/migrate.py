"""Migrations: numbered SQL files (``0001_events.sql``), each applied once, in order, and never changed.

A file runs in one transaction together with the note that it ran. A file whose first line is
:data:`NO_TRANSACTION` holds one statement that cannot run in a transaction, and that does no harm when it
runs again: a crash between statement and note repeats it. Processes that start at once wait for each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

import psycopg
import structlog

from storage.database import Database, DatabaseError, DatabaseUnavailableError, redact

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

    Connection = psycopg.Connection[TupleRow]

NO_TRANSACTION = "-- decahertz: no transaction"
SCHEMA_LOCK = 0x6461_487A_0001
"""Key of the advisory lock that whoever changes tables holds."""
LOCK_SECONDS = 60

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_NOTES = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(DatabaseError):
    """The schema cannot be brought to where this program needs it; nothing half-done is left."""


class SchemaTooNewError(MigrationError):
    """A newer version of the program has been at work on this database."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """By it a file that was changed after it was applied is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """Whether it can run in a transaction."""
        return not self.sql.startswith(NO_TRANSACTION)

    def __str__(self) -> str:
        """As the file is called, without its ending."""
        return f"{self.number:04}_{self.name}"


def shipped_migrations() -> tuple[Migration, ...]:
    """The migrations of this version of the program."""
    return read_migrations(files("storage.schema.migrations"))


def read_migrations(folder: Traversable) -> tuple[Migration, ...]:
    """The migrations in a folder, in order. Raises :class:`MigrationError` where a number is missing."""
    found = []
    for file in folder.iterdir():
        if match := _FILE.fullmatch(file.name):
            text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
            found.append(Migration(int(match[1]), match[2], text))
    found.sort(key=lambda migration: migration.number)
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise MigrationError(f"migration {migration}: the number {expected:04} was expected")
    return tuple(found)


async def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what has not been applied; returns that. Several processes may do so at once.

    Raises :class:`~storage.database.DatabaseUnavailableError`, :class:`SchemaTooNewError` or
    :class:`MigrationError` with the file and what PostgreSQL says.
    """
    return await asyncio.to_thread(_migrate, database, migrations)


def _migrate(database: Database, migrations: Sequence[Migration] | None) -> list[Migration]:
    if migrations is None:
        migrations = shipped_migrations()
    try:
        with psycopg.connect(
            database.url,
            autocommit=True,
            application_name="decahertz migrations",
            connect_timeout=max(2, round(database.settings.connect_timeout_seconds)),
        ) as connection:
            return _apply(connection, migrations)
    except psycopg.OperationalError as error:
        reason = redact(str(error).strip().replace("\n", " "))
        raise DatabaseUnavailableError(f"cannot use {database.name}: {reason}") from error
    except psycopg.Error as error:
        raise MigrationError(f"cannot set up {database.name}: {_first_line(error)}") from error


def _apply(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    connection.execute("SET timezone = 'UTC'")
    connection.execute("SET statement_timeout = 0")  # an index on a large table takes its time
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'".encode())
    # What a killed process had asked for ends with it, and the next start does not wait for it.
    with suppress(psycopg.Error):  # not every operating system can tell
        connection.execute("SET client_connection_check_interval = '1s'")
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise MigrationError(
            f"another process has been changing the tables for {LOCK_SECONDS} s; try again later"
        ) from error
    # The lock goes with the connection.
    connection.execute(_NOTES)
    pending = _pending(connection, migrations)
    log = structlog.get_logger(part="migrations")
    for migration in pending:
        _run(connection, migration)
        log.info("migration_applied", migration=str(migration))
    return pending


def _pending(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    rows = connection.execute("SELECT number, name, checksum FROM schema_migrations ORDER BY number")
    applied: dict[int, tuple[str, str]] = {number: (name, checksum) for number, name, checksum in rows}
    known = {migration.number for migration in migrations}
    for number, (name, _) in applied.items():
        if number not in known:
            raise SchemaTooNewError(
                f"a newer Decahertz has changed the database (migration {number:04}_{name}): use that one"
            )
    for migration in migrations:
        if migration.number in applied and applied[migration.number][1] != migration.checksum:
            raise MigrationError(
                f"migration {migration} is not the one that was applied to this database (checksum differs)"
            )
    return [migration for migration in migrations if migration.number not in applied]


def _run(connection: Connection, migration: Migration) -> None:
    note = "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)"
    values = (migration.number, migration.name, migration.checksum)
    try:
        if migration.in_transaction:
            with connection.transaction():
                connection.execute(migration.sql.encode())
                connection.execute(note, values)
        else:
            connection.execute(migration.sql.encode())
            connection.execute(note, values)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise MigrationError(f"migration {migration} failed: {_first_line(error)}") from error


def _first_line(error: psycopg.Error) -> str:
    return redact(str(error).strip().partition("\n")[0])

"""Migrations: numbered SQL files (``0001_events.sql``), each applied once, in order, and never changed.

A file runs in one transaction together with its entry in ``schema_migrations``.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

import asyncpg
import structlog

from storage.database import Database, DatabaseError, first_line
from storage.schema.connection import lock_schema, schema_connection, schema_errors

if TYPE_CHECKING:
    from storage.database import AnyConnection

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    time timestamptz NOT NULL DEFAULT now(),
    number integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    checksum text COLLATE "C" NOT NULL
);
COMMENT ON TABLE schema_migrations IS 'Migrations applied to this database.';
COMMENT ON COLUMN schema_migrations.time IS 'When the migration was applied.';
COMMENT ON COLUMN schema_migrations.number IS 'Number of the migration''s file.';
COMMENT ON COLUMN schema_migrations.name IS 'Name of the migration''s file.';
COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of the migration''s file.';
"""


class MigrationError(DatabaseError):
    """A migration failed and was rolled back."""


class SchemaTooNewError(MigrationError):
    """A newer version of the program has migrated this database."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Reveals a file that was changed after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        """The name of its file, without the suffix."""
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
    """Applies pending migrations and returns them. Processes that migrate at once wait for each other.

    Raises :class:`~storage.database.DatabaseUnavailableError`, :class:`SchemaTooNewError` or
    :class:`MigrationError` with the file and PostgreSQL's message.
    """
    if migrations is None:
        migrations = await asyncio.to_thread(shipped_migrations)
    try:
        async with schema_connection(database, "migrations") as connection:
            await lock_schema(connection)
            applied = await apply(database, connection, migrations)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"cannot set up {database.name}: {first_line(error)}") from error
    log = structlog.get_logger(part="migrations")
    if applied:
        log.info("migrations_applied", count=len(applied), first=str(applied[0]), last=str(applied[-1]))
    return applied


async def apply(
    database: Database, connection: AnyConnection, migrations: Sequence[Migration]
) -> list[Migration]:
    """Applies pending migrations and returns them; ``connection`` holds the schema lock.

    Raises as :func:`migrate`, and what asyncpg raises.
    """
    await connection.execute(_HISTORY)
    pending = await _pending(connection, migrations)
    for migration in pending:
        await _run(database, connection, migration)
    return pending


async def _pending(connection: AnyConnection, migrations: Sequence[Migration]) -> list[Migration]:
    rows = await connection.fetch("SELECT number, name, checksum FROM schema_migrations ORDER BY number")
    applied: dict[int, tuple[str, str]] = {number: (name, checksum) for number, name, checksum in rows}
    known = {migration.number for migration in migrations}
    for number, (name, _) in applied.items():
        if number not in known:
            raise SchemaTooNewError(
                f"migration {number:04}_{name} comes from a newer Decahertz: use that version"
            )
    for migration in migrations:
        if migration.number in applied and applied[migration.number][1] != migration.checksum:
            raise MigrationError(
                f"migration {migration} is not the one that was applied to this database (checksum differs)"
            )
    return [migration for migration in migrations if migration.number not in applied]


async def _run(database: Database, connection: AnyConnection, migration: Migration) -> None:
    entry = "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)"
    values = (migration.number, migration.name, migration.checksum)
    try:
        with schema_errors(database):
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(entry, *values)
    except asyncpg.PostgresError as error:
        text = f"migration {migration} failed: {first_line(error)}"
        if isinstance(error, asyncpg.DuplicateTableError):
            text += ", and it is not Decahertz's: use a database of its own"
        raise MigrationError(text) from error

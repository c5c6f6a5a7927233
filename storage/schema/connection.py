"""Connections for statements that change the schema: psycopg, autocommit, no statement time-out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

import psycopg

from storage.database import Database, DatabaseError, DatabaseUnavailableError, redact

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

    SchemaConnection: TypeAlias = psycopg.Connection[TupleRow]

SCHEMA_LOCK = 0x6461_487A_0001
"""Key of the advisory lock that a process holds while it changes the schema."""
LOCK_SECONDS = 60


class SchemaLockedError(DatabaseError):
    """Another process has been changing the schema for too long."""


@contextmanager
def schema_connection(database: Database, purpose: str) -> Iterator[SchemaConnection]:
    """Connect; ``purpose`` is shown in ``pg_stat_activity``.

    Raises :class:`~storage.database.DatabaseUnavailableError` when the connection fails or is lost; other
    errors of psycopg pass through.
    """
    try:
        with psycopg.connect(
            database.url,
            autocommit=True,
            application_name=f"decahertz {purpose}",
            connect_timeout=max(2, round(database.settings.connect_timeout_seconds)),
            # A network that drops every packet ends even a statement that has no time-out.
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        ) as connection:
            connection.execute("SET timezone = 'UTC'")
            connection.execute("SET statement_timeout = 0")  # an index on a large table takes its time
            connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'".encode())
            # The server notices within a second when this process is killed; the next start does not wait.
            with suppress(psycopg.Error):  # not every operating system supports it
                connection.execute("SET client_connection_check_interval = '1s'")
            yield connection
    except psycopg.OperationalError as error:
        reason = redact(str(error).strip().replace("\n", " "))
        raise DatabaseUnavailableError(f"cannot use {database.name}: {reason}") from error


def lock_schema(connection: SchemaConnection) -> None:
    """Wait until no other process changes the schema; the lock ends with the connection.

    Raises :class:`SchemaLockedError`.
    """
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise SchemaLockedError(
            f"Another process has been changing the tables for {LOCK_SECONDS} s; try again later."
        ) from error

"""Connections for statements that change the schema: they have no statement time-out."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from storage.database import Database, DatabaseError
from storage.pooler import is_pooled, lock

if TYPE_CHECKING:
    from storage.database import AnyConnection, Connection

SCHEMA_LOCK = 0x6461_487A_0001
"""Key of the advisory lock that a process holds while it changes the schema."""
LOCK_SECONDS = 60
_SILENCE_LIMITS = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 30_000,
}


class SchemaLockedError(DatabaseError):
    """Another process has been changing the schema for too long."""


@contextmanager
def schema_errors(database: Database) -> Iterator[None]:
    """As :meth:`~storage.database.Database.errors`, but a missing right passes: it is not an outage."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError:
        raise
    except Exception:
        with database.errors():
            raise


async def connect(database: Database, purpose: str) -> Connection:
    """Opens a connection; close it with :meth:`~storage.database.Database.disconnect`.

    ``purpose`` is shown in ``pg_stat_activity``. Raises :class:`~storage.database.DatabaseUnavailableError`.
    """
    connection = await database.connect(purpose, unlimited=True)  # an index on a large table takes its time
    _limit_silence(connection)
    with schema_errors(database):
        if is_pooled(connection):
            return connection  # what is set here would stay in a session that serves others next
        await connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        # The server notices within a second when this process is killed; the next start does not wait.
        with suppress(asyncpg.PostgresError):  # not every operating system supports it
            await connection.execute("SET client_connection_check_interval = '1s'")
    return connection


def _limit_silence(connection: Connection) -> None:
    """A network that drops every packet ends even a statement that has no time-out."""
    transport_socket = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined] # noqa: SLF001 - asyncpg shows it nowhere else
    with socket.socket(fileno=os.dup(transport_socket.fileno())) as duplicate:
        if duplicate.family == socket.AF_UNIX:
            return
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _SILENCE_LIMITS.items():
            if hasattr(socket, option):  # not on every operating system
                duplicate.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@asynccontextmanager
async def schema_connection(database: Database, purpose: str) -> AsyncIterator[AnyConnection]:
    """A connection for the block; ``purpose`` as in :func:`connect`.

    Raises :class:`~storage.database.DatabaseUnavailableError` when the connection fails or is lost; other
    errors of asyncpg pass through.
    """
    connection = await connect(database, purpose)
    try:
        with schema_errors(database):
            yield connection
    finally:
        await database.disconnect(connection)


async def lock_schema(connection: AnyConnection) -> None:
    """Waits until no other process changes the schema; the lock ends with the connection.

    Raises :class:`SchemaLockedError`.
    """
    try:
        await lock(connection, SCHEMA_LOCK, LOCK_SECONDS)
    except asyncpg.LockNotAvailableError as error:
        raise SchemaLockedError(
            f"Another process has been changing the tables for {LOCK_SECONDS} s; try again later."
        ) from error

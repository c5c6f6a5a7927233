"""Administration of the tiers on a connection of its own: DDL, policies, and refreshes that may take long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from storage.database import Database, DatabaseError, DatabaseUnavailableError, first_line
from storage.schema.connection import connect, schema_errors

if TYPE_CHECKING:
    from storage.database import AnyConnection, Connection

_T = TypeVar("_T")

_CANCEL_SECONDS = 1.0
"""How long the server has to cancel a statement before the connection is cut."""


class AdminSession:
    """A connection that is opened when it is needed, and again after it was lost.

    One caller at a time. ``purpose`` is shown in ``pg_stat_activity``.
    """

    def __init__(self, database: Database, purpose: str) -> None:
        self._database = database
        self._purpose = purpose
        self._connection: Connection | None = None

    async def run(self, work: Callable[[AnyConnection], Awaitable[_T]]) -> _T:
        """Runs ``work`` on the connection. A cancelled caller cancels its statement.

        Raises :class:`~storage.database.DatabaseUnavailableError` when the connection fails or a statement is
        cancelled, and :class:`~storage.database.DatabaseError` for other errors of PostgreSQL.
        """
        task = asyncio.ensure_future(self._run(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._cancel(task)
            raise

    async def close(self) -> None:
        """Closes the connection; safe when it is not open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.disconnect(connection)

    async def _run(self, work: Callable[[AnyConnection], Awaitable[_T]]) -> _T:
        try:
            with schema_errors(self._database):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._database, self._purpose)
                return await work(self._connection)
        except DatabaseUnavailableError:
            await self.close()
            raise
        except asyncpg.PostgresError as error:
            raise DatabaseError(f"{self._database.name} refused a statement: {first_line(error)}") from error

    async def _cancel(self, task: asyncio.Future[_T]) -> None:
        """Cancels the work; a server that does not answer loses the connection."""
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
        if not task.done() and self._connection is not None:
            self._connection.terminate()
            await asyncio.wait([task], timeout=_CANCEL_SECONDS)
        if task.done() and not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it


async def created_at(connection: AnyConnection) -> datetime:
    """When this database got its tables. Older events were imported."""
    time: datetime = await connection.fetchval("SELECT min(time) FROM schema_migrations")
    return time

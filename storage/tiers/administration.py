"""Administration of the tiers on a psycopg connection: DDL, policies, and refreshes that may take long.

The work runs in a thread, so it never blocks the event loop, and it is cancelled together with its caller.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from storage.database import Database, DatabaseError, DatabaseUnavailableError, first_line
from storage.schema.connection import schema_connection

if TYPE_CHECKING:
    from storage.schema.connection import SchemaConnection

_T = TypeVar("_T")

_CANCEL_SECONDS = 1.0
"""How long the server has to cancel a statement before the socket is shut down."""
_PAUSE_SECONDS = 0.05


class AdminSession:
    """A connection that is opened when it is needed, and again after it was lost.

    One caller at a time. ``purpose`` is shown in ``pg_stat_activity``.
    """

    def __init__(self, database: Database, purpose: str) -> None:
        self._database = database
        self._purpose = purpose
        self._stack = ExitStack()
        self._connection: SchemaConnection | None = None

    async def run(self, work: Callable[[SchemaConnection], _T]) -> _T:
        """Run ``work`` in a thread. A cancelled caller cancels its statement, and waits for the thread.

        Raises :class:`~storage.database.DatabaseUnavailableError` when the connection fails or a statement is
        cancelled, and :class:`~storage.database.DatabaseError` for other errors of PostgreSQL.
        """
        thread = asyncio.ensure_future(asyncio.to_thread(self._run, work))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            await self._cancel(thread)
            raise

    async def close(self) -> None:
        """Close the connection; safe when it is not open."""
        await asyncio.to_thread(self._close)

    def _run(self, work: Callable[[SchemaConnection], _T]) -> _T:
        try:
            if self._connection is None or self._connection.closed:
                self._close()
                self._connection = self._stack.enter_context(schema_connection(self._database, self._purpose))
            return work(self._connection)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(
                f"cannot use {self._database.name}: {first_line(error)}"
            ) from error
        except psycopg.Error as error:
            raise DatabaseError(f"{self._database.name} refused a statement: {first_line(error)}") from error

    def _close(self) -> None:
        self._connection = None
        with suppress(psycopg.Error, DatabaseError):  # a lost connection is closed either way
            self._stack.close()

    async def _cancel(self, thread: asyncio.Future[_T]) -> None:
        """Cancel statements until the thread ends: the first that is cancelled ends its work."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _CANCEL_SECONDS
        while not thread.done():
            connection = self._connection
            if connection is not None and not connection.closed:
                with suppress(psycopg.Error):
                    if loop.time() < deadline:
                        await asyncio.to_thread(connection.cancel_safe, timeout=_CANCEL_SECONDS)
                    else:
                        _shut_down(connection)
            await asyncio.wait([thread], timeout=_PAUSE_SECONDS)
        if not thread.cancelled():
            thread.exception()  # retrieved, so that asyncio does not report it


def _shut_down(connection: SchemaConnection) -> None:
    """End a connection whose server does not answer: the thread that waits for it sees it closed."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


def execute(connection: SchemaConnection, statement: str, *values: object) -> psycopg.Cursor[Any]:
    """Run one statement; its names are quoted, its values are parameters (``%s``)."""
    return connection.execute(statement.encode(), values or None)


def value_of(connection: SchemaConnection, statement: str, *values: object) -> Any:  # noqa: ANN401 - of any type
    """The first value of the first row; ``None`` when there is no row."""
    row = execute(connection, statement, *values).fetchone()
    return None if row is None else row[0]


def created_at(connection: SchemaConnection) -> datetime:
    """When this database got its tables. Older events were imported."""
    time: datetime = value_of(connection, "SELECT min(time) FROM schema_migrations")
    return time

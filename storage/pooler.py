"""Connections through a pooler that gives each transaction another session, as PgBouncer does.

No session state lasts there: no prepared statements, no settings, no advisory locks. So each statement runs
in a transaction, which keeps its session from preparing to the last row; settings are local to transactions;
and a lock lasts as long as the open transaction of a second connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeGuard

from storage.connection import LimitedConnection

if TYPE_CHECKING:
    import asyncpg

_HOLD = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0;"


class PooledConnection(LimitedConnection):
    """A connection on which every statement with parameters or rows runs in a transaction.

    Statements within a transaction of the caller stay in it.
    """

    settings: str = ""
    """Statements that follow each BEGIN in the same message: ``SET LOCAL …``."""
    connect_again: Callable[[], Awaitable[LimitedConnection]]
    """Opens the connection that holds locks."""
    _holder: LimitedConnection | None = None

    async def lock_holder(self) -> LimitedConnection:
        """The connection with a transaction that holds the locks; each of the two ends with the other."""
        if self._holder is None:
            holder = await self.connect_again()
            holder.add_termination_listener(lambda _: self.terminate())
            self.add_termination_listener(lambda _: holder.terminate())
            self._holder = holder
            await holder.execute(_HOLD)
        return self._holder

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Executes a statement; a BEGIN, such as that of asyncpg, gets this connection's settings too."""
        if args and not self.is_in_transaction():
            async with self.transaction():
                return await super().execute(query, *args, timeout=timeout)
        if query.startswith("BEGIN"):
            query = f"{query} {self.settings}"
        return await super().execute(query, *args, timeout=timeout)

    async def fetch(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncpg's
        """Fetches all rows."""
        return await self._within_transaction(super().fetch, *args, **options)

    async def fetchrow(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncpg's
        """Fetches the first row."""
        return await self._within_transaction(super().fetchrow, *args, **options)

    async def fetchval(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncpg's
        """Fetches a value of the first row."""
        return await self._within_transaction(super().fetchval, *args, **options)

    async def executemany(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncpg's
        """Executes a statement once for each set of parameters."""
        return await self._within_transaction(super().executemany, *args, **options)

    async def copy_from_query(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncpg's
        """Copies the rows of a query out."""
        return await self._within_transaction(super().copy_from_query, *args, **options)

    async def copy_to_table(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncpg's
        """Copy rows in."""
        return await self._within_transaction(super().copy_to_table, *args, **options)

    async def copy_records_to_table(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncpg's
        """Copies records in."""
        return await self._within_transaction(super().copy_records_to_table, *args, **options)

    async def _within_transaction(self, method: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        if self.is_in_transaction():
            return await method(*args, **options)
        async with self.transaction():
            return await method(*args, **options)


def is_pooled(connection: asyncpg.Connection[asyncpg.Record]) -> TypeGuard[PooledConnection]:
    """Whether the connection needs no session; for asyncpg ``isinstance`` says so of every connection."""
    return type(connection) is PooledConnection


async def lock(connection: asyncpg.Connection[asyncpg.Record], key: int, seconds: float) -> None:
    """Waits for an advisory lock, which lasts as long as the connection.

    Through a pooler the wait ends after ``seconds``; otherwise the session has a limit.
    """
    if is_pooled(connection):
        holder = await connection.lock_holder()
        await holder.execute(f"SET LOCAL lock_timeout = '{seconds}s'")
        await holder.execute("SELECT pg_advisory_xact_lock($1)", key)
    else:
        await connection.execute("SELECT pg_advisory_lock($1)", key)


async def try_lock(connection: asyncpg.Connection[asyncpg.Record], key: int) -> bool:
    """Takes an advisory lock if it is free, which lasts as long as the connection; whether it was."""
    if is_pooled(connection):
        holder = await connection.lock_holder()
        return bool(await holder.fetchval("SELECT pg_try_advisory_xact_lock($1)", key))
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", key))

"""The connection to PostgreSQL: pools, time-outs, and errors that say what is wrong in one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import asyncpg
import structlog

from decahertz.incident import Outage, OutageError
from decahertz.query_times import QUERY_TIMES
from decahertz.urls import UrlError
from storage.connection import LimitedConnection
from storage.connection_pool import ConnectionPool
from storage.database_url import check_database_url, for_asyncpg, redact
from storage.pooler import PooledConnection, is_pooled

if TYPE_CHECKING:
    from storage.settings import StorageSettings

    Connection: TypeAlias = LimitedConnection
    AnyConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]

ResultT = TypeVar("ResultT")

OLDEST_MAJOR = 15
"""The oldest PostgreSQL that is supported."""

_KEY = "database_url"
_POOL_SIZE = 8
_RESERVED_SIZE = 3
"""Connections for what must not wait until a long query has ended."""
_RESERVED_IDLE_SECONDS = 600.0
"""Connecting, and preparing the statements again, takes longer than an order may wait."""
_GRACE_SECONDS = 5.0
"""Time beyond the server's own limit after which the connection counts as lost."""
_SERVER_SHARE = 0.9
"""The server cancels a read after this part of its time limit; a dead server does not."""
_CLOSE_SECONDS = 3.0
_CACHED_STATEMENTS = 100
_ENCODING = "UTF8"
# Classes of SQLSTATE: the values of a row are at fault, or the statement. All others blame the server.
_ROW_CLASSES = frozenset({"09", "21", "22", "23", "27", "2F", "38", "39", "44", "54", "P0"})
_STATEMENT_CLASSES = _ROW_CLASSES | {"0A", "42"}
_PRIVILEGE_STATE = "42501"
"""A right that somebody can grant again; PostgreSQL also reports it for files that it may not open."""
# Errors of a statement that leave the server as it was: a deadlock, a lock that is not to be had.
_LOCK_CLASSES = frozenset({"40", "55"})
_CLIENT_ERRORS = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)  # TimeoutError is an OSError


class DatabaseError(RuntimeError):
    """Base of the database's errors. The message is one line without a password."""


class DatabaseUnavailableError(DatabaseError, OutageError):
    """The database cannot be reached, or the connection was lost. A retry may succeed."""

    database = "the database"
    """Which one, see :attr:`Database.role`."""


class DatabaseClosedError(DatabaseUnavailableError):
    """The database has not been opened yet; the message says why."""


class DatabaseTimeoutError(DatabaseUnavailableError):
    """A statement exceeded its time limit, or no pooled connection became free in time."""


class QueryTimeoutError(DatabaseTimeoutError):
    """PostgreSQL cancelled a statement that exceeded its time limit."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class DatabaseUnsuitableError(DatabaseError):
    """The server or the database lacks something that is required."""


class DatabaseTooOldError(DatabaseUnsuitableError):
    """The server is older than :data:`OLDEST_MAJOR`."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server as :meth:`Database.check` found it."""

    version: str
    """The server's own version: ``18.1``."""
    database: str
    user: str
    timescaledb: str | None
    """Version of TimescaleDB that is installed or available; ``None`` without it."""
    is_pooled: bool
    """Whether a pooler such as PgBouncer stands between."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without passwords; its type where it has no text."""
    return redact(str(error).strip().partition("\n")[0]) or type(error).__name__


def blames_database(error: Exception) -> bool:
    """Whether the server or the connection is at fault, not the statement: a retry may succeed."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state == _PRIVILEGE_STATE or state[:2] not in _STATEMENT_CLASSES
    # A ValueError of asyncpg is a value that it cannot encode.
    return isinstance(error, _CLIENT_ERRORS) and not isinstance(error, ValueError)


def blames_row(error: Exception) -> bool:
    """Whether a row is at fault, so that others can be stored: its values, or an error of our encoders."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _ROW_CLASSES
    return not blames_database(error)


async def within(
    seconds: float, query: Coroutine[Any, Any, ResultT], discard: Callable[[ResultT], object] | None = None
) -> ResultT:
    """The result of a query; raises :class:`DatabaseTimeoutError` if there is none in time.

    asyncpg waits for a server that hangs even when the query is cancelled. Here the caller goes on at once,
    and the connection returns to the pool when asyncpg gives up. ``discard`` gets a result that comes after
    the caller was cancelled or timed out.
    """
    task, done = asyncio.ensure_future(query), set[asyncio.Task[ResultT]]()
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        if not done:
            task.cancel()
            task.add_done_callback(partial(_abandon, discard))
    if not done:
        raise DatabaseTimeoutError(f"the database did not answer within {seconds:g} s")
    return task.result()


def _abandon(discard: Callable[[ResultT], object] | None, task: asyncio.Task[ResultT]) -> None:
    """Marks the error of a query that nobody waits for as seen, and discards its result."""
    if not task.cancelled() and task.exception() is None and discard is not None:
        discard(task.result())


class Reads(Protocol):
    """Where queries read from: the database, or one moment of it."""

    def query(self) -> AbstractAsyncContextManager[AnyConnection]:
        """See :meth:`Database.query`."""
        ...

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> list[asyncpg.Record]:
        """See :meth:`Database.fetch`."""
        ...


class Snapshot:
    """The database as it was when the first statement began: later changes are not seen."""

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def query(self) -> AsyncIterator[AnyConnection]:
        """The connection, for one query at a time."""
        yield self._connection

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> list[asyncpg.Record]:
        """The rows of one statement."""
        rows: list[asyncpg.Record] = await self._connection.fetch(statement, *values)
        return rows


class Database:
    """A database: a connection pool for queries, and single connections for writers.

    Connections are opened on demand, and reopened after they were lost.
    """

    def __init__(self, url: str, settings: StorageSettings, *, key: str = _KEY) -> None:
        """Raises :class:`DatabaseUnsuitableError` when ``url`` is not a PostgreSQL URL.

        ``key``: the setting that names the database.
        """
        try:
            check_database_url(url)
        except UrlError as error:
            raise DatabaseUnsuitableError(f"{key}: {error}") from error
        self.url = url
        self._key = key
        self.role = "the database" if key == _KEY else f"the database of {key}"
        """Tells it from others in messages to clients, who see no URL."""
        self.outage = Outage("database", structlog.get_logger(part="storage"))
        """The incident of all that cannot use it."""
        self.name = redact(url)
        """The URL without the password."""
        self.settings = settings
        self._dsn = for_asyncpg(url)
        self._is_pooled: bool | None = None
        """``None``: not known yet."""
        self._pool: ConnectionPool | None = None
        self._reserved: ConnectionPool | None = None
        self.closed_reason = "it is not open"
        """Why there is no pool, for those who ask for a connection of it."""

    async def open(self) -> ServerInfo:
        """Checks the server and opens the pool.

        Raises :class:`DatabaseUnavailableError`, :class:`DatabaseTooOldError` or
        :class:`DatabaseUnsuitableError`.
        """
        info = await self.check()
        if self._pool is None:
            seconds = self.settings.read_timeout_seconds
            self._pool = ConnectionPool(partial(self.connect, "queries", seconds=seconds), _POOL_SIZE)
            self._reserved = ConnectionPool(
                partial(self.connect, "orders", seconds=seconds),
                _RESERVED_SIZE,
                idle_seconds=_RESERVED_IDLE_SECONDS,
            )
        return info

    async def close(self) -> None:
        """Closes the pools; safe without :meth:`open`, and twice."""
        pools, self._pool, self._reserved = (self._pool, self._reserved), None, None
        for pool in pools:
            if pool is not None:
                with suppress(asyncpg.PostgresError, *_CLIENT_ERRORS):
                    await pool.close(_CLOSE_SECONDS)

    async def check(self) -> ServerInfo:
        """Checks that the server is suitable, on a connection of its own. Raises as :meth:`open` does.

        Finds a pooler too: it names another server process than the one that answers.
        """
        seconds = self.settings.statement_timeout_seconds
        connection = await self._connected("check", seconds, seconds + _GRACE_SECONDS, pooled=True)
        try:
            with self.errors():
                major = connection.get_server_version().major
                if major < OLDEST_MAJOR:
                    raise DatabaseTooOldError(
                        f"{self.name} is PostgreSQL {major}, too old: {OLDEST_MAJOR} or newer is required"
                    )
                row = await connection.fetchrow(
                    "SELECT pg_backend_pid() AS process_id,"
                    " current_setting('server_version') AS version, current_database() AS database,"
                    " current_user AS username, current_setting('server_encoding') AS encoding,"
                    " (SELECT coalesce(installed_version, default_version) FROM pg_available_extensions"
                    " WHERE name = 'timescaledb') AS timescaledb"
                )
        finally:
            await self.disconnect(connection)
        assert row is not None  # noqa: S101 - the query always returns one row
        if row["encoding"] != _ENCODING:
            raise DatabaseUnsuitableError(
                f"{self.name} has the encoding {row['encoding']}: create the database with {_ENCODING}"
            )
        self._is_pooled = row["process_id"] != connection.get_server_pid()
        return ServerInfo(
            row["version"].split()[0], row["database"], row["username"], row["timescaledb"], self._is_pooled
        )

    async def connect(
        self, purpose: str, *, unlimited: bool = False, seconds: float | None = None
    ) -> Connection:
        """Opens a connection outside the pool; close it with :meth:`disconnect`.

        ``purpose`` is shown in ``pg_stat_activity``. With ``unlimited``, statements have no time limit; with
        ``seconds``, another one than that of the settings. Raises :class:`DatabaseUnavailableError`.
        """
        pooled = (await self.check()).is_pooled if self._is_pooled is None else self._is_pooled
        if unlimited:
            return await self._connected(purpose, None, None, pooled=pooled)
        if seconds is not None:
            return await self._connected(purpose, seconds * _SERVER_SHARE, seconds, pooled=pooled)
        seconds = self.settings.statement_timeout_seconds
        return await self._connected(purpose, seconds, seconds + _GRACE_SECONDS, pooled=pooled)

    async def _connected(
        self, purpose: str, server_seconds: float | None, client_seconds: float | None, *, pooled: bool
    ) -> Connection:
        """Connects; the server cancels a statement after one time, the client gives it up after the other.

        With ``pooled``, nothing on the connection needs a session, with or without a pooler.
        """
        name, settings = {"application_name": f"decahertz {purpose}"}, _session_settings(server_seconds)
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=self.settings.connect_timeout_seconds,
                command_timeout=client_seconds,
                server_settings=name if pooled else name | settings,  # PgBouncer refuses most others
                statement_cache_size=0 if pooled else _CACHED_STATEMENTS,
                max_cached_statement_lifetime=0,  # a prepared statement is as good after five minutes
                connection_class=PooledConnection if pooled else LimitedConnection,
            )
        except asyncpg.ClientConfigurationError as error:
            raise DatabaseUnsuitableError(f"{self._key}: {first_line(error)}") from error
        except (asyncpg.PostgresError, *_CLIENT_ERRORS) as error:  # whatever it is, a retry may succeed
            converted = self._converted(error)
            converted.outage = self.outage
            raise converted from error
        connection.copy_seconds = client_seconds
        if is_pooled(connection):
            connection.settings = " ".join(f"SET LOCAL {key} = '{value}';" for key, value in settings.items())
            connection.connect_again = partial(
                self._connected, f"{purpose} lock", server_seconds, client_seconds, pooled=True
            )
        return connection

    async def lift_statement_timeout(self, connection: Connection) -> None:
        """Lets the server take any time for a statement; the limits of the client stay."""
        if is_pooled(connection):
            connection.settings += " SET LOCAL statement_timeout = 0;"
        else:
            await connection.execute("SET statement_timeout = 0")

    @asynccontextmanager
    async def session(self, purpose: str) -> AsyncIterator[Connection]:
        """A connection outside the pool, for work longer than a read; raises as :meth:`query` does."""
        connection = await self.connect(purpose)
        try:
            with self.errors():
                yield connection
        finally:
            await self.disconnect(connection)

    async def disconnect(self, connection: Connection) -> None:
        """Closes a connection in any state."""
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except Exception:  # noqa: BLE001 - the connection is closed either way
            connection.terminate()

    @asynccontextmanager
    async def query(self, *, reserved: bool = False) -> AsyncIterator[AnyConnection]:
        """A pooled connection for one query; raises the errors of this module.

        ``reserved``: one of those that the queries of readers do not get. The session is not reset
        afterwards: what is set has to end with a transaction. Raises :class:`DatabaseTimeoutError` when none
        becomes free in time.
        """
        pool = self._opened(reserved=reserved)
        times = QUERY_TIMES.get()
        with self.errors():
            asked_ns = times.now_ns() if times is not None else 0
            connection = await self._acquired(pool)
            acquired_ns = times.acquired(asked_ns) if times is not None else 0
            try:
                yield connection
            except TimeoutError:
                connection.terminate()  # the next query on it would wait for the end of this one
                raise
            finally:
                pool.release(connection)
                if times is not None:
                    times.released(acquired_ns)

    async def fetch(
        self, statement: str, values: Sequence[object] = (), *, reserved: bool = False
    ) -> list[asyncpg.Record]:
        """The rows of one statement, prepared once per connection; raises as :meth:`query` does."""
        pool = self._opened(reserved=reserved)
        times = QUERY_TIMES.get()
        try:
            asked_ns = times.now_ns() if times is not None else 0
            connection = await self._acquired(pool)
            acquired_ns = times.acquired(asked_ns) if times is not None else 0
            try:
                return await connection.fetch(statement, *values)
            except TimeoutError:
                connection.terminate()  # the next query on it would wait for the end of this one
                raise
            finally:
                pool.release(connection)
                if times is not None:
                    times.released(acquired_ns)
        except Exception as error:
            if not blames_database(error):
                raise
            raise self._converted(error) from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Reads of one moment, for an answer whose numbers have to agree; raises as :meth:`query` does."""
        async with (
            self.query() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            try:
                yield Snapshot(connection)
            except TimeoutError:
                connection.terminate()  # the end of the transaction would wait as long again
                raise

    async def _acquired(self, pool: ConnectionPool) -> AnyConnection:
        seconds = min(self.settings.connect_timeout_seconds, self.settings.read_timeout_seconds)
        async with asyncio.timeout(seconds):
            return await pool.acquire(seconds)

    def _opened(self, *, reserved: bool) -> ConnectionPool:
        pool = self._reserved if reserved else self._pool
        if pool is None:
            raise self._named(DatabaseClosedError(self.closed_reason))
        return pool

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Converts errors of the connection and the server to those of this module; others pass through."""
        try:
            yield
        except Exception as error:
            if not blames_database(error):
                raise
            raise self._converted(error) from error

    def _converted(self, error: Exception) -> DatabaseUnavailableError:
        if isinstance(error, asyncpg.InterfaceError) and isinstance(error.__context__, Exception):
            error = error.__context__  # a transaction cannot be rolled back on a lost connection
        if isinstance(error, asyncpg.QueryCanceledError):
            text = f"{self.name} cancelled a query: {first_line(error)}"
            return self._named(QueryTimeoutError(text, self.settings.read_timeout_seconds))
        if isinstance(error, TimeoutError):
            converted: DatabaseUnavailableError = DatabaseTimeoutError(
                f"{self.name} took too long: {first_line(error)}"
            )
        else:
            converted = DatabaseUnavailableError(f"cannot use {self.name}: {first_line(error)}")
        if _blames_server(error):
            converted.outage = self.outage
        return self._named(converted)

    def _named(self, error: DatabaseUnavailableError) -> DatabaseUnavailableError:
        error.database = self.role
        return error


def _blames_server(error: Exception) -> bool:
    """Whether every statement would fail, not that one alone."""
    state = getattr(error, "sqlstate", None) or ""
    return state != _PRIVILEGE_STATE and state[:2] not in _LOCK_CLASSES


def _session_settings(statement_seconds: float | None) -> dict[str, str]:
    return {
        "timezone": "UTC",
        "statement_timeout": str(round((statement_seconds or 0.0) * 1000)),
        "jit": "off",  # compiling costs more than our short queries
    }

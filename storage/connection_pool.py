"""A pool of database connections without the round trip that resets a session.

The pool of asyncpg resets a session at every release, which costs a short query as much again. Our queries
leave nothing behind in a session: what they set ends with their transaction. So a connection goes to the next
query as it is, unless a transaction is still open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from typing import TypeAlias

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]


class ConnectionPool:
    """Opens connections on demand, up to ``size``, and closes those that nobody uses.

    A connection goes round: ::

        connect ─> in use ──release──> idle ──idle_seconds──> closed
                     ^  └─ lost, or within a transaction ────────^
                     └────acquire──────┘
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], size: int, *, idle_seconds: float = 60.0
    ) -> None:
        self._connect = connect
        self._size = size
        self._idle_seconds = idle_seconds
        self._idle: list[tuple[Connection, float]] = []  # the longest unused first
        self._in_use: set[Connection] = set()
        self._open = 0
        """Connections, and those that are being opened."""
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._returned = asyncio.Event()

    async def acquire(self, seconds: float) -> Connection:
        """Returns a connection that nobody else uses; give it back with :meth:`release`.

        Raises ``TimeoutError`` if none becomes free in time, and the errors of connecting.
        """
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                self._in_use.add(connection)
                return connection
            self._open -= 1
        if self._open < self._size:
            self._open += 1
            return await self._connected()
        return await self._queued(seconds)

    def release(self, connection: Connection) -> None:
        """Takes a connection back, in any state."""
        self._in_use.discard(connection)
        if connection.is_closed() or self._closed or connection.is_in_transaction():
            connection.terminate()
            self._hand_over(None)
        else:
            self._hand_over(connection)
        if self._closed and not self._in_use:
            self._returned.set()

    async def close(self, seconds: float) -> None:
        """Closes all connections; those in use when they come back, or after ``seconds``."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for future in self._waiting:
            if not future.done():
                future.set_exception(asyncpg.InterfaceError("the connection pool is closing"))
        idle, self._idle = self._idle, []
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    for connection, _ in idle:
                        await connection.close()
                    if self._in_use:
                        await self._returned.wait()
        finally:
            for connection in (*(one for one, _ in idle), *self._in_use):
                connection.terminate()

    async def _connected(self) -> Connection:
        """Connects in a place that is counted already."""
        try:
            connection = await self._connect()
        except BaseException:
            self._hand_over(None)
            raise
        if self._closed:
            connection.terminate()
            raise asyncpg.InterfaceError("the connection pool is closing")
        self._in_use.add(connection)
        return connection

    async def _queued(self, seconds: float) -> Connection:
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout(seconds):
                connection = await future
        except BaseException:
            # Cancelled in the moment in which it was its turn: the turn goes on to the next.
            if future.done() and not future.cancelled() and future.exception() is None:
                self._hand_over(future.result())
            raise
        if connection is None:
            return await self._connected()
        self._in_use.add(connection)
        return connection

    def _hand_over(self, connection: Connection | None) -> None:
        """Gives a connection, or the place of one (``None``), to the first in the queue."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        if connection is None:
            self._open -= 1
            return
        loop = asyncio.get_running_loop()
        self._idle.append((connection, loop.time()))
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_seconds, self._close_unused)

    def _close_unused(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        before = loop.time() - self._idle_seconds
        while self._idle and self._idle[0][1] <= before:
            self._idle.pop(0)[0].terminate()
            self._open -= 1
        if self._idle:
            self._sweep = loop.call_later(max(0.0, self._idle[0][1] - before), self._close_unused)

"""Connections of asyncpg that end their work when the server is lost, frozen, or behind a dead network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection


class LimitedConnection(_Base):
    """A connection whose COPY into a table has the time limit of its statements.

    asyncpg limits the wait for the answer only: a server or a network that takes no more data would hold the
    COPY up for ever.
    """

    copy_seconds: float | None = None
    """The limit; the connection is closed by then."""

    async def copy_to_table(self, *args: Any, **options: Any) -> str:  # noqa: ANN401 - as asyncpg's
        """As in asyncpg, within the limit."""
        return await self._limited(super().copy_to_table(*args, **options))

    async def copy_records_to_table(self, *args: Any, **options: Any) -> str:  # noqa: ANN401 - as above
        """As in asyncpg, within the limit."""
        return await self._limited(super().copy_records_to_table(*args, **options))

    async def _limited(self, copying: Awaitable[str]) -> str:
        limit = asyncio.timeout(self.copy_seconds)
        try:
            async with limit:
                return await copying
        except TimeoutError:
            if limit.expired():
                self.terminate()  # a roll-back would wait as long again
            raise


@asynccontextmanager
async def ends_when_lost(connection: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[None]:
    """Ends the work on a connection that is lost meanwhile, with an error that ``Database.errors`` knows.

    A COPY of asyncpg does not end on its own then: it waits for room in the buffer of the lost connection.
    """
    limit = asyncio.timeout(None)

    def end(_: object) -> None:
        with suppress(RuntimeError):  # the work has ended already
            limit.reschedule(asyncio.get_running_loop().time())

    connection.add_termination_listener(end)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if limit.expired():
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost") from error
        raise
    finally:
        connection.remove_termination_listener(end)

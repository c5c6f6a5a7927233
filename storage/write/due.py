"""Computes in the background what a transaction has marked as due.

The transaction that changes a row says when figures that follow from it are due; a worker computes them soon
afterwards. So a crash at any time leaves what is not computed yet due, and computing twice changes nothing.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final

import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.incident import Incident
from decahertz.supervision import supervise
from storage.database import Database

if TYPE_CHECKING:
    from storage.database import AnyConnection

_POLL_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 3.0
_MARGIN_NS: Final = 2 * NS_PER_SECOND
"""Everything older than this is in the spool, or stored."""


class DueWorker(ABC):
    """Keeps figures of the rows of one recorder up to date."""

    name: ClassVar[str]
    """In words, as in ``order quality``."""
    table: ClassVar[str]
    """The table that it changes."""

    def __init__(
        self, database: Database, recorder: str, clock: Clock, oldest_seconds: Callable[[], float]
    ) -> None:
        """``oldest_seconds``: age of the oldest samples and events that the database does not have yet."""
        self._database = database
        self._recorder = recorder
        self._clock = clock
        self._oldest_seconds = oldest_seconds
        self._task: asyncio.Task[None] | None = None
        self._incident = Incident(self.name.replace(" ", "_"), structlog.get_logger(part="storage"))
        self.on_stored: Callable[[Iterable[str]], None] | None = None
        """Called after each transaction, with the name of the table that has changed."""

    async def start(self) -> None:
        """Work in the background."""
        self._task = supervise(self._run, self.name.replace(" ", "-"))

    async def stop(self) -> None:
        """Stops; a transaction in progress is rolled back. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task], timeout=_STOP_SECONDS)

    async def run_once(self) -> int:
        """Computes everything that is due; returns the number of rows.

        Raises :class:`~storage.database.DatabaseError`.
        """
        async with self._database.session(self.name) as connection:
            return await self._round(connection)

    async def prepare(self, connection: AnyConnection) -> None:  # noqa: B027 - nothing by default
        """Called before the first batch of a round."""

    @abstractmethod
    async def compute(self, connection: AnyConnection, recorded_ns: int) -> int:
        """Computes one batch in the open transaction; returns the number of rows, 0 if nothing is due.

        The database has everything that happened before ``recorded_ns``.
        """

    async def _run(self) -> None:
        while True:
            try:
                async with self._database.session(self.name) as connection:
                    while True:
                        await self._round(connection)
                        self._incident.recover()
                        await asyncio.sleep(_POLL_SECONDS)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may succeed
                self._incident.fail(self._clock.monotonic_ns(), error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _round(self, connection: AnyConnection) -> int:
        # Computed by then: no row is taken twice in one round.
        recorded_ns = self._clock.time_ns() - round(self._oldest_seconds() * NS_PER_SECOND) - _MARGIN_NS
        await self.prepare(connection)
        total = 0
        while True:
            async with connection.transaction():
                done = await self.compute(connection, recorded_ns)
            if not done:
                return total
            total += done
            if self.on_stored is not None:
                self.on_stored((self.table,))
            await asyncio.sleep(_PAUSE_SECONDS)

"""Opens the recorder's database: at the start, or as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import random
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident
from decahertz.supervision import end, supervise
from storage.database import DatabaseUnavailableError, first_line
from storage.postgres.installation import EmbeddedPostgresError, EmbeddedPostgresUnusableError
from storage.schema.connection import SchemaLockedError
from storage.write.lease import LeaseTakenError

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from storage.database import Database


class Step(NamedTuple):
    """A step of the opening; it is taken again if it fails."""

    name: str
    """For the health: what it does."""
    take: Callable[[], Awaitable[object]]


_RETRY: Final = Backoff(first_seconds=0.2, most_seconds=1.0)
_AWAY: Final = (DatabaseUnavailableError, SchemaLockedError, OSError)


class DatabaseOpening:
    """Takes the steps that open the database, in order, until each of them has succeeded.

    States::

        opening ── all steps taken ──────────────────────────────► open
           │ the database is away, or a step is slow                 ▲
           ▼                                                         │
        awaited ── all steps taken, and those of :meth:`finish` ─────┘
           │ another process holds the recorder's name
           ▼
        refused: :meth:`refused` raises, and the process ends

    While it is *opening*, nothing is recorded yet, and a database that cannot be used ends the start. While
    it is *awaited*, the recorder records: it tries again whatever the reason is.
    """

    def __init__(self, database: Database, clock: Clock, steps: Sequence[Step], *, wait: bool) -> None:
        """With ``wait``, :meth:`start` waits for the database however long that takes."""
        self._database = database
        self._clock = clock
        self._steps = list(steps)
        self._taken = 0
        self._has_more = False
        self._limit_seconds = None if wait else database.settings.start_timeout_seconds
        self._is_late = False
        self._task: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[bool] = loop.create_future()
        """Result of the start: whether the database is open."""
        self._more: asyncio.Future[Sequence[Step]] = loop.create_future()
        self._refusal: asyncio.Future[None] = loop.create_future()
        self._is_open = self._is_unusable = False
        self._problem = ""
        """Error of the newest attempt; empty before the first one has failed, and after a success."""
        self._step, self._step_ns = "starting", clock.monotonic_ns()
        """Name of the step that is being taken, and since when."""
        self._incident = Incident("database_opening", structlog.get_logger(part="database"))

    async def start(self) -> bool:
        """Opens the database; returns whether it is open. If not, the attempts go on.

        Raises an error of a database that cannot be used, and
        :class:`~storage.write.lease.LeaseTakenError`.
        """
        self._database.closed_reason = self._step
        self._task = supervise(self._run, "database-opening")
        while not self._opened.done():
            taken = self._taken
            await asyncio.wait((self._opened,), timeout=self._limit_seconds)
            if not self._opened.done() and self._taken == taken:
                self._is_late = True
                return False
        return self._opened.result()

    async def finish(self, steps: Sequence[Step]) -> None:
        """Takes the last steps too: at once if the database is open, else when it is."""
        self._more.set_result(steps)
        if not self._is_late:
            self._is_late, self._is_open = True, False
            self._task = supervise(self._run, "database-opening")
            await asyncio.wait((self._task,), timeout=self._limit_seconds)

    async def stop(self) -> None:
        """Gives up. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        await end(task)

    async def refused(self) -> None:
        """Raises :class:`~storage.write.lease.LeaseTakenError` if another process holds the name."""
        await self._refusal

    @property
    def is_open(self) -> bool:
        """Whether all steps are taken."""
        return self._is_open

    def status(self) -> ComponentStatus:
        """Degraded while the database is awaited, failed while it cannot be used."""
        if self.is_open:
            return ComponentStatus(name="database", health=Health.OK)
        health = Health.FAILED if self._is_unusable else Health.DEGRADED
        seconds = (self._clock.monotonic_ns() - self._step_ns) / NS_PER_SECOND
        progress = f": {self._problem}" if self._problem else f" for {seconds:.0f} s"
        detail = f"not open yet, the spool keeps what is recorded: {self._step}{progress}"
        return ComponentStatus(name="database", health=health, detail=detail)

    async def _run(self) -> None:
        try:
            await self._take_steps()
            if self._is_late:
                if not self._has_more:
                    more = await self._more
                    self._steps += more
                    self._has_more = True
                await self._take_steps()
        except Exception as error:
            if not self._is_late:
                self._opened.set_exception(error)
            elif isinstance(error, LeaseTakenError):
                self._problem, self._is_unusable = str(error), True
                self._refusal.set_exception(error)
            else:
                raise
            return
        self._is_open = True
        self._incident.recover()
        if not self._opened.done():
            self._opened.set_result(True)

    async def _take_steps(self) -> None:
        attempt = 0
        while self._taken < len(self._steps):
            step = self._steps[self._taken]
            if step.name != self._step:
                self._step, self._step_ns = step.name, self._clock.monotonic_ns()
            if not self._problem:
                self._database.closed_reason = step.name
            if await self._succeeds(step):
                self._taken += 1
                attempt = 0
                self._problem, self._is_unusable = "", False
            else:
                await asyncio.sleep(_RETRY.seconds(attempt, random))
                attempt += 1

    async def _succeeds(self, step: Step) -> bool:
        """Whether a step succeeds. Raises the errors that no other attempt can heal."""
        try:
            await step.take()
        except LeaseTakenError:
            raise
        except Exception as error:
            is_away = _is_away(error)
            if not self._is_late and not is_away:
                raise
            self._fail(error, is_unusable=not is_away)
            return False
        return True

    def _fail(self, error: Exception, *, is_unusable: bool) -> None:
        self._problem, self._is_unusable = first_line(error), is_unusable
        self._database.closed_reason = self._problem
        self._incident.fail(self._clock.monotonic_ns(), reason=self._problem)
        if not self._is_late and self._limit_seconds is not None:
            self._is_late = True
            self._opened.set_result(False)


def _is_away(error: Exception) -> bool:
    """Whether the database may be there again on its own."""
    if isinstance(error, EmbeddedPostgresError):
        return not isinstance(error, EmbeddedPostgresUnusableError)
    return isinstance(error, _AWAY)

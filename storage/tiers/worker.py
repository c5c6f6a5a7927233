"""The roll-up worker: rolls up what has changed, creates partitions ahead, and drops what is too old.

Of several processes on one database one holds the lock and works; when it ends, another takes over. Answers
never depend on the worker, only their speed does: it retries, reports problems, and stops nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.health import ComponentStatus, Health
from decahertz.incident import Incident, OutageError
from decahertz.sample import SampleSchema
from decahertz.supervision import supervise
from storage.database import Database, DatabaseError, DatabaseUnavailableError, first_line
from storage.pooler import try_lock
from storage.tiers.administration import AdminSession
from storage.tiers.engine import Engine, prepare_tiers
from storage.tiers.expiry import SizeLimit
from storage.tiers.lock_room import lock_shortage
from storage.tiers.self_metrics import RollUpMetrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from storage.database import AnyConnection, Connection
    from storage.settings import RetentionSettings, TiersSettings

ROLL_UP_LOCK = 0x6461_487A_0002
"""Key of the advisory lock of the one process that rolls up."""
_MAINTAIN_SECONDS = 60.0
_STOP_SECONDS = 3.0


class RollUpWorker:
    """Prepares the tiers at the start, then maintains them in rounds."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        registry: CollectorRegistry,
        tiers: TiersSettings,
        retention: RetentionSettings,
        schemas: Sequence[SampleSchema],
        *,
        archived_only: bool = False,
    ) -> None:
        """``archived_only``: retention drops raw samples and events once they are archived."""
        self._archived_only = archived_only
        self._database = database
        self._clock = clock
        self._tiers = tiers
        self._retention = retention
        self._schemas = tuple(schemas)
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._session = AdminSession(database, "tiers")
        self._task: asyncio.Task[None] | None = None
        self._locked = False
        self._turn = asyncio.Lock()
        self._rolled_up_ns: int | None = None
        self._complete_ns: int | None = None
        """Start of the last roll-up that completed; ``None``: another process rolls up, or nobody yet."""
        self._maintained_ns: int | None = None
        self._problems: list[str] = []
        self._limit = SizeLimit(database.settings.max_bytes)
        self._problem = ""
        self._log = structlog.get_logger(part="tiers")
        self._incident = Incident("roll_up", self._log)
        self._metrics = RollUpMetrics(registry, self._behind_seconds)

    async def prepare(self) -> None:
        """Creates the tables and their tiers. Raises as :func:`~storage.tiers.engine.prepare_tiers`."""
        self._engine = await prepare_tiers(
            self._database,
            self._schemas,
            self._tiers,
            self._retention,
            self._clock,
            archived_only=self._archived_only,
        )
        self._log.info("tiers_prepared", engine=self._engine.name)

    async def start(self) -> None:
        """Prepares, then works in the background. Raises as :meth:`prepare`."""
        await self.prepare()
        self._complete_ns = self._clock.monotonic_ns()
        self._task = supervise(self._run, "roll-up-worker")

    async def stop(self) -> None:
        """Stops and rolls back the statement in progress. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task], timeout=_STOP_SECONDS)
        await self._disconnect()

    @property
    def engine(self) -> str:
        """``plain`` or ``timescaledb``; empty before :meth:`prepare`."""
        return self._engine.name if self._engine is not None else ""

    @property
    def problem(self) -> str:
        """The current problem, in words; empty: none."""
        return self._problem

    def status(self) -> ComponentStatus:
        """The health of the part ``tiers``."""
        if self._engine is None:
            detail = "the tables are prepared when the database is there"
            return ComponentStatus(name="tiers", health=Health.DEGRADED, detail=detail)
        if self._task is None or self._task.done():
            return ComponentStatus(
                name="tiers", health=Health.DEGRADED, detail="the roll-up worker is not running"
            )
        health = Health.DEGRADED if self._problem else Health.OK
        return ComponentStatus(name="tiers", health=health, detail=self._problem or self._limit.note)

    async def run_once(self) -> bool:
        """Runs one full round: rolls up everything that has ended, creates and drops partitions.

        Returns whether this process holds the lock. Raises :class:`~storage.database.DatabaseError`.
        """
        try:
            with self._database.errors():
                return await self._round(everything=True)
        except asyncpg.PostgresError as error:
            raise DatabaseError(f"cannot roll up {self._database.name}: {first_line(error)}") from error

    async def _run(self) -> None:
        while True:
            try:
                with self._database.errors():
                    await self._round(everything=False)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round may succeed
                self._metrics.failures.inc()
                self._report("; ".join([first_line(error), *self._problems]), error)
                if isinstance(error, DatabaseUnavailableError):
                    await self._disconnect()
            await asyncio.sleep(self._tiers.interval_seconds)

    async def _round(self, *, everything: bool) -> bool:
        engine = self._engine
        if engine is None:
            raise DatabaseError("the tiers are not prepared")
        async with self._turn:
            connection = await self._lock()
            if connection is None:
                self._complete_ns = None
                return False
            if self._complete_ns is None:
                self._complete_ns = self._clock.monotonic_ns()
            now_ns = self._clock.time_ns()
            with self._metrics.round_seconds.time():
                if everything or self._is_due(self._rolled_up_ns, engine.roll_up_seconds):
                    self._rolled_up_ns = self._clock.monotonic_ns()
                    self._metrics.buckets.inc(await engine.roll_up(connection, self._session, now_ns))
                    self._complete_ns = self._rolled_up_ns
                if everything or self._is_due(self._maintained_ns, _MAINTAIN_SECONDS):
                    # First: it may be why the rest fails.
                    self._problems = await self._session.run(lock_shortage)
                    self._problems += await self._session.run(
                        lambda connection: self._maintain(connection, engine, now_ns)
                    )
                    self._maintained_ns = self._clock.monotonic_ns()
                # Last: retention goes on even if this fails.
                self._metrics.packed.inc(await engine.pack(connection, now_ns, everything=everything))
            self._report("; ".join(self._problems))
            return True

    async def _maintain(self, connection: AnyConnection, engine: Engine, now_ns: int) -> list[str]:
        problems = await engine.maintain(connection, now_ns)
        return problems + await self._limit.keep(connection, engine, now_ns)

    def _behind_seconds(self) -> float:
        if self._complete_ns is None:
            return 0.0
        return (self._clock.monotonic_ns() - self._complete_ns) / NS_PER_SECOND

    def _is_due(self, done_ns: int | None, every_seconds: float) -> bool:
        return done_ns is None or self._clock.monotonic_ns() - done_ns >= int(every_seconds * NS_PER_SECOND)

    async def _lock(self) -> Connection | None:
        """The connection that holds the lock; ``None`` while another process does."""
        if self._connection is None or self._connection.is_closed():
            await self._disconnect()
            self._connection = await self._database.connect("tiers")
        # The lock lasts as long as the connection; locking again would only count it twice.
        self._locked = self._locked or await try_lock(self._connection, ROLL_UP_LOCK)
        return self._connection if self._locked else None

    async def _disconnect(self) -> None:
        self._locked = False
        await self._session.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.disconnect(connection)

    def _report(self, problem: str, error: Exception | None = None) -> None:
        """Logs a problem when it begins and when it ends."""
        self._problem = problem
        if problem:
            known = error if isinstance(error, OutageError) else None
            self._incident.fail(self._clock.monotonic_ns(), known, reason=problem)
        else:
            self._incident.recover()

"""The worker of the tiers: it rolls up what has changed, makes partitions ahead and drops what had its time.

With several processes on one database one of them keeps; when it goes, the next takes over. What it does is
never needed for an answer to be right, only for it to be quick: so it retries, says so, and stops nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import structlog
from prometheus_client import Counter, Histogram

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.health import ComponentStatus, Health
from decahertz.sample import SampleSchema
from storage.database import Database, DatabaseError, DatabaseUnavailableError
from storage.tiers.engine import Engine, prepare_tiers

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from storage.database import Connection
    from storage.settings import RetentionSettings, TiersSettings

TIER_LOCK = 0x6461_487A_0002
"""Key of the advisory lock that the one process that keeps the tiers holds."""
_MAINTAIN_SECONDS = 60.0
_STOP_SECONDS = 3.0


class RollUpWorker:
    """Prepares the tiers when it is started, and keeps them while it runs."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        registry: CollectorRegistry,
        tiers: TiersSettings,
        retention: RetentionSettings,
        schemas: Sequence[SampleSchema],
    ) -> None:
        """Nothing happens yet."""
        self._database = database
        self._clock = clock
        self._tiers = tiers
        self._retention = retention
        self._schemas = tuple(schemas)
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._held = False
        self._turn = asyncio.Lock()
        self._settled_ns: int | None = None
        self._maintained_ns: int | None = None
        self._troubles: list[str] = []
        self._trouble = ""
        self._log = structlog.get_logger(part="tiers")
        self._buckets = Counter(
            "decahertz_tiers_steps",
            "Buckets rolled up (TimescaleDB: aggregates refreshed).",
            registry=registry,
        )
        self._failures = Counter("decahertz_tiers_failures", "Rounds that failed.", registry=registry)
        self._seconds = Histogram("decahertz_tiers_round_seconds", "Time of one round.", registry=registry)

    async def prepare(self) -> None:
        """Make tables, tiers and policies fit declarations and settings.

        Raises as :func:`~storage.tiers.engine.prepare_tiers` does.
        """
        self._engine = await prepare_tiers(
            self._database, self._schemas, self._tiers, self._retention, self._clock
        )

    async def start(self) -> None:
        """Prepare, and begin to keep. Raises as :meth:`prepare`."""
        await self.prepare()
        self._task = asyncio.create_task(self._run(), name="tier-worker")

    async def stop(self) -> None:
        """Stop; what is under way is rolled back. Safe without :meth:`start`, and twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait([task], timeout=_STOP_SECONDS)
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.disconnect(connection)

    @property
    def engine(self) -> str:
        """``plain`` or ``timescaledb``; empty before :meth:`prepare`."""
        return self._engine.name if self._engine is not None else ""

    @property
    def trouble(self) -> str:
        """What is wrong, in words; empty: nothing."""
        return self._trouble

    def status(self) -> ComponentStatus:
        """How it is now."""
        if self._task is None or self._task.done():
            return ComponentStatus(name="tiers", health=Health.DEGRADED, detail="the worker does not run")
        health = Health.DEGRADED if self._trouble else Health.OK
        return ComponentStatus(name="tiers", health=health, detail=self._trouble)

    async def run_once(self) -> bool:
        """All that there is to do now: roll up everything that is over, partitions, retention.

        Returns whether this process is the one that keeps. Raises
        :class:`~storage.database.DatabaseError`.
        """
        try:
            with self._database.errors():
                return await self._round(everything=True)
        except asyncpg.PostgresError as error:
            raise DatabaseError(f"cannot keep the tiers: {error}") from error

    async def _run(self) -> None:
        while True:
            try:
                with self._database.errors():
                    await self._round(everything=False)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round may do
                self._failures.inc()
                self._note(str(error).partition("\n")[0] or type(error).__name__)
                if isinstance(error, DatabaseUnavailableError):
                    await self._disconnect()
            await asyncio.sleep(self._tiers.interval_seconds)

    async def _round(self, *, everything: bool) -> bool:
        engine = self._engine
        if engine is None:
            raise DatabaseError("the tiers are not prepared")
        async with self._turn:
            connection = await self._keeping()
            if connection is None:
                return False
            now_ns = self._clock.time_ns()
            with self._seconds.time():
                if everything or self._is_due(self._settled_ns, engine.settle_seconds):
                    self._settled_ns = self._clock.monotonic_ns()
                    self._buckets.inc(await engine.roll_up(connection, now_ns))
                if everything or self._is_due(self._maintained_ns, _MAINTAIN_SECONDS):
                    self._troubles = await engine.maintain(connection, now_ns)
                    self._maintained_ns = self._clock.monotonic_ns()
            self._note("; ".join(self._troubles))
            return True

    def _is_due(self, done_ns: int | None, every_seconds: float) -> bool:
        return done_ns is None or self._clock.monotonic_ns() - done_ns >= int(every_seconds * NS_PER_SECOND)

    async def _keeping(self) -> Connection | None:
        """The connection that holds the lock; ``None`` while another process does."""
        if self._connection is None or self._connection.is_closed():
            await self._disconnect()
            self._connection = await self._database.connect("tiers")
            self._held = False
        # Once held it goes with the connection; asking again would only count it twice.
        self._held = self._held or await self._connection.fetchval(
            "SELECT pg_try_advisory_lock($1)", TIER_LOCK
        )
        return self._connection if self._held else None

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._database.disconnect(connection)

    def _note(self, trouble: str) -> None:
        """Log a trouble once, and when it is over."""
        if trouble and not self._trouble:
            self._log.warning("tiers_behind", reason=trouble)
        elif self._trouble and not trouble:
            self._log.info("tiers_keep_up_again")
        self._trouble = trouble

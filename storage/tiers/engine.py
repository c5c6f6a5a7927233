"""The two engines that keep tiers, and the choice between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import structlog

from decahertz.clock import Clock
from decahertz.sample import SampleSchema
from storage.database import Database, DatabaseUnsuitableError
from storage.schema.connection import lock_schema
from storage.schema.events import BULK_EVENTS
from storage.schema.samples import quoted, table_of
from storage.schema.tables import update_tables
from storage.settings import RetentionSettings, TiersSettings
from storage.tiers.administration import AdminSession
from storage.tiers.dashboard_functions import prepare_dashboard_functions
from storage.tiers.expiry import Expiry
from storage.tiers.history_views import prepare_history_views
from storage.tiers.names import Tier
from storage.tiers.plain.engine import PlainEngine
from storage.tiers.timescale.engine import TimescaleEngine, unusable

if TYPE_CHECKING:
    from storage.database import AnyConnection


class Engine(Protocol):
    """Keeps the tiers of all sample tables."""

    name: str
    """``plain`` or ``timescaledb``."""
    partitioned: bool
    """Whether PostgreSQL partitions its tables."""
    roll_up_seconds: float
    """Least time between two calls of :meth:`roll_up`."""

    async def prepare(self, connection: AnyConnection, schemas: Sequence[SampleSchema], now_ns: int) -> None:
        """Adjusts partitions, tiers and policies to declarations and settings; a no-op where they fit."""
        ...

    async def roll_up(self, connection: AnyConnection, session: AdminSession, now_ns: int) -> int:
        """Rolls up what has changed in buckets that have ended; returns the number of steps."""
        ...

    async def pack(self, connection: AnyConnection, now_ns: int, *, everything: bool) -> int:
        """Packs samples that are old enough: a little, or ``everything``; returns their number."""
        ...

    async def maintain(self, connection: AnyConnection, now_ns: int) -> list[str]:
        """Does the work that is due once a minute; returns the problems, in words."""
        ...

    async def expire_oldest(self, connection: AnyConnection, tier: Tier, now_ns: int) -> Expiry | None:
        """Drops the oldest part of a tier, with raw samples that of bulk events; ``None``: there is none.

        The part that is being written is kept.
        """
        ...


async def prepare_tiers(
    database: Database,
    schemas: Sequence[SampleSchema],
    tiers: TiersSettings,
    retention: RetentionSettings,
    clock: Clock,
    *,
    archived_only: bool = False,
) -> Engine:
    """Chooses the engine, creates the tables of samples and bulk events, and prepares their tiers.

    ``archived_only``: retention drops raw samples and events once they are archived.

    Raises :class:`~storage.database.DatabaseUnsuitableError` when the engine in the settings is impossible,
    and :class:`~storage.database.DatabaseError` when PostgreSQL refuses.
    """
    tables = [*(event.table for event in BULK_EVENTS), *map(table_of, schemas)]

    async def choose(connection: AnyConnection) -> Engine:
        existing = await _engine_of_tables(connection, tables)
        if existing is not None and tiers.engine not in {"auto", existing}:
            raise DatabaseUnsuitableError(
                f"the tables in {database.name} belong to the engine {existing}: tiers.engine cannot be"
                f" {tiers.engine}"
            )
        chosen = existing or tiers.engine
        if chosen != "plain":
            reason = await unusable(database)
            if reason is None:
                return TimescaleEngine(tiers, retention, archived_only=archived_only)
            if chosen == "timescaledb":
                raise DatabaseUnsuitableError(f"{database.name} cannot use TimescaleDB: {reason}")
            structlog.get_logger(part="tiers").info("timescaledb_rejected", reason=reason)
        return PlainEngine(
            tiers,
            retention,
            clock,
            archived_only=archived_only,
            is_limited=database.settings.max_bytes > 0,
        )

    async def prepare(connection: AnyConnection) -> Engine:
        await lock_schema(connection)
        engine = await choose(connection)
        await update_tables(connection, schemas, partitioned=engine.partitioned)
        await engine.prepare(connection, schemas, clock.time_ns())
        if schemas:  # a command without samples knows nothing of them
            await prepare_history_views(connection, schemas, retention)
            await prepare_dashboard_functions(connection)
        return engine

    session = AdminSession(database, "tiers")
    try:
        return await session.run(prepare)
    finally:
        await session.close()


async def _engine_of_tables(connection: AnyConnection, tables: Sequence[str]) -> str | None:
    """The engine that created the tables; ``None`` before the first start."""
    partitioned = await connection.fetchval(
        "SELECT count(*) FROM pg_class WHERE relkind = 'p' AND oid = ANY(ARRAY("
        " SELECT to_regclass(name) FROM unnest($1::text[]) AS name))",
        [quoted(table) for table in tables],
    )
    if partitioned:
        return "plain"
    if await connection.fetchval("SELECT to_regclass('timescaledb_information.hypertables') IS NULL"):
        return None
    hypertables = await connection.fetchval(
        "SELECT count(*) FROM timescaledb_information.hypertables"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = ANY($1)",
        list(tables),
    )
    return "timescaledb" if hypertables else None

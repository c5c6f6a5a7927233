"""The two engines that keep tiers, and which of them a database has."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import asyncpg
import structlog

from decahertz.clock import Clock
from decahertz.sample import SampleSchema
from storage.database import Database, DatabaseError, DatabaseUnsuitableError
from storage.schema.connection import LOCK_SECONDS, SCHEMA_LOCK
from storage.schema.samples import quoted, table_of
from storage.settings import RetentionSettings, TiersSettings
from storage.tiers.plain import PlainEngine
from storage.tiers.timescale import EVENT_TABLES, TimescaleEngine, unusable

if TYPE_CHECKING:
    from storage.database import AnyConnection, Connection


class Engine(Protocol):
    """What keeps the tiers of all sample tables. Raises what asyncpg raises."""

    name: str
    """``plain`` or ``timescaledb``."""
    settle_seconds: float
    """How long to leave it at least between two calls of :meth:`roll_up`."""

    async def prepare(self, connection: AnyConnection, schemas: Sequence[SampleSchema], now_ns: int) -> None:
        """Make tables, tiers and policies fit declarations and settings; does nothing where they do."""
        ...

    async def roll_up(self, connection: AnyConnection, now_ns: int) -> int:
        """Roll up what has changed in buckets that are over; returns how many steps that took."""
        ...

    async def maintain(self, connection: AnyConnection, now_ns: int) -> list[str]:
        """What has to be done once a minute or so; returns what is wrong, in words."""
        ...


async def prepare_tiers(
    database: Database,
    schemas: Sequence[SampleSchema],
    tiers: TiersSettings,
    retention: RetentionSettings,
    clock: Clock,
) -> Engine:
    """Choose the engine and make all fit. Their tables must be there
    (:func:`~storage.schema.samples.ensure_tables`).

    Raises :class:`~storage.database.DatabaseUnsuitableError` where an engine is asked for that cannot be
    had, and :class:`~storage.database.DatabaseError` where PostgreSQL refuses.
    """
    connection = await database.connect("tiers", unlimited=True)
    try:
        with database.errors():
            await _lock(connection)
            engine = await _choose(database, connection, schemas, tiers, retention, clock)
            await engine.prepare(connection, schemas, clock.time_ns())
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"cannot make the tiers in {database.name}: {error}") from error
    finally:
        await database.disconnect(connection)
    structlog.get_logger(part="tiers").info("tiers_ready", engine=engine.name)
    return engine


async def _lock(connection: Connection) -> None:
    """Of processes that start at once one changes the tables; it goes with the connection."""
    # What a killed process had asked for ends with it; the next start does not wait for a day of rows.
    with suppress(asyncpg.PostgresError):  # not every operating system can tell
        await connection.execute("SET client_connection_check_interval = '1s'")
    await connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    await connection.execute("SELECT pg_advisory_lock($1)", SCHEMA_LOCK)


async def _choose(
    database: Database,
    connection: Connection,
    schemas: Sequence[SampleSchema],
    tiers: TiersSettings,
    retention: RetentionSettings,
    clock: Clock,
) -> Engine:
    wanted = tiers.engine
    kept = await _engine_of_tables(connection, [*EVENT_TABLES, *map(table_of, schemas)])
    if kept is not None and wanted not in {"auto", kept}:
        raise DatabaseUnsuitableError(
            f"the tables in {database.name} are kept by the engine {kept}: tiers.engine cannot be {wanted}"
        )
    chosen = kept or wanted
    if chosen != "plain":
        reason = await unusable(database)
        if reason is None:
            return TimescaleEngine(tiers, retention)
        if chosen == "timescaledb":
            raise DatabaseUnsuitableError(f"{database.name} cannot use TimescaleDB: {reason}")
        structlog.get_logger(part="tiers").info("timescaledb_not_used", reason=reason)
    return PlainEngine(tiers, retention, clock)


async def _engine_of_tables(connection: Connection, tables: Sequence[str]) -> str | None:
    """The engine that has the tables already; ``None``: they are flat."""
    kinds = await connection.fetch(
        "SELECT c.relkind::text AS kind, c.oid FROM pg_class c WHERE c.oid = ANY(ARRAY("
        " SELECT to_regclass(name) FROM unnest($1::text[]) AS name))",
        [quoted(table) for table in tables],
    )
    if any(row["kind"] == "p" for row in kinds):
        return "plain"
    if await connection.fetchval("SELECT to_regclass('timescaledb_information.hypertables') IS NULL"):
        return None
    found = await connection.fetchval(
        "SELECT count(*) FROM timescaledb_information.hypertables"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = ANY($1)",
        tables,
    )
    return "timescaledb" if found else None

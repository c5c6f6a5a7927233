"""Chunks of TimescaleDB that ``storage.max_bytes`` drops before their retention."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from storage.entry import events_stream
from storage.schema.samples import quoted
from storage.tiers.archived import note_dropped
from storage.tiers.expiry import Expiry, record_expired

if TYPE_CHECKING:
    from storage.database import AnyConnection

DROP_CHUNKS = "SELECT drop_chunks($1::text::regclass, older_than => $2::timestamptz)"
_DROP_EVENTS = """
SELECT drop_chunks($1::text::regclass, older_than => $2::timestamptz, newer_than => $3::timestamptz)
"""
_LOCK_LIMIT = "SET LOCAL lock_timeout = '3s'"
_OLDEST_END = """
SELECT min(c.range_end) FROM timescaledb_information.chunks c
LEFT JOIN timescaledb_information.continuous_aggregates a
    ON (a.materialization_hypertable_schema, a.materialization_hypertable_name)
        = (c.hypertable_schema, c.hypertable_name)
WHERE coalesce(a.view_schema, c.hypertable_schema) = current_schema() AND c.range_end <= $4
    AND (coalesce(a.view_name, c.hypertable_name) = ANY($1)
        OR c.hypertable_name = ANY($2) AND c.range_start >= $3)
"""
_CHUNKS = """
SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND range_end <= $2
"""
_RAW_FROM = """
INSERT INTO tier_state (table_name, raw_from) VALUES ($1, $2)
ON CONFLICT (table_name) DO UPDATE SET raw_from = greatest(tier_state.raw_from, EXCLUDED.raw_from)
"""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


async def oldest_chunk_end(
    connection: AnyConnection,
    relations: Sequence[str],
    events: Sequence[str],
    start: datetime,
    until: datetime,
) -> datetime | None:
    """End of the oldest chunk that ends by ``until``; ``None``: there is none.

    ``relations``: hypertables and continuous aggregates; ``events``: hypertables, from ``start`` on.
    """
    end: datetime | None = await connection.fetchval(_OLDEST_END, relations, events, start, until)
    return end


async def raw_from(connection: AnyConnection, table: str) -> datetime:
    """Start of the time of which no raw samples were dropped to save space."""
    found = await connection.fetchval("SELECT raw_from FROM tier_state WHERE table_name = $1", table)
    return _BEGINNING if found is None else max(_BEGINNING, found)


async def set_raw_from(connection: AnyConnection, table: str, horizon: datetime) -> None:
    """Sets what :func:`raw_from` returns."""
    await connection.execute(_RAW_FROM, table, horizon)


async def expire_samples(connection: AnyConnection, table: str, stream: str, expiry: Expiry) -> None:
    """Drops the raw samples of a hypertable before the horizon, counted, in a transaction."""
    count = f"SELECT recorder, count(*) FROM {quoted(table)} WHERE time < $1 GROUP BY recorder"  # noqa: S608 - quoted
    async with connection.transaction():
        await connection.execute(_LOCK_LIMIT)
        await _lock(connection, table, expiry.horizon)
        found = await connection.fetch(count, expiry.horizon)
        expiry.rows += await record_expired(
            connection, {(recorder, stream): rows for recorder, rows in found}
        )
        await connection.execute(DROP_CHUNKS, quoted(table), expiry.horizon)
        await note_dropped(connection, table, [table], _BEGINNING, expiry.horizon)


async def expire_events(connection: AnyConnection, table: str, start: datetime, expiry: Expiry) -> None:
    """Drops the events of a hypertable from ``start`` to the horizon, counted, in a transaction."""
    if start >= expiry.horizon:  # TimescaleDB refuses an empty range
        return
    async with connection.transaction():
        await connection.execute(_LOCK_LIMIT)
        await _lock(connection, table, expiry.horizon)
        dropped = [
            name
            for (name,) in await connection.fetch(
                "SELECT show_chunks($1::text::regclass, older_than => $2::timestamptz,"
                " newer_than => $3::timestamptz)::text",
                quoted(table),
                expiry.horizon,
                start,
            )
        ]
        for chunk in dropped:
            found = await connection.fetch(
                f"SELECT recorder, source, count(*) FROM {chunk} GROUP BY recorder, source"  # noqa: S608 - quoted by PostgreSQL
            )
            counts = {(recorder, events_stream(source)): rows for recorder, source, rows in found}
            expiry.rows += await record_expired(connection, counts)
        await connection.execute(_DROP_EVENTS, quoted(table), expiry.horizon, start)
        await note_dropped(connection, table, [table], start, expiry.horizon)


async def _lock(connection: AnyConnection, table: str, horizon: datetime) -> None:
    """Keeps others from storing rows into the chunks before the horizon."""
    chunks = [name for (name,) in await connection.fetch(_CHUNKS, table, horizon)]
    if chunks:
        await connection.execute(f"LOCK TABLE {', '.join(chunks)} IN SHARE MODE")

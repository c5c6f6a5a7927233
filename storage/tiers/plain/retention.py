"""Retention on plain PostgreSQL: drops partitions, once all of their rows are too old, or in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND, from_datetime
from storage.entry import events_stream, samples_stream
from storage.schema.samples import RECORDER, TIME, quoted
from storage.tiers.administration import created_at
from storage.tiers.archived import limit_to_archived, note_dropped
from storage.tiers.expiry import Counts, Expiry, record_expired
from storage.tiers.names import ROLLED, Tier, width_ns
from storage.tiers.plain.packed import CYCLES, PRESENT, SECONDS, SLOTS
from storage.tiers.plain.packed_events import ROWS
from storage.tiers.plain.partitions import (
    BEGINNING,
    Partitioned,
    day_of,
    drop_before,
    has_older,
    limit_locks,
    lock_before,
)

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.tiers.plain.table import PlainTable

_DAY_NS = 86_400 * NS_PER_SECOND
_SAMPLES = "_samples"
_COUNT_EVENTS = """
SELECT recorder, source, {rows}::bigint FROM {table}
WHERE time >= $1 AND time < $2 AND tableoid IN (SELECT to_regclass(part) FROM unnest($3::text[]) AS part)
GROUP BY recorder, source
"""


async def drop_old_rows(
    connection: AnyConnection,
    table: PlainTable,
    tier: Tier,
    days: int,
    now_ns: int,
    *,
    archived_only: bool = False,
) -> list[str]:
    """Drops the rows of a tier that are older than ``days`` (0 keeps them); returns the problems, in words.

    With ``archived_only``, raw samples are dropped up to the first day that is not archived.
    """
    if not days:
        return []
    horizon = day_of(now_ns - days * _DAY_NS)
    return await drop_rows(connection, table, tier, horizon, archived_only=archived_only)


async def drop_rows(
    connection: AnyConnection,
    table: PlainTable,
    tier: Tier,
    horizon: datetime,
    expiry: Expiry | None = None,
    *,
    archived_only: bool = False,
) -> list[str]:
    """Drops the rows of a tier before a start of its partitions; returns the problems, in words.

    With ``expiry``, raw samples are counted as expired, and added to it. ``archived_only`` as in
    :func:`drop_old_rows`.
    """
    tables, is_raw = table.stored(tier), tier is Tier.RAW
    partitioned = tables[0]
    name, relations = table.schema.table, [one.name for one in tables]
    archived_only &= is_raw
    problems: list[str] = []
    if archived_only:
        horizon, problems = await limit_to_archived(connection, name, relations, horizon, BEGINNING)
    if not any([await has_older(connection, one, horizon) for one in tables]):
        return problems
    async with connection.transaction():
        await limit_locks(connection)
        counts = await _count_samples(connection, table, horizon) if expiry is not None and is_raw else {}
        # While the lock is held, no transaction can store older rows and mark their buckets dirty.
        await connection.execute(f"LOCK TABLE {quoted(partitioned.name)} IN ACCESS EXCLUSIVE MODE")
        if tier is not Tier.H1 and await _is_dirty(connection, table, tier, horizon):
            return [*problems, f"{partitioned.name} keeps old rows until they are rolled up"]
        if archived_only:  # a day may have changed before the lock
            _, changed = await limit_to_archived(connection, name, relations, horizon, BEGINNING)
            if changed:
                return changed
        await _drop(connection, table, tier, horizon, expiry, counts)
    return problems


async def _drop(
    connection: AnyConnection,
    table: PlainTable,
    tier: Tier,
    horizon: datetime,
    expiry: Expiry | None,
    counts: Counts,
) -> None:
    name, is_raw, tables = table.schema.table, tier is Tier.RAW, table.stored(tier)
    if expiry is not None:
        expiry.rows += await record_expired(connection, counts)
    if expiry is not None or is_raw:
        await connection.execute(
            "UPDATE tier_state SET raw_from = greatest(raw_from, $1) WHERE table_name = $2", horizon, name
        )
    for one in tables:
        await drop_before(connection, one, horizon)
    if is_raw:
        await note_dropped(connection, name, [one.name for one in tables], BEGINNING, horizon)


def catalogue_of(tier: Tier) -> Partitioned:
    """The table with the slots of the spans of a tier that are packed."""
    return {Tier.RAW: CYCLES, Tier.S1: SECONDS}[tier]


async def drop_old_slots(
    connection: AnyConnection, tables: Sequence[PlainTable], tier: Tier, days: int, now_ns: int
) -> None:
    """Drops slots older than ``days`` (0 keeps them) once no packed rows are."""
    if days:
        await drop_slots(connection, tables, tier, day_of(now_ns - days * _DAY_NS))


async def drop_slots(
    connection: AnyConnection, tables: Sequence[PlainTable], tier: Tier, horizon: datetime
) -> None:
    """Drops slots before the horizon once no packed rows are."""
    catalogue = catalogue_of(tier)
    if not await has_older(connection, catalogue, horizon):
        return
    if any([await has_older(connection, table.packed(tier).packed, horizon) for table in tables]):
        return
    async with connection.transaction():
        await limit_locks(connection)
        await drop_before(connection, catalogue, horizon)


async def drop_old_events(
    connection: AnyConnection,
    name: str,
    tables: Sequence[Partitioned],
    days: int,
    now_ns: int,
    *,
    archived_only: bool = False,
) -> list[str]:
    """Drops events older than ``days`` (0 keeps them), but none from before the database was created.

    Those were imported, and are kept until somebody takes the import back. With ``archived_only``, events are
    dropped up to the first day that is not archived. Returns the problems, in words.
    """
    if not days:
        return []
    horizon = day_of(now_ns - days * _DAY_NS)
    return await drop_events(connection, name, tables, horizon, archived_only=archived_only)


async def drop_events(
    connection: AnyConnection,
    name: str,
    tables: Sequence[Partitioned],
    horizon: datetime,
    expiry: Expiry | None = None,
    *,
    archived_only: bool = False,
) -> list[str]:
    """Drops events before a start of their partitions, but none from before the database was created.

    ``tables`` have the rows of the event table ``name``; a second one has packed rows.
    With ``expiry``, they are counted as expired, and added to it. ``archived_only`` as in
    :func:`drop_old_events`.
    """
    start = await start_of_recording(connection)
    relations = [table.name for table in tables]
    problems: list[str] = []
    if archived_only:
        horizon, problems = await limit_to_archived(connection, name, relations, horizon, start)
    if any([await has_older(connection, table, horizon, start) for table in tables]):
        async with connection.transaction():
            await limit_locks(connection)
            # Packing waits, or is over: both tables are locked in the order in which rows move.
            parts = [await lock_before(connection, table, horizon, start) for table in tables]
            if archived_only:  # a day may have changed before the lock
                horizon, changed = await limit_to_archived(connection, name, relations, horizon, start)
                problems = changed or problems
            if expiry is not None:
                counts = await _count_events(connection, tables, parts, start, horizon)
                expiry.rows += await record_expired(connection, counts)
            for table in tables:
                await drop_before(connection, table, horizon, start)
            await note_dropped(connection, name, relations, start, horizon)
    return problems


async def _count_events(
    connection: AnyConnection,
    tables: Sequence[Partitioned],
    parts: Sequence[Sequence[str]],
    start: datetime,
    horizon: datetime,
) -> Counts:
    """Counts the events in these parts of each table, by recorder and stream."""
    counts: Counter[tuple[str, str]] = Counter()
    for place, (table, names) in enumerate(zip(tables, parts, strict=True)):
        question = _COUNT_EVENTS.format(
            rows=f"sum({ROWS})" if place else "count(*)", table=quoted(table.name)
        )
        for recorder, source, rows in await connection.fetch(question, start, horizon, names):
            counts[recorder, events_stream(source)] += rows
    return counts


async def start_of_recording(connection: AnyConnection) -> datetime:
    """Start of the first partition of events that were not imported."""
    return day_of(from_datetime(await created_at(connection)))


async def _count_samples(connection: AnyConnection, table: PlainTable, horizon: datetime) -> Counts:
    """Counts the raw samples before the horizon, by recorder and stream, and lets nobody change them.

    It takes its time: others go on writing newer rows.
    """
    parts: list[str] = []
    for one in (table.raw.recent, table.raw.packed):
        parts += await lock_before(connection, one, horizon)
    recent, packed = quoted(table.raw.recent.name), quoted(table.raw.packed.name)
    # A partition that reaches past the horizon is not dropped.
    within = "tableoid IN (SELECT to_regclass(part) FROM unnest($2::text[]) AS part)"
    dropped = f"{TIME} < $1 AND {within}"
    slots = f"CASE WHEN {PRESENT} IS NULL THEN {SLOTS} ELSE cardinality(array_positions({PRESENT}, true)) END"
    found = await connection.fetch(
        f"""
        SELECT {RECORDER}, sum(rows)::bigint FROM (
            SELECT {RECORDER}, count(*) AS rows FROM {recent} WHERE {dropped} GROUP BY {RECORDER}
            UNION ALL
            SELECT {RECORDER}, sum({slots}) FROM {packed} WHERE {dropped} GROUP BY {RECORDER}
        ) AS counted GROUP BY {RECORDER}""",  # noqa: S608 - quoted
        horizon,
        parts,
    )
    stream = samples_stream(table.schema.table.removesuffix(_SAMPLES))
    return {(recorder, stream): rows for recorder, rows in found}


async def _is_dirty(connection: AnyConnection, table: PlainTable, tier: Tier, horizon: datetime) -> bool:
    """Whether a bucket of the next tier still has to be made from rows before the horizon."""
    coarser = ROLLED[0] if tier is Tier.RAW else ROLLED[ROLLED.index(tier) + 1]
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {quoted(table.dirty_buckets)}"  # noqa: S608 - quoted
        f" WHERE width_seconds = $1 AND {TIME} < $2)",
        width_ns(coarser) // NS_PER_SECOND,
        horizon,
    )
    return found

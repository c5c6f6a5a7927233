"""The table ``archive_files``: which days of which tables are in which archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from storage.schema.samples import quoted
from storage.tiers.archived import record_changes
from storage.tiers.plain.partitions import limit_locks

if TYPE_CHECKING:
    from storage.database import AnyConnection, Database
    from storage.maintenance.archive.tables import ArchivedTable

_DAYS = """
SELECT day, part, file, rows, bytes, sha256, verified_at IS NOT NULL AS is_verified,
    is_changed OR EXISTS (
        SELECT FROM archive_changes AS change
        WHERE (change.table_name, change.day) = (file.table_name, file.day)
    ) AS is_changed
FROM archive_files AS file
WHERE table_name = $1 AND destination = $2 AND dropped_at IS NULL
"""
_NEXT_PARTS = """
SELECT day, max(part) + 1 AS part FROM archive_files
WHERE table_name = $1 AND dropped_at IS NOT NULL AND file IS NOT NULL GROUP BY day
"""
_OUT_OF_DATE = """
UPDATE archive_files AS file SET is_changed = true FROM archive_changes AS change
WHERE (change.table_name, change.day) = (file.table_name, file.day) AND file.table_name = $1
    AND file.day = ANY($2) AND file.dropped_at IS NULL
"""
_FORGET_CHANGES = "DELETE FROM archive_changes WHERE table_name = $1 AND day = ANY($2)"
_BEGIN = """
INSERT INTO archive_files (table_name, destination, day, part)
SELECT $1, $2, * FROM unnest($3::date[], $4::integer[])
ON CONFLICT (table_name, day, part, destination)
    DO UPDATE SET time = now(), verified_at = NULL, is_changed = false, dropped_at = NULL
"""
_VERIFIED = """
UPDATE archive_files SET verified_at = now(), file = $5, rows = $6, bytes = $7, sha256 = $8
WHERE table_name = $1 AND destination = $2 AND day = $3 AND part = $4
"""
_SUMMARY = """
SELECT destination, table_name AS table, min(day) FILTER (WHERE file IS NOT NULL)::text AS first_day,
    max(day) FILTER (WHERE file IS NOT NULL)::text AS last_day,
    count(file) AS files, sum(rows)::bigint AS rows, sum(bytes)::bigint AS bytes,
    count(*) FILTER (WHERE dropped_at IS NULL AND (verified_at IS NULL OR is_changed OR EXISTS (
        SELECT FROM archive_changes AS change
        WHERE (change.table_name, change.day) = (file.table_name, file.day)
    ))) AS out_of_date,
    count(file) FILTER (WHERE dropped_at IS NOT NULL) AS dropped, max(verified_at) AS written_at
FROM archive_files AS file GROUP BY 1, 2 HAVING count(file) > 0 ORDER BY 1, 2
"""


class ArchivedDay(Struct, frozen=True, kw_only=True):
    """A day of a table in a destination."""

    day: date
    part: int
    file: str | None
    """``None``: the day has no rows, or its first file is being written."""
    rows: int
    bytes: int
    sha256: str | None
    is_verified: bool
    is_changed: bool


class ArchiveSummary(Struct, frozen=True, kw_only=True):
    """The files of one table in one destination."""

    destination: str
    table: str
    first_day: str
    """Like ``2026-11-29``, UTC."""
    last_day: str
    files: int
    rows: int
    bytes: int
    out_of_date: int
    """Days that have to be written again: late rows, or the last run was interrupted."""
    dropped: int
    """Files whose rows retention has dropped from the database."""
    written_at: datetime | None


async def archived_days(connection: AnyConnection, table: str, destination: str) -> dict[date, ArchivedDay]:
    """The known of the days that retention has not dropped."""
    rows = await connection.fetch(_DAYS, table, destination)
    return {row["day"]: ArchivedDay(**row) for row in rows}


async def next_parts(connection: AnyConnection, table: str) -> dict[date, int]:
    """Numbers of the next files of days that retention has dropped."""
    return {row["day"]: row["part"] for row in await connection.fetch(_NEXT_PARTS, table)}


async def begin_days(
    connection: AnyConnection, table: ArchivedTable, destination: str, days: Sequence[tuple[date, int]]
) -> None:
    """Enters that days, with their parts, are being written; changes from now on are noted.

    Waits for transactions that write into the table, so that what is read next has their rows. Raises
    ``asyncpg.LockNotAvailableError`` if that takes long.
    """
    dates, parts = [day for day, _ in days], [part for _, part in days]
    async with connection.transaction():
        await limit_locks(connection)
        await record_changes(connection, table.name, table.written)
        await connection.execute(f"LOCK TABLE {quoted(table.written)} IN SHARE MODE")
        await connection.execute(_OUT_OF_DATE, table.name, dates)
        await connection.execute(_FORGET_CHANGES, table.name, dates)
        await connection.execute(_BEGIN, table.name, destination, dates, parts)


async def enter_verified(
    connection: AnyConnection, table: str, destination: str, archived: ArchivedDay
) -> None:
    """Enters that a day is in the archive: its file was read back, or it has no rows."""
    values = archived.file, archived.rows, archived.bytes, archived.sha256
    await connection.execute(_VERIFIED, table, destination, archived.day, archived.part, *values)


async def archive_summary(database: Database) -> list[ArchiveSummary]:
    """All archives by destination and table. Raises :class:`~storage.database.DatabaseError`."""
    return [ArchiveSummary(**row) for row in await database.fetch(_SUMMARY)]

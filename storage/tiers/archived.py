"""Archived days: which days retention may drop where ``archive.required`` is set.

``decahertz archive`` enters each day that it has written and verified into ``archive_files``. From then on a
trigger notes every change of the day's rows in ``archive_changes``, in the transaction of the change: the day
counts as archived only while there is none. Changes are only ever inserted, so no writer waits for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from decahertz.words import counted
from storage.schema.samples import TIME, default_of, literal, quoted
from storage.tiers.plain.packed import PACKING
from storage.tiers.schema import EPOCH

if TYPE_CHECKING:
    from storage.database import AnyConnection

_DAY = timedelta(days=1)
_FUNCTION = "record_archive_changes"
_TRIGGERS = (
    ("archive_insert", "INSERT", "NEW"),
    ("archive_delete", "DELETE", "OLD"),
    ("archive_update_old", "UPDATE", "OLD"),
    ("archive_update_new", "UPDATE", "NEW"),
)
_PARTITIONS = r"""
SELECT bounds[1]::timestamptz, bounds[2]::timestamptz FROM (
    SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)')
        AS bounds
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass($1)
) AS partitions WHERE bounds IS NOT NULL
"""
_CHUNKS = """
SELECT range_start, range_end FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = $1
"""
_NOT_ARCHIVED = """
SELECT day FROM unnest($2::date[]) AS days (day)
WHERE NOT EXISTS (
    SELECT FROM archive_files AS file WHERE file.table_name = $1 AND file.day = days.day
        AND file.verified_at IS NOT NULL AND NOT file.is_changed AND file.dropped_at IS NULL
) OR EXISTS (
    SELECT FROM archive_changes AS change WHERE change.table_name = $1 AND change.day = days.day
) ORDER BY day
"""
_DROPPED = """
UPDATE archive_files SET dropped_at = now()
WHERE table_name = $1 AND day >= $2 AND day < $3 AND day <> ALL($4) AND dropped_at IS NULL
"""
_FORGET_CHANGES = """
DELETE FROM archive_changes WHERE table_name = $1 AND day >= $2 AND day < $3 AND day <> ALL($4)
"""


def start_of(day: date) -> datetime:
    """The start of a UTC day."""
    return datetime.combine(day, time(), UTC)


def days_between(start: datetime, end: datetime) -> Iterable[date]:
    """The UTC days that have a moment of ``[start, end)``."""
    first = start.astimezone(UTC).date()
    last = (end - timedelta(microseconds=1)).astimezone(UTC).date()
    return (first + number * _DAY for number in range((last - first).days + 1))


async def stored_days(
    connection: AnyConnection, relations: Sequence[str], start: datetime, end: datetime
) -> list[date]:
    """The UTC days of ``[start, end)`` of which partitioned tables or hypertables may have rows.

    Those are the days of their partitions and chunks, and of rows in the default partition.
    """
    days: set[date] = set()
    for relation in relations:
        name = quoted(relation)
        kind = await connection.fetchval("SELECT relkind FROM pg_class WHERE oid = to_regclass($1)", name)
        if kind == b"p":
            ranges = [(low, high) for low, high in await connection.fetch(_PARTITIONS, name)]
            default = quoted(default_of(relation))
            rows = await connection.fetch(
                f"SELECT DISTINCT date_bin('24 hours', {TIME}, {EPOCH}) FROM {default}"  # noqa: S608 - quoted
                f" WHERE {TIME} >= $1 AND {TIME} < $2",
                start,
                end,
            )
            ranges += [(low, low + _DAY) for (low,) in rows]
        else:
            ranges = [(low, high) for low, high in await connection.fetch(_CHUNKS, relation)]
        for low, high in ranges:
            if low < end and high > start:
                days.update(days_between(max(low, start), min(high, end)))
    return sorted(days)


async def limit_to_archived(
    connection: AnyConnection, table: str, relations: Sequence[str], horizon: datetime, start: datetime
) -> tuple[datetime, list[str]]:
    """The time up to which retention may drop rows: the first day that is not archived, or ``horizon``.

    Also returns the problem, in words, if there is such a day. ``relations`` store the rows of ``table``.
    """
    days = await stored_days(connection, relations, start, horizon)
    missing = [row[0] for row in await connection.fetch(_NOT_ARCHIVED, table, days)]
    if not missing:
        return horizon, []
    problem = (
        f"{table} keeps {counted(len(days) - days.index(missing[0]), 'day')} past its retention, because"
        f" {missing[0]} is not archived (archive.required): run `decahertz archive`"
    )
    return start_of(missing[0]), [problem]


async def note_dropped(
    connection: AnyConnection, table: str, relations: Sequence[str], start: datetime, horizon: datetime
) -> None:
    """Enters which days before the horizon retention has just dropped, in its transaction.

    Rows of these days that come later are new, and the archive adds them.
    """
    days = start.date(), horizon.date(), await stored_days(connection, relations, start, horizon)
    await connection.execute(_DROPPED, table, *days)
    await connection.execute(_FORGET_CHANGES, table, *days)


async def record_changes(connection: AnyConnection, table: str, written: str) -> None:
    """Creates the triggers that note changes of archived days of ``table``, unless they exist.

    Rows are written into the relation ``written``, which is ``table`` itself or stores it. A hypertable has
    no trigger for deletions: TimescaleDB refuses one where rows are compressed.
    """
    kind = await connection.fetchval(
        "SELECT relkind FROM pg_class WHERE oid = to_regclass($1)", quoted(written)
    )
    triggers = [one for one in _TRIGGERS if kind == b"p" or one[1] != "DELETE"]
    existing = await connection.fetchval(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = ANY($2)",
        quoted(written),
        [name for name, _, _ in triggers],
    )
    if existing == len(triggers):
        return
    schema = quoted(await connection.fetchval("SELECT current_schema()"))
    await connection.execute(_trigger_function(schema))
    for name, event, rows in triggers:
        await connection.execute(
            f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {quoted(written)}"
            f" REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT"
            f" WHEN (current_setting('{PACKING}', true) IS DISTINCT FROM 'on')"
            f" EXECUTE FUNCTION {schema}.{_FUNCTION}({literal(table)})"
        )


def _trigger_function(schema: str) -> str:
    day = f"({{}}{TIME}{{}} AT TIME ZONE 'UTC')::date"
    # Names are qualified, so that no search path changes their meaning. Most statements end with the first
    # query: their rows are of today, which is not archived.
    return f"""CREATE OR REPLACE FUNCTION {schema}.{_FUNCTION}() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
        DECLARE first date; last date;
        BEGIN
            SELECT {day.format("min(", ")")}, {day.format("max(", ")")} INTO first, last FROM changed;
            IF EXISTS (
                SELECT FROM {schema}.archive_files AS file
                WHERE file.table_name = TG_ARGV[0] AND file.day BETWEEN first AND last
            ) THEN
                INSERT INTO {schema}.archive_changes (table_name, day)
                SELECT TG_ARGV[0], days.day
                FROM (SELECT DISTINCT {day.format("", "")} AS day FROM changed) AS days
                WHERE EXISTS (
                    SELECT FROM {schema}.archive_files AS file
                    WHERE file.table_name = TG_ARGV[0] AND file.day = days.day AND file.dropped_at IS NULL
                ) AND NOT EXISTS (
                    SELECT FROM {schema}.archive_changes AS change
                    WHERE change.table_name = TG_ARGV[0] AND change.day = days.day
                );
            END IF;
            RETURN NULL;
        END $function$"""  # noqa: S608 - see above

"""The table ``imports``: files that were imported, and how one is taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from decahertz.clock import to_datetime
from decahertz.event import Instrument
from storage.database import DatabaseError
from storage.schema.events import PACKED_EVENTS
from storage.schema.samples import packed_of, quoted, recent_of
from storage.tiers.plain.packed import has_packed
from storage.write.known_events import FILE_EVENTS

if TYPE_CHECKING:
    from storage.database import AnyConnection, Database

_COUNTS = ("lines", "stored", "already_there", "refused", "without_events")
_BEGIN = "INSERT INTO imports (recorder, epoch, file, reading) VALUES ($1, $2, $3, $4) RETURNING id"
_UPDATE = f"""
UPDATE imports SET first_ns = least(first_ns, $3), last_ns = greatest(last_ns, $4),
    {", ".join(f"{name} = ${place}" for place, name in enumerate(_COUNTS, start=5))},
    finished_at = CASE WHEN $2 THEN now() END
WHERE id = $1 AND undone_at IS NULL RETURNING id
"""  # noqa: S608 - names of this module
_LIST = """
SELECT id, time, recorder, file, reading, lines, stored, already_there, refused, without_events,
    finished_at, undone_at
FROM imports ORDER BY id DESC LIMIT $1
"""
_ONE = "SELECT epoch, first_ns, last_ns, undone_at FROM imports WHERE id = $1 FOR UPDATE"
# Undoing waits for the transaction, and the transaction for an undoing that began first.
_HOLD = "SELECT id FROM imports WHERE id = $1 AND undone_at IS NULL FOR KEY SHARE"
_UNDONE = "UPDATE imports SET undone_at = now() WHERE id = $1"
# TimescaleDB limits how much a statement may decompress. On plain PostgreSQL the setting is without effect.
_UNLIMITED = "SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"
_DELETE = """
WITH gone AS (
    DELETE FROM {table} WHERE source = $1 AND epoch = $2 AND time >= $3 AND time <= $4
    RETURNING venue, instrument
)
SELECT venue, instrument, count(*) AS rows FROM gone GROUP BY venue, instrument
"""
_FORGET = (
    "DELETE FROM emitters WHERE source = $1 AND epoch = $2",
    "DELETE FROM dead_letters WHERE source = $1 AND epoch = $2",
)
_LOCK_INSTRUMENT = "SELECT FROM instruments WHERE venue = $1 AND instrument = $2 FOR UPDATE"
_SEEN = "SELECT {function}({column}) FROM {table} WHERE venue = $1 AND instrument = $2"
_DEFINITION = tuple(
    name for name in Instrument.__struct_fields__ if name not in ("venue", "instrument", "time_ns")
)
_RESTORE = f"""
UPDATE instruments SET first_ns = $3, last_ns = $4, defined_ns = newest.time_ns,
    time = greatest($5, newest.time, 'epoch'), {", ".join(f"{name} = newest.{name}" for name in _DEFINITION)}
FROM (SELECT) AS one LEFT JOIN LATERAL (
    SELECT time, time_ns, {", ".join(_DEFINITION)} FROM instrument_events
    WHERE venue = $1 AND instrument = $2 ORDER BY time_ns DESC LIMIT 1
) AS newest ON true
WHERE venue = $1 AND instrument = $2
"""  # noqa: S608 - names of this module
_DROP = """
DELETE FROM instruments
WHERE venue = $1 AND instrument = $2 AND first_ns IS NULL AND defined_ns IS NULL
"""

Key: TypeAlias = tuple[str, str]


class Import(Struct, frozen=True, kw_only=True):
    """A file that was imported."""

    id: int
    time: datetime
    """When it began."""
    recorder: str
    file: str
    reading: str
    """Interpretation of the file: kind of events, instrument, venue."""
    lines: int
    stored: int
    already_there: int
    refused: int
    without_events: int
    finished_at: datetime | None
    """``None`` when it is running or was interrupted."""
    undone_at: datetime | None


class UnknownImportError(ValueError):
    """There is no import of this number, or it was taken back already."""


class ImportUndoneError(DatabaseError):
    """The import was taken back while it ran."""

    def __init__(self, import_id: int) -> None:
        super().__init__(f"import {import_id} was taken back meanwhile: nothing of it is left")


def source_of(import_id: int) -> str:
    """The source of the rows of an import."""
    return f"import-{import_id}"


async def begin_import(connection: AnyConnection, recorder: str, epoch: int, file: str, reading: str) -> int:
    """Enters an import that begins; returns its number. ``epoch`` is the epoch of its rows."""
    number: int = await connection.fetchval(_BEGIN, recorder, epoch, file, reading)
    return number


async def update_import(
    connection: AnyConnection,
    import_id: int,
    counts: Mapping[str, int],
    times: Sequence[int] = (),
    *,
    is_finished: bool = False,
) -> None:
    """Enters the counts of lines so far, and the times of the events that are stored next.

    By these times the rows are found again. Raises :class:`ImportUndoneError`.
    """
    bounds = (min(times), max(times)) if times else (None, None)
    values = (counts[name] for name in _COUNTS)
    if await connection.fetchval(_UPDATE, import_id, is_finished, *bounds, *values) is None:
        raise ImportUndoneError(import_id)


async def hold_import(connection: AnyConnection, import_id: int) -> None:
    """Keeps an import from being taken back until the transaction ends.

    Raises :class:`ImportUndoneError` if it was taken back before.
    """
    if await connection.fetchval(_HOLD, import_id) is None:
        raise ImportUndoneError(import_id)


async def list_imports(database: Database, limit: int) -> list[Import]:
    """The newest imports, the newest first."""
    return [Import(**row) for row in await database.fetch(_LIST, (limit,))]


async def undo_import(database: Database, import_id: int) -> int:
    """Deletes what an import has stored, in one transaction; returns the number of rows.

    Rows that were there before stay: they belong to another source. Raises :class:`UnknownImportError`.
    """
    connection = await database.connect("undo import", unlimited=True)
    try:
        with database.errors():
            async with connection.transaction():
                return await _undo(connection, import_id)
    finally:
        await database.disconnect(connection)


async def _undo(connection: AnyConnection, import_id: int) -> int:
    row = await connection.fetchrow(_ONE, import_id)
    if row is None or row["undone_at"] is not None:
        reason = "was taken back already" if row else "does not exist: `decahertz imports` lists them"
        raise UnknownImportError(f"import {import_id} {reason}")
    await connection.execute(_UNLIMITED)
    identity = source_of(import_id), row["epoch"]
    touched: set[Key] = set()
    rows = 0
    if row["first_ns"] is not None:
        times = to_datetime(row["first_ns"]), to_datetime(row["last_ns"])
        for event_type in FILE_EVENTS:
            statement = _DELETE.format(table=quoted(await _stored(connection, event_type.table)))
            for venue, instrument, count in await connection.fetch(statement, *identity, *times):
                touched.add((venue, instrument))
                rows += count
    for statement in _FORGET:
        await connection.execute(statement, *identity)
    for key in sorted(touched):
        await _restore_instrument(connection, key)
    await connection.execute(_UNDONE, import_id)
    return rows


async def _stored(connection: AnyConnection, table: str) -> str:
    """The table that rows of an event table are written into. Imported rows are never packed."""
    return recent_of(table) if await has_packed(connection, table) else table


async def _seen(connection: AnyConnection, key: Key, function: str) -> int | None:
    """Time of the first quote or tick of an instrument (``min``), or of the last (``max``)."""
    found = []
    for event_type in PACKED_EVENTS:
        stored = await _stored(connection, event_type.table)
        columns = {stored: "time_ns"}
        if stored != event_type.table:
            columns[packed_of(event_type.table)] = "_first_ns" if function == "min" else "_last_ns"
        for table, column in columns.items():
            statement = _SEEN.format(function=function, column=column, table=quoted(table))
            found.append(await connection.fetchval(statement, *key))
    times = [time_ns for time_ns in found if time_ns is not None]
    choose = min if function == "min" else max
    return choose(times, default=None)


async def _restore_instrument(connection: AnyConnection, key: Key) -> None:
    """Sets times and definition of an instrument to what is stored of it; forgets it if that is nothing."""
    # The lock comes first: a writer that stores an earlier event meanwhile enters its time afterwards.
    await connection.execute(_LOCK_INSTRUMENT, *key)
    first, last = await _seen(connection, key, "min"), await _seen(connection, key, "max")
    await connection.execute(_RESTORE, *key, first, last, None if last is None else to_datetime(last))
    await connection.execute(_DROP, *key)

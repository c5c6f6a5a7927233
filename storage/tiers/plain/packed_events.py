"""Packed quotes and ticks on plain PostgreSQL: one row for some hundred events, one array for each column.

Events of ``{table}_recent`` that are old enough move into ``{table}_packed``. A packed row has the events of
one emitter, instrument and hour in order of time, at most :data:`MOST_ROWS` of them; TOAST compresses the
arrays. The view ``{table}`` has both. PostgreSQL finds the packed rows of a key on its own, but those of a
time only where it is told: ``{table}_between``, ``{table}_received`` and ``{table}_numbered`` do that. They
are plain SQL, so the planner sees through them, and exist on TimescaleDB too.

A move is one transaction: an event is in one table or the other, whatever happens. Late events move into
packed rows of their own; fewer than :data:`FEWEST_ROWS` of them stay where they are, and so do imported ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND
from decahertz.event import Event
from storage.schema.events import (
    EVENT_NUMBER,
    event_functions,
    event_table_columns,
    event_view_comments,
)
from storage.schema.samples import RECORDER, TIME, literal, packed_of, quoted, recent_of
from storage.tiers.plain.packed import PACKING, take_inserts
from storage.tiers.plain.partitions import Partitioned, ensure_default, leave_unanalyzed
from storage.tiers.schema import EPOCH, listed

if TYPE_CHECKING:
    from storage.database import AnyConnection

SPAN_NS = 3600 * NS_PER_SECOND
"""Events of one span are packed together."""
MOST_ROWS, FEWEST_ROWS = 600, 32
"""Events of a packed row."""
ROWS = "_rows"
"""Column with the number of events in a packed row."""

_SPAN = "INTERVAL '1 hour'"
_UNTIL, _RECEIVED, _FIRST, _LAST = "_until", "_received_ns", "_first_number", "_last_number"
_DELAY = "_delay_ns"
"""Array with the time from each event to its receipt, which takes less room than the time of receipt."""
_ABOUT = {
    ROWS: "integer",
    _UNTIL: "timestamp with time zone",
    "_first_ns": "bigint",
    "_last_ns": "bigint",
    _RECEIVED: "bigint",
    _FIRST: "bigint",
    _LAST: "bigint",
}
_EXACT_TIME = f"{EPOCH} + {{}} / 1000 * INTERVAL '1 microsecond'"
_HAS_RANGES = """
SELECT EXISTS (
    SELECT FROM pg_class JOIN pg_am ON pg_am.oid = relam
    WHERE pg_class.oid = to_regclass($1) AND amname = 'brin'
)
"""
_SETTINGS = f"SET LOCAL {PACKING} = 'on'; SET LOCAL jit = off"


class PackedEvents:
    """Names and statements of one event table: its recent rows, its packed rows, the view over both."""

    def __init__(self, event_type: type[Event]) -> None:
        self.event_type = event_type
        self.table = event_type.table
        self.recent = Partitioned(recent_of(self.table))
        self._columns = event_table_columns(event_type)
        self._group = (RECORDER, *event_type.key, "source", "epoch")
        inside = [one for one in self._columns if one.name not in (TIME, *self._group)]
        self._arrays = {_DELAY if one.name == "received_ns" else one.name: one.sql_type for one in inside}
        # Statistics of arrays would cost more than packing them.
        self.packed = Partitioned(packed_of(self.table), unanalyzed=tuple(self._arrays))

    @property
    def stored(self) -> tuple[Partitioned, Partitioned]:
        """The tables that have the rows of the view."""
        return self.recent, self.packed

    def statements(self) -> list[str]:
        """The statements that create the packed table, without partitions."""
        name = quoted(self.packed.name)
        scalars = [one for one in self._columns if one.name in (TIME, *self._group)]
        columns = [one.definition for one in scalars]
        columns += [f"{one} {sql_type} NOT NULL" for one, sql_type in _ABOUT.items()]
        columns += [f"{quoted(one)} {sql_type}[]" for one, sql_type in self._arrays.items()]
        text = f"Packed rows behind the view {self.table}; query the view."
        return [
            f"CREATE TABLE {name} ({', '.join(columns)}) PARTITION BY RANGE ({TIME})",
            f"CREATE INDEX ON {name} ({listed(self.event_type.key)}, {TIME})",
            f"CREATE INDEX ON {name} ({TIME})",
            f"CREATE INDEX ON {name} ({_RECEIVED})",
            f"CREATE INDEX ON {name} ({_LAST})",
            f"COMMENT ON TABLE {name} IS {literal(text)}",
        ]

    def views(self) -> list[str]:
        """The statements that create the view over recent and packed rows."""
        view = quoted(self.table)
        return [
            f"CREATE OR REPLACE VIEW {view} AS {self._rows('true', 'true', 'true')}",
            f"ALTER VIEW {view} ALTER COLUMN {EVENT_NUMBER} SET DEFAULT 0",
        ]

    def functions(self, schema: str) -> list[str]:
        """The statements that create the functions; ``schema`` is quoted."""
        times = f"{TIME} >= {{0}} AND {TIME} <= {{1}}"
        between = times.format("$1", "$2"), times.format("$3", "$4")
        first, since = (f"packed.{TIME} >= date_bin({_SPAN}, {low}, {EPOCH})" for low in ("$1", "$3"))
        spans = f"{first} AND packed.{TIME} <= $2 AND packed.{_UNTIL} >= $1"
        spans += f" AND {since} AND packed.{TIME} <= $4"
        numbered = f"{EVENT_NUMBER} > $1 AND {EVENT_NUMBER} <= $2 AND {TIME} >= $3"
        numbers = f"packed.{_LAST} > $1 AND packed.{_FIRST} <= $2 AND {since}"
        bodies = {
            "between": self._rows(" AND ".join(between), spans, " AND ".join(between), schema),
            "received": self._rows(
                "received_ns >= $1", f"packed.{_RECEIVED} >= $1", "received_ns >= $1", schema
            ),
            "numbered": self._rows(numbered, numbers, numbered, schema),
        }
        return event_functions(self.event_type, schema, bodies)

    def _rows(self, recent: str, packed: str, unpacked: str, schema: str = "") -> str:
        """A query for all rows, with conditions on recent rows, on packed rows, and on events of these."""
        prefix = f"{schema}." if schema else ""
        names = [one.name for one in self._columns]
        values = {name: f"packed.{quoted(name)}" for name in self._group}
        values |= {name: f"event.{quoted(name)}" for name in self._arrays}
        values[TIME] = _EXACT_TIME.format("event.time_ns")
        values["received_ns"] = f"event.time_ns + event.{_DELAY}"
        selected = ", ".join(f"{values[name]} AS {quoted(name)}" for name in names)
        arrays = ", ".join(f"packed.{quoted(name)}" for name in self._arrays)
        return f"""
            SELECT {listed(names)} FROM {prefix}{quoted(self.recent.name)} WHERE {recent}
            UNION ALL
            SELECT {listed(names)} FROM (
                SELECT {selected} FROM {prefix}{quoted(self.packed.name)} AS packed
                CROSS JOIN LATERAL unnest({arrays}) AS event ({listed(self._arrays)})
                WHERE {packed}
            ) AS unpacked WHERE {unpacked}"""  # noqa: S608 - quoted

    def due(self) -> str:
        """The statement that finds the groups to pack between ``$1`` and ``$2``, each with its rows first."""
        return f"""
            SELECT count(*), {listed(self._group)} FROM {quoted(self.recent.name)}
            WHERE {self._of_span()} GROUP BY {listed(self._group)} HAVING count(*) >= {FEWEST_ROWS}"""  # noqa: S608 - quoted

    def pack(self) -> str:
        """The statement that moves the events of a group between ``$1`` and ``$2``; it returns their number.

        Further parameters are the values of the group.
        """
        group = " AND ".join(f"{quoted(name)} = ${place}" for place, name in enumerate(self._group, start=3))
        arrays = {name: f"array_agg({quoted(name)})" for name in self._arrays}
        arrays[_DELAY] = "array_agg(received_ns - time_ns)"
        about = {
            ROWS: "count(*)",
            _UNTIL: f"max({TIME})",
            "_first_ns": "min(time_ns)",
            "_last_ns": "max(time_ns)",
            _RECEIVED: "max(received_ns)",
            _FIRST: f"min({EVENT_NUMBER})",
            _LAST: f"max({EVENT_NUMBER})",
        }
        return f"""
            WITH moved AS MATERIALIZED (
                DELETE FROM {quoted(self.recent.name)} WHERE {self._of_span()} AND {group} RETURNING *
            ), packed AS (
                INSERT INTO {quoted(self.packed.name)} ({listed([TIME, *self._group, *about, *arrays])})
                SELECT min({TIME}), {listed(self._group)}, {", ".join([*about.values(), *arrays.values()])}
                FROM (
                    SELECT *, (row_number() OVER (ORDER BY time_ns, sequence) - 1)
                        * ((count(*) OVER () - 1) / {MOST_ROWS} + 1) / count(*) OVER () AS _part
                    FROM moved ORDER BY _part, time_ns, sequence
                ) AS sorted GROUP BY {listed(self._group)}, _part
            )
            SELECT count(*) FROM moved"""  # noqa: S608 - quoted

    def _of_span(self) -> str:
        # An import has no event numbers: it may be taken back, and a print a day would only grow.
        return (
            f"{TIME} >= $1 AND {TIME} < $2 AND {EVENT_NUMBER} > 0"
            f" AND {TIME} = {_EXACT_TIME.format('time_ns')}"
        )


async def prepare_packed_events(connection: AnyConnection, events: PackedEvents) -> None:
    """Creates the packed table, the view and the functions, or replaces them by this version's."""
    async with connection.transaction():
        await ensure_default(connection, events.recent)
        if await connection.fetchval(_HAS_RANGES, quoted(f"{events.table}_number")):
            # Of a version without packing. New partitions get it, which is all of them soon.
            await connection.execute(
                f"CREATE INDEX IF NOT EXISTS {quoted(f'{events.recent.name}_number')}"
                f" ON ONLY {quoted(events.recent.name)} ({EVENT_NUMBER})"
            )
        name = quoted(events.packed.name)
        if await connection.fetchval("SELECT to_regclass($1) IS NULL", name):
            for statement in events.statements():
                await connection.execute(statement)
            await leave_unanalyzed(connection, name, events.packed.unanalyzed)
        await ensure_default(connection, events.packed)
        schema = quoted(await connection.fetchval("SELECT current_schema()"))
        for statement in (
            *events.views(),
            *event_view_comments(events.event_type),
            *events.functions(schema),
        ):
            await connection.execute(statement)
        await take_inserts(connection, events.table, events.recent.name)


async def pack_group(
    connection: AnyConnection, events: PackedEvents, start: datetime, end: datetime, group: Sequence[object]
) -> int:
    """Moves the events of a group of :meth:`PackedEvents.due` in one transaction; returns their number."""
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute(_SETTINGS)
        moved: int = await connection.fetchval(events.pack(), start, end, *group)
    return moved

"""Packed rows on plain PostgreSQL: one for each series and span of time, with one array for each column.

A sample of ``{collector}_samples_recent`` that is old enough moves into ``{collector}_samples_packed``. Its
place in the arrays is its *slot*, the number of its cycle in the minute from 1 to 600; ``_present`` says
which slots have a sample, and is null where all have. A column of nulls alone has no array. TOAST compresses
the arrays. A row of ``{collector}_samples_1s_rolled`` moves into ``{collector}_samples_1s_packed`` in the
same way, and its slot is the number of its second in ten minutes.

The table ``packed_cycles`` has one row for each cycle of the minutes that have packed samples. The view
``{collector}_samples`` joins it with the packed rows, so a condition on ``time`` is one on an indexed column
of ``packed_cycles``, and PostgreSQL reads only the packed rows of these minutes. ``packed_seconds`` is that
of the tier.

A move is one transaction: a row is in one table or the other, whatever happens. A late sample moves into
another packed row of its minute, and so does the second of two with the same key and cycle. Samples off the
grid of cycles stay where they are. A bucket of the tier that changes leaves its packed row: the roll-up makes
it again, and it moves into another packed row of its span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.sample import SampleSchema
from storage.schema.samples import (
    RECORDER,
    TIME,
    columns_of,
    key_columns,
    literal,
    packed_of,
    quoted,
    recent_of,
    shortened,
    sql_type_of,
    table_comment,
    table_of,
)
from storage.tiers.plain.partitions import Partitioned, ensure_default, leave_unanalyzed
from storage.tiers.schema import EPOCH, columns_in, listed

if TYPE_CHECKING:
    from storage.database import AnyConnection

SLOTS = 600
CYCLES, SECONDS = Partitioned("packed_cycles"), Partitioned("packed_seconds")
PACKING = "decahertz.packing"
"""Setting of a transaction that packs: it changes no bucket, so its deletions make none dirty."""

_MOST_COLUMNS = 400
"""A page has 8 kB, and a long array takes 18 bytes there."""
PRESENT = "_present"
_PRESENT = quoted(PRESENT)
# The planner takes what the statement deletes for one row, and would join all of it with all of it.
_SETTINGS = f"""
SET LOCAL {PACKING} = 'on'; SET LOCAL jit = off;
SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off
"""


@dataclass(frozen=True, slots=True)
class Grid:
    """The slots of packed rows."""

    catalogue: Partitioned
    """The table that has one row for each slot of the spans that are packed."""
    start: str
    """Its column with the start of the span."""
    slot_ns: int
    series: int = 0
    """Number of series that a transaction packs; 0: all."""

    @property
    def span_ns(self) -> int:
        """Time of a packed row."""
        return SLOTS * self.slot_ns

    @property
    def slot(self) -> str:
        """The width of a slot as an SQL constant."""
        return f"INTERVAL '{self.slot_ns // 10**6} milliseconds'"

    @property
    def span(self) -> str:
        """The time of a packed row as an SQL constant."""
        return f"INTERVAL '{self.span_ns // NS_PER_SECOND} seconds'"

    def insert(self) -> str:
        """The statement that adds the span ``$1`` to the catalogue."""
        name = quoted(self.catalogue.name)
        return f"""
            INSERT INTO {name} ({TIME}, {self.start}, slot)
            SELECT $1::timestamptz + n * {self.slot}, $1, n + 1 FROM generate_series(0, {SLOTS - 1}) AS n
            WHERE NOT EXISTS (SELECT FROM {name} WHERE {TIME} = $1)"""  # noqa: S608 - quoted


CYCLE_GRID = Grid(CYCLES, "minute", CYCLE_NS)
SECOND_GRID = Grid(SECONDS, "span", NS_PER_SECOND, series=32)
MINUTE_NS = CYCLE_GRID.span_ns
_MINUTE = CYCLE_GRID.span


class PackedTable:
    """Names and statements of one table of samples or of a tier: recent rows, packed rows, and both."""

    def __init__(
        self,
        table: str,
        key: Sequence[str],
        metrics: Mapping[str, str],
        *,
        grid: Grid = CYCLE_GRID,
        recent: Partitioned | None = None,
    ) -> None:
        """``metrics``: SQL types of the recent table's columns besides time and key, in their order."""
        self.table = table
        self.grid = grid
        self.recent = recent or Partitioned(recent_of(table))
        # Statistics of arrays would cost more than packing them.
        self.packed = Partitioned(shortened(table, "_packed"), unanalyzed=(PRESENT, *metrics))
        self.key = tuple(key)
        self.metrics = dict(metrics)

    @property
    def is_narrow(self) -> bool:
        """Whether a packed row fits into a page of PostgreSQL, whatever the lengths of its arrays."""
        return len(self.metrics) <= _MOST_COLUMNS

    def view(self, columns: Sequence[str]) -> str:
        """The view over recent and packed rows; ``columns`` is their order, new ones last."""
        return f"CREATE OR REPLACE VIEW {quoted(self.table)} AS {self.rows(columns)}"

    def rows(self, columns: Sequence[str]) -> str:
        """A query for the rows of all times; a condition on its ``time`` selects packed rows by index."""
        packed = {TIME: f"catalogue.{TIME}", **{name: f"packed.{quoted(name)}" for name in self.key}}
        packed |= {name: f"packed.{quoted(name)}[catalogue.slot]" for name in self.metrics}
        selected = ", ".join(f"{packed[name]} AS {quoted(name)}" for name in columns)
        return f"""
            SELECT {listed(columns)} FROM {quoted(self.recent.name)}
            UNION ALL
            SELECT {selected} FROM {quoted(self.grid.catalogue.name)} AS catalogue
            JOIN {quoted(self.packed.name)} AS packed ON packed.{TIME} = catalogue.{self.grid.start}
            WHERE packed.{_PRESENT} IS NULL OR packed.{_PRESENT}[catalogue.slot]"""  # noqa: S608 - quoted

    def between(
        self, start: str, end: str, columns: Sequence[str], within: tuple[str, str] | None = None
    ) -> str:
        """A query for the samples of ``[start, end)``, two SQL expressions.

        For statements that read many: it unpacks each packed row once, where the view looks up each sample.
        ``within``: two more that a plan knows the values of, where it does not know ``start`` and ``end``; it
        then has the partitions of that time alone.
        """
        metrics = [name for name in columns if name in self.metrics]
        arrays = [f"packed.{_PRESENT}", *(f"packed.{quoted(name)}" for name in metrics)]
        bounds = f"{TIME} >= {start} AND {TIME} < {end}"
        spans = self._spans(start, end)
        planned, planned_spans = "", ""
        if within:
            planned = f" AND {TIME} >= {within[0]} AND {TIME} < {within[1]}"
            planned_spans = f" AND {self._spans(*within)}"
        return f"""
            SELECT {listed(columns)} FROM {quoted(self.recent.name)} WHERE {bounds}{planned}
            UNION ALL
            SELECT {listed(columns)} FROM (
                SELECT packed.{TIME} + (slots._slot - 1) * {self.grid.slot} AS {TIME},
                    {", ".join([f"packed.{quoted(name)}" for name in self.key])},
                    packed.{_PRESENT} IS NULL OR slots.{_PRESENT} AS {_PRESENT}
                    {"".join(f", slots.{quoted(name)}" for name in metrics)}
                FROM {quoted(self.packed.name)} AS packed
                CROSS JOIN LATERAL ROWS FROM (generate_series(1, {SLOTS}), unnest({", ".join(arrays)}))
                    AS slots (_slot, {", ".join([_PRESENT, *map(quoted, metrics)])})
                WHERE {spans}{planned_spans}
            ) AS unpacked WHERE {_PRESENT} AND {bounds}"""  # noqa: S608 - quoted

    def by_minute(self, start: str, end: str, columns: Sequence[str]) -> str:
        """As :meth:`between`, with a column ``_minute``, for statements that order by it, then by time.

        PostgreSQL then reads one minute after the other, and stops at a limit.
        """
        recent, packed = quoted(self.recent.name), quoted(self.packed.name)
        oldest = _extreme("least", f"min({TIME})", recent, packed)
        newest = _extreme("greatest", f"max({TIME}) + {_MINUTE}", recent, packed)
        # Null where nothing is stored: there are no minutes then.
        first = f"CASE WHEN {start} > stored.low THEN {start} ELSE stored.low END"
        low, high = f"greatest({start}, minutes._minute)", f"least({end}, minutes._minute + {_MINUTE})"
        return f"""
            SELECT minutes._minute, samples.* FROM (
                SELECT _minute FROM (SELECT {oldest} AS low, {newest} AS high) AS stored,
                    generate_series(
                        date_bin({_MINUTE}, {first}, {EPOCH}),
                        CASE WHEN {end} < stored.high THEN {end} ELSE stored.high END, {_MINUTE}
                    ) AS _minute
                ORDER BY _minute
            ) AS minutes CROSS JOIN LATERAL ({self.between(low, high, columns)}) AS samples"""  # noqa: S608 - quoted

    def _spans(self, start: str, end: str) -> str:
        """A condition on packed rows. PostgreSQL plans with the result of ``date_bin``, not a difference."""
        first = f"date_bin({self.grid.span}, {start}, {EPOCH})"
        return f"packed.{TIME} >= {first} AND packed.{TIME} < {end}"

    def pack(self) -> str:
        """The statement that moves rows of the span ``$1``; it returns their number."""
        keys, metrics = list(self.key), self.metrics
        recent, slot = quoted(self.recent.name), self.grid.slot
        span = f"recent.{TIME} >= $1 AND recent.{TIME} < $1::timestamptz + {self.grid.span}"
        due = f"{span} AND recent.{TIME} = date_bin({slot}, recent.{TIME}, {EPOCH})"
        chosen = f"SELECT DISTINCT {listed(keys)} FROM {recent} AS recent WHERE {due} ORDER BY {listed(keys)}"  # noqa: S608 - quoted
        is_chosen = (
            f" AND ({listed(keys)}) IN ({chosen} LIMIT {self.grid.series})" if self.grid.series else ""
        )
        arrays = [f"nullif(array_agg({quoted(name)}), {_nulls(kind)})" for name, kind in metrics.items()]
        same_key = " AND ".join(f"moved.{quoted(name)} = keyed.{quoted(name)}" for name in keys)
        # Of samples with one key and cycle the first moves; the others follow at the next round.
        return f"""
            WITH picked AS MATERIALIZED (
                SELECT DISTINCT ON ({listed([*keys, TIME])}) tableoid AS part, ctid AS place
                FROM {recent} AS recent
                WHERE {due}{is_chosen}
                ORDER BY {listed([*keys, TIME])}
            ), moved AS MATERIALIZED (
                DELETE FROM {recent} AS recent USING picked
                WHERE {span}
                    AND recent.tableoid = picked.part AND recent.ctid = picked.place
                RETURNING {", ".join(f"recent.{quoted(name)}" for name in [TIME, *keys, *metrics])}
            ), packed AS (
                INSERT INTO {quoted(self.packed.name)}
                    ({listed([TIME, *keys])}, {_PRESENT}, {listed(metrics)})
                SELECT $1, {listed(keys)}, CASE WHEN NOT bool_and({_PRESENT}) THEN array_agg({_PRESENT}) END,
                    {", ".join(arrays)}
                FROM (
                    SELECT {", ".join(f"keyed.{quoted(name)}" for name in keys)},
                        moved.{TIME} IS NOT NULL AS {_PRESENT},
                        {", ".join(f"moved.{quoted(name)}" for name in metrics)}
                    FROM (SELECT DISTINCT {listed(keys)} FROM moved) AS keyed
                    CROSS JOIN generate_series(1, {SLOTS}) AS _slot
                    LEFT JOIN moved
                        ON {same_key} AND moved.{TIME} = $1::timestamptz + (_slot - 1) * {slot}
                    ORDER BY {", ".join(f"keyed.{quoted(name)}" for name in keys)}, _slot
                ) AS sorted GROUP BY {listed(keys)}
            )
            SELECT count(*) FROM moved"""  # noqa: S608 - quoted

    def clear(self) -> str:
        """The statement that takes the rows at the times ``$1`` out of the spans ``$2``."""
        packed = quoted(self.packed.name)
        return f"""
            WITH kept AS MATERIALIZED (
                SELECT spans.start, array_agg(cleared.{TIME} IS NULL ORDER BY _slot) AS slots
                FROM unnest($2::timestamptz[]) AS spans (start)
                CROSS JOIN generate_series(1, {SLOTS}) AS _slot
                LEFT JOIN unnest($1::timestamptz[]) AS cleared ({TIME})
                    ON cleared.{TIME} = spans.start + (_slot - 1) * {self.grid.slot}
                GROUP BY spans.start
            )
            UPDATE {packed} AS packed SET {_PRESENT} = (
                SELECT array_agg(is_kept AND coalesce(was_present, packed.{_PRESENT} IS NULL) ORDER BY _slot)
                FROM unnest(kept.slots, packed.{_PRESENT}) WITH ORDINALITY
                    AS slots (is_kept, was_present, _slot)
            )
            FROM kept WHERE packed.{TIME} = kept.start AND packed.{TIME} = ANY($2)"""  # noqa: S608 - quoted

    def delete_empty(self) -> str:
        """The statement that deletes the packed rows of the spans ``$1`` that have no row any more."""
        return (
            f"DELETE FROM {quoted(self.packed.name)} WHERE {TIME} = ANY($1)"  # noqa: S608 - quoted
            f" AND NOT true = ANY({_PRESENT})"
        )


def _nulls(sql_type: str) -> str:
    return f"array_fill(NULL::{sql_type}, ARRAY[{SLOTS}])"


def _extreme(function: str, aggregate: str, *relations: str) -> str:
    parts = (f"(SELECT {aggregate} FROM {relation})" for relation in relations)  # noqa: S608 - quoted
    return f"{function}({', '.join(parts)})"


def packed_table(schema: SampleSchema) -> PackedTable:
    """The table of a declaration, for queries of its metrics."""
    metrics = {field.name: sql_type_of(field) for field in schema.metrics}
    return PackedTable(table_of(schema), key_columns(schema), metrics)


async def is_packed(connection: AnyConnection, schema: SampleSchema) -> bool:
    """Whether the database packs the samples of a schema: it is a plain PostgreSQL."""
    return await has_packed(connection, table_of(schema))


async def has_packed(connection: AnyConnection, table: str) -> bool:
    """Whether a sample table has a table with packed samples."""
    name = quoted(packed_of(table))
    found: bool = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name)
    return found


async def oldest_and_newest(connection: AnyConnection, table: str) -> tuple[datetime, datetime] | None:
    """Times of the oldest and the newest raw sample of a sample table; ``None``: it has none.

    On plain PostgreSQL the view would look up each packed sample for that.
    """
    view = quoted(table)
    if not await has_packed(connection, table):
        row = await connection.fetchrow(f"SELECT min({TIME}), max({TIME}) FROM {view}")  # noqa: S608 - quoted
    else:
        relations = quoted(recent_of(table)), quoted(packed_of(table))
        low = _extreme("least", f"min({TIME})", *relations)
        high = _extreme("greatest", f"max({TIME})", *relations)
        # Qualified, because any name may be that of a metric.
        within = f"samples.{TIME} >= {{0}} AND samples.{TIME} < {{0}} + {_MINUTE}"
        row = await connection.fetchrow(
            f"""
            SELECT (SELECT min(samples.{TIME}) FROM {view} AS samples WHERE {within.format("stored.low")}),
                (SELECT max(samples.{TIME}) FROM {view} AS samples WHERE {within.format("stored.high")})
            FROM (
                SELECT {low} AS low, date_bin({_MINUTE}, {high}, {EPOCH}) AS high OFFSET 0
            ) AS stored"""  # noqa: S608 - quoted
        )
    return None if row is None or row[0] is None else (row[0], row[1])


async def prepare_packed(connection: AnyConnection, schema: SampleSchema) -> PackedTable:
    """Creates the packed table and the view, or adds the columns of new metrics, in a transaction."""
    table, keys = table_of(schema), key_columns(schema)
    stored = await columns_in(connection, recent_of(table))
    metrics = {name: sql_type for name, sql_type in stored.items() if name not in (TIME, *keys)}
    packed = PackedTable(table, keys, metrics)
    await ensure_packed(connection, packed)
    shown = await columns_in(connection, table)
    await connection.execute(packed.view([*shown, *(column for column in stored if column not in shown)]))
    comments = {column.name: column.comment for column in columns_of(schema)}
    statements = [f"COMMENT ON VIEW {quoted(table)} IS {literal(table_comment(schema))}"]
    statements += [
        f"COMMENT ON COLUMN {quoted(table)}.{quoted(column)} IS {literal(comments[column])}"
        for column in stored
        if column not in shown and column in comments
    ]
    await connection.execute("; ".join(statements))
    await take_inserts(connection, table, packed.recent.name)
    return packed


async def ensure_packed(
    connection: AnyConnection, packed: PackedTable, unknown: Mapping[str, str] | None = None
) -> None:
    """Creates the table of packed rows, or adds the columns of new metrics, in a transaction.

    ``unknown``: the value that packed rows have in a new column, as SQL, if that is not null.
    """
    name, unknown = quoted(packed.packed.name), unknown or {}
    keys, metrics = packed.key, packed.metrics
    existing = await columns_in(connection, packed.packed.name)
    if not existing:
        columns = [
            f"{TIME} timestamptz NOT NULL",
            *(f'{quoted(one)} text COLLATE "C" NOT NULL' for one in keys),
        ]
        columns += [f"{_PRESENT} boolean[]", *(f"{quoted(one)} {kind}[]" for one, kind in metrics.items())]
        await connection.execute(f"CREATE TABLE {name} ({', '.join(columns)}) PARTITION BY RANGE ({TIME})")
        await connection.execute(f"CREATE INDEX ON {name} ({TIME})")
        key = [one for one in keys if one != RECORDER]
        if key:
            await connection.execute(f"CREATE INDEX ON {name} ({listed(key)}, {TIME})")
        text = f"Packed rows behind the view {packed.table}; query the view."
        await connection.execute(f"COMMENT ON TABLE {name} IS {literal(text)}")
    for column, kind in metrics.items() if existing else ():
        if column not in existing:
            add = f"ALTER TABLE {name} ADD COLUMN {quoted(column)} {kind}[]"
            if column in unknown:
                add += f" DEFAULT array_fill({unknown[column]}, ARRAY[{SLOTS}])"
            await connection.execute(f"{add}; ALTER TABLE {name} ALTER COLUMN {quoted(column)} DROP DEFAULT")
    await ensure_default(connection, packed.packed)
    if metrics.keys() - existing.keys():
        await leave_unanalyzed(connection, name, packed.packed.unanalyzed)
    await ensure_default(connection, packed.grid.catalogue)


async def take_inserts(connection: AnyConnection, view: str, recent: str) -> None:
    """Lets programs insert into the view: their rows become recent ones."""
    schema = quoted(await connection.fetchval("SELECT current_schema()"))
    function = quoted(shortened(view, "_insert"))
    columns = [*(await columns_in(connection, view))]
    values = ", ".join(f"NEW.{quoted(name)}" for name in columns)
    await connection.execute(
        f"CREATE OR REPLACE FUNCTION {schema}.{function}() RETURNS trigger LANGUAGE plpgsql"  # noqa: S608 - quoted
        " SET search_path = pg_catalog, pg_temp AS $function$ BEGIN"
        f" INSERT INTO {schema}.{quoted(recent)} ({listed(columns)}) VALUES ({values});"
        " RETURN NEW; END $function$"
    )
    await connection.execute(
        f"CREATE OR REPLACE TRIGGER takes_inserts INSTEAD OF INSERT ON {quoted(view)}"
        f" FOR EACH ROW EXECUTE FUNCTION {schema}.{function}()"
    )


async def pack_span(connection: AnyConnection, table: PackedTable, start: datetime) -> int:
    """Moves rows of a span into the packed table, in one transaction; returns their number."""
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute(_SETTINGS)
        await connection.execute(table.grid.insert(), start)
        moved: int = await connection.fetchval(table.pack(), start)
    return moved


async def clear(connection: AnyConnection, table: PackedTable, times: Sequence[datetime]) -> None:
    """Takes the rows at these times, which are sorted, out of the packed rows, in a transaction."""
    catalogue = quoted(table.grid.catalogue.name)
    spans = await connection.fetchval(
        f"SELECT array_agg(DISTINCT {table.grid.start}) FROM {catalogue}"  # noqa: S608 - quoted
        f" WHERE {TIME} = ANY($1) AND {TIME} >= $2 AND {TIME} <= $3",
        times,
        times[0],
        times[-1],
    )
    if spans:
        await connection.execute(table.clear(), times, spans)
        await connection.execute(table.delete_empty(), spans)

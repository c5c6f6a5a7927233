"""The tiers on plain PostgreSQL: partitions, dirty buckets, and tables that are rolled up.

A trigger records for every statement which buckets its rows fall into, in the same transaction, in
``{table}_dirty_buckets``. The view that readers select from computes a dirty bucket from the finer tier and
takes every other bucket from the rolled-up table. So answers are right at every moment: the roll-up
(:mod:`storage.tiers.plain.roll_up`) may lag, crash or stand still, and answers only get slower.

Dirty buckets are only ever inserted. A roll-up deletes those that its snapshot shows, so a row that is
committed meanwhile keeps its own, and neither waits for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.sample import SampleSchema
from storage.schema.samples import RECORDER, TIME, literal, quoted, recent_of, shortened, table_of
from storage.tiers.names import ROLLED, Suffix, Tier, finer, relation_of, width_ns
from storage.tiers.plain.packed import PACKING, SECOND_GRID, PackedTable, ensure_packed, prepare_packed
from storage.tiers.plain.partitions import DAY, MONTH, YEAR, Partitioned, ensure_default
from storage.tiers.plain.sparse import UNKNOWN, complete, stored
from storage.tiers.schema import (
    TierSchema,
    aggregates,
    bucket,
    columns_in,
    comment_tier,
    interval,
    listed,
    tier_schema_of,
)

if TYPE_CHECKING:
    from storage.database import AnyConnection

PACKED_TIERS = (Tier.RAW, Tier.S1)
"""Tiers whose rows are packed when they are old."""
PARTITION_DAYS = {Tier.S1: DAY, Tier.M1: MONTH, Tier.H1: YEAR}

_LAST = "(array_agg({value} ORDER BY time DESC) FILTER (WHERE {value} IS NOT NULL))[1]"
_WITHIN = ("$2::timestamptz", "$3::timestamptz")
_TRIGGERS = (
    ("dirty_insert", "INSERT", "NEW"),
    ("dirty_delete", "DELETE", "OLD"),
    ("dirty_update_old", "UPDATE", "OLD"),
    ("dirty_update_new", "UPDATE", "NEW"),
)


class PlainTable:
    """Names and statements of one sample table and its tiers."""

    def __init__(
        self,
        schema: TierSchema,
        orders: dict[Tier, list[str]] | None = None,
        raw: PackedTable | None = None,
    ) -> None:
        """``orders``: the columns of the rolled-up tables in their stored order, if that is known.

        ``raw``: the raw samples as they are stored, if that is known.
        """
        self.schema = schema
        self.dirty_buckets = dirty_buckets_of(schema.table)
        metrics = {metric.name: metric.sql_type for metric in schema.metrics}
        self.raw = raw or PackedTable(schema.table, schema.key, metrics)
        self._orders = orders or {}
        columns = {name: self.schema.columns()[name] for name in self.columns(Tier.S1)}
        self._seconds = PackedTable(
            self.schema.relation(Tier.S1),
            schema.key,
            {name: kind for name, kind in columns.items() if name not in (TIME, *schema.key)},
            grid=SECOND_GRID,
            recent=self.rolled(Tier.S1),
        )
        self._roll_ups: dict[Tier, str] = {}

    def rolled(self, tier: Tier) -> Partitioned:
        """The table that a tier is rolled up into."""
        return Partitioned(shortened(self.schema.relation(tier), "_rolled"), PARTITION_DAYS[tier])

    def partitioned(self, tier: Tier) -> Partitioned:
        """The table that rows of a tier are written into."""
        return self.raw.recent if tier is Tier.RAW else self.rolled(tier)

    def packed(self, tier: Tier) -> PackedTable:
        """The packed rows of one of :data:`PACKED_TIERS`, and those that are not packed yet."""
        return self.raw if tier is Tier.RAW else self._seconds

    def stored(self, tier: Tier) -> tuple[Partitioned, ...]:
        """The tables that have the rows of a tier; they are written into the first."""
        packed = (self.packed(tier).packed,) if tier in PACKED_TIERS else ()
        return (self.partitioned(tier), *packed)

    def columns(self, tier: Tier) -> list[str]:
        """The columns of a tier, in the order of its table."""
        return self._orders.get(tier) or list(self.schema.columns())

    def roll_up(self, tier: Tier) -> str:
        """The statement that rolls buckets up; parameters: their starts, the first start, the last end."""
        if tier not in self._roll_ups:
            made = self._aggregation(tier, f"unnest($1::timestamptz[]) AS dirty ({TIME})", _WITHIN)
            columns, values = self.columns(tier), stored(self.schema)
            selected = ", ".join(values.get(name, quoted(name)) for name in columns)
            self._roll_ups[tier] = (
                f"INSERT INTO {quoted(self.rolled(tier).name)} ({listed(columns)})"  # noqa: S608 - quoted
                f" SELECT {selected} FROM ({made}) AS made"
            )
        return self._roll_ups[tier]

    def _aggregation(self, tier: Tier, dirty: str, within: tuple[str, str] | None) -> str:
        """A query that makes buckets from the finer tier. ``dirty``: a relation ``dirty`` with ``time``."""
        values = aggregates(self.schema, tier, _LAST)
        keys = {name: f"source.{quoted(name)}" for name in self.schema.key}
        inner = ", ".join(f"{value} AS {quoted(name)}" for name, value in (keys | values).items())
        outer = ", ".join(
            f"{'dirty' if name == TIME else 'made'}.{quoted(name)}" for name in self.columns(tier)
        )
        bucket = f"dirty.{TIME}", f"dirty.{TIME} + {interval(tier)}"
        if tier is Tier.S1:
            names = [TIME, *self.schema.key, *(metric.name for metric in self.schema.metrics)]
            source = f"({self.raw.between(*bucket, names, within)}) AS source"
        else:
            finer_tier = finer(tier)
            relation = quoted(self.schema.relation(finer_tier))
            if within or finer_tier is Tier.S1:
                relation = f"({self.rows(finer_tier, within, bucket)})"
            source = (
                f"{relation} AS source WHERE source.{TIME} >= {bucket[0]} AND source.{TIME} < {bucket[1]}"
            )
        # Names come from declarations and are quoted.
        return f"""
            SELECT {outer} FROM {dirty} CROSS JOIN LATERAL (
                SELECT {inner} FROM {source} GROUP BY {", ".join(keys.values())}
            ) AS made"""  # noqa: S608 - see above

    def rows(
        self,
        tier: Tier,
        within: tuple[str, str] | None = None,
        bounds: tuple[str, str] | None = None,
    ) -> str:
        """A query for the rows of a tier: rolled-up rows, and dirty buckets made from the finer tier.

        ``within``: two SQL expressions, the start of the first bucket that is wanted and the end of the
        last. The plan then has the partitions of that time alone, those of the finer tiers too.
        ``bounds``: two that a plan does not know the values of. Packed rows of other times are not unpacked.

        The dirty buckets that hide rolled-up rows are an array, which PostgreSQL always expects to have a few
        elements, and joins by hash. Statistics of the table are out of date whenever it matters, because its
        rows come and go all the time: the planner would expect one row and compare every row with every one.
        """
        width = width_ns(tier) // 10**9
        planned = f" AND {{}} >= {within[0]} AND {{}} < {within[1]}" if within else ""
        dirty = (
            f"SELECT {TIME} FROM {quoted(self.dirty_buckets)} WHERE width_seconds = {width}"  # noqa: S608 - quoted
            + planned.format(TIME, TIME)
        )
        values = complete(self.schema)
        rolled = ", ".join(
            f"{values.get(name, quoted(name))} AS {quoted(name)}" for name in self.columns(tier)
        )
        relation = quoted(self.rolled(tier).name)
        if tier in PACKED_TIERS:
            wanted, columns = bounds or within, self.columns(tier)
            packed = (
                self._seconds.between(*wanted, columns, within) if wanted else self._seconds.rows(columns)
            )
            relation = f"({packed})"
        return f"""
            SELECT {rolled} FROM {relation} AS rolled
            WHERE NOT EXISTS (SELECT FROM unnest(ARRAY({dirty})) AS dirty (start) WHERE start = rolled.{TIME})
                {planned.format(*[f"rolled.{TIME}"] * 2)}
            UNION ALL
            {self._aggregation(tier, f"({dirty} GROUP BY {TIME}) AS dirty", within)}"""  # noqa: S608 - quoted

    def view(self, tier: Tier) -> str:
        """The statement that creates the view that readers select from."""
        return f"CREATE OR REPLACE VIEW {quoted(self.schema.relation(tier))} AS {self.rows(tier)}"


def dirty_buckets_of(table: str) -> str:
    """The table with the dirty buckets of a sample table."""
    return shortened(table, "_dirty_buckets")


async def prepare_table(connection: AnyConnection, schema: SampleSchema) -> PlainTable:
    """Creates the tiers of a partitioned sample table, or adds the columns of new metrics."""
    raw = Partitioned(recent_of(table_of(schema)))
    async with connection.transaction():  # all or nothing: a row must not be stored without its dirty buckets
        await ensure_default(connection, raw)
        rolled = await columns_in(connection, shortened(relation_of(schema, Tier.S1), "_rolled"))
        table = PlainTable(tier_schema_of(schema, await columns_in(connection, raw.name), rolled))
        packed = await prepare_packed(connection, schema)
        await _record_dirty_buckets(connection, table)
        orders = {tier: await _ensure_rolled(connection, table, tier) for tier in ROLLED}
        table = PlainTable(table.schema, orders, packed)
        await _ensure_packed_seconds(connection, table)
        for tier in ROLLED:
            commented = await columns_in(connection, table.schema.relation(tier))
            await connection.execute(table.view(tier))
            await comment_tier(connection, table.schema, tier, commented)
    return table


async def _record_dirty_buckets(connection: AnyConnection, table: PlainTable) -> None:
    dirty_buckets = quoted(table.dirty_buckets)
    await connection.execute(
        "INSERT INTO tier_state (table_name) VALUES ($1) ON CONFLICT DO NOTHING",
        table.schema.table,
    )
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", dirty_buckets):
        # Rows come and go all the time: autovacuum goes by their number, not by their share.
        await connection.execute(
            f"CREATE TABLE {dirty_buckets} ({TIME} timestamptz NOT NULL, width_seconds integer NOT NULL) WITH"
            " (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,"
            " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000)",
        )
        index = quoted(shortened(table.dirty_buckets, "_i"))
        await connection.execute(f"CREATE INDEX {index} ON {dirty_buckets} (width_seconds, {TIME})")
        comments = {
            f"TABLE {dirty_buckets}": "Buckets whose raw rows changed since they were last rolled up.",
            f"COLUMN {dirty_buckets}.{TIME}": "Start of the bucket.",
            f"COLUMN {dirty_buckets}.width_seconds": "Width of the bucket.",
        }
        for target, text in comments.items():
            await connection.execute(f"COMMENT ON {target} IS {literal(text)}")
    schema = quoted(await connection.fetchval("SELECT current_schema()"))
    function = quoted(shortened(table.schema.table, "_record_dirty_buckets"))
    await connection.execute(_trigger_function(table, schema, function))
    for trigger, event, rows in _TRIGGERS:
        await connection.execute(
            f"CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {quoted(table.raw.recent.name)}"
            f" REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT"
            f" WHEN (current_setting('{PACKING}', true) IS DISTINCT FROM 'on')"
            f" EXECUTE FUNCTION {schema}.{function}()",
        )


def _trigger_function(table: PlainTable, schema: str, function: str) -> str:
    buckets = ", ".join(f"({width_ns(tier) // 10**9}, {bucket(tier)})" for tier in ROLLED)
    # Names are qualified, so that no search path changes their meaning.
    return f"""CREATE OR REPLACE FUNCTION {schema}.{function}() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
        BEGIN
            INSERT INTO {schema}.{quoted(table.dirty_buckets)} (width_seconds, {TIME})
            SELECT DISTINCT dirty.width_seconds, dirty.start
            FROM (SELECT DISTINCT {TIME} FROM changed) AS cycles
            CROSS JOIN LATERAL (VALUES {buckets}) AS dirty (width_seconds, start)
            WHERE cycles.{TIME} >= (
                SELECT raw_from FROM {schema}.tier_state WHERE table_name = {literal(table.schema.table)}
            );
            RETURN NULL;
        END $function$"""  # noqa: S608 - see above


async def _ensure_rolled(connection: AnyConnection, table: PlainTable, tier: Tier) -> list[str]:
    """Creates the rolled-up table of a tier, or adds missing columns; returns its columns in order."""
    rolled = table.rolled(tier)
    existing = await columns_in(connection, rolled.name)
    declared = table.schema.columns()
    if existing:
        missing = {name: sql_type for name, sql_type in declared.items() if name not in existing}
        for name, sql_type in missing.items():
            alter = f"ALTER TABLE {quoted(rolled.name)}"
            default = ""
            if f"{name.rpartition('_')[0]}_{Suffix.LAST}" in existing:
                default = f" DEFAULT {UNKNOWN[sql_type]}"
            await connection.execute(
                f"{alter} ADD COLUMN {quoted(name)} {sql_type}{default};"
                f" {alter} ALTER COLUMN {quoted(name)} DROP DEFAULT"
            )
        return [*existing, *missing]
    required = {TIME, *table.schema.key}
    definitions = ", ".join(
        f"{quoted(name)} {sql_type}"
        + (' COLLATE "C"' if name in table.schema.key else "")
        + (" NOT NULL" if name in required else "")
        for name, sql_type in declared.items()
    )
    await connection.execute(
        f"CREATE TABLE {quoted(rolled.name)} ({definitions}) PARTITION BY RANGE ({TIME})"
    )
    text = f"Rows behind the view {table.schema.relation(tier)}; query the view."
    await connection.execute(f"COMMENT ON TABLE {quoted(rolled.name)} IS {literal(text)}")
    # One row per key and bucket, whatever happens. The recorder comes last, because histories often read all
    # recorders.
    key = [name for name in table.schema.key if name != RECORDER]
    columns = listed([*key, TIME, RECORDER])
    await connection.execute(f"CREATE UNIQUE INDEX ON {quoted(rolled.name)} ({columns})")
    if key:
        await connection.execute(f"CREATE INDEX ON {quoted(rolled.name)} ({TIME})")
    await ensure_default(connection, rolled)
    return list(declared)


async def _ensure_packed_seconds(connection: AnyConnection, table: PlainTable) -> None:
    """Creates the table of the packed ``1s`` tier, or adds missing columns."""
    packed = table.packed(Tier.S1)
    existing = await columns_in(connection, packed.packed.name)
    unknown = {
        name: UNKNOWN[kind]
        for name, kind in packed.metrics.items()
        if name not in existing and f"{name.rpartition('_')[0]}_{Suffix.LAST}" in existing
    }
    await ensure_packed(connection, packed, unknown)

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
from storage.schema.samples import RECORDER, TIME, literal, quoted, table_of
from storage.tiers.names import ROLLED, Tier, finer, relation_of, width_ns
from storage.tiers.plain.partitions import Partitioned, create_partitions, ensure_default
from storage.tiers.schema import (
    TierSchema,
    aggregates,
    bucket,
    columns_in,
    comment_tier,
    interval,
    listed,
    shortened,
    tier_schema_of,
)

if TYPE_CHECKING:
    from storage.database import AnyConnection

PARTITION_DAYS = {Tier.RAW: 1, Tier.S1: 1, Tier.M1: 30, Tier.H1: 360}

_LAST = "(array_agg({value} ORDER BY time DESC) FILTER (WHERE {value} IS NOT NULL))[1]"
_TRIGGERS = (
    ("dirty_insert", "INSERT", "NEW"),
    ("dirty_delete", "DELETE", "OLD"),
    ("dirty_update_old", "UPDATE", "OLD"),
    ("dirty_update_new", "UPDATE", "NEW"),
)


class PlainTable:
    """Names and statements of one sample table and its tiers."""

    def __init__(self, schema: TierSchema, orders: dict[Tier, list[str]] | None = None) -> None:
        """``orders``: the columns of the rolled-up tables in their stored order, if that is known."""
        self.schema = schema
        self.dirty_buckets = dirty_buckets_of(schema.table)
        self.raw = Partitioned(schema.table, PARTITION_DAYS[Tier.RAW])
        self._orders = orders or {}

    def rolled(self, tier: Tier) -> Partitioned:
        """The table that a tier is rolled up into."""
        return Partitioned(shortened(self.schema.relation(tier), "_rolled"), PARTITION_DAYS[tier])

    def partitioned(self, tier: Tier) -> Partitioned:
        """The table that stores a tier."""
        return self.raw if tier is Tier.RAW else self.rolled(tier)

    def columns(self, tier: Tier) -> list[str]:
        """The columns of a tier, in the order of its table."""
        return self._orders.get(tier) or list(self.schema.columns())

    def aggregation(self, tier: Tier, buckets: str) -> str:
        """A query that makes buckets from the finer tier. ``buckets``: a relation ``dirty`` with ``time``."""
        source = self.schema.relation(finer(tier))
        values = aggregates(self.schema, tier, _LAST)
        keys = {name: f"source.{quoted(name)}" for name in self.schema.key}
        inner = ", ".join(f"{value} AS {quoted(name)}" for name, value in (keys | values).items())
        outer = ", ".join(
            f"{'dirty' if name == TIME else 'made'}.{quoted(name)}" for name in self.columns(tier)
        )
        # Names come from declarations and are quoted.
        return f"""
            SELECT {outer} FROM {buckets} CROSS JOIN LATERAL (
                SELECT {inner} FROM {quoted(source)} AS source
                WHERE source.{TIME} >= dirty.{TIME} AND source.{TIME} < dirty.{TIME} + {interval(tier)}
                GROUP BY {", ".join(keys.values())}
            ) AS made"""  # noqa: S608 - see above

    def view(self, tier: Tier) -> str:
        """The view that readers select from: rolled-up rows, and dirty buckets made from the finer tier."""
        width = width_ns(tier) // 10**9
        dirty_buckets = quoted(self.dirty_buckets)
        dirty = f"SELECT {TIME} FROM {dirty_buckets} WHERE width_seconds = {width}"  # noqa: S608 - quoted
        return f"""CREATE OR REPLACE VIEW {quoted(self.schema.relation(tier))} AS
            SELECT {listed(self.columns(tier))} FROM {quoted(self.rolled(tier).name)} AS rolled
            WHERE NOT EXISTS ({dirty} AND {dirty_buckets}.{TIME} = rolled.{TIME})
            UNION ALL
            {self.aggregation(tier, f"({dirty} GROUP BY {TIME}) AS dirty")}"""  # noqa: S608 - quoted


def dirty_buckets_of(table: str) -> str:
    """The table with the dirty buckets of a sample table."""
    return shortened(table, "_dirty_buckets")


async def prepare_table(connection: AnyConnection, schema: SampleSchema, now_ns: int) -> PlainTable:
    """Create the tiers of a partitioned sample table, or add the columns of new metrics."""
    raw = Partitioned(table_of(schema), PARTITION_DAYS[Tier.RAW])
    async with connection.transaction():  # all or nothing: a row must not be stored without its dirty buckets
        await ensure_default(connection, raw)
        rolled = await columns_in(connection, shortened(relation_of(schema, Tier.S1), "_rolled"))
        table = PlainTable(tier_schema_of(schema, await columns_in(connection, raw.name), rolled))
        await _record_dirty_buckets(connection, table)
        table = PlainTable(
            table.schema, {tier: await _ensure_rolled(connection, table, tier) for tier in ROLLED}
        )
        for tier in ROLLED:
            commented = await columns_in(connection, table.schema.relation(tier))
            await connection.execute(table.view(tier))
            await comment_tier(connection, table.schema, tier, commented)
    for tier in Tier:
        await create_partitions(connection, table.partitioned(tier), now_ns)
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
            f"CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {quoted(table.schema.table)}"
            f" REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}()",
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
    """Create the rolled-up table of a tier, or add missing columns; returns its columns in order."""
    rolled = table.rolled(tier)
    stored = await columns_in(connection, rolled.name)
    declared = table.schema.columns()
    if stored:
        missing = {name: sql_type for name, sql_type in declared.items() if name not in stored}
        for name, sql_type in missing.items():
            await connection.execute(
                f"ALTER TABLE {quoted(rolled.name)} ADD COLUMN {quoted(name)} {sql_type}"
            )
        return [*stored, *missing]
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

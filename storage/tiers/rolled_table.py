"""The tiers on PostgreSQL alone: partitions, marks of what has changed, and tables that are rolled up.

A trigger notes for every statement which buckets its rows fall in, in the same transaction, in
``{table}_changed``. A bucket with a mark is not taken from the rolled table: the view that readers see
computes it from the finer tier when it is asked. So an answer is right at every moment, and the roll-up
(:mod:`storage.tiers.roll_up`) may come late, crash, or stand still: it makes answers fast, not right.

Marks are only ever added. Whoever rolls a bucket up removes those marks that his snapshot shows, so a row
that is committed meanwhile keeps its own. None waits for the other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import to_datetime
from decahertz.sample import SampleSchema
from storage.schema.samples import TIME, literal, quoted, table_of
from storage.tiers.convert import is_flat, to_partitions
from storage.tiers.names import ROLLED, Tier, finer, relation_of, width_ns
from storage.tiers.partitions import Partitioned, ensure_rest, make_room
from storage.tiers.schema import (
    TierSchema,
    aggregates_of_raw,
    aggregates_of_tier,
    bucket,
    columns_in,
    interval,
    listed,
    shortened,
    tier_schema_of,
)

if TYPE_CHECKING:
    from storage.database import AnyConnection

EVENT_TABLES = ("quotes", "ticks")
"""The event tables that grow without end and are partitioned too."""
PARTITION_DAYS = {Tier.RAW: 1, Tier.S1: 1, Tier.M1: 30, Tier.H1: 360}

_NEWEST = "(array_agg({value} ORDER BY time DESC) FILTER (WHERE {value} IS NOT NULL))[1]"
_TRIGGERS = (
    ("mark_insert", "INSERT", "NEW"),
    ("mark_delete", "DELETE", "OLD"),
    ("mark_update_old", "UPDATE", "OLD"),
    ("mark_update_new", "UPDATE", "NEW"),
)


class PlainTable:
    """Names and statements of one sample table."""

    def __init__(self, schema: TierSchema, orders: dict[Tier, list[str]] | None = None) -> None:
        """``orders`` are the columns of the rolled tables as they are; else those of the schema."""
        self.schema = schema
        self.changed = shortened(schema.table, "_changed")
        self.raw = Partitioned(schema.table, PARTITION_DAYS[Tier.RAW])
        self._orders = orders or {}

    def rolled(self, tier: Tier) -> Partitioned:
        """The table that a tier is rolled up into."""
        return Partitioned(shortened(self.schema.relation(tier), "_rolled"), PARTITION_DAYS[tier])

    def partitioned(self, tier: Tier) -> Partitioned:
        """The table of a tier."""
        return self.raw if tier is Tier.RAW else self.rolled(tier)

    def columns(self, tier: Tier) -> list[str]:
        """The columns of a tier, in the order of its table."""
        return self._orders.get(tier) or list(self.schema.columns())

    def computed(self, tier: Tier, buckets: str) -> str:
        """A query for buckets, from the finer tier. ``buckets`` is a relation ``changed`` with ``time``."""
        source = self.schema.relation(finer(tier))
        values = (aggregates_of_raw if tier is Tier.S1 else aggregates_of_tier)(self.schema, _NEWEST)
        keys = {name: f"source.{quoted(name)}" for name in self.schema.key}
        inner = ", ".join(f"{made} AS {quoted(name)}" for name, made in (keys | values).items())
        group = f"GROUP BY {', '.join(keys.values())}" if keys else "HAVING count(*) > 0"
        outer = ", ".join(
            f"{'changed' if name == TIME else 'made'}.{quoted(name)}" for name in self.columns(tier)
        )
        # Names come from declarations and are quoted.
        return f"""
            SELECT {outer} FROM {buckets} CROSS JOIN LATERAL (
                SELECT {inner} FROM {quoted(source)} AS source
                WHERE source.{TIME} >= changed.{TIME} AND source.{TIME} < changed.{TIME} + {interval(tier)}
                {group}
            ) AS made"""  # noqa: S608 - see above

    def view(self, tier: Tier) -> str:
        """What readers see: the rolled rows, and what has changed since, computed."""
        width = width_ns(tier) // 10**9
        marks = f"SELECT {TIME} FROM {quoted(self.changed)} WHERE width = {width}"  # noqa: S608 - quoted
        return f"""CREATE OR REPLACE VIEW {quoted(self.schema.relation(tier))} AS
            SELECT {listed(self.columns(tier))} FROM {quoted(self.rolled(tier).name)} AS rolled
            WHERE NOT EXISTS ({marks} AND {quoted(self.changed)}.{TIME} = rolled.{TIME})
            UNION ALL
            {self.computed(tier, f"({marks} GROUP BY {TIME}) AS changed")}"""  # noqa: S608 - quoted


async def prepare(connection: AnyConnection, schema: SampleSchema, now_ns: int) -> PlainTable:
    """Make the tiers of a sample table fit its declaration. Does nothing where they do."""
    name = table_of(schema)
    raw = Partitioned(name, PARTITION_DAYS[Tier.RAW])
    async with connection.transaction():  # whole or not at all: else rows without a mark could stay behind
        was_flat = await is_flat(connection, name)
        had_rows = was_flat and await to_partitions(connection, raw, to_datetime(now_ns))
        there = await columns_in(connection, shortened(relation_of(schema, Tier.S1), "_rolled"))
        table = PlainTable(tier_schema_of(schema, await columns_in(connection, name), there))
        await _make_marks(connection, table)
        orders = {tier: await _make_rolled(connection, table, tier) for tier in ROLLED}
        table = PlainTable(table.schema, orders)
        for tier in ROLLED:
            await connection.execute(table.view(tier))
        if had_rows:
            await _mark_all(connection, table)
    for tier in Tier:
        await make_room(connection, table.partitioned(tier), now_ns)
    return table


async def prepare_events(connection: AnyConnection, now_ns: int) -> None:
    """Make the large event tables partitioned."""
    for name in EVENT_TABLES:
        table = Partitioned(name, 1)
        if await is_flat(connection, name):
            await to_partitions(connection, table, to_datetime(now_ns))
        await make_room(connection, table, now_ns)


async def _make_marks(connection: AnyConnection, table: PlainTable) -> None:
    changed = quoted(table.changed)
    await connection.execute(
        "INSERT INTO tier_state (table_name) VALUES ($1) ON CONFLICT DO NOTHING", table.schema.table
    )
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", changed):
        # Rows come and go all the time: it is vacuumed by their number, not by their share.
        await connection.execute(
            f"CREATE TABLE {changed} (width integer NOT NULL, {TIME} timestamptz NOT NULL) WITH"
            " (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,"
            " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000)"
        )
        await connection.execute(
            f"CREATE INDEX {quoted(shortened(table.changed, '_i'))} ON {changed} (width, {TIME})"
        )
        text = "Buckets that are not rolled up yet, by their width in seconds."
        await connection.execute(f"COMMENT ON TABLE {changed} IS {literal(text)}")
    schema = quoted(await connection.fetchval("SELECT current_schema()"))
    function = quoted(shortened(table.schema.table, "_mark"))
    await connection.execute(_mark_function(table, schema, function))
    for trigger, event, rows in _TRIGGERS:
        await connection.execute(
            f"CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {quoted(table.schema.table)}"
            f" REFERENCING {rows} TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}()"
        )


def _mark_function(table: PlainTable, schema: str, function: str) -> str:
    marks = ", ".join(f"({width_ns(tier) // 10**9}, {bucket(tier)})" for tier in ROLLED)
    # Names are quoted; nobody's search path changes what they stand for.
    return f"""CREATE OR REPLACE FUNCTION {schema}.{function}() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $mark$
        BEGIN
            INSERT INTO {schema}.{quoted(table.changed)} (width, {TIME})
            SELECT DISTINCT mark.width, mark.start
            FROM (SELECT DISTINCT {TIME} FROM touched) AS instants
            CROSS JOIN LATERAL (VALUES {marks}) AS mark (width, start)
            WHERE instants.{TIME} >= (
                SELECT raw_from FROM {schema}.tier_state WHERE table_name = {literal(table.schema.table)}
            );
            RETURN NULL;
        END $mark$"""  # noqa: S608 - see above


async def _make_rolled(connection: AnyConnection, table: PlainTable, tier: Tier) -> list[str]:
    """Make the table of a tier, or add what it lacks; returns its columns in order."""
    rolled = table.rolled(tier)
    there = await columns_in(connection, rolled.name)
    wanted = table.schema.columns()
    required = {TIME, *table.schema.key}
    if not there:
        definitions = ", ".join(
            f"{quoted(name)} {kind}"
            + (' COLLATE "C"' if name in table.schema.key else "")
            + (" NOT NULL" if name in required else "")
            for name, kind in wanted.items()
        )
        await connection.execute(
            f"CREATE TABLE {quoted(rolled.name)} ({definitions}) PARTITION BY RANGE ({TIME})"
        )
        # One row for a key and a bucket, whatever happens; and the order in which histories are read.
        key = listed([*table.schema.key, TIME])
        await connection.execute(f"CREATE UNIQUE INDEX ON {quoted(rolled.name)} ({key})")
        if table.schema.key:
            await connection.execute(f"CREATE INDEX ON {quoted(rolled.name)} ({TIME})")
        await ensure_rest(connection, rolled)
        return list(wanted)
    missing = {name: kind for name, kind in wanted.items() if name not in there}
    for name, kind in missing.items():
        await connection.execute(f"ALTER TABLE {quoted(rolled.name)} ADD COLUMN {quoted(name)} {kind}")
    return [*there, *missing]


async def _mark_all(connection: AnyConnection, table: PlainTable) -> None:
    """Mark every bucket that has rows, day by day: the table is older than its tiers."""
    log = structlog.get_logger(part="tiers")
    source, changed = quoted(table.schema.table), quoted(table.changed)
    await connection.execute("SET LOCAL statement_timeout = 0")
    start: datetime | None = await connection.fetchval(f"SELECT min({TIME}) FROM {source}")  # noqa: S608
    while start is not None:
        end = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        # From second to second over the index, not over the rows.
        await connection.execute(
            f"""
            WITH RECURSIVE seconds AS (
                SELECT {bucket(Tier.S1)} AS {TIME}
                FROM (SELECT min({TIME}) AS {TIME} FROM {source} WHERE {TIME} >= $1) AS first
                UNION ALL
                SELECT date_bin(INTERVAL '1 second', next.{TIME}, TIMESTAMPTZ '1970-01-01 00:00:00+00')
                FROM seconds CROSS JOIN LATERAL (
                    SELECT {TIME} FROM {source} WHERE {TIME} >= seconds.{TIME} + INTERVAL '1 second'
                    ORDER BY {TIME} LIMIT 1
                ) AS next
                WHERE next.{TIME} < $2
            )
            INSERT INTO {changed} (width, {TIME})
            SELECT DISTINCT mark.width, mark.start FROM seconds
            CROSS JOIN LATERAL (VALUES
                {", ".join(f"({width_ns(tier) // 10**9}, {bucket(tier)})" for tier in ROLLED)}
            ) AS mark (width, start)
            """,  # noqa: S608 - names are quoted
            start,
            end,
        )
        log.info("table_marked", table=table.schema.table, until=end.isoformat())
        start = await connection.fetchval(
            f"SELECT min({TIME}) FROM {source} WHERE {TIME} >= $1",  # noqa: S608 - a table's name, quoted
            end,
        )

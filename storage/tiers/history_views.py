"""The views that dashboards read: ``{collector}_history``, all tiers of a sample table with the same columns.

A query chooses the tier by comparing the column ``tier`` with ``decahertz_tier(start, step in ms)``:

    SELECT time, mid_avg, mid_min, mid_max FROM market_history
    WHERE tier = decahertz_tier($__timeFrom(), $__interval_ms) AND $__timeFilter(time) AND venue = 'kraken'

PostgreSQL compares each branch's constant once and does not execute the other branches. Names and columns
stay when the tables below them change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decahertz.metric import Aggregate
from decahertz.sample import SampleSchema
from storage.schema.samples import TIME, key_columns, literal, quoted
from storage.tiers.names import (
    SAMPLES,
    Suffix,
    Tier,
    relation_of,
    retention_days,
    width_ns,
)
from storage.tiers.schema import TierMetric, columns_in, tier_schema_of

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.settings import RetentionSettings

TIER = "tier"


def view_of(schema: SampleSchema) -> str:
    """The view over all tiers of a collector's samples."""
    return f"{schema.collector}_history"


async def prepare_history_views(
    connection: AnyConnection, schemas: Sequence[SampleSchema], retention: RetentionSettings
) -> None:
    """Creates or extends the views, and the function that chooses a tier by what the retention keeps."""
    async with connection.transaction():
        await connection.execute(_tier_function(retention))
        for schema in schemas:
            await _create_view(connection, schema)


def _tier_function(retention: RetentionSettings) -> str:
    """The coarsest tier that is no coarser than the step, of those that still reach back to the start.

    If all of these are too young, the finest tier that reaches back; if none does, the coarsest tier.

    It is declared immutable although it reads the clock: with times written into the query, as Grafana writes
    them, PostgreSQL then evaluates it while it plans, and plans one tier instead of four (3 ms instead of
    11). The answer changes only when a tier's retention passes the start of the range, so a plan would have
    to be kept for hours to read a tier that does not reach back any more.
    """
    seconds = {tier: days * 86_400 or "infinity" for tier, days in retention_days(retention).items()}
    rows = ", ".join(
        f"('{tier}', {width_ns(tier) / 1e6}, '{kept}'::float8)" for tier, kept in seconds.items()
    )
    return f"""
        CREATE OR REPLACE FUNCTION decahertz_tier(range_start timestamptz, step_ms double precision)
        RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $function$
            SELECT tier FROM (VALUES {rows}) AS kept (tier, width_ms, seconds)
            ORDER BY extract(epoch FROM now() - range_start) <= seconds DESC,
                CASE WHEN extract(epoch FROM now() - range_start) > seconds THEN -width_ms END,
                width_ms <= greatest(step_ms, 0) DESC,
                CASE WHEN width_ms <= greatest(step_ms, 0) THEN -width_ms ELSE width_ms END
            LIMIT 1
        $function$"""  # noqa: S608 - constants of this program and numbers of the settings


async def _create_view(connection: AnyConnection, schema: SampleSchema) -> None:
    """Creates the view; columns of metrics that are no longer declared stay and are null."""
    view = view_of(schema)
    existing = await columns_in(connection, view)
    # With the aggregates that the tiers of this database keep, even if they are no longer declared.
    kept = tier_schema_of(schema, tier=await columns_in(connection, relation_of(schema, Tier.S1)))
    branches = {tier: _columns(schema, kept.metrics, tier) for tier in Tier}
    names = [*existing, *(name for name in branches[Tier.RAW] if name not in existing)]
    selects = []
    for tier, columns in branches.items():
        selected = ", ".join(
            f"{columns.get(name, f'NULL::{existing.get(name)}')} AS {quoted(name)}" for name in names
        )
        selects.append(f"SELECT {selected} FROM {quoted(relation_of(schema, tier))}")  # noqa: S608 - quoted
    await connection.execute(f"CREATE OR REPLACE VIEW {quoted(view)} AS {' UNION ALL '.join(selects)}")
    text = f"All tiers of {schema.collector} samples, for dashboards: compare tier with decahertz_tier()."
    comments = {
        TIER: "Tier of the row: raw, 1s, 1m or 1h.",
        TIME: "The cycle, or the start of the bucket, UTC.",
    }
    for field in schema.metrics:
        comments[field.name] = f"{field.metric.help} In a bucket the newest value."
    statements = [f"COMMENT ON VIEW {quoted(view)} IS {literal(text)}"]
    statements += [
        f"COMMENT ON COLUMN {quoted(view)}.{quoted(name)} IS {literal(comment)}"
        for name, comment in comments.items()
        if name not in existing
    ]
    await connection.execute("; ".join(statements))


def _columns(schema: SampleSchema, metrics: Sequence[TierMetric], tier: Tier) -> dict[str, str]:
    """SQL of the view's columns in one tier, by name: newest value, ``_min``, ``_max`` and ``_avg``."""
    raw = tier is Tier.RAW
    columns = {
        TIER: f"{literal(tier)}::text",
        TIME: TIME,
        **{name: quoted(name) for name in key_columns(schema)},
    }
    columns[SAMPLES] = "1::bigint" if raw else SAMPLES
    declared = {metric.name for metric in metrics}
    for metric in metrics:
        name = metric.name
        columns[name] = quoted(name if raw else f"{name}_{Suffix.LAST}")
        aggregates = {
            f"{name}_{one}": quoted(name if raw else f"{name}_{one}")
            for one in (Suffix.MIN, Suffix.MAX)
            if one in metric.suffixes
        }
        if Suffix.SUM in metric.suffixes:
            total, count = quoted(f"{name}_{Suffix.SUM}"), quoted(f"{name}_{Suffix.COUNT}")
            average = f"{quoted(name)}::float8" if raw else f"{total} / nullif({count}, 0)"
            aggregates[f"{name}_{Aggregate.AVG}"] = average
        # A metric may have the name of another one's aggregate; the metric keeps it.
        columns |= {column: sql for column, sql in aggregates.items() if column not in declared}
    return columns

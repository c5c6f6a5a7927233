"""Generations of continuous aggregates, and the views over them that readers select from.

See ``docs/adr/0003-tiers.md`` for the reason to have several.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import to_datetime
from storage.schema.samples import TIME, quoted, shortened
from storage.tiers.names import ROLLED, Tier, finer, width_ns
from storage.tiers.schema import (
    TierSchema,
    aggregates,
    columns_in,
    comment_tier,
    interval,
)

if TYPE_CHECKING:
    from storage.database import AnyConnection

_LAST = "last({value}, time) FILTER (WHERE {value} IS NOT NULL)"


@dataclass(frozen=True, slots=True)
class Generation:
    """The continuous aggregates of a sample table with one set of metrics."""

    table: str
    number: int
    valid_from: datetime | None
    """Readers see it from here to the start of the next one; ``None``: from the beginning."""

    def view(self, tier: Tier) -> str:
        """The continuous aggregate of a tier."""
        return shortened(f"{self.table}_{tier}", f"_g{self.number}")


async def generations_of(connection: AnyConnection, table: str) -> list[Generation]:
    """The generations of a table, oldest first."""
    rows = await connection.fetch(
        "SELECT generation, nullif(valid_from, '-infinity') FROM tier_generations"
        " WHERE table_name = $1 ORDER BY generation",
        table,
    )
    return [Generation(table, number, valid_from) for number, valid_from in rows]


async def ensure_generation(connection: AnyConnection, schema: TierSchema, now_ns: int) -> list[Generation]:
    """Creates a generation unless the newest has all columns; returns all of them, oldest first."""
    existing = await generations_of(connection, schema.table)
    if (
        existing
        and schema.columns().keys() <= (await columns_in(connection, existing[-1].view(Tier.S1))).keys()
    ):
        return existing
    async with connection.transaction():
        generations = [*existing, await _create(connection, schema, existing, now_ns)]
        for tier in ROLLED:
            await _create_view(connection, schema, tier, generations)
    log = structlog.get_logger(part="tiers")
    log.info("generation_created", table=schema.table, generation=len(generations))
    return generations


async def _create(
    connection: AnyConnection, schema: TierSchema, existing: list[Generation], now_ns: int
) -> Generation:
    """Creates the continuous aggregates, empty: until its first refresh each computes every answer."""
    hour_ns = width_ns(Tier.H1)
    valid_from = to_datetime(now_ns // hour_ns * hour_ns) if existing else None
    created = Generation(schema.table, len(existing) + 1, valid_from)
    await connection.execute(
        "INSERT INTO tier_generations (table_name, generation, valid_from)"
        " VALUES ($1, $2, coalesce($3::timestamptz, '-infinity'))",
        created.table,
        created.number,
        created.valid_from,
    )
    for tier in ROLLED:
        source = schema.table if tier is Tier.S1 else created.view(finer(tier))
        values = aggregates(schema, tier, _LAST)
        start = f"time_bucket({interval(tier)}, {TIME})"
        keys = [quoted(name) for name in schema.key]
        made = (f"{value} AS {quoted(name)}" for name, value in values.items())
        await connection.execute(
            f"CREATE MATERIALIZED VIEW {quoted(created.view(tier))}"  # noqa: S608 - names are quoted
            " WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
            f" SELECT {', '.join([f'{start} AS {TIME}', *keys, *made])} FROM {quoted(source)}"
            f" GROUP BY {', '.join([start, *keys])} WITH NO DATA",
        )
    return created


async def _create_view(
    connection: AnyConnection, schema: TierSchema, tier: Tier, generations: list[Generation]
) -> None:
    """Creates the view over all generations, each for its own time. New columns come last."""
    name = schema.relation(tier)
    commented = await columns_in(connection, name)
    wanted = commented | schema.columns()
    parts = []
    ends = [later.valid_from for _, later in pairwise(generations)]
    for generation, end in zip(generations, [*ends, None], strict=True):
        columns = await columns_in(connection, generation.view(tier))
        selected = ", ".join(
            quoted(column) if column in columns else f"NULL::{sql_type} AS {quoted(column)}"
            for column, sql_type in wanted.items()
        )
        bounds = []
        if generation.valid_from is not None:
            bounds.append(f"{TIME} >= '{generation.valid_from.isoformat()}'")
        if end is not None:
            bounds.append(f"{TIME} < '{end.isoformat()}'")
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        parts.append(f"SELECT {selected} FROM {quoted(generation.view(tier))}{where}")  # noqa: S608 - quoted
    await connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {' UNION ALL '.join(parts)}")
    await comment_tier(connection, schema, tier, commented)

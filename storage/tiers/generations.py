"""Generations of continuous aggregates, and the views over them that readers see.

See ``docs/adr/0003-tiers.md`` for why there are several.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import to_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.names import ROLLED, Tier, width_ns
from storage.tiers.schema import (
    TierSchema,
    aggregates_of_raw,
    aggregates_of_tier,
    columns_in,
    interval,
    shortened,
)

if TYPE_CHECKING:
    from storage.database import AnyConnection

_NEWEST = "last({value}, time) FILTER (WHERE {value} IS NOT NULL)"


@dataclass(frozen=True, slots=True)
class Generation:
    """The continuous aggregates of one sample table, made at one time."""

    table: str
    number: int
    valid_from: datetime | None
    """Readers see it from here to where the next begins; ``None``: from the beginning."""

    is_filled: bool
    """Whether the rows that were there before it are in it."""

    def view(self, tier: Tier) -> str:
        """The continuous aggregate of a tier."""
        return shortened(f"{self.table}_{tier}", f"_g{self.number}")


async def generations_of(connection: AnyConnection, table: str) -> list[Generation]:
    """All of a table, oldest first."""
    rows = await connection.fetch(
        "SELECT generation, nullif(valid_from, '-infinity') AS valid_from, is_filled FROM tier_generations"
        " WHERE table_name = $1 ORDER BY generation",
        table,
    )
    return [Generation(table, row["generation"], row["valid_from"], row["is_filled"]) for row in rows]


async def note_filled(connection: AnyConnection, generation: Generation) -> None:
    """The rows that were there before it are in it."""
    await connection.execute(
        "UPDATE tier_generations SET is_filled = true WHERE table_name = $1 AND generation = $2",
        generation.table,
        generation.number,
    )


async def ensure_generation(connection: AnyConnection, schema: TierSchema, now_ns: int) -> None:
    """Make a generation where none has all columns."""
    there = await generations_of(connection, schema.table)
    if there:
        columns = await columns_in(connection, there[-1].view(Tier.S1))
        if all(name in columns for name in schema.columns()):
            return
    async with connection.transaction():
        made = await _make(connection, schema, there, now_ns)
        for tier in ROLLED:
            await _make_view(connection, schema, tier, [*there, made])
    structlog.get_logger(part="tiers").info("generation_made", table=schema.table, generation=made.number)


async def _make(
    connection: AnyConnection, schema: TierSchema, there: list[Generation], now_ns: int
) -> Generation:
    """The continuous aggregates, empty. Until they are refreshed they compute all that they are asked."""
    number = there[-1].number + 1 if there else 1
    hour_ns = width_ns(Tier.H1)
    start = to_datetime(now_ns // hour_ns * hour_ns) if there else None
    await connection.execute(
        "INSERT INTO tier_generations (table_name, generation, valid_from)"
        " VALUES ($1, $2, coalesce($3::timestamptz, '-infinity'))",
        schema.table,
        number,
        start,
    )
    made = Generation(schema.table, number, start, is_filled=False)
    source = schema.table
    for tier in ROLLED:
        values = (aggregates_of_raw if tier is Tier.S1 else aggregates_of_tier)(schema, _NEWEST)
        start_of_bucket = f"time_bucket({interval(tier)}, {TIME})"
        keys = [quoted(name) for name in schema.key]
        columns = ", ".join(
            [
                f"{start_of_bucket} AS {TIME}",
                *keys,
                *(f"{value} AS {quoted(name)}" for name, value in values.items()),
            ]
        )
        await connection.execute(
            f"CREATE MATERIALIZED VIEW {quoted(made.view(tier))}"  # noqa: S608 - names are quoted
            " WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
            f" SELECT {columns} FROM {quoted(source)} GROUP BY {', '.join([start_of_bucket, *keys])}"
            " WITH NO DATA"
        )
        source = made.view(tier)
    return made


async def _make_view(
    connection: AnyConnection, schema: TierSchema, tier: Tier, generations: list[Generation]
) -> None:
    """A view over all generations, each for its own time. A column keeps its place: views can only grow."""
    name = schema.relation(tier)
    there = await columns_in(connection, name)
    wanted = there | schema.columns()
    parts = []
    ends = [later.valid_from for _, later in pairwise(generations)]
    for generation, end in zip(generations, [*ends, None], strict=True):
        columns = await columns_in(connection, generation.view(tier))
        selected = ", ".join(
            quoted(column) if column in columns else f"NULL::{kind} AS {quoted(column)}"
            for column, kind in wanted.items()
        )
        bounds = []
        if generation.valid_from is not None:
            bounds.append(f"{TIME} >= '{generation.valid_from.isoformat()}'")
        if end is not None:
            bounds.append(f"{TIME} < '{end.isoformat()}'")
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        parts.append(f"SELECT {selected} FROM {quoted(generation.view(tier))}{where}")  # noqa: S608 - quoted
    await connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {' UNION ALL '.join(parts)}")

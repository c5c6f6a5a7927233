"""Counts and sums over round trips, from which their statistics follow.

Amounts above :data:`LARGEST` cannot be added up; such round trips are counted in ``unusable`` and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from storage.schema.samples import quoted, storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.database import Database

LARGEST = 1e100
_PLACE = "closed_ns, closed_source, closed_epoch, closed_sequence"
_NEWEST_FIRST = ", ".join(f"{name} DESC" for name in _PLACE.split(", "))
_USABLE = (
    f"abs(pnl) <= {LARGEST:g} AND abs(fees) <= {LARGEST:g} AND coalesce(abs(r_multiple), 0) <= {LARGEST:g}"
)
# The last query finds streaks: rows whose number minus the number among rows of their sign is the same.
_TOTALS = """
WITH chosen AS ({chosen}),
usable AS (SELECT * FROM chosen WHERE {usable}),
signed AS (
    SELECT {group} AS strategy, sign(pnl) AS sign,
        row_number() OVER (PARTITION BY {group} ORDER BY {newest_first}) AS number,
        row_number() OVER (PARTITION BY {group} ORDER BY {newest_first})
            - row_number() OVER (PARTITION BY {group}, sign(pnl) ORDER BY {newest_first}) AS island
    FROM usable
),
streaks AS (
    SELECT strategy, sign, count(*) AS length, min(number) AS number FROM signed
    GROUP BY strategy, sign, island
),
longest AS (
    SELECT strategy,
        coalesce(max(length) FILTER (WHERE sign > 0), 0) AS longest_winning_streak,
        coalesce(max(length) FILTER (WHERE sign < 0), 0) AS longest_losing_streak,
        coalesce(sum(length * sign) FILTER (WHERE number = 1), 0)::bigint AS streak
    FROM streaks GROUP BY strategy
),
totals AS (
    SELECT {group} AS strategy,
        count(*) AS trades,
        count(*) FILTER (WHERE pnl > 0) AS wins,
        count(*) FILTER (WHERE pnl < 0) AS losses,
        coalesce(sum(pnl) FILTER (WHERE pnl > 0), 0) AS gross_profit,
        coalesce(-sum(pnl) FILTER (WHERE pnl < 0), 0) AS gross_loss,
        coalesce(sum(fees), 0) AS fees,
        max(pnl) AS largest_pnl,
        min(pnl) AS smallest_pnl,
        coalesce(sum((closed_ns - opened_ns)::double precision), 0) AS open_ns,
        min(closed_ns) AS first_closed_ns,
        max(closed_ns) AS last_closed_ns,
        count(r_multiple) AS r_trades,
        count(*) FILTER (WHERE r_multiple > 0) AS r_wins,
        count(*) FILTER (WHERE r_multiple < 0) AS r_losses,
        coalesce(sum(r_multiple) FILTER (WHERE r_multiple > 0), 0) AS r_gains,
        coalesce(-sum(r_multiple) FILTER (WHERE r_multiple < 0), 0) AS r_lost
    FROM usable GROUP BY {group}
),
refused AS (
    SELECT {group} AS strategy, count(*) FILTER (WHERE NOT ({usable})) AS unusable
    FROM chosen GROUP BY {group}
)
SELECT * FROM refused LEFT JOIN totals USING (strategy) LEFT JOIN longest USING (strategy) ORDER BY strategy
"""


class RoundTripSelection(Struct, frozen=True, kw_only=True):
    """Selects round trips by time of closing, ``[start_ns, end_ns)``; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
    venue: str | None = None
    instrument: str | None = None
    side: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


class RoundTripTotals(Struct, frozen=True, kw_only=True):
    """Counts and sums of round trips. A round trip without P&L is neither a win nor a loss."""

    strategy: str = ""
    """Empty for the totals of several strategies."""
    unusable: int = 0
    trades: int = 0
    wins: int = 0
    losses: int = 0
    gross_profit: float = 0.0
    gross_loss: float = 0.0
    """Not negative."""
    fees: float = 0.0
    largest_pnl: float | None = None
    smallest_pnl: float | None = None
    open_ns: float = 0.0
    """Sum of the times from opening to closing."""
    first_closed_ns: int | None = None
    last_closed_ns: int | None = None
    r_trades: int = 0
    r_wins: int = 0
    r_losses: int = 0
    r_gains: float = 0.0
    r_lost: float = 0.0
    """Not negative."""
    streak: int = 0
    longest_winning_streak: int = 0
    longest_losing_streak: int = 0


async def round_trip_totals(
    database: Database, which: RoundTripSelection, *, newest: int | None = None, by_strategy: bool = False
) -> list[RoundTripTotals]:
    """Adds up the selected round trips, or only the ``newest`` of them; ``by_strategy``: of each strategy.

    Returns one item for each strategy that has any, or exactly one.
    """
    condition, values = _condition(which)
    chosen = f"SELECT * FROM trades{condition}"  # noqa: S608 - names of our own
    if newest is not None:
        rank = "PARTITION BY strategy " if by_strategy else ""
        chosen = (
            f"SELECT * FROM (SELECT *, row_number() OVER ({rank}ORDER BY {_NEWEST_FIRST}) AS rank"  # noqa: S608 - names of our own
            f" FROM trades{condition}) AS ranked WHERE rank <= {newest:d}"
        )
    statement = _TOTALS.format(
        chosen=chosen,
        usable=_USABLE,
        newest_first=_NEWEST_FIRST,
        group="strategy" if by_strategy else "''::text",
    )
    rows = await database.fetch(statement, values)
    found = [_totals(row) for row in rows]
    return found if by_strategy else found or [RoundTripTotals()]


def _condition(which: RoundTripSelection) -> tuple[str, Sequence[object]]:
    conditions: list[str] = []
    values: list[object] = []
    for name in which.__struct_fields__:
        value = getattr(which, name)
        if value is None:
            continue
        if isinstance(value, str) and not storable(value):
            conditions.append("false")
            continue
        values.append(value)
        compared = {"start_ns": "closed_ns >=", "end_ns": "closed_ns <"}.get(name, f"{quoted(name)} =")
        conditions.append(f"{compared} ${len(values)}")
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _totals(row: Any) -> RoundTripTotals:  # noqa: ANN401 - a record, by column name
    given = {name: row[name] for name in RoundTripTotals.__struct_fields__}
    return RoundTripTotals(**{name: value for name, value in given.items() if value is not None})

"""Counts and sums over round trips, from which their statistics follow.

A scratch, smaller than half a minor unit of the account currency, is neither a win nor a loss.
Amounts above :data:`LARGEST` cannot be added up; such round trips are counted in ``unusable`` and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from decahertz.statistics.round_trips import RoundTripSums
from storage.schema.samples import quoted, storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.database import Reads

LARGEST = 1e100
_PLACE = "closed_ns, closed_source, closed_epoch, closed_sequence"
_NEWEST_FIRST = ", ".join(f"{name} DESC" for name in _PLACE.split(", "))
_USABLE = (
    f"coalesce(abs(pnl), 'infinity') <= {LARGEST:g} AND coalesce(abs(fees), 0) <= {LARGEST:g}"
    f" AND coalesce(abs(r_multiple), 0) <= {LARGEST:g}"
)
# The last query finds streaks: rows whose number minus the number among rows of their sign is the same.
_TOTALS = """
WITH chosen AS ({chosen}),
usable AS (
    SELECT *, CASE WHEN pnl >= {half} THEN 1 WHEN pnl <= -{half} THEN -1 ELSE 0 END AS outcome
    FROM chosen WHERE {usable}
),
signed AS (
    SELECT {group} AS strategy, outcome AS sign,
        row_number() OVER (PARTITION BY {group} ORDER BY {newest_first}) AS number,
        row_number() OVER (PARTITION BY {group} ORDER BY {newest_first})
            - row_number() OVER (PARTITION BY {group}, outcome ORDER BY {newest_first}) AS island
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
        count(*) FILTER (WHERE outcome > 0) AS wins,
        count(*) FILTER (WHERE outcome < 0) AS losses,
        coalesce(sum(pnl), 0) AS pnl,
        coalesce(sum(pnl) FILTER (WHERE outcome > 0), 0) AS gross_profit,
        coalesce(-sum(pnl) FILTER (WHERE outcome < 0), 0) AS gross_loss,
        stddev_samp(pnl) AS pnl_deviation,
        coalesce(sum(fees), 0) AS fees,
        max(pnl) AS largest_pnl,
        min(pnl) AS smallest_pnl,
        coalesce(sum((closed_ns - opened_ns)::double precision), 0) AS open_ns,
        min(closed_ns) AS first_closed_ns,
        max(closed_ns) AS last_closed_ns,
        count(r_multiple) AS r_trades,
        count(r_multiple) FILTER (WHERE outcome > 0) AS r_wins,
        count(r_multiple) FILTER (WHERE outcome < 0) AS r_losses,
        coalesce(sum(r_multiple), 0) AS r_total,
        coalesce(sum(r_multiple) FILTER (WHERE outcome > 0), 0) AS r_gains,
        coalesce(-sum(r_multiple) FILTER (WHERE outcome < 0), 0) AS r_lost,
        stddev_samp(r_multiple) AS r_deviation
    FROM usable GROUP BY {group}
),
refused AS (
    SELECT {group} AS strategy, count(*) FILTER (WHERE NOT ({usable})) AS unusable
    FROM chosen GROUP BY {group}
)
SELECT * FROM refused LEFT JOIN totals USING (strategy) LEFT JOIN longest USING (strategy) ORDER BY strategy
"""


def _regime(whose: str) -> str:
    """The newest regime at the opening of a round trip; ``whose`` is the condition of its strategy."""
    return (  # names and conditions of this module
        f"(SELECT regime FROM regimes WHERE regimes.strategy {whose} AND regimes.time_ns <= trades.opened_ns"  # noqa: S608
        " ORDER BY regimes.time_ns DESC LIMIT 1)"
    )


REGIME: Final = f"coalesce({_regime('= trades.strategy')}, {_regime('IS NULL')})"
"""The regime of a row of ``trades``."""
_COMPARED: Final = {"start_ns": "closed_ns >=", "end_ns": "closed_ns <", "regime": f"{REGIME} ="}


class RoundTripSelection(Struct, frozen=True, kw_only=True):
    """Selects round trips by time of closing, ``[start_ns, end_ns)``; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
    account: str | None = None
    venue: str | None = None
    instrument: str | None = None
    side: str | None = None
    regime: str | None = None
    """The newest at the opening that the strategy had reported; that of the desk if it had reported none."""
    start_ns: int | None = None
    end_ns: int | None = None


class RoundTripTotals(RoundTripSums, kw_only=True):
    """Counts and sums of round trips."""

    strategy: str = ""
    """Empty for the totals of several strategies."""
    unusable: int = 0
    fees: float = 0.0
    largest_pnl: float | None = None
    smallest_pnl: float | None = None
    open_ns: float = 0.0
    """Sum of the times from opening to closing."""
    first_closed_ns: int | None = None
    last_closed_ns: int | None = None
    streak: int = 0
    longest_winning_streak: int = 0
    longest_losing_streak: int = 0


async def round_trip_totals(
    database: Reads,
    which: RoundTripSelection,
    *,
    newest: int | None = None,
    by_strategy: bool = False,
    minor_unit: float,
) -> list[RoundTripTotals]:
    """Adds up the selected round trips, or only the ``newest`` of them; ``by_strategy``: of each strategy.

    ``minor_unit`` is that of the account currency.
    Returns one item for each strategy that has any, or exactly one.
    """
    condition, values = condition_of(which)
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
        half=f"{minor_unit / 2:.17g}::double precision",
        group="strategy" if by_strategy else "''::text",
    )
    rows = await database.fetch(statement, values)
    found = [_totals(row) for row in rows]
    return found if by_strategy else found or [RoundTripTotals()]


def condition_of(which: RoundTripSelection) -> tuple[str, Sequence[object]]:
    """Returns the ``WHERE`` clause of a selection from ``trades``, and its values."""
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
        compared = _COMPARED.get(name, f"{quoted(name)} =")
        conditions.append(f"{compared} ${len(values)}")
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _totals(row: Any) -> RoundTripTotals:  # noqa: ANN401 - a record, by column name
    given = {name: row[name] for name in RoundTripTotals.__struct_fields__}
    return RoundTripTotals(**{name: value for name, value in given.items() if value is not None})

"""Outcomes, latencies, costs and markouts of the stored orders of a range, and of one order.

The figures of an order are stored with it; those that are due are computed by the query, so that an answer is
never behind the events. Quantiles are nearest-rank; means are weighted by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from storage.schema.executions import ORDER_KEY
from storage.schema.order_quality import HAS_MARKET, HORIZONS_NS, LEGS, PLACED_NS, QUALITY_COLUMNS, measured
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import Reads

_LARGEST_NS = 2**63 - 1
_MAX_ENDS = 50
_FIGURES: Final = (
    *(*ORDER_KEY, "signal_id", "submitted_ns", "queue_seconds", "limiter_seconds"),
    *QUALITY_COLUMNS,
)
_RANGE: Final = f"""{PLACED_NS} >= $1 AND {PLACED_NS} < $2
    AND ($3::text IS NULL OR recorder = $3) AND ($4::text IS NULL OR strategy = $4)
    AND ($5::text IS NULL OR venue = $5)"""
_ONE: Final = " AND ".join(f"{name} = ${number}" for number, name in enumerate(ORDER_KEY, start=1))


def _qualities(which: str, *, has_market: bool) -> str:
    """Common table expressions up to ``qualities``: the figures of orders, computed where they are due."""
    columns = ", ".join(_FIGURES)
    return (
        f"{measured(f'WHERE {which} AND quality_due_ns IS NOT NULL', has_market=has_market)},"  # noqa: S608 - names of our own
        f" qualities AS (SELECT {columns} FROM orders WHERE {which} AND quality_due_ns IS NULL"
        f" UNION ALL SELECT {columns} FROM measured)"
    )


_LEG = """count({column}) AS {leg}_n,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY {column}) AS {leg}_p50,
    percentile_disc(0.99) WITHIN GROUP (ORDER BY {column}) AS {leg}_p99"""
_SLIPPAGE = """count(slippage_{name}) AS {name}_n,
    sum(slippage_{name}) / nullif(sum({name}_value), 0) * 10000 AS {name}_bps"""
_PART = "sum({part}) / nullif(sum(paper_value), 0) * 10000 AS {part}_bps"
_PARTS = ("shortfall", "shortfall_delay", "shortfall_trading", "shortfall_opportunity", "shortfall_fees")
_MARKOUT = """coalesce(sum(markout_{name}_fills), 0)::bigint AS markout_{name}_n,
    sum(markout_{name}_bps * markout_{name}_value)
        / nullif(sum(markout_{name}_value) FILTER (WHERE markout_{name}_bps IS NOT NULL), 0)
        AS markout_{name}_bps"""
_NEGATIVE = " + ".join(f"(coalesce({column}, 0) < 0)::int" for column in LEGS.values())
_STATES = ("filled", "cancelled", "rejected", "expired")
# The latency from a signal is that to its first order; later slices are late on purpose.
_TOTALS = f"""
slices AS (
    SELECT *, CASE WHEN signal_id IS NULL OR row_number() OVER (
            PARTITION BY recorder, strategy, coalesce(signal_id, order_id) ORDER BY submitted_ns
        ) = 1 THEN signal_to_submit_seconds END AS first_seconds
    FROM qualities
),
costs AS (
    SELECT strategy, venue,
        coalesce(sum(fees), 0) AS commissions,
        coalesce(sum(maker_value), 0) AS maker_value,
        coalesce(sum(taker_value), 0) AS taker_value,
        {
    ", ".join(
        _LEG.format(leg=leg, column="first_seconds" if leg == "signal_to_submit" else column)
        for leg, column in LEGS.items()
    )
},
        {", ".join(_SLIPPAGE.format(name=name) for name in ("decision", "arrival"))},
        count(shortfall) AS shortfall_n,
        {", ".join(_PART.format(part=part) for part in _PARTS)},
        {", ".join(_MARKOUT.format(name=name) for name in HORIZONS_NS)},
        sum({_NEGATIVE.replace("signal_to_submit_seconds", "first_seconds")})::bigint AS negative_latencies
    FROM slices GROUP BY strategy, venue
),
counts AS (
    SELECT strategy, venue, count(*) AS submitted,
        count(*) FILTER (WHERE fills > 0 OR reported_states && '{{accepted,partially_filled,filled}}')
            AS accepted,
        {", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in _STATES)},
        count(*) FILTER (WHERE state = 'unresolved') AS unresolved,
        sum(contradictions)::bigint AS conflicts,
        sum(fills)::bigint AS fills
    FROM orders WHERE {_RANGE} GROUP BY strategy, venue
)
"""  # noqa: S608 - names of our own
# Trading processes write order ids into reasons: all but the most frequent ones are added up.
_ENDS: Final = f"""
WITH ended AS (
    SELECT strategy, venue, state, left(CASE WHEN state = 'filled' THEN '' ELSE coalesce(reason, '') END, 100)
        AS reason, count(*) AS orders
    FROM orders WHERE {_RANGE} AND is_final GROUP BY 1, 2, 3, 4
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY strategy, venue ORDER BY orders DESC, state, reason) AS place
    FROM ended
)
SELECT strategy, venue, state, CASE WHEN place <= {_MAX_ENDS} THEN reason ELSE '__other__' END AS reason,
    sum(orders)::bigint AS orders
FROM ranked GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - names of our own


@cache
def _statement(*, has_market: bool) -> str:
    return (
        f"WITH {_qualities(_RANGE, has_market=has_market)}, {_TOTALS}"  # noqa: S608 - names of our own
        " SELECT * FROM counts JOIN costs USING (strategy, venue) ORDER BY strategy, venue"
    )


@cache
def _statement_of_one(*, has_market: bool) -> str:
    return f"WITH {_qualities(_ONE, has_market=has_market)} SELECT * FROM qualities"  # noqa: S608 - names of our own


class ExecutionSelection(Struct, frozen=True, kw_only=True):
    """Selects orders by the time of their submission, ``[start_ns, end_ns)``; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
    venue: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


class OrderEnds(Struct, frozen=True, kw_only=True):
    """Orders that ended in one state for one reason."""

    state: str
    reason: str
    """In the words of the last report; empty: none was given."""
    orders: int


class ExecutionTotals(Struct, frozen=True, kw_only=True):
    """Orders of one strategy at one venue. Latencies are in seconds, slippage in basis points."""

    strategy: str
    venue: str
    submitted: int
    accepted: int
    filled: int
    cancelled: int
    rejected: int
    expired: int
    unresolved: int
    conflicts: int
    fills: int
    commissions: float
    maker_value: float
    taker_value: float
    signal_to_submit_n: int
    signal_to_submit_p50: float | None
    signal_to_submit_p99: float | None
    submit_to_ack_n: int
    submit_to_ack_p50: float | None
    submit_to_ack_p99: float | None
    ack_to_fill_n: int
    ack_to_fill_p50: float | None
    ack_to_fill_p99: float | None
    submit_to_fill_n: int
    submit_to_fill_p50: float | None
    submit_to_fill_p99: float | None
    submit_to_last_fill_n: int
    submit_to_last_fill_p50: float | None
    submit_to_last_fill_p99: float | None
    queue_n: int
    queue_p50: float | None
    queue_p99: float | None
    limiter_n: int
    limiter_p50: float | None
    limiter_p99: float | None
    decision_n: int
    decision_bps: float | None
    arrival_n: int
    arrival_bps: float | None
    shortfall_n: int
    shortfall_bps: float | None
    shortfall_delay_bps: float | None
    shortfall_trading_bps: float | None
    shortfall_opportunity_bps: float | None
    shortfall_fees_bps: float | None
    markouts: dict[str, tuple[int, float | None]]
    """Number of fills and mean markout in basis points, by horizon."""
    negative_latencies: int
    ends: list[OrderEnds]
    """Orders that have ended, by state and reason."""


async def execution_totals(database: Reads, which: ExecutionSelection) -> list[ExecutionTotals]:
    """Returns one item for each strategy and venue with an order in the range."""
    texts = (which.recorder, which.strategy, which.venue)
    if any(text is not None and not storable(text) for text in texts):
        return []
    start_ns = which.start_ns or 0
    end_ns = _LARGEST_NS if which.end_ns is None else which.end_ns
    (found,) = await database.fetch(HAS_MARKET)
    values = (start_ns, end_ns, *texts)
    rows = await database.fetch(_statement(has_market=found["has_market"]), values)
    ends: dict[tuple[str, str], list[OrderEnds]] = {}
    for strategy, venue, *end in await database.fetch(_ENDS, values):
        names = OrderEnds.__struct_fields__
        ends.setdefault((strategy, venue), []).append(OrderEnds(**dict(zip(names, end, strict=True))))
    return [_totals(row, ends.get((row["strategy"], row["venue"]), [])) for row in rows]


def _totals(row: Any, ends: list[OrderEnds]) -> ExecutionTotals:  # noqa: ANN401 - a record, by column name
    markouts = {name: (row[f"markout_{name}_n"], row[f"markout_{name}_bps"]) for name in HORIZONS_NS}
    names = [name for name in ExecutionTotals.__struct_fields__ if name not in ("markouts", "ends")]
    return ExecutionTotals(**{name: row[name] for name in names}, markouts=markouts, ends=ends)


async def order_quality(database: Reads, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the figures of one order by the names of their columns; ``None``: it is only a request.

    ``key`` has the columns of ``ORDER_KEY``.
    """
    (found,) = await database.fetch(HAS_MARKET)
    statement = _statement_of_one(has_market=found["has_market"])
    rows = await database.fetch(statement, [key[name] for name in ORDER_KEY])
    return dict(rows[0]) if rows else None

"""Outcomes, latencies and slippage of the stored orders of a range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import Database

_LARGEST_NS = 2**63 - 1
_QUARTER_DAY_NS = 6 * 3600 * 1_000_000_000
"""A signal older than this is not looked for."""
_KEY = "recorder, strategy, venue, instrument, order_id"
# An order belongs to the range of its first event that says "submitted". A fill reported twice counts once.
# Latencies and slippage are those of collectors/execution: nearest-rank quantiles, slippage against a
# positive reference price, weighted by quantity times that price.
_STATEMENT = f"""
WITH submitted AS (
    SELECT {_KEY}, min(time_ns) AS submit_ns, min(side) AS side FROM order_events
    WHERE state = 'submitted' AND time >= to_timestamp($1::bigint / 1e9) - interval '1 second'
        AND time_ns >= $1 AND time_ns < $2
        AND ($3::text IS NULL OR recorder = $3) AND ($4::text IS NULL OR strategy = $4)
        AND ($5::text IS NULL OR venue = $5)
    GROUP BY {_KEY}
),
changes AS (
    SELECT {_KEY},
        min(time_ns) FILTER (WHERE state = 'accepted') AS ack_ns,
        bool_or(state IN ('accepted', 'partially_filled', 'filled')) AS is_accepted,
        (array_agg(arrival_price ORDER BY time_ns, sequence) FILTER (WHERE arrival_price > 0))[1] AS arrival,
        (array_agg(signal_id ORDER BY time_ns, sequence) FILTER (WHERE signal_id IS NOT NULL))[1] AS signal_id
    FROM order_events JOIN submitted USING ({_KEY}) GROUP BY {_KEY}
),
reports AS (
    SELECT DISTINCT ON ({_KEY}, fill_id) {_KEY}, fill_id, time_ns, price, quantity, fee, liquidity
    FROM fills JOIN submitted USING ({_KEY})
    WHERE abs(fills.price * fills.quantity) <= 1e100 AND abs(fills.fee) <= 1e100
    ORDER BY {_KEY}, fill_id, time_ns, fills.source, fills.epoch, fills.sequence
),
filled AS (
    SELECT {_KEY}, count(*) AS fills, min(time_ns) AS fill_ns, sum(quantity) AS quantity,
        sum(quantity * price) AS value, sum(fee) AS fees,
        sum(abs(quantity * price)) FILTER (WHERE liquidity = 'maker') AS maker,
        sum(abs(quantity * price)) FILTER (WHERE liquidity = 'taker') AS taker
    FROM reports GROUP BY {_KEY}
),
decided AS (
    SELECT recorder, strategy, signal_id, min(time_ns) AS signal_ns,
        (array_agg(price ORDER BY time_ns, sequence) FILTER (WHERE price > 0))[1] AS decision
    FROM signals WHERE time_ns >= $1 - {_QUARTER_DAY_NS} AND time_ns < $2
    GROUP BY recorder, strategy, signal_id
),
joined AS (
    SELECT submitted.*, ack_ns, is_accepted, arrival, decision, signal_ns, current.state,
        coalesce(fills, 0) AS fills, fill_ns, filled.quantity AS quantity, value, fees, maker, taker,
        row_number() OVER (PARTITION BY recorder, strategy, changes.signal_id ORDER BY submit_ns) = 1
            AS is_first
    FROM submitted JOIN changes USING ({_KEY})
    LEFT JOIN (SELECT {_KEY}, state FROM orders) AS current USING ({_KEY})
    LEFT JOIN filled USING ({_KEY})
    LEFT JOIN decided USING (recorder, strategy, signal_id)
),
measured AS (
    SELECT *,
        CASE WHEN is_first THEN (submit_ns - signal_ns) / 1e9::double precision END AS signal_to_submit,
        (ack_ns - submit_ns) / 1e9::double precision AS submit_to_ack,
        (fill_ns - ack_ns) / 1e9::double precision AS ack_to_fill,
        (fill_ns - submit_ns) / 1e9::double precision AS submit_to_fill,
        CASE side WHEN 'buy' THEN 1 ELSE -1 END AS sign
    FROM joined
)
SELECT strategy, venue,
    count(*) AS submitted,
    count(*) FILTER (WHERE is_accepted) AS accepted,
    count(*) FILTER (WHERE state = 'filled') AS filled,
    count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE state = 'rejected') AS rejected,
    count(*) FILTER (WHERE state = 'expired') AS expired,
    sum(fills)::bigint AS fills,
    coalesce(sum(fees), 0) AS commissions,
    coalesce(sum(maker), 0) AS maker_value,
    coalesce(sum(taker), 0) AS taker_value,
    {{legs}},
    {{slippage}},
    sum((coalesce(signal_to_submit, 0) < 0)::int + (coalesce(submit_to_ack, 0) < 0)::int
        + (coalesce(ack_to_fill, 0) < 0)::int + (coalesce(submit_to_fill, 0) < 0)::int)::bigint
        AS negative_latencies
FROM measured GROUP BY strategy, venue ORDER BY strategy, venue
"""  # noqa: S608 - names of our own
_LEGS = ("signal_to_submit", "submit_to_ack", "ack_to_fill", "submit_to_fill")
_LEG = """count({leg}) AS {leg}_n,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY {leg}) AS {leg}_p50,
    percentile_disc(0.99) WITHIN GROUP (ORDER BY {leg}) AS {leg}_p99"""
_SLIPPAGE = """count(quantity * {price}) AS {name}_n,
    sum(sign * (value - quantity * {price})) FILTER (WHERE {price} IS NOT NULL)
        / nullif(sum(quantity * {price}), 0) * 10000 AS {name}_bps"""
_COMPLETE = _STATEMENT.format(
    legs=",\n    ".join(_LEG.format(leg=leg) for leg in _LEGS),
    slippage=",\n    ".join(_SLIPPAGE.format(price=name, name=name) for name in ("decision", "arrival")),
)


class ExecutionSelection(Struct, frozen=True, kw_only=True):
    """Selects orders by the time of their submission, ``[start_ns, end_ns)``; ``None`` does not restrict."""

    recorder: str | None = None
    strategy: str | None = None
    venue: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None


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
    decision_n: int
    decision_bps: float | None
    arrival_n: int
    arrival_bps: float | None
    negative_latencies: int


async def execution_totals(database: Database, which: ExecutionSelection) -> list[ExecutionTotals]:
    """Returns one item for each strategy and venue with an order in the range."""
    texts = (which.recorder, which.strategy, which.venue)
    if any(text is not None and not storable(text) for text in texts):
        return []
    start_ns = which.start_ns or 0
    end_ns = _LARGEST_NS if which.end_ns is None else which.end_ns
    rows = await database.fetch(_COMPLETE, (start_ns, end_ns, *texts))
    return [_totals(row) for row in rows]


def _totals(row: Any) -> ExecutionTotals:  # noqa: ANN401 - a record, by column name
    return ExecutionTotals(**{name: row[name] for name in ExecutionTotals.__struct_fields__})

"""The costs of orders: the quality of their execution, computed from what is stored.

The one definition in SQL. Each order has its figures in columns of ``orders``; ``quality_due_ns`` says when
they have to be computed again::

    NULL                up to date
    0                   the order has ended, or one of its reports, fills or its signal came later: at once
    time                its markouts are complete by then
    9223372036854775807 the order is open; only a query computes it

The formulas are those of the collector (``collectors/execution/costs.py``, ``markouts.py``). Mids that no
order or signal states are those of the recorder's own market: at the submission and the end the newest sample
before, or without one, as in a replay, the newest quote; for a markout the first sample from its horizon on.
Money is in the account currency.
"""

from __future__ import annotations

from typing import Final

from storage.schema.executions import ORDER_KEY, executions

HORIZONS_NS: Final = {
    "100ms": 100_000_000,
    "1s": 1_000_000_000,
    "5s": 5_000_000_000,
    "30s": 30_000_000_000,
    "5m": 300_000_000_000,
}
"""Nanoseconds after the fill, by the names of markouts."""
LEGS: Final = {
    "signal_to_submit": "signal_to_submit_seconds",
    "submit_to_ack": "submit_to_ack_seconds",
    "ack_to_fill": "ack_to_fill_seconds",
    "submit_to_fill": "submit_to_fill_seconds",
    "submit_to_last_fill": "submit_to_last_fill_seconds",
    "queue": "queue_seconds",
    "limiter": "limiter_seconds",
}
"""Columns of latencies, by leg."""
NEVER_NS: Final = 2**63 - 1
_MARKOUT_COLUMNS: Final = tuple(
    f"markout_{name}_{figure}" for name in HORIZONS_NS for figure in ("bps", "value", "fills")
)
QUALITY_COLUMNS: Final = (
    *("decision_ns", "decision_mid", "arrival_mid", "end_mid"),
    *("signal_to_submit_seconds", "submit_to_ack_seconds", "ack_to_fill_seconds", "submit_to_fill_seconds"),
    "submit_to_last_fill_seconds",
    *("settlement_currency", "mean_rate", "filled_value", "fees", "maker_value", "taker_value"),
    *("slippage_decision", "decision_value", "slippage_decision_bps"),
    *("slippage_arrival", "arrival_value", "slippage_arrival_bps"),
    *("shortfall", "shortfall_delay", "shortfall_trading", "shortfall_opportunity", "shortfall_fees"),
    *("paper_value", "shortfall_bps", "shortfall_reason"),
    *_MARKOUT_COLUMNS,
)
"""Columns of ``orders`` that this module computes."""
PLACED_NS: Final = "coalesce(submitted_ns, created_ns)"
"""An order belongs to the time of its submission, or of its first report if that one is missing."""

_KEY: Final = ", ".join(ORDER_KEY)
_SECOND_NS: Final = 1_000_000_000
_MID_NS: Final = 10 * _SECOND_NS
"""An older sample is ignored."""
_QUOTE_NS: Final = 600 * _SECOND_NS
"""An older quote is ignored."""
_SIGNAL_NS: Final = 6 * 3600 * _SECOND_NS
"""A signal that is this much older than its order is another one with the same id."""
_LATE_NS: Final = {name: ns // 2 + 100_000_000 for name, ns in HORIZONS_NS.items()}
"""How far behind its horizon the mid of a markout may be, where no cycle ran in between."""
_SETTLED_NS: Final = HORIZONS_NS["5m"] + _LATE_NS["5m"]
"""An order whose newest fill or report is older than this no longer changes on its own."""
_FILL_COLUMNS: Final = "side, fee, fee_currency, liquidity, multiplier, inverse, currency, rate, fee_rate"
_ORDER_COLUMNS: Final = (
    *(*ORDER_KEY, "side", "state", "is_final", "quantity", "fills", "executed_quantity", "time_ns"),
    *("submitted_ns", "accepted_ns", "first_fill_ns", "last_fill_ns", "queue_seconds", "limiter_seconds"),
    *("signal_id", "decided_ns", "decision_price", "arrival_price"),
    *("multiplier", "inverse", "currency", "rate"),
)  # fmt: skip
_MARKET: Final = "market_samples AS m"
_NO_MARKET: Final = (
    "(SELECT '' AS recorder, '' AS venue, '' AS instrument, now() AS time, NULL::double precision AS mid"
    " LIMIT 0) AS m"
)


def _usable(value: str) -> str:
    """The value, or null if products of such numbers may overflow."""
    return f"CASE WHEN {value} = 0 OR abs({value}) BETWEEN 1e-50 AND 1e50 THEN {value} END"


def _worth(price: str, inverse: str) -> str:
    """The value of one unit at a price, as in ``collectors/execution/order.py``."""
    return f"CASE WHEN {inverse} THEN -1 / nullif({price}, 0) ELSE {price} END"


def _scale(of: str) -> str:
    """Account currency per unit of quantity and price."""
    rate = f"CASE WHEN {of}.currency IS NULL THEN 1 ELSE {_usable(f'{of}.rate')} END"
    return f"coalesce({_usable(f'{of}.multiplier')}, 1) * {rate}"


def _seconds(start_ns: str, end_ns: str) -> str:
    return f"({end_ns} - {start_ns}) / 1e9::double precision"


def _bps(cost: str, value: str) -> str:
    return f"{cost} / nullif({value}, 0) * 10000"


_OWN_MARKET: Final = "m.venue = o.venue AND m.instrument = o.instrument AND m.recorder = o.recorder"
_HORIZONS: Final = ", ".join(
    f"('{name}', {ns}::bigint, {_LATE_NS[name]}::bigint)" for name, ns in HORIZONS_NS.items()
)
_MARKOUTS: Final = ", ".join(
    f"sum(weight * markout) FILTER (WHERE horizon = '{name}')"
    f" / nullif(sum(weight) FILTER (WHERE horizon = '{name}'), 0) AS markout_{name}_bps,"
    f" sum(weight) FILTER (WHERE horizon = '{name}') AS markout_{name}_value,"
    f" count(*) FILTER (WHERE horizon = '{name}')::integer AS markout_{name}_fills"
    for name in HORIZONS_NS
)
_NO_MARKOUTS: Final = ", ".join(
    f"markout_{name}_bps, coalesce(markout_{name}_value, 0) AS markout_{name}_value,"
    f" coalesce(markout_{name}_fills, 0) AS markout_{name}_fills"
    for name in HORIZONS_NS
)
# Each table of the market is looked up in one place, and expressions that others repeat are materialised: the
# planner would expand them, and plan for longer than the statement takes.
_MEASURED: Final = f"""
executed AS (
    {executions(_FILL_COLUMNS, f"(SELECT fills.* FROM fills JOIN chosen USING ({_KEY})) AS f", "true")}
),
priced AS MATERIALIZED (
    SELECT f.*, CASE side WHEN 'buy' THEN 1 ELSE -1 END AS sign, {_usable("quantity")} AS size,
        {_usable("price")} AS paid, {_scale("f")} AS scale,
        CASE WHEN fee = 0 THEN 0 WHEN fee_rate IS NOT NULL THEN {_usable("fee")} * {_usable("fee_rate")}
            WHEN fee_currency IS NULL THEN {_usable("fee")} * CASE WHEN currency IS NULL THEN 1
                ELSE {_usable("rate")} END
            WHEN fee_currency = currency AND rate = 1 THEN {_usable("fee")} END AS fee_money
    FROM executed AS f
),
valued AS (
    SELECT *, abs(scale * size * worth) AS weight
    FROM (SELECT f.*, {_worth("paid", "inverse")} AS worth FROM priced AS f) AS f
),
marked AS (
    SELECT {_KEY}, {_MARKOUTS}
    FROM (
        SELECT o.*, h.horizon, o.sign * (m.mid - o.paid) / o.paid * 10000 AS markout
        FROM valued AS o CROSS JOIN (VALUES {_HORIZONS}) AS h (horizon, ns, late_ns)
        CROSS JOIN LATERAL (
            SELECT {_usable("mid")} AS mid FROM {_MARKET} WHERE {_OWN_MARKET}
                AND m.time >= to_timestamp((o.time_ns + h.ns) / 1e9)
                AND m.time <= to_timestamp((o.time_ns + h.ns + h.late_ns) / 1e9)
            ORDER BY m.time LIMIT 1
        ) AS m
        WHERE o.paid > 0 AND o.weight IS NOT NULL AND m.mid IS NOT NULL
    ) AS marks GROUP BY {_KEY}
),
mids AS (
    SELECT {_KEY}, max(mid) FILTER (WHERE needed = 'arrival' AND mid > 0) AS found_arrival_mid,
        max(mid) FILTER (WHERE needed = 'end') AS found_end_mid
    FROM (
        SELECT o.*, n.needed, coalesce(m.mid, q.mid) AS mid
        FROM chosen AS o CROSS JOIN LATERAL (
            VALUES ('arrival', CASE WHEN coalesce(o.arrival_price, 0) <= 0 THEN o.submitted_ns END),
                ('end', CASE WHEN o.is_final AND o.state <> 'filled' THEN o.time_ns END)
        ) AS n (needed, at_ns)
        LEFT JOIN LATERAL (
            SELECT {_usable("mid")} AS mid FROM {_MARKET} WHERE {_OWN_MARKET}
                AND m.time <= to_timestamp(n.at_ns / 1e9)
                AND m.time > to_timestamp((n.at_ns - {_MID_NS}) / 1e9)
            ORDER BY m.time DESC LIMIT 1
        ) AS m ON true
        LEFT JOIN LATERAL (
            SELECT ({_usable("bid")} + {_usable("ask")}) / 2 AS mid FROM quotes_between(
                to_timestamp((n.at_ns - {_QUOTE_NS}) / 1e9), to_timestamp(n.at_ns / 1e9)
            ) AS m WHERE {_OWN_MARKET}
                AND m.time_ns <= n.at_ns AND m.time_ns > n.at_ns - {_QUOTE_NS}
                AND m.time <= to_timestamp(n.at_ns / 1e9)
                AND m.time >= to_timestamp((n.at_ns - {_QUOTE_NS}) / 1e9)
            ORDER BY m.time_ns DESC LIMIT 1
        ) AS q ON m.mid IS NULL
        WHERE n.at_ns IS NOT NULL
    ) AS looked_up GROUP BY {_KEY}
),
filled AS (
    SELECT {_KEY}, bool_or(inverse) AS inverse, max(currency) AS currency,
        bool_or(scale * size * worth IS NULL OR fee_money IS NULL) AS is_unpriced,
        sum(scale * size) AS amount, sum(scale * size * worth) AS worth, sum(weight) AS value,
        sum(fee_money) AS fees, sum(scale * size) / nullif(sum(size * coalesce({
    _usable("multiplier")
}, 1)), 0)
            AS mean_rate,
        coalesce(sum(weight) FILTER (WHERE liquidity = 'maker'), 0) AS maker_value,
        coalesce(sum(weight) FILTER (WHERE liquidity = 'taker'), 0) AS taker_value
    FROM valued GROUP BY {_KEY}
),
referred AS MATERIALIZED (
    SELECT o.*, f.amount, f.worth, f.fees AS fill_fees, f.value, f.mean_rate, f.maker_value, f.taker_value,
        coalesce(f.is_unpriced, false) AS is_unpriced, f.currency AS fill_currency,
        coalesce(f.inverse, o.inverse, false) AS is_inverse,
        CASE o.side WHEN 'buy' THEN 1 ELSE -1 END AS sign,
        coalesce(s.time_ns, o.decided_ns) AS decision_ns,
        coalesce(s.price, CASE WHEN o.decision_price > 0 THEN {_usable("o.decision_price")} END)
            AS decision_mid,
        coalesce(CASE WHEN o.arrival_price > 0 THEN {_usable("o.arrival_price")} END, found_arrival_mid,
            known_arrival_mid) AS arrival_mid,
        CASE WHEN o.is_final AND o.state <> 'filled' THEN coalesce(found_end_mid, known_end_mid) END
            AS end_mid,
        CASE WHEN o.state = 'filled' THEN 0
            ELSE greatest(coalesce({_usable("o.quantity")}, 0) - o.executed_quantity, 0) END AS rest,
        o.state = 'filled' AND o.executed_quantity < o.quantity * (1 - 1e-9) AS is_incomplete,
        CASE WHEN o.executed_quantity > 0 THEN f.amount / o.executed_quantity ELSE {_scale("o")} END AS scale,
        {_NO_MARKOUTS}
    FROM chosen AS o LEFT JOIN filled AS f USING ({_KEY}) LEFT JOIN marked USING ({_KEY})
    LEFT JOIN mids USING ({_KEY})
    LEFT JOIN LATERAL (
        SELECT min(time_ns) AS time_ns,
            (array_agg({_usable("price")} ORDER BY time_ns, sequence) FILTER (WHERE price > 0))[1] AS price
        FROM signals WHERE signals.signal_id = o.signal_id AND signals.strategy = o.strategy
            AND signals.recorder = o.recorder AND signals.time_ns >= o.placed_ns - {_SIGNAL_NS}
    ) AS s ON o.signal_id IS NOT NULL
),
weighed AS (
    SELECT *, rest > quantity * 1e-9 AS has_rest, CASE WHEN is_unpriced THEN NULL ELSE nullif(amount, 0) END
            AS usable,
        {_worth("decision_mid", "is_inverse")} AS decision_worth,
        {_worth("arrival_mid", "is_inverse")} AS arrival_worth, {_worth("end_mid", "is_inverse")} AS end_worth
    FROM referred
),
split AS MATERIALIZED (
    SELECT *, sign * (worth - usable * decision_worth) AS decision_cost,
        usable * abs(decision_worth) AS decision_weight,
        sign * (worth - usable * arrival_worth) AS arrival_cost,
        usable * abs(arrival_worth) AS arrival_weight,
        CASE WHEN fills = 0 THEN 0 ELSE sign * usable * (arrival_worth - decision_worth) END AS delay,
        CASE WHEN fills = 0 THEN 0 ELSE sign * (worth - usable * arrival_worth) END AS trading,
        CASE WHEN has_rest THEN sign * rest * scale * (end_worth - decision_worth) ELSE 0 END AS opportunity,
        nullif(scale * (executed_quantity + rest) * abs(decision_worth), 0) AS paper,
        CASE WHEN fills = 0 THEN 0 WHEN NOT is_unpriced THEN fill_fees END AS paid_fees
    FROM weighed
),
judged AS (
    SELECT *, CASE
        WHEN NOT is_final THEN 'the order has not ended'
        WHEN is_incomplete THEN 'some of its fills are missing'
        WHEN is_unpriced OR scale IS NULL THEN 'a rate to the account currency is missing'
        WHEN decision_mid IS NULL THEN 'neither a signal nor the order states a price at the decision'
        WHEN fills > 0 AND arrival_mid IS NULL THEN 'no mid at the submission is known'
        WHEN has_rest AND end_mid IS NULL THEN 'no mid at the end is known'
        WHEN paper IS NULL THEN 'the order has no quantity'
        END AS shortfall_reason
    FROM split
),
measured AS (
    SELECT {_KEY}, quality_due_ns, placed_ns, signal_id, submitted_ns, queue_seconds, limiter_seconds,
        greatest(time_ns, last_fill_ns) + {_SETTLED_NS} AS settled_ns,
        decision_ns, decision_mid, arrival_mid, end_mid,
        {_seconds("decision_ns", "submitted_ns")} AS signal_to_submit_seconds,
        {_seconds("submitted_ns", "accepted_ns")} AS submit_to_ack_seconds,
        {_seconds("accepted_ns", "first_fill_ns")} AS ack_to_fill_seconds,
        {_seconds("submitted_ns", "first_fill_ns")} AS submit_to_fill_seconds,
        CASE WHEN is_final THEN {_seconds("submitted_ns", "last_fill_ns")} END AS submit_to_last_fill_seconds,
        coalesce(fill_currency, currency) AS settlement_currency,
        CASE WHEN fills > 0 THEN mean_rate WHEN currency IS NULL THEN 1 ELSE rate END AS mean_rate,
        CASE WHEN NOT is_unpriced THEN coalesce(value, 0) END AS filled_value, paid_fees AS fees,
        coalesce(maker_value, 0) AS maker_value, coalesce(taker_value, 0) AS taker_value,
        decision_cost AS slippage_decision, decision_weight AS decision_value,
        {_bps("decision_cost", "decision_weight")} AS slippage_decision_bps,
        arrival_cost AS slippage_arrival, arrival_weight AS arrival_value,
        {_bps("arrival_cost", "arrival_weight")} AS slippage_arrival_bps,
        CASE WHEN shortfall_reason IS NULL THEN delay + trading + opportunity + paid_fees END AS shortfall,
        CASE WHEN shortfall_reason IS NULL THEN delay END AS shortfall_delay,
        CASE WHEN shortfall_reason IS NULL THEN trading END AS shortfall_trading,
        CASE WHEN shortfall_reason IS NULL THEN opportunity END AS shortfall_opportunity,
        CASE WHEN shortfall_reason IS NULL THEN paid_fees END AS shortfall_fees,
        CASE WHEN shortfall_reason IS NULL THEN paper END AS paper_value,
        CASE WHEN shortfall_reason IS NULL
            THEN {_bps("(delay + trading + opportunity + paid_fees)", "paper")} END AS shortfall_bps,
        shortfall_reason,
        {
    ", ".join(f"markout_{name}_{figure}" for name in HORIZONS_NS for figure in ("bps", "value", "fills"))
}
    FROM judged
)"""  # noqa: S608 - names of our own
HAS_MARKET: Final = "SELECT to_regclass('market_samples') IS NOT NULL AS has_market"


def measured(orders: str, *, has_market: bool) -> str:
    """Returns the common table expressions up to ``measured``: the figures of the chosen orders.

    ``orders`` is what follows ``FROM orders``. ``has_market`` is the answer to :data:`HAS_MARKET`: without
    the collector of the market there are no mids but those that orders state.
    """
    columns = ", ".join(_ORDER_COLUMNS)
    text = (
        f"chosen AS MATERIALIZED (SELECT {columns}, {PLACED_NS} AS placed_ns, quality_due_ns,"  # noqa: S608 - names of our own
        f" arrival_mid AS known_arrival_mid, end_mid AS known_end_mid FROM orders {orders}), {_MEASURED}"
    )
    return text if has_market else text.replace(f"FROM {_MARKET}", f"FROM {_NO_MARKET}")

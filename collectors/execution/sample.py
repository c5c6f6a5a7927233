"""The execution metrics of one strategy at one venue."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import HIGHEST, NEWEST, Kind, Metric, Unit
from decahertz.sample import Sample

LATENCY_BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
"""Upper bounds of the buckets of latencies, in seconds: a colocated acknowledgement to a resting order."""
_QUANTILES = "Hyndman and Fan (1996), type 1"


def _median(what: str) -> Metric:
    return Metric(f"Median {what}.", unit=Unit.SECONDS, source=_QUANTILES, aggregates=NEWEST)


def _tail(what: str) -> Metric:
    return Metric(f"99th percentile of the {what}.", unit=Unit.SECONDS, source=_QUANTILES, aggregates=HIGHEST)


def _markout(after: str) -> Metric:
    return Metric(
        f"Mean move from the fill price to the mid {after} later, weighted by value; positive is a gain.",
        unit=Unit.BASIS_POINTS,
        formula="10000 * sign * (mid - fill price) / fill price",
        source="Huang and Stoll (1996): of a maker's fill it is the realised half-spread",
        aggregates=NEWEST,
    )


class ExecutionSample(Sample, frozen=True, kw_only=True):
    """The orders of one strategy at one venue at one cycle.

    ``orders_submitted`` always equals filled + cancelled + rejected + expired + forgotten + open orders.
    Percentiles and costs cover a trailing window; each comes with its number of observations.
    """

    collector: ClassVar[str] = "execution"
    key: ClassVar[tuple[str, ...]] = ("strategy", "venue")

    strategy: str
    venue: str
    orders_submitted: Annotated[int, Metric("Orders submitted.", kind=Kind.COUNTER)]
    orders_accepted: Annotated[
        int, Metric("Orders accepted by the venue, including those filled at once.", kind=Kind.COUNTER)
    ]
    orders_filled: Annotated[int, Metric("Orders that are filled completely.", aggregates=NEWEST)]
    orders_cancelled: Annotated[
        int, Metric("Orders that are cancelled, including those partially filled.", aggregates=NEWEST)
    ]
    orders_rejected: Annotated[int, Metric("Orders that are rejected.", aggregates=NEWEST)]
    orders_expired: Annotated[int, Metric("Orders that are expired.", aggregates=NEWEST)]
    orders_forgotten: Annotated[
        int,
        Metric("Open orders no longer tracked because there were more than max_orders.", kind=Kind.COUNTER),
    ]
    order_conflicts: Annotated[
        int,
        Metric(
            "Contradictions among the reports and fills of an order: two final states, a fill of a rejected"
            " order, more filled than ordered.",
            kind=Kind.COUNTER,
        ),
    ]
    late_events: Annotated[
        int, Metric("Events of orders that are no longer kept; they are not counted.", kind=Kind.COUNTER)
    ]
    open_orders: Annotated[int, Metric("Orders without a final state.", aggregates=HIGHEST)]
    unresolved_orders: Annotated[
        int,
        Metric(
            "Open orders reported as unresolved, or without an answer from the venue for too long.",
            aggregates=HIGHEST,
        ),
    ]
    unanswered_seconds: Annotated[
        float | None,
        Metric(
            "Age of the oldest order that the venue has neither accepted, filled nor refused.",
            unit=Unit.SECONDS,
            formula="max(now - receipt of the submission) of open orders without an answer",
            extremes=True,
            aggregates=HIGHEST,
        ),
    ]
    fill_ratio: Annotated[
        float | None,
        Metric(
            "Share of finished orders that were filled.",
            unit=Unit.RATIO,
            formula="orders_filled / (filled + cancelled + rejected + expired)",
            aggregates=NEWEST,
        ),
    ]
    cancel_ratio: Annotated[
        float | None,
        Metric(
            "Share of finished orders that were cancelled.",
            unit=Unit.RATIO,
            formula="orders_cancelled / (filled + cancelled + rejected + expired)",
            aggregates=NEWEST,
        ),
    ]
    reject_ratio: Annotated[
        float | None,
        Metric(
            "Share of finished orders that were rejected.",
            unit=Unit.RATIO,
            formula="orders_rejected / (filled + cancelled + rejected + expired)",
            aggregates=NEWEST,
        ),
    ]
    fills: Annotated[int, Metric("Fills received, without duplicates.", kind=Kind.COUNTER)]
    duplicate_fills: Annotated[int, Metric("Duplicate fills received and ignored.", kind=Kind.COUNTER)]
    fill_conflicts: Annotated[
        int,
        Metric(
            "Duplicate fills with another side, price or quantity than the fill that was counted.",
            kind=Kind.COUNTER,
        ),
    ]
    unpriced_fills: Annotated[
        int,
        Metric(
            "Fills in a currency without a rate to the account currency: no amount counts them.",
            kind=Kind.COUNTER,
        ),
    ]
    maker_ratio: Annotated[
        float | None,
        Metric(
            "Share of the filled value that added liquidity, where known.",
            unit=Unit.RATIO,
            formula="maker value / (maker value + taker value)",
            aggregates=NEWEST,
        ),
    ]
    commissions: Annotated[
        float,
        Metric(
            "Fees paid minus rebates, in the account currency.",
            unit=Unit.MONEY,
            formula="sum(fee * fee_rate)",
            aggregates=NEWEST,
        ),
    ]
    signal_to_submit_p50: Annotated[float | None, _median("latency from signal to first order")]
    signal_to_submit_p99: Annotated[float | None, _tail("latency from signal to first order")]
    signal_to_submit_observations: Annotated[
        int, Metric("Observations of the latency from signal to first order.", aggregates=NEWEST)
    ]
    submit_to_ack_p50: Annotated[float | None, _median("latency from submission to acceptance")]
    submit_to_ack_p99: Annotated[float | None, _tail("latency from submission to acceptance")]
    submit_to_ack_observations: Annotated[
        int, Metric("Observations of the latency from submission to acceptance.", aggregates=NEWEST)
    ]
    ack_to_fill_p50: Annotated[float | None, _median("latency from acceptance to first fill")]
    ack_to_fill_p99: Annotated[float | None, _tail("latency from acceptance to first fill")]
    ack_to_fill_observations: Annotated[
        int, Metric("Observations of the latency from acceptance to first fill.", aggregates=NEWEST)
    ]
    submit_to_fill_p50: Annotated[float | None, _median("latency from submission to first fill")]
    submit_to_fill_p99: Annotated[float | None, _tail("latency from submission to first fill")]
    submit_to_fill_observations: Annotated[
        int, Metric("Observations of the latency from submission to first fill.", aggregates=NEWEST)
    ]
    submit_to_last_fill_p50: Annotated[
        float | None, _median("latency from submission to last fill of orders that have ended")
    ]
    submit_to_last_fill_p99: Annotated[
        float | None, _tail("latency from submission to last fill of orders that have ended")
    ]
    submit_to_last_fill_observations: Annotated[
        int,
        Metric(
            "Observations of the latency from submission to last fill of orders that have ended.",
            aggregates=NEWEST,
        ),
    ]
    queue_p50: Annotated[float | None, _median("wait in queues of the trading process before the submission")]
    queue_p99: Annotated[float | None, _tail("wait in queues of the trading process before the submission")]
    queue_observations: Annotated[
        int,
        Metric(
            "Observations of the wait in queues of the trading process before the submission.",
            aggregates=NEWEST,
        ),
    ]
    limiter_p50: Annotated[float | None, _median("wait for the rate limiter of the trading process")]
    limiter_p99: Annotated[float | None, _tail("wait for the rate limiter of the trading process")]
    limiter_observations: Annotated[
        int,
        Metric("Observations of the wait for the rate limiter of the trading process.", aggregates=NEWEST),
    ]
    negative_latencies: Annotated[
        int, Metric("Negative latencies: the clocks of two parties disagree.", kind=Kind.COUNTER)
    ]
    slippage_decision_bps: Annotated[
        float | None,
        Metric(
            "Mean slippage against the price at the decision, weighted by value; positive is a cost.",
            unit=Unit.BASIS_POINTS,
            formula="10000 * sign * (fill price - decision price) / decision price",
            source="Perold (1988)",
            aggregates=NEWEST,
        ),
    ]
    slippage_decision_observations: Annotated[
        int, Metric("Orders with a slippage against the price at the decision.", aggregates=NEWEST)
    ]
    slippage_arrival_bps: Annotated[
        float | None,
        Metric(
            "Mean slippage against the mid at submission, weighted by value; positive is a cost.",
            unit=Unit.BASIS_POINTS,
            formula="10000 * sign * (fill price - arrival mid) / arrival mid",
            source="Perold (1988)",
            aggregates=NEWEST,
        ),
    ]
    slippage_arrival_observations: Annotated[
        int, Metric("Orders with a slippage against the mid at submission.", aggregates=NEWEST)
    ]
    markout_100ms_bps: Annotated[float | None, _markout("100 ms")]
    markout_100ms_observations: Annotated[int, Metric("Fills with a markout at 100 ms.", aggregates=NEWEST)]
    markout_1s_bps: Annotated[float | None, _markout("1 s")]
    markout_1s_observations: Annotated[int, Metric("Fills with a markout at 1 s.", aggregates=NEWEST)]
    markout_5s_bps: Annotated[float | None, _markout("5 s")]
    markout_5s_observations: Annotated[int, Metric("Fills with a markout at 5 s.", aggregates=NEWEST)]
    markout_30s_bps: Annotated[float | None, _markout("30 s")]
    markout_30s_observations: Annotated[int, Metric("Fills with a markout at 30 s.", aggregates=NEWEST)]
    markout_5m_bps: Annotated[float | None, _markout("5 min")]
    markout_5m_observations: Annotated[int, Metric("Fills with a markout at 5 min.", aggregates=NEWEST)]
    markouts_skipped: Annotated[
        int,
        Metric(
            "Markouts not measured: no mid, a fill that was reported late, or too many fills that wait.",
            kind=Kind.COUNTER,
        ),
    ]
    shortfall_bps: Annotated[
        float | None,
        Metric(
            "Implementation shortfall of finished orders, the sum of its four parts; positive is a cost.",
            unit=Unit.BASIS_POINTS,
            formula="10000 * (delay + trading + opportunity + fees) / (quantity * decision price)",
            source="Perold (1988); Wagner and Edwards (1993)",
            aggregates=NEWEST,
        ),
    ]
    shortfall_delay_bps: Annotated[
        float | None,
        Metric(
            "Part of the shortfall: move of the mid from decision to submission.",
            unit=Unit.BASIS_POINTS,
            formula="10000 * sign * filled * (arrival mid - decision price) / (quantity * decision price)",
            source="Perold (1988); Wagner and Edwards (1993)",
            aggregates=NEWEST,
        ),
    ]
    shortfall_trading_bps: Annotated[
        float | None,
        Metric(
            "Part of the shortfall: fill prices against the mid at submission.",
            unit=Unit.BASIS_POINTS,
            formula="10000 * sign * sum(fill * (fill price - arrival mid)) / (quantity * decision price)",
            source="Perold (1988); Wagner and Edwards (1993)",
            aggregates=NEWEST,
        ),
    ]
    shortfall_opportunity_bps: Annotated[
        float | None,
        Metric(
            "Part of the shortfall: move of the mid from decision to end, of what was not filled.",
            unit=Unit.BASIS_POINTS,
            formula="10000 * sign * unfilled * (end mid - decision price) / (quantity * decision price)",
            source="Perold (1988); Wagner and Edwards (1993)",
            aggregates=NEWEST,
        ),
    ]
    shortfall_fees_bps: Annotated[
        float | None,
        Metric(
            "Part of the shortfall: fees minus rebates.",
            unit=Unit.BASIS_POINTS,
            formula="10000 * fees / (quantity * decision price)",
            source="Perold (1988); Wagner and Edwards (1993)",
            aggregates=NEWEST,
        ),
    ]
    shortfall_observations: Annotated[int, Metric("Orders with a shortfall.", aggregates=NEWEST)]

"""The execution metrics of one strategy at one venue."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
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


class ExecutionSample(Sample, frozen=True, kw_only=True):
    """The orders of one strategy at one venue at one cycle.

    ``orders_submitted`` always equals filled + cancelled + rejected + expired + forgotten + open orders.
    Percentiles and slippage cover a trailing window; each comes with its number of observations.
    """

    collector: ClassVar[str] = "execution"
    key: ClassVar[tuple[str, ...]] = ("strategy", "venue")

    strategy: str
    venue: str
    orders_submitted: Annotated[int, Metric("Orders submitted.", kind=Kind.COUNTER)]
    orders_accepted: Annotated[
        int, Metric("Orders accepted by the venue, including those filled at once.", kind=Kind.COUNTER)
    ]
    orders_filled: Annotated[int, Metric("Orders filled completely.", kind=Kind.COUNTER)]
    orders_cancelled: Annotated[
        int, Metric("Orders cancelled, including those partially filled.", kind=Kind.COUNTER)
    ]
    orders_rejected: Annotated[int, Metric("Orders rejected.", kind=Kind.COUNTER)]
    orders_expired: Annotated[int, Metric("Orders expired.", kind=Kind.COUNTER)]
    orders_forgotten: Annotated[
        int,
        Metric("Open orders no longer tracked because there were more than max_orders.", kind=Kind.COUNTER),
    ]
    order_conflicts: Annotated[
        int, Metric("Final states ignored because the order already had a different one.", kind=Kind.COUNTER)
    ]
    open_orders: Annotated[int, Metric("Orders without a final state.")]
    unanswered_seconds: Annotated[
        float | None,
        Metric(
            "Age of the oldest order that the venue has neither accepted, filled nor refused.",
            unit=Unit.SECONDS,
        ),
    ]
    fill_ratio: Annotated[float | None, Metric("Share of finished orders that were filled.", unit=Unit.RATIO)]
    cancel_ratio: Annotated[
        float | None, Metric("Share of finished orders that were cancelled.", unit=Unit.RATIO)
    ]
    reject_ratio: Annotated[
        float | None, Metric("Share of finished orders that were rejected.", unit=Unit.RATIO)
    ]
    fills: Annotated[int, Metric("Fills received, without duplicates.", kind=Kind.COUNTER)]
    duplicate_fills: Annotated[int, Metric("Duplicate fills received and ignored.", kind=Kind.COUNTER)]
    maker_ratio: Annotated[
        float | None,
        Metric("Share of the filled value that added liquidity, where known.", unit=Unit.RATIO),
    ]
    commissions: Annotated[float, Metric("Fees paid minus rebates.", unit=Unit.MONEY)]
    signal_to_submit_p50: Annotated[
        float | None, Metric("Median latency from signal to first order.", unit=Unit.SECONDS)
    ]
    signal_to_submit_p99: Annotated[
        float | None, Metric("99th percentile of the latency from signal to first order.", unit=Unit.SECONDS)
    ]
    signal_to_submit_observations: Annotated[
        int, Metric("Observations of the latency from signal to first order.")
    ]
    submit_to_ack_p50: Annotated[
        float | None, Metric("Median latency from submission to acceptance.", unit=Unit.SECONDS)
    ]
    submit_to_ack_p99: Annotated[
        float | None,
        Metric("99th percentile of the latency from submission to acceptance.", unit=Unit.SECONDS),
    ]
    submit_to_ack_observations: Annotated[
        int, Metric("Observations of the latency from submission to acceptance.")
    ]
    ack_to_fill_p50: Annotated[
        float | None, Metric("Median latency from acceptance to first fill.", unit=Unit.SECONDS)
    ]
    ack_to_fill_p99: Annotated[
        float | None,
        Metric("99th percentile of the latency from acceptance to first fill.", unit=Unit.SECONDS),
    ]
    ack_to_fill_observations: Annotated[
        int, Metric("Observations of the latency from acceptance to first fill.")
    ]
    submit_to_fill_p50: Annotated[
        float | None, Metric("Median latency from submission to first fill.", unit=Unit.SECONDS)
    ]
    submit_to_fill_p99: Annotated[
        float | None,
        Metric("99th percentile of the latency from submission to first fill.", unit=Unit.SECONDS),
    ]
    submit_to_fill_observations: Annotated[
        int, Metric("Observations of the latency from submission to first fill.")
    ]
    negative_latencies: Annotated[
        int, Metric("Negative latencies: the clocks of two parties disagree.", kind=Kind.COUNTER)
    ]
    slippage_decision_bps: Annotated[
        float | None,
        Metric(
            "Mean slippage against the signal price, weighted by value; positive is a cost.",
            unit=Unit.BASIS_POINTS,
        ),
    ]
    slippage_decision_observations: Annotated[
        int, Metric("Observations of the slippage against the signal price.")
    ]
    slippage_arrival_bps: Annotated[
        float | None,
        Metric(
            "Mean slippage against the mid at submission, weighted by value; positive is a cost.",
            unit=Unit.BASIS_POINTS,
        ),
    ]
    slippage_arrival_observations: Annotated[
        int, Metric("Observations of the slippage against the mid at submission.")
    ]

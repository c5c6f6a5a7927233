"""What is sampled of the execution of one strategy at one venue."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample


class ExecutionSample(Sample, frozen=True, kw_only=True):
    """The orders of one strategy at one venue at one instant.

    ``orders_submitted`` is always the sum of those filled, cancelled, rejected, expired, forgotten and open.
    Percentiles and slippage cover the newest orders or fills of a trailing window, and stand beside their n.
    """

    collector: ClassVar[str] = "execution"
    key: ClassVar[tuple[str, ...]] = ("strategy", "venue")

    strategy: str
    venue: str
    orders_submitted: Annotated[int, Metric("Orders seen.", kind=Kind.COUNTER)]
    orders_accepted: Annotated[
        int, Metric("Orders that the venue took: accepted or filled in part or whole.", kind=Kind.COUNTER)
    ]
    orders_filled: Annotated[int, Metric("Orders filled completely.", kind=Kind.COUNTER)]
    orders_cancelled: Annotated[int, Metric("Orders cancelled, part fills included.", kind=Kind.COUNTER)]
    orders_rejected: Annotated[int, Metric("Orders rejected.", kind=Kind.COUNTER)]
    orders_expired: Annotated[int, Metric("Orders expired.", kind=Kind.COUNTER)]
    orders_forgotten: Annotated[
        int, Metric("Open orders given up because there were more than max_orders.", kind=Kind.COUNTER)
    ]
    order_conflicts: Annotated[
        int, Metric("Final states ignored because the order had another one.", kind=Kind.COUNTER)
    ]
    open_orders: Annotated[int, Metric("Orders that have no final state yet.")]
    fill_ratio: Annotated[
        float | None, Metric("Share of the orders with a final state that were filled.", unit=Unit.RATIO)
    ]
    cancel_ratio: Annotated[
        float | None, Metric("Share of the orders with a final state that were cancelled.", unit=Unit.RATIO)
    ]
    reject_ratio: Annotated[
        float | None, Metric("Share of the orders with a final state that were rejected.", unit=Unit.RATIO)
    ]
    fills: Annotated[int, Metric("Fills seen, without repeated ones.", kind=Kind.COUNTER)]
    duplicate_fills: Annotated[
        int, Metric("Fills that repeated one seen before and were left out.", kind=Kind.COUNTER)
    ]
    maker_ratio: Annotated[
        float | None,
        Metric("Share of the value filled as maker, of that whose liquidity is known.", unit=Unit.RATIO),
    ]
    commissions: Annotated[float, Metric("Fees paid less rebates.", unit=Unit.MONEY)]
    signal_to_submit_p50: Annotated[
        float | None, Metric("Signal to its first order, median.", unit=Unit.SECONDS)
    ]
    signal_to_submit_p99: Annotated[
        float | None, Metric("Signal to its first order, 99th percentile.", unit=Unit.SECONDS)
    ]
    signal_to_submit_observations: Annotated[int, Metric("Signals that signal_to_submit is made of.")]
    submit_to_ack_p50: Annotated[float | None, Metric("Submission to acceptance, median.", unit=Unit.SECONDS)]
    submit_to_ack_p99: Annotated[
        float | None, Metric("Submission to acceptance, 99th percentile.", unit=Unit.SECONDS)
    ]
    submit_to_ack_observations: Annotated[int, Metric("Orders that submit_to_ack is made of.")]
    ack_to_fill_p50: Annotated[float | None, Metric("Acceptance to first fill, median.", unit=Unit.SECONDS)]
    ack_to_fill_p99: Annotated[
        float | None, Metric("Acceptance to first fill, 99th percentile.", unit=Unit.SECONDS)
    ]
    ack_to_fill_observations: Annotated[int, Metric("Orders that ack_to_fill is made of.")]
    submit_to_fill_p50: Annotated[
        float | None, Metric("Submission to first fill, median.", unit=Unit.SECONDS)
    ]
    submit_to_fill_p99: Annotated[
        float | None, Metric("Submission to first fill, 99th percentile.", unit=Unit.SECONDS)
    ]
    submit_to_fill_observations: Annotated[int, Metric("Orders that submit_to_fill is made of.")]
    negative_latencies: Annotated[
        int, Metric("Latencies below zero: the clocks of two parties disagree.", kind=Kind.COUNTER)
    ]
    slippage_decision_bps: Annotated[
        float | None,
        Metric(
            "Fill price against the price of the signal, weighted by value; positive is a cost.",
            unit=Unit.BASIS_POINTS,
        ),
    ]
    slippage_decision_observations: Annotated[int, Metric("Fills that slippage_decision_bps is made of.")]
    slippage_arrival_bps: Annotated[
        float | None,
        Metric(
            "Fill price against the mid at submission, weighted by value; positive is a cost.",
            unit=Unit.BASIS_POINTS,
        ),
    ]
    slippage_arrival_observations: Annotated[int, Metric("Fills that slippage_arrival_bps is made of.")]

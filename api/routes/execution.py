"""Quality of execution: order outcomes, latencies and slippage."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import ApiParts, Request
from api.routes.live_state import check_running
from api.routes.records import Text
from collectors.execution.sample import ExecutionSample
from decahertz.quantities import BasisPoints, Figures, Money, Ratio, Reasons, Seconds, TimeNanoseconds
from storage.query.execution_quality import ExecutionSelection, ExecutionTotals

_NO_FINAL = "no order has finished"
_NO_LATENCY = "no order has both ends of this leg"
LEGS: Final = ("signal_to_submit", "submit_to_ack", "ack_to_fill", "submit_to_fill")


class QualityBasis(StrEnum):
    """Where the figures come from."""

    LIVE = "live"
    """The newest sample: counts since the strategy appeared, latencies and slippage of a trailing window."""
    STORED = "stored"
    """Orders in the database that were submitted in the range."""


class QualityQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the quality of execution; with `start` or `end` of orders submitted in `[start, end)`."""

    strategy: Text | None = None
    venue: Text | None = None
    recorder: Text | None = None
    start: Time | None = None
    end: Time | None = None


class Latency(Struct, frozen=True, kw_only=True):
    """Latencies of one leg: the smallest that 50 % and 99 % of the orders do not exceed."""

    n: int
    p50: Seconds | None
    p99: Seconds | None


class Slippage(Struct, frozen=True, kw_only=True):
    """Mean slippage weighted by value; positive is a cost."""

    n: int
    """Orders, or observations of the trailing window."""
    mean: BasisPoints | None


class ExecutionQuality(Struct, frozen=True, kw_only=True):
    """Orders of one strategy at one venue."""

    strategy: str
    venue: str
    submitted: int
    accepted: int
    filled: int
    cancelled: int
    rejected: int
    expired: int
    open: int
    """Orders without a final state."""
    finished: int
    """Orders with a final state: the n of the three ratios."""
    fill_ratio: Ratio | None
    cancel_ratio: Ratio | None
    reject_ratio: Ratio | None
    fills: int
    commissions: Money
    maker_ratio: Ratio | None
    """Share of the filled value that added liquidity, where known."""
    signal_to_submit: Latency
    """From a signal to its first order."""
    submit_to_ack: Latency
    ack_to_fill: Latency
    """From acceptance to the first fill."""
    submit_to_fill: Latency
    """From submission to the first fill."""
    slippage_decision: Slippage
    """Against the price of the signal."""
    slippage_arrival: Slippage
    """Against the mid at submission."""
    negative_latencies: int
    """Latencies below zero: the clocks of two parties disagree."""
    reasons: Reasons


class ExecutionReport(Struct, frozen=True, kw_only=True):
    """Quality of execution by strategy and venue."""

    recorder: str
    """Name of this recorder."""
    basis: QualityBasis
    time_ns: TimeNanoseconds
    items: list[ExecutionQuality]


async def execution_quality(request: Request[QualityQuery, None]) -> ExecutionReport:
    """Returns order outcomes, latencies and slippage by strategy and venue, each with its n.

    Without `start` and `end`: the live state of this recorder. With one of them: from the stored orders.
    There, slippage against the mid counts orders that name their arrival price.
    """
    query, parts = request.query, request.parts
    if query.start is None and query.end is None:
        if query.recorder not in (None, parts.recorder):
            raise parameter_problem("recorder", "is another one; add start or end to read stored orders")
        basis, items = QualityBasis.LIVE, _live(parts, query)
    else:
        if query.start is not None and query.end is not None and query.start > query.end:
            raise parameter_problem("start", "is later than end")
        which = ExecutionSelection(
            recorder=query.recorder,
            strategy=query.strategy,
            venue=query.venue,
            start_ns=query.start,
            end_ns=query.end,
        )
        found = await parts.queries.execution_totals(which)
        basis, items = QualityBasis.STORED, [_stored(totals) for totals in found]
    return ExecutionReport(recorder=parts.recorder, basis=basis, time_ns=parts.clock.time_ns(), items=items)


def _live(parts: ApiParts, query: QualityQuery) -> list[ExecutionQuality]:
    check_running(parts, "execution")
    batch = parts.latest.get("execution")
    samples = [s for s in batch.samples if isinstance(s, ExecutionSample)] if batch is not None else []
    return [
        _of_sample(sample)
        for sample in sorted(samples, key=lambda sample: (sample.strategy, sample.venue))
        if query.strategy in (None, sample.strategy) and query.venue in (None, sample.venue)
    ]


def _of_sample(sample: ExecutionSample) -> ExecutionQuality:
    figures = Figures()
    for name in ("fill_ratio", "cancel_ratio", "reject_ratio"):
        figures.add(name, getattr(sample, name), _NO_FINAL)
    figures.add("maker_ratio", sample.maker_ratio, "no fill says whether it added liquidity")
    finished = sample.orders_filled + sample.orders_cancelled + sample.orders_rejected + sample.orders_expired
    return ExecutionQuality(
        strategy=sample.strategy,
        venue=sample.venue,
        submitted=sample.orders_submitted,
        accepted=sample.orders_accepted,
        filled=sample.orders_filled,
        cancelled=sample.orders_cancelled,
        rejected=sample.orders_rejected,
        expired=sample.orders_expired,
        open=sample.open_orders,
        finished=finished,
        fills=sample.fills,
        commissions=sample.commissions,
        negative_latencies=sample.negative_latencies,
        **_legs(figures, {leg: _window(sample, leg) for leg in LEGS}),
        slippage_decision=_slippage(
            figures,
            "slippage_decision",
            sample.slippage_decision_observations,
            sample.slippage_decision_bps,
        ),
        slippage_arrival=_slippage(
            figures, "slippage_arrival", sample.slippage_arrival_observations, sample.slippage_arrival_bps
        ),
        **figures.values_with_reasons(),
    )


def _window(sample: ExecutionSample, leg: str) -> tuple[int, float | None, float | None]:
    n: int = getattr(sample, f"{leg}_observations")
    return n, getattr(sample, f"{leg}_p50"), getattr(sample, f"{leg}_p99")


def _stored(totals: ExecutionTotals) -> ExecutionQuality:
    figures, t = Figures(), totals
    finished = t.filled + t.cancelled + t.rejected + t.expired
    for name, count in (("fill", t.filled), ("cancel", t.cancelled), ("reject", t.rejected)):
        figures.add(f"{name}_ratio", count / finished if finished else None, _NO_FINAL)
    known = t.maker_value + t.taker_value
    maker_ratio = t.maker_value / known if known else None
    figures.add("maker_ratio", maker_ratio, "no fill says whether it added liquidity")
    return ExecutionQuality(
        strategy=t.strategy,
        venue=t.venue,
        submitted=t.submitted,
        accepted=t.accepted,
        filled=t.filled,
        cancelled=t.cancelled,
        rejected=t.rejected,
        expired=t.expired,
        open=t.submitted - finished,
        finished=finished,
        fills=t.fills,
        commissions=t.commissions,
        negative_latencies=t.negative_latencies,
        **_legs(
            figures,
            {
                leg: (getattr(t, f"{leg}_n"), getattr(t, f"{leg}_p50"), getattr(t, f"{leg}_p99"))
                for leg in LEGS
            },
        ),
        slippage_decision=_slippage(figures, "slippage_decision", t.decision_n, t.decision_bps),
        slippage_arrival=_slippage(figures, "slippage_arrival", t.arrival_n, t.arrival_bps),
        **figures.values_with_reasons(),
    )


def _legs(figures: Figures, legs: Mapping[str, tuple[int, float | None, float | None]]) -> dict[str, Any]:
    """The latencies of each leg, from its n, median and 99th percentile."""
    return {leg: _latency(figures, leg, *latency) for leg, latency in legs.items()}


def _latency(figures: Figures, leg: str, n: int, p50: float | None, p99: float | None) -> Latency:
    if p50 is None:
        figures.reasons[leg] = _NO_LATENCY
    return Latency(n=n, p50=p50, p99=p99)


def _slippage(figures: Figures, name: str, n: int, mean: float | None) -> Slippage:
    if mean is None:
        figures.reasons[name] = "no filled order has this reference price"
    return Slippage(n=n, mean=mean)


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/execution/quality",
        summary="Order outcomes, latencies and slippage",
        handler=execution_quality,
        query=QualityQuery,
        response=ExecutionReport,
        problems=("database-unavailable", "not-enabled"),
    ),
)

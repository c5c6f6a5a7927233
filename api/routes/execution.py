"""Quality of execution: order outcomes, latencies, costs and markouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import ApiParts, Request
from api.routes.costs import Markout, markouts_of
from api.routes.known import check_known
from api.routes.live_state import check_running
from api.routes.records import Text
from collectors.execution.order import End
from collectors.execution.sample import ExecutionSample
from decahertz.quantities import BasisPoints, Figures, Money, Ratio, Reasons, Seconds, TimeNanoseconds
from storage.query.execution_quality import ExecutionSelection, ExecutionTotals
from storage.schema.order_quality import HORIZONS_NS, LEGS

_NO_FINAL = "no order has finished"
_NO_LATENCY = "no order has both ends of this leg"


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


class Shortfall(Struct, frozen=True, kw_only=True):
    """Implementation shortfall of finished orders, over their value at the decision; positive is a cost."""

    n: int
    """Finished orders with a decision price and the mids that they need."""
    total: BasisPoints | None
    """The sum of the four parts."""
    delay: BasisPoints | None
    """Move of the mid from decision to submission, of the filled part."""
    trading: BasisPoints | None
    """Fill prices against the mid at submission."""
    opportunity: BasisPoints | None
    """Move of the mid from decision to end, of the unfilled part."""
    fees: BasisPoints | None
    """Fees minus rebates."""


class Ends(Struct, frozen=True, kw_only=True):
    """Orders that ended in one state for one reason."""

    state: str
    """`filled`, `cancelled`, `rejected` or `expired`."""
    reason: str
    """In the words of the last report; empty: it gave none."""
    n: int
    ratio: Ratio
    """Share of the finished orders."""


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
    unresolved: int
    """Open orders that were reported as unresolved; live also those without an answer for too long."""
    conflicts: int
    """Contradictions among the reports and fills of an order."""
    finished: int
    """Orders with a final state: the n of the three ratios."""
    fill_ratio: Ratio | None
    cancel_ratio: Ratio | None
    reject_ratio: Ratio | None
    ends: list[Ends]
    """The same by reason, the most frequent first; at most 50 of them, others as `__other__`."""
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
    submit_to_last_fill: Latency
    """From submission to the last fill, of orders that have ended."""
    queue: Latency
    """Wait in queues of the trading process before the submission."""
    limiter: Latency
    """Wait for the rate limiter of the trading process before the submission."""
    slippage_decision: Slippage
    """Against the price at the decision."""
    slippage_arrival: Slippage
    """Against the mid at submission."""
    shortfall: Shortfall
    markouts: list[Markout]
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
    """Returns order outcomes, latencies, costs and markouts by strategy and venue, each with its n.

    Without `start` and `end`: the live state of this recorder. With one of them: from the stored orders.
    There, mids that orders do not name come from the raw samples of the market, as long as these are kept.
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
    if not items:
        await check_known(parts, {"strategy": query.strategy})
    return ExecutionReport(recorder=parts.recorder, basis=basis, time_ns=parts.clock.time_ns(), items=items)


def _live(parts: ApiParts, query: QualityQuery) -> list[ExecutionQuality]:
    check_running(parts, "execution")
    batch = parts.latest.get("execution")
    samples = [s for s in batch.samples if isinstance(s, ExecutionSample)] if batch is not None else []
    collector = parts.execution()
    ends = {} if collector is None else collector.ends()
    return [
        _of_sample(sample, ends.get((sample.strategy, sample.venue), {}))
        for sample in sorted(samples, key=lambda sample: (sample.strategy, sample.venue))
        if query.strategy in (None, sample.strategy) and query.venue in (None, sample.venue)
    ]


def _of_sample(sample: ExecutionSample, ends: Mapping[End, int]) -> ExecutionQuality:
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
        unresolved=sample.unresolved_orders,
        conflicts=sample.order_conflicts,
        finished=finished,
        ends=_ends([(state, reason, orders) for (state, reason), orders in ends.items()]),
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
        shortfall=_shortfall(figures, sample.shortfall_observations, sample),
        markouts=markouts_of(
            figures,
            {
                name: (
                    getattr(sample, f"markout_{name}_observations"),
                    getattr(sample, f"markout_{name}_bps"),
                )
                for name in HORIZONS_NS
            },
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
        unresolved=t.unresolved,
        conflicts=t.conflicts,
        finished=finished,
        ends=_ends([(end.state, end.reason, end.orders) for end in t.ends]),
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
        shortfall=_shortfall(figures, t.shortfall_n, t),
        markouts=markouts_of(figures, t.markouts),
        **figures.values_with_reasons(),
    )


def _ends(ends: Sequence[tuple[str, str, int]]) -> list[Ends]:
    """The ends of orders, from state, reason and number of each."""
    total = sum(orders for _, _, orders in ends)
    found = sorted(ends, key=lambda end: (-end[2], end[0], end[1]))
    return [Ends(state=state, reason=reason, n=n, ratio=n / total) for state, reason, n in found]


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


def _shortfall(figures: Figures, n: int, of: ExecutionSample | ExecutionTotals) -> Shortfall:
    if of.shortfall_bps is None:
        figures.reasons["shortfall"] = "no finished order has a decision price and the mids that it needs"
    return Shortfall(
        n=n,
        total=of.shortfall_bps,
        delay=of.shortfall_delay_bps,
        trading=of.shortfall_trading_bps,
        opportunity=of.shortfall_opportunity_bps,
        fees=of.shortfall_fees_bps,
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/execution/quality",
        summary="Order outcomes, latencies, costs and markouts",
        handler=execution_quality,
        query=QualityQuery,
        response=ExecutionReport,
        problems=("database-unavailable", "not-enabled", "unknown-name"),
    ),
)

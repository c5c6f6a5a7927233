"""The execution collector: the life of orders, latencies leg by leg, slippage, maker share, commissions."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.common.values import UnusableEventError
from collectors.execution.collector import ExecutionCollector, ExecutionOptions
from collectors.execution.markouts import NAMES
from collectors.execution.sample import ExecutionSample
from decahertz.clock import Clock, SystemClock
from decahertz.event import (
    FINAL_ORDER_STATES,
    Direction,
    Event,
    Fill,
    FillKind,
    Liquidity,
    Order,
    OrderState,
    Quote,
    Side,
    Signal,
)
from decahertz.metric import Kind
from decahertz.testing import ManualClock
from tests.collectors.parts import check_values, ns, schema

SUBMITTED, ACCEPTED, PARTIALLY_FILLED, UNRESOLVED, FILLED, CANCELLED, REJECTED, EXPIRED = OrderState


class Desk:
    """An execution collector, and a time in seconds after the start."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:  # noqa: ANN401 - any option
        self.collector = ExecutionCollector(clock or SystemClock(), ExecutionOptions(**options))

    def take(self, event: Event, at: float) -> None:
        self.collector.on_event(event, ns(at))

    def order(self, order_id: str, state: OrderState, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        self.take(order(order_id, state, at, **more), at)

    def fill(self, order_id: str, price: float, quantity: float, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        self.take(fill(order_id, price, quantity, at, **more), at)

    def signal(self, signal_id: str, at: float, price: float | None = None, strategy: str = "trend") -> None:
        names: dict[str, Any] = {"strategy": strategy, "venue": "fx", "instrument": "EUR/USD"}
        signal = Signal(time_ns=ns(at), signal_id=signal_id, direction=Direction.BUY, price=price, **names)
        self.take(signal, at)

    def quote(self, bid: float | None, ask: float | None, at: float) -> None:
        self.take(Quote(time_ns=ns(at), venue="fx", instrument="EUR/USD", bid=bid, ask=ask), at)

    def samples(self, at: float) -> dict[tuple[str, str], ExecutionSample]:
        samples = self.collector.sample(ns(at))
        return {(s.strategy, s.venue): s for s in samples if isinstance(s, ExecutionSample)}

    def sample(self, at: float) -> ExecutionSample:
        return self.samples(at)["trend", "fx"]


@pytest.fixture
def desk() -> Desk:
    """One with the default options."""
    return Desk()


def order(order_id: str, state: OrderState, at: float, **more: Any) -> Order:  # noqa: ANN401 - any field
    more = {"strategy": "trend", "venue": "fx", "side": Side.BUY, "quantity": 1.0, **more}
    return Order(time_ns=ns(at), instrument="EUR/USD", order_id=order_id, state=state, **more)


def fill(order_id: str, price: float, quantity: float, at: float, **more: Any) -> Fill:  # noqa: ANN401 - any field
    more = {"strategy": "trend", "venue": "fx", "side": Side.BUY, "fill_id": f"{order_id}@{at}", **more}
    return Fill(
        time_ns=ns(at), instrument="EUR/USD", order_id=order_id, price=price, quantity=quantity, **more
    )


def counts(sample: ExecutionSample) -> dict[str, int]:
    """The counters of orders that are not zero."""
    names = ("submitted", "accepted", "filled", "cancelled", "rejected", "expired", "forgotten")
    found = {name: getattr(sample, f"orders_{name}") for name in names} | {"open": sample.open_orders}
    return {name: count for name, count in found.items() if count}


def test_quotes_and_signals_make_no_sample_and_an_open_order_leaves_the_rest_unknown(
    desk: Desk,
) -> None:
    desk.quote(1.0, 2.0, at=1)
    desk.signal("g", at=1)
    assert desk.samples(at=1.1) == {}
    desk.order("a", SUBMITTED, at=2)
    sample = desk.sample(at=2.1)
    assert counts(sample) == {"submitted": 1, "open": 1}
    assert sample.unanswered_seconds == pytest.approx(0.1)
    for field in schema(ExecutionSample).metrics:
        if field.optional and field.name != "unanswered_seconds":
            assert getattr(sample, field.name) is None, field.name


# The life of orders.


def test_a_filled_order_is_counted_in_each_state_once(desk: Desk) -> None:
    for at, state in enumerate([SUBMITTED, ACCEPTED, PARTIALLY_FILLED, PARTIALLY_FILLED, FILLED], start=1):
        desk.order("a", state, at=at)
    assert counts(desk.sample(at=6)) == {"submitted": 1, "accepted": 1, "filled": 1}


def test_ratios_are_shares_of_the_finished_orders(desk: Desk) -> None:
    for name, state in zip("abcdef", [FILLED, FILLED, CANCELLED, REJECTED, EXPIRED, ACCEPTED], strict=True):
        desk.order(name, SUBMITTED, at=1)
        desk.order(name, state, at=2)
    sample = desk.sample(at=3)
    assert (sample.fill_ratio, sample.cancel_ratio, sample.reject_ratio) == (0.4, 0.2, 0.2)
    finals = {"filled": 2, "cancelled": 1, "rejected": 1, "expired": 1}
    assert counts(sample) == {"submitted": 6, "accepted": 3, "open": 1, **finals}


def test_the_ends_of_orders_are_counted_by_reason_and_follow_late_fills(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1)
    desk.order("a", CANCELLED, at=2, reason="by the user")
    desk.order("b", REJECTED, at=2, reason="no margin")
    desk.order("c", REJECTED, at=2, reason="no margin")
    desk.order("d", FILLED, at=2)
    desk.order("e", EXPIRED, at=2)
    key = ("trend", "fx")
    by_reason = {(REJECTED, "no margin"): 2, (FILLED, ""): 1, (EXPIRED, ""): 1}
    assert desk.collector.ends()[key] == by_reason | {(CANCELLED, "by the user"): 1}
    desk.fill("a", 1.0, 1.0, at=3)
    assert desk.collector.ends()[key] == by_reason | {(FILLED, ""): 2}


def test_reasons_beyond_the_limit_are_added_up(desk: Desk) -> None:
    for number in range(60):
        desk.order(f"o{number}", REJECTED, at=1, reason=f"order {number} is refused")
    ends = desk.collector.ends()["trend", "fx"]
    assert (len(ends), ends[REJECTED, "__other__"], sum(ends.values())) == (51, 10, 60)


LIFE = [order("a", s, at) for at, s in enumerate([SUBMITTED, ACCEPTED, FILLED], start=1)]


@pytest.mark.parametrize("events", list(permutations([*LIFE, fill("a", 1.0, 1.0, at=2.5)])))
def test_the_same_is_counted_in_whatever_order_the_events_come_and_however_often(
    desk: Desk,
    events: tuple[Event, ...],
) -> None:
    for event in (*events, *events):
        desk.take(event, at=5)
    sample = desk.sample(at=6)
    assert counts(sample) == {"submitted": 1, "accepted": 1, "filled": 1}
    assert (sample.fills, sample.duplicate_fills, sample.order_conflicts) == (1, 1, 0)
    assert (sample.submit_to_ack_p50, sample.submit_to_ack_observations) == (1.0, 1)
    assert (sample.ack_to_fill_p50, sample.submit_to_fill_p50) == (0.5, 1.5)
    assert sample.ack_to_fill_observations == sample.submit_to_fill_observations == 1
    assert (sample.submit_to_last_fill_p50, sample.submit_to_last_fill_observations) == (1.5, 1)


def test_a_late_fill_after_the_cancellation_fills_the_order(desk: Desk) -> None:
    """C7: submitted, cancelled, fill, filled."""
    desk.order("a", SUBMITTED, at=1)
    desk.order("a", CANCELLED, at=2)
    assert counts(desk.sample(at=2)) == {"submitted": 1, "cancelled": 1}
    desk.fill("a", 1.0, 1.0, at=3)
    filled = {"submitted": 1, "accepted": 1, "filled": 1}
    assert counts(desk.sample(at=3)) == filled
    desk.order("a", FILLED, at=4)
    desk.order("a", CANCELLED, at=5)
    sample = desk.sample(at=5)
    assert counts(sample) == filled
    assert (sample.order_conflicts, sample.fill_ratio, sample.cancel_ratio) == (1, 1.0, 0.0)


def test_a_partial_fill_after_the_cancellation_is_counted_and_the_order_stays_cancelled(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1)
    desk.order("a", CANCELLED, at=2)
    desk.fill("a", 1.0, 0.5, at=3)
    sample = desk.sample(at=3)
    assert counts(sample) == {"submitted": 1, "accepted": 1, "cancelled": 1}
    assert (sample.fills, sample.order_conflicts) == (1, 0)


def test_missing_reports_are_made_good_by_fills(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1)
    desk.fill("a", 1.0, 0.1, at=2, fill_id="1")
    assert counts(desk.sample(at=2)) == {"submitted": 1, "accepted": 1, "open": 1}
    desk.fill("a", 1.0, 0.2, at=3, fill_id="2")
    desk.fill("a", 1.0, 0.7, at=4, fill_id="3")
    assert counts(desk.sample(at=4)) == {"submitted": 1, "accepted": 1, "filled": 1}


def test_equal_ids_in_two_instruments_are_two_orders(desk: Desk) -> None:
    """C6: a buy of 1 at 100.91 against 100 is 91 basis points."""
    for instrument, arrival, price in (("EUR/USD", 100, 100.91), ("USD/JPY", 150, 151.365)):
        both: dict[str, Any] = {
            "strategy": "trend",
            "venue": "fx",
            "instrument": instrument,
            "order_id": "17",
        }
        both |= {"side": Side.BUY, "quantity": 1.0}
        desk.take(Order(time_ns=ns(1), state=SUBMITTED, arrival_price=arrival, **both), at=1)
        desk.take(Fill(time_ns=ns(2), fill_id="1", price=price, **both), at=2)
    sample = desk.sample(at=3)
    assert (sample.orders_submitted, sample.fills, sample.order_conflicts) == (2, 2, 0)
    assert sample.slippage_arrival_bps == pytest.approx(91)
    desk.order("17", CANCELLED, at=3, account="other")
    assert counts(desk.sample(at=3)) == {"submitted": 3, "accepted": 2, "filled": 2, "cancelled": 1}


def test_contradictions_are_counted_once(desk: Desk) -> None:
    for _ in range(2):
        desk.order("a", REJECTED, at=1)
        desk.order("a", EXPIRED, at=2)
        desk.fill("a", 1.0, 2.0, at=3)  # more than ordered
        desk.order("b", REJECTED, at=4)
        desk.fill("b", 1.0, 0.5, at=5)
    assert desk.sample(at=6).order_conflicts == 3 + 1


def test_a_fill_id_with_other_content_is_a_conflict_and_not_counted(desk: Desk) -> None:
    """C5: 17-1 buy, later 17-1 sell."""
    desk.fill("17", 1.0, 1.0, at=1, fill_id="17-1")
    desk.fill("17", 1.0, 1.0, at=1, fill_id="17-1")
    desk.fill("17", 2.0, 1.0, at=9, fill_id="17-1", side=Side.SELL)
    sample = desk.sample(at=9)
    assert (sample.fills, sample.duplicate_fills, sample.fill_conflicts) == (1, 2, 1)


def test_a_bust_takes_a_fill_away_and_a_correction_replaces_it(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1, quantity=2.0, arrival_price=100)
    desk.fill("a", 101, 1.0, at=2, fill_id="1", fee=1.0)
    desk.fill("a", 103, 1.0, at=3, fill_id="2", fee=1.0)
    assert counts(desk.sample(at=3)) == {"submitted": 1, "accepted": 1, "filled": 1}
    desk.fill("a", 101, 1.0, at=4, fill_id="1", kind=FillKind.BUST)
    assert counts(desk.sample(at=4)) == {"submitted": 1, "accepted": 1, "open": 1}
    assert (desk.sample(at=4).slippage_arrival_bps, desk.sample(at=4).commissions) == (300, 1.0)
    desk.fill("a", 102, 1.0, at=5, fill_id="2", kind=FillKind.CORRECTION, fee=0.5)
    assert (desk.sample(at=5).slippage_arrival_bps, desk.sample(at=5).commissions) == (200, 0.5)


def test_an_unresolved_order_is_open_and_no_rejection(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1)
    desk.order("a", UNRESOLVED, at=2)
    desk.order("b", SUBMITTED, at=3)
    sample = desk.sample(at=4)
    assert counts(sample) == {"submitted": 2, "open": 2}
    assert (sample.unresolved_orders, sample.unanswered_seconds) == (1, 1.0)
    assert desk.sample(at=63.1).unresolved_orders == 2  # nothing answered for a minute
    assert desk.sample(at=63.1).unanswered_seconds == pytest.approx(60.1)
    desk.order("b", ACCEPTED, at=64)
    desk.order("a", CANCELLED, at=64)
    sample = desk.sample(at=65)
    assert (sample.unresolved_orders, sample.unanswered_seconds) == (0, None)
    assert counts(sample) == {"submitted": 2, "accepted": 1, "cancelled": 1, "open": 1}


def test_old_events_of_an_order_that_is_gone_are_late_and_new_ones_are_of_another() -> None:
    desk = Desk(finished_seconds=100.0)
    life = [order("a", SUBMITTED, 1), fill("a", 1.0, 1.0, at=2), order("a", FILLED, 2)]
    for event in life:
        desk.take(event, at=2)
    desk.sample(at=200)
    for event in life:  # the trading process sends all again
        desk.take(event, at=200)
    sample = desk.sample(at=201)
    assert counts(sample) == {"submitted": 1, "accepted": 1, "filled": 1}
    assert (sample.fills, sample.duplicate_fills, sample.late_events) == (1, 1, 2)
    desk.order("a", SUBMITTED, at=202)  # its ids have started over
    desk.fill("a", 1.0, 0.5, at=203)
    sample = desk.sample(at=203)
    assert counts(sample) == {"submitted": 2, "accepted": 2, "filled": 1, "open": 1}
    assert sample.fills == 2


def test_orders_of_another_strategy_or_venue_are_others(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1)
    desk.order("a", SUBMITTED, at=1, strategy="carry")
    desk.order("a", FILLED, at=1, venue="other")
    found = {key: counts(sample) for key, sample in desk.samples(at=2).items()}
    assert found == {
        ("trend", "fx"): {"submitted": 1, "open": 1},
        ("carry", "fx"): {"submitted": 1, "open": 1},
        ("trend", "other"): {"submitted": 1, "accepted": 1, "filled": 1},
    }


# Latencies.


def test_each_leg_is_timed_from_event_to_event(desk: Desk) -> None:
    desk.signal("g", at=1)
    desk.order("a", SUBMITTED, at=1.25, signal_id="g")
    desk.order("a", SUBMITTED, at=1.5)  # a repetition does not shorten the way to the acceptance
    desk.order("a", ACCEPTED, at=1.75)
    desk.fill("a", 1.0, 0.5, at=3.75)
    desk.fill("a", 1.0, 0.5, at=9)
    sample = desk.sample(at=10)
    assert (sample.signal_to_submit_p50, sample.signal_to_submit_observations) == (0.25, 1)
    assert (sample.submit_to_ack_p50, sample.submit_to_ack_observations) == (0.5, 1)
    assert (sample.ack_to_fill_p50, sample.ack_to_fill_observations) == (2.0, 1)
    assert (sample.submit_to_fill_p50, sample.submit_to_fill_observations) == (2.5, 1)
    assert sample.negative_latencies == 0


def test_only_the_first_order_of_a_signal_of_the_same_strategy_is_timed_against_it(desk: Desk) -> None:
    desk.signal("g", at=1)
    desk.signal("h", at=1, strategy="carry")
    desk.order("a", SUBMITTED, at=2, signal_id="g")
    desk.order("b", SUBMITTED, at=60, signal_id="g")
    desk.order("c", SUBMITTED, at=60, signal_id="h")
    sample = desk.sample(at=61)
    assert (sample.signal_to_submit_p99, sample.signal_to_submit_observations) == (1.0, 1)


def test_a_negative_latency_is_kept_and_counted(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=2)
    desk.order("a", ACCEPTED, at=1.5)
    sample = desk.sample(at=3)
    assert (sample.submit_to_ack_p50, sample.negative_latencies) == (-0.5, 1)


def test_the_last_fill_of_an_order_counts_once_it_has_ended_and_follows_a_late_one() -> None:
    desk = Desk()
    desk.order("a", SUBMITTED, at=1)
    desk.fill("a", 1.0, 0.5, at=2)
    desk.fill("a", 1.0, 0.25, at=4)
    assert desk.sample(at=5).submit_to_last_fill_observations == 0
    desk.order("a", CANCELLED, at=6)
    sample = desk.sample(at=7)
    assert (sample.submit_to_fill_p50, sample.submit_to_last_fill_p50) == (1.0, 3.0)
    desk.fill("a", 1.0, 0.125, at=5)
    sample = desk.sample(at=8)
    assert (sample.submit_to_last_fill_p50, sample.submit_to_last_fill_observations) == (4.0, 1)


def test_latencies_after_the_start_are_counted_by_bucket_while_the_strategy_is_there() -> None:
    desk = Desk(clock=ManualClock(ns(100)), idle_seconds=60)
    desk.signal("s", at=98)
    desk.order("a", SUBMITTED, at=99, signal_id="s")  # restored, as is the signal
    desk.order("a", ACCEPTED, at=101)
    desk.order("b", SUBMITTED, at=103)
    desk.order("b", ACCEPTED, at=102)
    desk.fill("b", 1.0, 1.0, at=104)
    histograms = {histogram.name: histogram for histogram in desk.collector.histograms}
    assert {name: sum(one.of("trend", "fx").counts) for name, one in histograms.items()} == {
        "signal_to_submit": 0,
        "submit_to_ack": 1,  # that of b is negative
        "ack_to_fill": 1,
        "submit_to_fill": 1,
        "submit_to_last_fill": 1,
        "queue": 0,
        "limiter": 0,
    }
    assert histograms["submit_to_ack"].of("trend", "fx").sum == 2
    desk.order("a", FILLED, at=105)
    desk.order("b", FILLED, at=105)
    desk.samples(at=170)
    desk.samples(at=190)
    assert not any(histogram.series for histogram in histograms.values())


def test_percentiles_are_observed_values_of_the_window() -> None:
    desk = Desk(window_seconds=100.0, window_size=1000)
    for n in range(1, 201):
        desk.order(str(n), SUBMITTED, at=1)
        desk.order(str(n), ACCEPTED, at=1 + n / 8)
    sample = desk.sample(at=30)
    assert (sample.submit_to_ack_p50, sample.submit_to_ack_p99) == (100 / 8, 198 / 8)
    assert sample.submit_to_ack_observations == 200
    sample = desk.sample(at=111)
    assert (sample.submit_to_ack_observations, sample.submit_to_ack_p50) == (120, (80 + 60) / 8)
    sample = desk.sample(at=130)
    assert (sample.submit_to_ack_observations, sample.submit_to_ack_p50) == (0, None)


def test_no_more_than_the_newest_observations_count() -> None:
    desk = Desk(window_size=3)
    for n, latency in enumerate([9.0, 1.0, 2.0, 3.0]):
        desk.order(str(n), SUBMITTED, at=1)
        desk.order(str(n), ACCEPTED, at=1 + latency)
    sample = desk.sample(at=20)
    assert (sample.submit_to_ack_observations, sample.submit_to_ack_p99) == (3, 3.0)


# Slippage: a positive one is a cost.


@pytest.mark.parametrize(
    ("side", "price", "bps"),
    [(Side.BUY, 101, 100), (Side.BUY, 99, -100), (Side.SELL, 99, 100), (Side.SELL, 101, -100)],
)
def test_paying_more_or_getting_less_is_positive(desk: Desk, side: Side, price: float, bps: float) -> None:
    desk.signal("g", at=1, price=100)
    desk.order("a", SUBMITTED, at=2, side=side, signal_id="g", arrival_price=100)
    desk.fill("a", price, 1, at=3, side=side)
    sample = desk.sample(at=4)
    assert (sample.slippage_decision_bps, sample.slippage_arrival_bps) == (bps, bps)
    assert (sample.slippage_decision_observations, sample.slippage_arrival_observations) == (1, 1)


def test_the_mid_at_submission_stands_in_for_an_arrival_price(desk: Desk) -> None:
    desk.quote(99, 101, at=1)
    desk.order("a", SUBMITTED, at=2)
    desk.quote(109, 111, at=2.5)
    desk.fill("a", 102, 1, at=3)
    desk.order("b", SUBMITTED, at=4, arrival_price=51)
    desk.fill("b", 51, 2, at=5)
    sample = desk.sample(at=6)
    assert sample.slippage_arrival_bps == pytest.approx((200 * 100 + 0 * 102) / 202)
    assert (sample.slippage_decision_bps, sample.slippage_decision_observations) == (None, 0)


@pytest.mark.parametrize(("bid", "ask"), [(None, 101.0), (99.0, None), (-1.0, 1.0), (-3.0, -2.0)])
def test_without_a_positive_mid_there_is_no_arrival(desk: Desk, bid: float | None, ask: float | None) -> None:
    desk.quote(bid, ask, at=1)
    desk.order("a", SUBMITTED, at=2)
    desk.fill("a", 102, 1, at=3)
    assert desk.sample(at=4).slippage_arrival_observations == 0


def test_slippage_is_weighted_by_value_and_leaves_with_the_window() -> None:
    desk = Desk(window_seconds=10.0)
    desk.order("b", SUBMITTED, at=1, arrival_price=200)
    desk.fill("b", 200, 1, at=1.5)
    desk.order("a", SUBMITTED, at=1.6, arrival_price=100)
    desk.fill("a", 101, 1, at=2)
    desk.fill("a", 105, 3, at=3)
    sample = desk.sample(at=11.4)
    assert sample.slippage_arrival_bps == pytest.approx((1 + 3 * 5) / (400 + 200) * 10_000)
    assert sample.slippage_arrival_observations == 2
    sample = desk.sample(at=12)
    assert sample.slippage_arrival_bps == pytest.approx((100 + 3 * 500) / 4)
    assert sample.slippage_arrival_observations == 1
    assert desk.sample(at=13).slippage_arrival_bps is None


def test_fills_that_come_before_their_order_wait_for_its_references(desk: Desk) -> None:
    desk.signal("g", at=1, price=100)
    desk.fill("a", 101, 1, at=2)
    desk.fill("a", 103, 1, at=2.5)
    assert counts(desk.sample(at=2.6)) == {}
    assert desk.sample(at=2.6).fills == 2
    desk.order("a", FILLED, at=3, signal_id="g", arrival_price=101)
    sample = desk.sample(at=4)
    assert (sample.slippage_decision_bps, sample.slippage_decision_observations) == (200, 1)
    assert sample.slippage_arrival_bps == pytest.approx(10_000 / 101)
    assert (sample.slippage_arrival_observations, sample.fills) == (1, 2)


# Fees and liquidity.


def test_commissions_are_fees_less_rebates_and_the_maker_share_is_of_the_known_value(
    desk: Desk,
) -> None:
    desk.fill("a", 10, 3, at=1, liquidity=Liquidity.MAKER, fee=-1.0)
    desk.fill("a", 10, 9, at=2, liquidity=Liquidity.TAKER, fee=3.0)
    desk.fill("a", 10, 99, at=3)
    sample = desk.sample(at=4)
    assert (sample.commissions, sample.maker_ratio) == (2.0, 0.25)


@pytest.mark.parametrize(("price", "quantity", "fee"), [(1e101, 1, 0), (1, 1e101, 0), (1, 1, 1e101)])
def test_a_fill_of_no_market_is_refused_and_changes_nothing(
    desk: Desk, price: float, quantity: float, fee: float
) -> None:
    desk.order("a", SUBMITTED, at=1)
    before = desk.sample(at=2)
    with pytest.raises(UnusableEventError, match="too large"):
        desk.fill("a", price, quantity, at=2, fee=fee)
    assert desk.sample(at=2) == before


# Memory.


@pytest.mark.parametrize("state", [ACCEPTED, PARTIALLY_FILLED, FILLED, CANCELLED, REJECTED, EXPIRED])
def test_the_oldest_order_without_an_answer_gives_the_age(desk: Desk, state: OrderState) -> None:
    desk.order("a", SUBMITTED, at=1)
    desk.order("b", SUBMITTED, at=3)
    desk.order("c", SUBMITTED, at=4)
    assert desk.sample(at=5).unanswered_seconds == 4
    desk.order("a", state, at=5)
    assert desk.sample(at=6).unanswered_seconds == 3
    desk.fill("b", 1, 1, at=6)  # its states are not reported
    assert desk.sample(at=6).unanswered_seconds == 2
    desk.fill("d", 1, 1, at=6)
    desk.order("d", SUBMITTED, at=7)  # late
    desk.order("c", state, at=7)
    assert desk.sample(at=8).unanswered_seconds is None


def test_a_finished_order_is_recognised_for_a_while() -> None:
    desk = Desk(finished_seconds=100.0)
    desk.order("a", FILLED, at=1)
    desk.sample(at=100)
    desk.order("a", FILLED, at=100)
    assert counts(desk.sample(at=111)) == {"submitted": 1, "accepted": 1, "filled": 1}
    [memory] = desk.collector._states.values()
    assert len(memory._closed) == 1
    desk.sample(at=201)
    assert len(memory._closed) == 0


def test_open_orders_stay_and_those_beyond_the_cap_are_forgotten_oldest_first() -> None:
    desk = Desk(max_orders=3)
    for n in range(5):
        desk.order(str(n), SUBMITTED, at=n)
    desk.order("2", ACCEPTED, at=6)
    desk.order("5", SUBMITTED, at=7)
    assert desk.sample(at=10).unanswered_seconds == 6
    for n in (2, 4, 5):
        desk.order(str(n), FILLED, at=100_000)
    assert counts(desk.sample(at=100_001)) == {"submitted": 6, "accepted": 3, "filled": 3, "forgotten": 3}


def test_finished_orders_and_signals_beyond_the_caps_leave_the_memory() -> None:
    desk = Desk(max_orders=3)
    for n in range(10_050):
        desk.signal(str(n), at=1)
    for n in range(50):
        desk.order(str(n), FILLED, at=1)
        desk.fill(f"unknown {n}", 1, 1, at=1)
    [memory] = desk.collector._states.values()
    assert (len(memory._closed), len(memory._open), len(desk.collector._signals._records)) == (3, 0, 10_000)
    desk.sample(at=9999)
    assert len(desk.collector._signals._records) == 0


def test_what_is_idle_is_retired_unless_an_order_is_open() -> None:
    desk = Desk(idle_seconds=60)
    desk.order("a", FILLED, at=1)
    desk.order("b", SUBMITTED, at=1, venue="other")
    assert set(desk.samples(at=60)) == {("trend", "fx"), ("trend", "other")}
    assert set(desk.samples(at=75)) == {("trend", "other")}
    desk.order("c", FILLED, at=76)
    assert counts(desk.sample(at=77)) == {"submitted": 1, "accepted": 1, "filled": 1}


# Whatever comes.

PRICE = st.one_of(st.floats(0.5, 1000), st.floats(-1e299, 1e299))
STEP = st.fixed_dictionaries(
    {
        "what": st.sampled_from(["order", "order", "order", "fill", "quote", "signal"]),
        "name": st.sampled_from("abcde"),
        "state": st.sampled_from(list(OrderState)),
        "wait": st.sampled_from([0.01, 1.0, 200.0, 3000.0]),
        "delay": st.floats(-5, 5),
        "side": st.sampled_from(list(Side)),
        "price": PRICE,
        "reference": st.one_of(st.none(), PRICE),
        "quantity": st.one_of(st.floats(0.1, 100), st.floats(1e-3, 1e299)),
        "fee": st.floats(-5, 5),
        "liquidity": st.sampled_from([None, *Liquidity]),
    }
)


def event_of(step: dict[str, Any], at: float) -> Event:
    name = step["name"]
    if step["what"] == "order":
        more = {"side": step["side"], "arrival_price": step["reference"], "signal_id": name}
        return order(name, step["state"], at, **more)
    if step["what"] == "fill":
        return fill(name, step["price"], step["quantity"], at, fee=step["fee"], liquidity=step["liquidity"])
    names: dict[str, Any] = {"time_ns": ns(at), "venue": "fx", "instrument": "EUR/USD"}
    if step["what"] == "quote":
        return Quote(**names, bid=step["price"], ask=step["reference"])
    names |= {"strategy": "trend", "signal_id": name, "direction": Direction.SELL}
    return Signal(**names, price=step["reference"])


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=60), st.integers(1, 4))
def test_whatever_comes_every_order_is_accounted_for(steps: list[dict[str, Any]], cap: int) -> None:
    desk = Desk(max_orders=cap)
    now = 10.0
    samples = []
    for step in steps:
        now += step["wait"]
        try:
            desk.take(event_of(step, now + step["delay"]), at=now)
        except UnusableEventError:
            continue
        for sample in desk.samples(at=now).values():
            check_sample(sample)
            samples.append(sample)
    counters = [m.name for m in schema(ExecutionSample).metrics if m.metric.kind is Kind.COUNTER]
    for before, after in pairwise(samples):
        for name in counters:
            assert getattr(after, name) >= getattr(before, name), name


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_a_sample_that_is_returned_again_is_the_one_that_would_be_made(steps: list[dict[str, Any]]) -> None:
    desk = Desk(window_seconds=3, unresolved_seconds=2)
    now = 10.0
    for step in steps:
        with suppress(UnusableEventError):
            desk.take(event_of(step, now), at=now)
        for _ in range(3):
            now += step["wait"] / 2
            samples = desk.samples(at=now)
            desk.collector._samples.clear()
            assert desk.samples(at=now) == samples


def check_sample(sample: ExecutionSample) -> None:
    check_values(sample)
    finished = sum(getattr(sample, f"orders_{state.value}") for state in FINAL_ORDER_STATES)
    assert sample.orders_submitted == finished + sample.orders_forgotten + sample.open_orders
    assert sample.orders_filled <= sample.orders_accepted <= sample.orders_submitted
    ratios = [r for r in (sample.fill_ratio, sample.cancel_ratio, sample.reject_ratio) if r is not None]
    assert all(0 <= ratio <= 1 for ratio in ratios)
    assert sum(ratios) <= 1 + 1e-12
    assert len(ratios) == (3 if finished else 0)
    assert sample.maker_ratio is None or 0 <= sample.maker_ratio <= 1
    for leg in ("signal_to_submit", "submit_to_ack", "ack_to_fill", "submit_to_fill", "submit_to_last_fill"):
        low, high = getattr(sample, f"{leg}_p50"), getattr(sample, f"{leg}_p99")
        assert (low is None) == (high is None) == (getattr(sample, f"{leg}_observations") == 0)
        assert low is None or low <= high


# Implementation shortfall, worked by hand: delay, trading, opportunity and fees in money and basis points.


def shortfall_of(sample: ExecutionSample) -> tuple[float | None, ...]:
    parts = (
        sample.shortfall_delay_bps,
        sample.shortfall_trading_bps,
        sample.shortfall_opportunity_bps,
        sample.shortfall_fees_bps,
    )
    known = [part for part in parts if part is not None]
    if known:
        assert sample.shortfall_bps == pytest.approx(sum(known))
    return parts


def test_the_shortfall_of_a_partly_filled_purchase_adds_up(desk: Desk) -> None:
    """1,000 wanted at 50.00; the mid is 50.10 at the submission; 600 at 50.20 and 200 at 50.40; end at 50.50.

    Delay 800 * 0.10 = 80; trading 600 * 0.10 + 200 * 0.30 = 120; opportunity 200 * 0.50 = 100; fees 16.
    In all 316 of 50,000: 63.2 basis points.
    """
    desk.signal("g", at=1, price=50.0)
    desk.quote(50.05, 50.15, at=1.5)
    desk.order("a", SUBMITTED, at=2, quantity=1000.0, signal_id="g")
    desk.fill("a", 50.20, 600, at=3, fill_id="1", fee=12)
    desk.fill("a", 50.40, 200, at=4, fill_id="2", fee=4)
    assert shortfall_of(desk.sample(at=4)) == (None,) * 4
    desk.quote(50.45, 50.55, at=4.5)
    desk.order("a", CANCELLED, at=5, quantity=1000.0)
    sample = desk.sample(at=6)
    assert shortfall_of(sample) == pytest.approx((16, 24, 20, 3.2))
    assert sample.shortfall_bps == pytest.approx(63.2)
    assert sample.shortfall_observations == 1
    # A late fill of the rest at 50.50: delay 100, trading 120 + 200 * 0.40 = 200, no opportunity, fees 20.
    desk.fill("a", 50.50, 200, at=7, fill_id="3", fee=4)
    sample = desk.sample(at=8)
    assert shortfall_of(sample) == pytest.approx((20, 40, 0, 4))
    assert (sample.shortfall_observations, sample.orders_filled) == (1, 1)


def test_the_shortfall_of_a_sale_that_was_never_filled_is_its_opportunity(desk: Desk) -> None:
    """10 to sell at 200; the mid ends at 198: 20 of 2,000 missed, 100 basis points."""
    desk.order("a", SUBMITTED, at=2, side=Side.SELL, quantity=10.0, decision_price=200.0, decided_ns=ns(1))
    desk.quote(197.5, 198.5, at=3)
    desk.order("a", EXPIRED, at=4, side=Side.SELL, quantity=10.0)
    sample = desk.sample(at=5)
    assert shortfall_of(sample) == pytest.approx((0, 0, 100, 0))
    assert sample.signal_to_submit_p50 == 1.0


def test_an_order_without_a_fill_counts_by_the_contract_of_its_end(desk: Desk) -> None:
    """10 inverse contracts of 100 USD to buy, decided at 50,000; the mid ends at 40,000.

    A long position gains (1/50,000 - 1/40,000) / (1/50,000) = -25 %: not to have bought saved that.
    """
    desk.order("a", SUBMITTED, at=2, quantity=10.0, decision_price=50_000.0, arrival_price=50_000.0)
    desk.quote(39_999.0, 40_001.0, at=3)
    contract = {"multiplier": 100.0, "inverse": True, "currency": "BTC", "rate": 40_000.0}
    desk.order("a", CANCELLED, at=4, quantity=10.0, **contract)
    (_, _, opportunity, _) = shortfall_of(desk.sample(at=5))
    assert opportunity == pytest.approx((1 / 50_000 - 1 / 40_000) / (1 / 50_000) * 1e4)


def test_an_order_without_a_fill_and_without_a_rate_has_no_shortfall(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=2, decision_price=150.0)
    desk.quote(150.0, 152.0, at=3)
    desk.order("a", CANCELLED, at=4, currency="JPY")
    assert desk.sample(at=5).shortfall_observations == 0


def test_the_shortfall_of_contracts_is_in_the_account_currency(desk: Desk) -> None:
    """Two futures of 50 times the index in USD, and 100 inverse contracts of 1 USD, settled in BTC at 50,000.

    ES: decision 5,000, arrival 5,001, fill 5,002, fee 4.50: delay 100, trading 100, fees 4.50 of 500,000.
    Inverse: decision 50,000, arrival 50,000, fill 40,000 (cheaper):
    100 * (1/50,000 - 1/40,000) BTC = -0.0005 BTC = -25; value 100 / 50,000 BTC = 0.002 BTC = 100.
    """
    desk.order("a", SUBMITTED, at=1, quantity=2.0, decision_price=5000, arrival_price=5001)
    contract: dict[str, Any] = {"multiplier": 50.0, "inverse": False, "currency": "USD", "rate": 1.0}
    desk.fill("a", 5002, 2, at=2, fee=4.5, fee_rate=1.0, **contract)
    desk.order("a", FILLED, at=3, quantity=2.0)
    sample = desk.sample(at=4)
    assert shortfall_of(sample) == pytest.approx((2, 2, 0, 0.09))
    assert sample.commissions == 4.5
    desk.order("b", SUBMITTED, at=5, quantity=100.0, decision_price=50_000, arrival_price=50_000)
    contract = {"multiplier": 1.0, "inverse": True, "currency": "BTC", "rate": 50_000.0}
    desk.fill("b", 40_000, 100, at=6, **contract)
    desk.order("b", FILLED, at=7, quantity=100.0)
    sample = desk.sample(at=8)
    assert shortfall_of(sample) == pytest.approx(
        (100 / 500_100 * 1e4, (100 - 25) / 500_100 * 1e4, 0, 4.5 / 500_100 * 1e4)
    )


def test_a_fill_without_a_rate_counts_in_no_amount(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1, decision_price=150, arrival_price=150)
    desk.fill("a", 151, 1, at=2, fee=3, currency="JPY")
    desk.order("a", FILLED, at=3)
    sample = desk.sample(at=4)
    assert (sample.fills, sample.unpriced_fills, sample.commissions) == (1, 1, 0.0)
    assert (sample.slippage_arrival_bps, sample.shortfall_bps, sample.orders_filled) == (None, None, 1)


def test_waits_of_the_trading_process_are_legs_of_their_own(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1, queue_seconds=0.5, limiter_seconds=0.25)
    desk.order("a", ACCEPTED, at=2, queue_seconds=0.5)
    sample = desk.sample(at=3)
    assert (sample.queue_p50, sample.queue_p99, sample.queue_observations) == (0.5, 0.5, 1)
    assert (sample.limiter_p50, sample.limiter_p99, sample.limiter_observations) == (0.25, 0.25, 1)


MANY: list[Event] = [
    order("a", SUBMITTED, 1, quantity=2.0, decision_price=99.0, arrival_price=100.0, queue_seconds=0.125),
    order("a", ACCEPTED, 2, quantity=2.0),
    order("a", CANCELLED, 4, quantity=2.0),
    fill("a", 101.0, 0.5, at=3, fee=0.5, liquidity=Liquidity.MAKER),
    fill("a", 102.0, 1.0, at=3.5, fee=0.25, liquidity=Liquidity.TAKER),
    fill("a", 103.0, 0.5, at=5, liquidity=Liquidity.TAKER),
]


def test_every_permutation_of_the_events_of_an_order_makes_the_same_sample() -> None:
    found = []
    for events in permutations(MANY):
        desk = Desk()
        desk.quote(99, 103, at=0.5)
        for event in events:
            desk.take(event, at=6)
        found.append(desk.sample(at=7))
    assert counts(found[0]) == {"submitted": 1, "accepted": 1, "filled": 1}
    assert found[0].shortfall_observations == 1
    assert {repr(sample) for sample in found} == {repr(found[0])}


# Markouts: where the mid is a fixed time after the fill.


def marked(desk: Desk, until: float, start: float) -> ExecutionSample:
    """Runs the cycles of some seconds."""
    for cycle in range(round((until - start) * 10) + 1):
        sample = desk.sample(at=start + cycle / 10)
    return sample


def markouts(sample: ExecutionSample) -> list[float | None]:
    return [getattr(sample, f"markout_{name}_bps") for name in NAMES]


def test_markouts_are_signed_distances_from_the_fill_to_later_mids() -> None:
    desk = Desk(clock=ManualClock(ns(0)), window_seconds=1000.0)
    desk.quote(99, 101, at=1)
    desk.fill("a", 100, 1, at=1)
    desk.fill("b", 100, 3, at=1, side=Side.SELL)
    assert markouts(desk.sample(at=1)) == [None] * 5
    desk.quote(100, 102, at=1.05)
    sample = marked(desk, 2, start=1.1)
    assert sample.markout_100ms_bps == pytest.approx((100 * 1 - 100 * 3) / 4)
    assert (sample.markout_100ms_observations, sample.markout_1s_observations) == (2, 2)
    desk.quote(101, 103, at=5.9)
    assert marked(desk, 6, start=6).markout_5s_bps == pytest.approx((200 - 600) / 4)
    desk.quote(None, 103, at=30)  # without a mid there is no markout
    assert marked(desk, 31.1, start=30.9).markout_30s_observations == 0
    desk.quote(99, 99.5, at=300)
    sample = marked(desk, 301, start=300.9)
    assert sample.markout_5m_bps == pytest.approx((-75 + 3 * 75) / 4)
    assert sample.markouts_skipped == 2
    assert marked(desk, 302, start=301.1).markout_5m_observations == 2  # nothing is left to wait for


def test_a_fill_that_is_reported_late_has_no_markout_at_horizons_that_are_past() -> None:
    desk = Desk(clock=ManualClock(ns(0)))
    desk.quote(99, 101, at=1)
    desk.take(fill("a", 100, 1, at=1), at=4)
    desk.take(fill("b", 100, 1, at=3.9), at=4)
    desk.take(fill("b", 100, 1, at=3.9), at=4)  # repeated
    sample = marked(desk, 7, start=4)
    assert (sample.markout_100ms_observations, sample.markout_1s_observations) == (1, 1)
    assert (sample.markout_5s_observations, sample.markouts_skipped) == (1, 2)


def test_a_busted_fill_has_no_markouts() -> None:
    desk = Desk(clock=ManualClock(ns(0)))
    desk.quote(99, 101, at=1)
    desk.fill("a", 100, 1, at=1, fill_id="1")
    marked(desk, 2, start=1)
    desk.fill("a", 100, 1, at=3, fill_id="1", kind=FillKind.BUST)
    sample = marked(desk, 7, start=3)
    assert (sample.markout_1s_observations, sample.markout_5s_observations) == (0, 0)
    assert sample.fills == 1


def test_no_more_fills_wait_for_markouts_than_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.execution.markouts.MAX_PENDING", 2)
    desk = Desk(clock=ManualClock(ns(0)))
    desk.quote(99, 101, at=1)
    for name in "abc":
        desk.fill(name, 100, 1, at=1)
    sample = marked(desk, 2, start=1)
    assert (sample.markout_1s_observations, sample.markouts_skipped) == (2, 1)

"""The execution collector: the life of orders, latencies leg by leg, slippage, maker share, commissions."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.common.values import UnusableEventError
from collectors.execution.collector import ExecutionCollector, ExecutionOptions
from collectors.execution.sample import ExecutionSample
from decahertz.clock import Clock, SystemClock
from decahertz.event import (
    FINAL_ORDER_STATES,
    Direction,
    Event,
    Fill,
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

SUBMITTED, ACCEPTED, PARTIALLY_FILLED, FILLED, CANCELLED, REJECTED, EXPIRED = OrderState


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


def test_the_first_final_state_sticks_and_another_is_a_conflict(desk: Desk) -> None:
    desk.order("a", SUBMITTED, at=1)
    desk.order("a", CANCELLED, at=2)
    desk.order("a", CANCELLED, at=2)
    desk.order("a", FILLED, at=3)
    sample = desk.sample(at=4)
    assert (sample.orders_cancelled, sample.orders_filled, sample.order_conflicts) == (1, 0, 1)
    assert sample.open_orders == 0


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
    desk.order("a", SUBMITTED, at=1, arrival_price=100)
    desk.fill("a", 101, 1, at=2)
    desk.fill("a", 105, 3, at=3)
    sample = desk.sample(at=11.9)
    assert sample.slippage_arrival_bps == pytest.approx((100 + 3 * 500) / 4)
    assert sample.slippage_arrival_observations == 2
    assert desk.sample(at=12).slippage_arrival_observations == 1
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
    for leg in ("signal_to_submit", "submit_to_ack", "ack_to_fill", "submit_to_fill"):
        low, high = getattr(sample, f"{leg}_p50"), getattr(sample, f"{leg}_p99")
        assert (low is None) == (high is None) == (getattr(sample, f"{leg}_observations") == 0)
        assert low is None or low <= high

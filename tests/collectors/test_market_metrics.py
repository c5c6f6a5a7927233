"""Derived market metrics: micro-price, sessions, volatility, imbalance, crossed and locked quotes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.common.checkpoints import decode, encode
from collectors.common.windows import TradeWindow
from collectors.market.collector import MarketCheckpoint, MarketCollector, MarketOptions
from collectors.market.volatility import RealisedVariance
from decahertz.accounting import AccountingSettings
from decahertz.clock import SystemClock, parse_time
from decahertz.event import Side, Tick
from tests.collectors.parts import ns
from tests.collectors.test_market import Market

BUY, SELL = Side.BUY, Side.SELL
YEAR = 31_536_000.0


@pytest.fixture
def market() -> Market:
    """One with the default options."""
    return Market()


@pytest.mark.parametrize(
    ("bid_size", "ask_size", "expected"),
    [(1.0, 1.0, 100.0), (3.0, 1.0, 100.5), (1.0, 3.0, 99.5), (0.0, 2.0, 99.0), (0.0, 0.0, None)],
)
def test_the_micro_price_leans_to_the_side_with_less_size(
    market: Market, bid_size: float, ask_size: float, expected: float | None
) -> None:
    market.quote(99.0, 101.0, at=1, bid_size=bid_size, ask_size=ask_size)
    assert market.sample(at=1.1).micro_price == expected


def test_the_micro_price_follows_sizes_and_needs_both(market: Market) -> None:
    market.quote(99.0, 101.0, at=1, bid_size=1.0, ask_size=1.0)
    market.quote(99.0, 101.0, at=2, bid_size=3.0, ask_size=1.0)
    assert market.sample(at=2.1).micro_price == 100.5
    market.quote(99.0, 101.0, at=3, bid_size=3.0)
    assert market.sample(at=3.1).micro_price is None
    market.quote(None, 101.0, at=4, bid_size=3.0, ask_size=1.0)
    assert market.sample(at=4.1).micro_price is None


def test_each_crossed_or_locked_quote_counts_and_late_ones_do_not(market: Market) -> None:
    for at, (bid, ask) in enumerate([(2.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (1.0, None)], 1):
        market.quote(bid, ask, at=at)
    market.quote(9.0, 1.0, at=6, time_ns=ns(1))
    sample = market.sample(at=6.1)
    assert (sample.quotes, sample.crossed_quotes, sample.locked_quotes) == (6, 2, 1)


def test_imbalance_is_bought_less_sold_over_volume_and_leaves_with_the_window() -> None:
    market = Market(window_seconds=2.0)
    assert market.collector.sample(ns(0.5)) == []
    market.tick(100.0, 3.0, at=1, side=BUY)
    assert market.sample(at=1.1).imbalance == 1.0
    market.tick(100.0, 1.0, at=1.2, side=SELL)
    assert market.sample(at=1.3).imbalance == 0.5
    market.tick(100.0, 4.0, at=3.0, side=SELL)
    assert market.sample(at=3.2).imbalance == -1.0
    assert market.sample(at=9).imbalance is None


def test_without_a_side_the_last_change_of_the_price_tells_it(market: Market) -> None:
    signed = 0.0
    volume = 0.0
    # price, side of the venue, sign of the tick test
    for at, (price, side, sign) in enumerate(
        [
            (100.0, None, 0),  # nothing to compare with
            (100.0, None, 0),
            (101.0, None, 1),
            (101.0, None, 1),  # a zero tick has the sign of the last change
            (100.5, None, -1),
            (101.5, SELL, -1),  # the venue knows better, and the price has gone up
            (101.5, None, 1),
        ],
        1,
    ):
        market.tick(price, 2.0**at, at=at, side=side)
        signed += sign * 2.0**at
        volume += 2.0**at
        assert market.sample(at=at + 0.1).imbalance == signed / volume
    market.tick(90.0, 1.0, at=8, time_ns=ns(2))  # late: no side, and no change of the price
    market.tick(101.5, 1.0, at=8)
    assert market.sample(at=8.1).imbalance == (signed + 1.0) / (volume + 2.0)


@settings(deadline=None)
@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 10), st.floats(1e-6, 1e9), st.sampled_from([-1, 0, 1])), max_size=60),
)
def test_the_imbalance_of_a_window_is_that_of_its_trades(
    size: int, steps: list[tuple[int, float, int]]
) -> None:
    window = TradeWindow(size)
    index, seen = 0, []
    for step, quantity, sign in steps:
        index += step
        seen.append((index, quantity, sign))
        window.push(index, quantity, quantity, quantity * sign)
        inside = [(q, s) for at, q, s in seen if at > index - size]
        expected = math.fsum(q * s for q, s in inside) / math.fsum(q for q, _ in inside)
        assert window.imbalance == pytest.approx(expected, abs=1e-9)


# Sessions.


class Desk(Market):
    """A market collector with a trading day of its own."""

    def __init__(self, **accounting: Any) -> None:  # noqa: ANN401 - any setting
        self.collector = MarketCollector(SystemClock(), MarketOptions(), AccountingSettings(**accounting))

    def print(self, when: str, price: float, size: float = 1.0) -> float | None:
        """The session's VWAP after a tick at this time."""
        time_ns = parse_time(when)
        self.collector.on_event(
            Tick(time_ns=time_ns, venue="fx", instrument="A", price=price, size=size), time_ns
        )
        (sample,) = self.collector.sample(time_ns)
        found: float | None = sample.session_vwap  # type: ignore[attr-defined] # a market sample
        return found


def test_the_vwap_of_the_session_starts_over_with_the_trading_day() -> None:
    desk = Desk(timezone="America/New_York", day_start="17:00")
    assert desk.print("2026-03-06T21:59:59Z", 90.0) == 90.0
    assert desk.print("2026-03-06T22:00:00Z", 100.0) == 100.0
    assert desk.print("2026-03-07T21:59:59Z", 103.0, 2.0) == 102.0
    assert desk.print("2026-03-06T21:00:00Z", 1.0) == 102.0  # of the session before
    assert desk.print("2026-03-06T23:00:00Z", 106.0) == 103.0  # late, and of this one
    assert desk.print("2026-03-07T22:00:00Z", 50.0) == 50.0
    # The clocks change on the 8th: the day ends at 21:00 UTC.
    assert desk.print("2026-03-08T20:59:59Z", 70.0) == 60.0
    assert desk.print("2026-03-08T21:00:00Z", 80.0) == 80.0


def test_a_session_of_other_settings_is_not_continued() -> None:
    desk = Desk()
    assert desk.print("2026-03-06T12:00:00Z", 100.0) == 100.0
    state, _ = decode(encode(desk.collector.checkpoint()), MarketCheckpoint)
    same, other = Desk(), Desk(timezone="Asia/Tokyo")
    same.collector.resume(state)
    assert same.print("2026-03-06T13:00:00Z", 200.0) == 150.0
    state, _ = decode(encode(desk.collector.checkpoint()), MarketCheckpoint)
    other.collector.resume(state)
    assert other.print("2026-03-06T13:00:00Z", 200.0) == 200.0


# Realised volatility.


def test_the_volatility_of_a_walk_is_the_root_of_its_mean_squared_return_scaled_to_a_year() -> None:
    market = Market(volatility_seconds=40.0)
    mids = [100.0 + math.sin(n * n) for n in range(100)]
    for n, mid in enumerate(mids):
        market.quote(mid - 0.5, mid + 0.5, at=n)
        market.quote(mid - 9.5, mid + 0.5, at=n + 0.2)  # between two steps
        market.quote(mid - 0.5, mid + 0.5, at=n + 0.3)
        sample = market.sample(at=n)
        # The first whole step begins at 1.
        returns = [math.log(b / a) for a, b in pairwise(mids[max(1, n - 40) : n + 1])]
        if len(returns) < 30:
            assert sample.volatility is None
        else:
            variance = math.fsum(r * r for r in returns) / len(returns)
            assert sample.volatility == pytest.approx(math.sqrt(variance * YEAR), rel=1e-12)


def test_the_year_is_a_setting() -> None:
    def volatility(**options: Any) -> float | None:  # noqa: ANN401 - any option
        market = Market(volatility_seconds=2.0, **options)
        for n in range(5):
            market.quote(99.0 + n % 2, 101.0 + n % 2, at=n)
            market.sample(at=n)
        return market.sample(at=4).volatility

    one = math.log(101 / 100)
    assert volatility() == pytest.approx(one * math.sqrt(YEAR))
    assert volatility(year_seconds=252 * 6.5 * 3600) == pytest.approx(one * math.sqrt(252 * 6.5 * 3600))


def test_the_last_price_stands_for_a_mid_until_there_is_one() -> None:
    market = Market(volatility_seconds=3.0)
    for n in range(8):
        market.tick(100.0 * 2 ** (n % 2), 1.0, at=n)
        sample = market.sample(at=n)
    assert sample.volatility == pytest.approx(math.log(2) * math.sqrt(YEAR))
    market.quote(10.0, 12.0, at=8)  # its distance from the last price is no return
    assert market.sample(at=8).volatility is None
    for n in range(9, 13):
        market.quote(10.0, 12.0 if n < 11 else None, at=n)  # an empty side leaves the price as it was
        market.tick(50.0 * n, 1.0, at=n)
        sample = market.sample(at=n)
    assert sample.volatility == 0.0


@pytest.mark.parametrize("price", [0.0, -3.0, 1e120])
def test_a_price_without_a_logarithm_starts_the_window_over(price: float) -> None:
    market = Market(volatility_seconds=3.0)
    for n in range(5):
        market.tick(100.0 + n, 1.0, at=n)
        sample = market.sample(at=n)
    assert sample.volatility is not None
    market.tick(price, 1.0, at=5)
    assert market.sample(at=5).volatility is None


def test_missed_steps_are_one_return_and_a_long_gap_starts_over() -> None:
    variance = RealisedVariance(10, 4, 0, 0)
    for index, price in [(1, 1.0), (2, math.e), (4, 1.0), (5, 1.0)]:
        variance.push(index, price, None)
    # Returns of 1 over one step, -1 over two, 0 over one.
    assert variance.volatility(4.0) == pytest.approx(math.sqrt(2))
    variance.push(6, 1.0, None)
    assert variance.volatility(4.0) == pytest.approx(1.0)
    variance.push(11, 1.0, None)
    assert variance.volatility(4.0) is None
    variance.push(10, 2.0, None)  # the clock stepped back
    assert variance.count == 0


@settings(deadline=None)
@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(1, 3), st.one_of(st.none(), st.floats(1e-9, 1e9))), max_size=80),
)
def test_no_digits_are_lost_to_what_left_the_window(size: int, steps: list[tuple[int, float | None]]) -> None:
    variance = RealisedVariance(1, size, 0, 0)
    index, price = 0, None
    squares: dict[int, float] = {}
    began = 0
    for step, given_price in steps:
        index += step
        variance.push(index, given_price, None)
        now = price if given_price is None else given_price
        if now is None:
            continue
        if price is None or step > size:
            squares, began = {}, index
        else:
            squares[index] = math.log(now / price) ** 2
        price = now
        count = min(index - began, size)
        assert variance.count == count
        if count == size:
            expected = math.fsum(s for at, s in squares.items() if at > index - size) / count
            assert variance.volatility(1.0) == pytest.approx(math.sqrt(expected), rel=1e-6, abs=1e-12)


def test_windows_of_other_options_begin_empty() -> None:
    market = Market(volatility_seconds=3.0)
    for n in range(6):
        market.tick(100.0 + n, 1.0, at=n)
        assert (market.sample(at=n).volatility is None) == (n < 4)
    for options, is_kept in [({}, True), ({"volatility_step_seconds": 0.5}, False)]:
        state, _ = decode(encode(market.collector.checkpoint()), MarketCheckpoint)
        after = Market(**{"volatility_seconds": 3.0, **options})
        after.collector.resume(state)
        assert (after.sample(at=5).volatility is not None) == is_kept


def test_a_window_of_volatility_costs_nothing_before_the_first_return() -> None:
    variance = RealisedVariance(10, 36_000, 0, 0)
    variance.push(1, None, None)
    variance.push(2, 5.0, None)
    assert len(variance._squares) == 0

"""Trailing windows against the plainest way to compute the same."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.common.windows import NEVER, Quantiles, RateWindow, RecentSet, TradeWindow, WeightedMean

STEPS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5), st.integers(0, 2)), max_size=60)


@settings(deadline=None)
@given(st.integers(1, 10), STEPS)
def test_a_rate_window_counts_the_messages_of_its_cycles(
    size: int, steps: list[tuple[int, int, int]]
) -> None:
    window = RateWindow(size)
    index = 100
    seen: list[tuple[int, int, int]] = []
    for step, quotes, ticks in steps:
        index += step
        seen.append((index, quotes, ticks))
        window.push(index, quotes, ticks)
        inside = [(at, q, t) for at, q, t in seen if at > index - size]
        assert window.quotes == sum(q for _, q, _ in inside)
        assert window.ticks == sum(t for _, _, t in inside)
        assert window.due == min((at + size for at, q, t in inside if q or t), default=NEVER)


def test_after_a_step_of_the_clock_a_window_goes_on() -> None:
    window, trades = RateWindow(3), TradeWindow(3)
    window.push(1000, 5, 1)
    trades.push(1000, 2.0, 20.0)
    window.shift(399 - 1000)
    trades.shift(399 - 1000)
    seen = []
    for index in range(400, 404):
        window.push(index, 0, 0)
        trades.push(index, 0.0, 0.0)
        seen.append((window.quotes, window.ticks, trades.quantity, trades.mean_price))
    assert seen == [(5, 1, 2.0, 10.0), (5, 1, 2.0, 10.0), (0, 0, 0.0, None), (0, 0, 0.0, None)]


@settings(deadline=None)
@given(
    st.integers(1, 10),
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.one_of(st.just(0.0), st.floats(1e-9, 1e15)),
            st.floats(0.01, 1e6),
        ),
        max_size=80,
    ),
)
def test_a_trade_window_loses_no_digits_to_what_left_it(
    size: int, steps: list[tuple[int, float, float]]
) -> None:
    window = TradeWindow(size)
    index = 100
    seen: list[tuple[int, float, float]] = []
    for step, quantity, price in steps:
        index += step
        seen.append((index, quantity, quantity * price))
        window.push(index, quantity, quantity * price)
        quantities = [Fraction(q) for at, q, _ in seen if at > index - size]
        values = [Fraction(v) for at, _, v in seen if at > index - size]
        assert window.quantity == pytest.approx(float(sum(quantities)), rel=1e-9, abs=0)
        assert window.value == pytest.approx(float(sum(values)), rel=1e-6, abs=0)
        assert (window.mean_price is None) == (sum(quantities) == 0)


def test_a_huge_trade_leaves_nothing_behind() -> None:
    window = TradeWindow(3)
    window.push(1, 1e16, 1e18)
    window.push(2, 0.1, 0.5)
    window.push(4, 0.0, 0.0)
    assert (window.quantity, window.value, window.mean_price) == (0.1, 0.5, 5.0)
    window.push(5, 0.0, 0.0)
    assert (window.quantity, window.value, window.mean_price) == (0.0, 0.0, None)


OBSERVATIONS = st.lists(st.tuples(st.integers(0, 40), st.floats(-1e6, 1e6)), max_size=60)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 100), OBSERVATIONS, st.floats(0, 1))
def test_quantiles_are_observed_values_of_the_right_rank(
    limit: int, window: int, observations: list[tuple[int, float]], share: float
) -> None:
    quantiles = Quantiles(limit, window)
    now = 0
    seen: list[tuple[int, float]] = []
    for wait, value in observations:
        now += wait
        seen.append((now, value))
        quantiles.add(now, value)
        quantiles.expire(now)
        kept = sorted(v for at, v in seen[-limit:] if at > now - window)
        assert len(quantiles) == len(kept)
        quantile = quantiles.quantile(share)
        assert quantile in kept
        assert sum(v <= quantile for v in kept) >= share * len(kept)
        assert sum(v < quantile for v in kept) < max(share * len(kept), 1e-300) or share == 0


def test_without_observations_there_is_no_quantile() -> None:
    quantiles = Quantiles(10, 100)
    quantiles.add(1, 5.0)
    quantiles.expire(101)
    assert quantiles.quantile(0.5) is None


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 100), OBSERVATIONS, st.floats(0.01, 1e200))
def test_a_weighted_mean_covers_the_newest_of_its_window(
    limit: int, window: int, observations: list[tuple[int, float]], scale: float
) -> None:
    mean = WeightedMean(limit, window)
    now = 0
    seen: list[tuple[int, float, float]] = []
    for wait, value in observations:
        now += wait
        weight = scale * (1 + wait)
        seen.append((now, value, weight))
        mean.add(now, value, weight)
        mean.expire(now)
        kept = [(v, w) for at, v, w in seen[-limit:] if at > now - window]
        weights = math.fsum(w for _, w in kept)
        expected = math.fsum(v * (w / weights) for v, w in kept)
        assert len(mean) == len(kept)
        assert mean.mean == pytest.approx(expected, abs=1e-6)
    mean.expire(now + window)
    assert mean.mean is None


def test_a_mean_that_no_float_can_hold_is_none() -> None:
    mean = WeightedMean(10, 100)
    mean.add(1, 1.0, 1e308)
    mean.add(1, 1.0, 1e308)
    assert mean.mean is None


def test_a_recent_set_knows_the_newest_and_forgets_the_oldest() -> None:
    recent = RecentSet(2)
    assert [recent.add((name,)) for name in "aabcab"] == [True, False, True, True, True, True]
    assert [recent.add((name,)) for name in "ab"] == [False, False]

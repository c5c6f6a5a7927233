"""Statistics of round trips against hand-worked cases, published tables and independent packages."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.statistics.round_trips import (
    RoundTripSums,
    figures_of_round_trips,
    kelly_fraction,
    outcome,
    wilson,
)
from decahertz.statistics.statistic import SampleBasis, student_t_95


def sums_of(pnls: list[float]) -> RoundTripSums:
    wins, losses = [p for p in pnls if outcome(p, 0.01) > 0], [p for p in pnls if outcome(p, 0.01) < 0]
    return RoundTripSums(
        trades=len(pnls),
        wins=len(wins),
        losses=len(losses),
        pnl=math.fsum(pnls),
        gross_profit=math.fsum(wins),
        gross_loss=-math.fsum(losses),
        pnl_deviation=statistics.stdev(pnls) if len(pnls) > 1 else None,
    )


@pytest.mark.parametrize(
    ("pnl", "minor_unit", "expected"),
    [(-3.6e-15, 0.01, 0), (0.0049, 0.01, 0), (0.005, 0.01, 1), (-0.005, 0.01, -1), (-5, 1, -1), (0.4, 1, 0)],
)
def test_less_than_half_a_minor_unit_is_neither_won_nor_lost(
    pnl: float, minor_unit: float, expected: int
) -> None:
    assert outcome(pnl, minor_unit) == expected


@pytest.mark.parametrize(
    ("wins", "trades", "bounds"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_bounds_are_those_published_by_newcombe_in_1998(
    wins: int, trades: int, bounds: tuple[float, float]
) -> None:
    assert wilson(wins, trades) == pytest.approx(bounds, abs=5e-5)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_wilson_bounds_are_those_of_statsmodels(wins: int, trades: int) -> None:
    # Slow, and each process of a test run imports this module.
    from statsmodels.stats.proportion import proportion_confint  # noqa: PLC0415

    wins = min(wins, trades)
    found = wilson(wins, trades)
    assert found is not None
    low, high = found
    assert 0 <= low <= wins / trades <= high <= 1
    assert found == pytest.approx(proportion_confint(wins, trades, method="wilson"), abs=1e-12)


@pytest.mark.parametrize("degrees", [*range(1, 30), 50, 100, 1000, 10**6])
def test_the_quantile_of_student_is_that_of_scipy(degrees: int) -> None:
    import scipy.stats  # noqa: PLC0415

    assert student_t_95(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-3)


def test_a_hand_worked_case() -> None:
    # Three wins of 20, 30 and 10, two losses of 10 and 20, and a scratch.
    figures = figures_of_round_trips(sums_of([20, -10, 30, 0.001, -20, 10]))
    assert figures.win_rate.value == 0.5
    assert (figures.win_rate.n, figures.win_rate.basis) == (6, SampleBasis.ROUND_TRIPS)
    assert figures.profit_factor.value == 2.0
    assert figures.average_win.value == 20
    assert figures.average_loss.value == -15
    assert figures.payoff_ratio.value == pytest.approx(4 / 3)
    # 3/5 - 2/5 / (4/3): of the five that were decided.
    assert figures.kelly.value == pytest.approx(0.3)
    assert (figures.kelly.n, figures.kelly.basis) == (5, SampleBasis.DECIDED)
    assert figures.expectancy.value == pytest.approx(30.001 / 6)
    assert figures.expectancy_r.reason == "no round trip has a known initial risk"


@given(st.lists(st.floats(-1000, 1000), min_size=2, max_size=50).filter(lambda values: len(set(values)) > 1))
def test_the_interval_of_the_expectancy_is_that_of_statsmodels(pnls: list[float]) -> None:
    from statsmodels.stats.weightstats import DescrStatsW  # noqa: PLC0415

    expectancy = figures_of_round_trips(sums_of(pnls)).expectancy
    assert expectancy.interval is not None
    expected = DescrStatsW(pnls).tconfint_mean()
    width = expected[1] - expected[0]
    assert expectancy.interval.low == pytest.approx(expected[0], abs=1e-3 * width + 1e-9)
    assert expectancy.interval.high == pytest.approx(expected[1], abs=1e-3 * width + 1e-9)


def test_the_kelly_fraction_is_where_capital_grows_fastest() -> None:
    # Wins 2 of 5 at three times the stake.
    sums = sums_of([30, 30, -10, -10, -10])

    def growth(share: float) -> float:
        return 0.4 * math.log1p(3 * share) + 0.6 * math.log1p(-share)

    kelly = kelly_fraction(sums) or math.nan
    assert kelly == pytest.approx(0.2)
    assert growth(kelly) > max(growth(kelly - 0.001), growth(kelly + 0.001))


def test_without_round_trips_everything_is_null_with_a_reason() -> None:
    figures = figures_of_round_trips(RoundTripSums())
    for name in figures.__struct_fields__:
        one = getattr(figures, name)
        assert (one.value, one.n, one.interval) == (None, 0, None), name
        assert one.reason == "there is no round trip", name


def test_a_scratch_alone_decides_nothing() -> None:
    figures = figures_of_round_trips(sums_of([-3.6e-15]))
    assert figures.win_rate.value is figures.profit_factor.value is figures.kelly.value is None
    assert figures.win_rate.reason == "no round trip was won or lost"
    assert figures.profit_factor.reason == "there is no losing round trip"
    assert figures.expectancy.value == pytest.approx(0, abs=1e-14)


@given(st.lists(st.one_of(st.floats(-1e100, 1e100), st.sampled_from([0.0, 1e-300, -1e-300])), max_size=20))
def test_whatever_comes_is_finite_or_null_with_a_reason(pnls: list[float]) -> None:
    figures = figures_of_round_trips(sums_of(pnls))
    for name in figures.__struct_fields__:
        one = getattr(figures, name)
        assert (one.value is None) == (one.reason is not None), name
        assert one.value is None or math.isfinite(one.value), name
        assert one.interval is None or one.interval.low <= one.interval.high, name

"""Statistics of daily changes against hand-worked cases and empyrical."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from decahertz.statistics.daily import (
    DailyChange,
    DailyFigures,
    drawdowns,
    figures_of_days,
    sharpe_error,
    sharpe_ratio,
    sortino_ratio,
)
from decahertz.statistics.equity_days import Transfers, changes_of_equity, merged
from decahertz.statistics.statistic import SampleBasis

HOUR = 3600 * 10**9
DAY = 24 * HOUR


def figures_of(equity: list[float], minor_unit: float = 0.01) -> DailyFigures:
    """The figures of one equity at the end of each day."""
    closes = {day: (day * DAY + 20 * HOUR, value) for day, value in enumerate(equity)}
    changes = changes_of_equity(closes, Transfers(), len(equity))
    return figures_of_days(changes, SampleBasis.EQUITY_DAYS, minor_unit)


def money_figures(changes: list[float]) -> DailyFigures:
    days = [DailyChange(day, change) for day, change in enumerate(changes)]
    return figures_of_days(days, SampleBasis.PNL_DAYS, 0.01)


# Faults that were seen.


def test_a_steady_gain_has_no_dispersion_to_judge_but_everything_else() -> None:
    equity = [10_000.0]
    for _ in range(40):
        equity.append(equity[-1] + 0.1)
    figures = figures_of(equity)
    assert figures.sharpe.value is figures.sharpe_error.value is None
    assert (
        figures.sharpe.reason == "the daily changes are equal within half a minor unit, or 1e-9 of the level"
    )
    assert figures.sortino.reason == "there is no losing day"
    assert figures.pnl.value == pytest.approx(4.0)
    assert figures.total_return.value == pytest.approx(0.0004)
    assert (figures.max_drawdown.value, figures.red_days.value) == (0, 0)
    assert figures.sharpe.n == 40


@pytest.mark.parametrize("rounded", [False, True])
def test_a_gain_that_is_steady_but_for_cents_is_steady(rounded: bool) -> None:  # noqa: FBT001 - a case
    equity = [10_000 + day / 3 for day in range(50)]
    figures = figures_of([round(value, 2) for value in equity] if rounded else equity)
    assert figures.sharpe.value is None


def test_steady_interest_is_no_dispersion() -> None:
    assert figures_of([10_000 * 1.01**day for day in range(50)]).sharpe.value is None


def test_small_changes_of_a_large_account_are_a_dispersion() -> None:
    import empyrical  # noqa: PLC0415 - slow, and each process of a test run imports this module
    import numpy as np  # noqa: PLC0415

    equity = [1e8]
    for day in range(50):
        equity.append(equity[-1] + (80 if day % 3 else -60))
    assert figures_of(equity).sharpe.value == pytest.approx(
        empyrical.sharpe_ratio(np.diff(equity) / np.array(equity[:-1]), annualization=365), rel=1e-6
    )


def test_a_residue_of_floats_is_no_losing_day_and_no_drawdown() -> None:
    figures = figures_of([1000.0, 1100.0, 1100.0 - 2e-13, 1200.0])
    assert (figures.red_days.value, figures.max_drawdown_money.value, figures.max_drawdown_days.value) == (
        0,
        0,
        0,
    )
    assert figures.sortino.reason == "there is no losing day"
    assert figures.calmar.reason == "there is no drawdown"


# By hand.


def test_a_hand_worked_case() -> None:
    figures = figures_of([100.0, 110.0, 99.0, 99.0, 108.9])
    assert figures.pnl.value == pytest.approx(8.9)
    assert figures.total_return.value == pytest.approx(0.089)
    assert figures.max_drawdown.value == pytest.approx(0.1)
    assert figures.max_drawdown_money.value == pytest.approx(11)
    assert (figures.max_drawdown_days.value, figures.drawdown_days.value) == (3, 3)
    assert figures.drawdown_money.value == pytest.approx(1.1)
    returns = [0.1, -0.1, 0.0, 0.1]
    daily = statistics.fmean(returns) / statistics.stdev(returns)
    assert figures.sharpe.value == pytest.approx(daily * math.sqrt(365))
    error = math.sqrt((1 + daily**2 / 2) / 4) * math.sqrt(365)
    assert figures.sharpe_error.value == pytest.approx(error)
    assert figures.sharpe.interval is not None
    assert figures.sharpe.interval.high - figures.sharpe.interval.low == pytest.approx(2 * 1.959964 * error)
    assert figures.sortino.value == pytest.approx(
        statistics.fmean(returns) / math.sqrt(0.01 / 4) * math.sqrt(365)
    )
    assert figures.calmar.value == pytest.approx((1.089 ** (365 / 4) - 1) / 0.1)
    assert (figures.red_days.value, figures.red_streak.value) == (1, 1)
    assert (figures.best_day.value, figures.worst_day.value) == pytest.approx((10, -11))


def test_los_own_example() -> None:
    # A. W. Lo (2002): an annual ratio of 0.8 from 60 months has a monthly standard error of 0.13 or so.
    monthly = 0.8 / math.sqrt(12)
    expected = math.sqrt((1 + monthly**2 / 2) / 60)
    yearly = sharpe_error(monthly * math.sqrt(365), 60) / math.sqrt(365)
    assert yearly == pytest.approx(expected)
    assert expected == pytest.approx(0.1308, abs=1e-3)


def test_without_a_level_money_takes_the_place_of_returns() -> None:
    figures = money_figures([10.0, -5.0, 20.0, -10.0, 3.0])
    assert figures.sharpe.value == sharpe_ratio([10.0, -5.0, 20.0, -10.0, 3.0])
    for name in ("total_return", "annual_return", "volatility", "max_drawdown", "drawdown"):
        assert getattr(figures, name).value is None
        assert getattr(figures, name).reason == "no equity is reported"
    assert figures.calmar.value == pytest.approx(18 / 5 * 365 / 10)
    assert figures.max_drawdown_money.value == 10


def test_an_equity_that_was_not_positive_has_no_return() -> None:
    figures = figures_of([100.0, -10.0, 50.0])
    assert figures.total_return.reason == "the equity was not positive on some day"
    assert figures.pnl.value == pytest.approx(-50)


def test_without_days_everything_is_null_with_a_reason() -> None:
    figures = figures_of([100.0])
    for name in figures.__struct_fields__:
        one = getattr(figures, name)
        assert one.value is None, name
        assert one.reason, name


# Transfers are not results.


def test_a_transfer_is_no_result() -> None:
    transfers = Transfers()
    transfers.add(1 * DAY + 10 * HOUR, 5000.0)
    transfers.add(3 * DAY + 21 * HOUR, -2000.0)  # after the last equity of its day
    equity = [10_000.0, 15_100.0, 15_100.0, 15_000.0, 13_000.0]
    closes = {day: (day * DAY + 20 * HOUR, value) for day, value in enumerate(equity)}
    changes = changes_of_equity(closes, transfers, 5)
    assert [one.change for one in changes] == pytest.approx([100, 0, -100, 0])
    assert [one.level for one in changes] == [15_000, 15_100, 15_100, 15_000]
    figures = figures_of_days(changes, SampleBasis.EQUITY_DAYS, 0.01)
    assert figures.pnl.value == pytest.approx(0)
    assert figures.max_drawdown_money.value == pytest.approx(100)
    assert figures.total_return.value == pytest.approx((15_100 / 15_000) * (15_000 / 15_100) - 1, abs=1e-12)


@given(st.permutations([(1, 50.0), (2, -20.0), (2, 5.0), (9, 1.0), (4, 7.0)]))
def test_transfers_add_up_in_any_order(order: list[tuple[int, float]]) -> None:
    transfers = Transfers()
    for time_ns, amount in order:
        transfers.add(time_ns, amount)
    assert [transfers.until(at) for at in (0, 1, 2, 3, 4, 9)] == [0, 50, 35, 35, 42, 43]


def test_a_day_without_a_value_changes_nothing() -> None:
    changes = changes_of_equity({0: (1, 100.0), 3: (3 * DAY, 130.0)}, Transfers(), 5)
    assert changes == [
        DailyChange(1, 0.0, 100.0),
        DailyChange(2, 0.0, 100.0),
        DailyChange(3, 30.0, 100.0),
        DailyChange(4, 0.0, 130.0),
    ]


def test_several_accounts_add_up() -> None:
    one = [DailyChange(1, 5.0, 100.0), DailyChange(2, -1.0, 105.0)]
    other = [DailyChange(2, 3.0, 50.0)]
    unknown = [DailyChange(2, 1.0)]
    assert merged([one, other]) == [DailyChange(1, 5.0, 100.0), DailyChange(2, 2.0, 155.0)]
    assert merged([one, unknown])[1] == DailyChange(2, 0.0, None)


# Independent packages.

EQUITY = st.lists(st.floats(-0.2, 0.25), min_size=2, max_size=200)


@given(EQUITY)
def test_ratios_and_drawdowns_are_those_of_empyrical(returns: list[float]) -> None:
    import empyrical  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    equity = [10_000.0]
    for value in returns:
        equity.append(equity[-1] * (1 + value))
    assume(min(equity) > 100)
    found = figures_of(equity, minor_unit=1e-6)
    series = pd.Series(
        [b / a - 1 for a, b in pairwise(equity)], index=pd.date_range("2025-01-01", periods=len(returns))
    )
    assert found.total_return.value == pytest.approx(empyrical.cum_returns_final(series), abs=1e-9)
    assert found.annual_return.value is None or found.annual_return.value == pytest.approx(
        empyrical.annual_return(series, annualization=365), rel=1e-6, abs=1e-9
    )
    assert found.volatility.value == pytest.approx(
        empyrical.annual_volatility(series, annualization=365), abs=1e-9
    )
    assert found.max_drawdown.value == pytest.approx(-empyrical.max_drawdown(series), abs=1e-8)
    if found.sharpe.value is not None:
        expected = empyrical.sharpe_ratio(series, annualization=365)
        assert found.sharpe.value == pytest.approx(expected, rel=1e-5, abs=1e-9)
    if found.sortino.value is not None:
        expected = empyrical.sortino_ratio(series, annualization=365)
        assert found.sortino.value == pytest.approx(expected, rel=1e-5, abs=1e-9)
    if found.calmar.value is not None:
        expected = empyrical.calmar_ratio(series, annualization=365)
        assert found.calmar.value == pytest.approx(expected, rel=1e-5)


# Edges.


def test_no_spread_no_sharpe_ratio_and_no_loss_no_sortino_ratio() -> None:
    assert {sharpe_ratio(changes) for changes in ([], [1.0], [2.0, 2.0], [0.0, 0.0])} == {None}
    assert {sortino_ratio(changes) for changes in ([], [-1.0], [2.0, 3.0], [0.0, 0.0])} == {None}


def test_a_drawdown_that_ends_is_as_long_as_it_lasted() -> None:
    deepest, last = drawdowns([0, 5, 3, 4, 5, 9, 8], relative=False)
    assert (deepest.depth, deepest.days) == (2, 2)
    assert (last.depth, last.days) == (1, 1)


@given(st.lists(st.floats(-1e200, 1e200), max_size=30), st.one_of(st.none(), st.floats(-1e6, 1e200)))
def test_whatever_comes_is_finite_or_null_with_a_reason(changes: list[float], level: float | None) -> None:
    days = [DailyChange(day, change, level) for day, change in enumerate(changes)]
    figures = figures_of_days(days, SampleBasis.EQUITY_DAYS, 0.01)
    for name in figures.__struct_fields__:
        one = getattr(figures, name)
        assert (one.value is None) == (one.reason is not None), name
        assert one.value is None or math.isfinite(one.value), name

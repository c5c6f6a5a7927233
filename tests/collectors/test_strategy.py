"""The strategy collector: P&L, positions, statistics with their n, drawdown, daily results."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.common.values import UnusableEventError
from collectors.strategy.collector import StrategyCollector, StrategyOptions
from collectors.strategy.sample import StrategySample
from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import (
    Cash,
    CashKind,
    Direction,
    Equity,
    Event,
    Fill,
    Instrument,
    InstrumentKind,
    Position,
    PositionSource,
    Quote,
    Regime,
    Side,
    Signal,
)
from decahertz.statistics.daily import sharpe_ratio
from decahertz.trading_days import DAY_NS
from tests.collectors.parts import T0, check_values, ns

DAY = 86_400.0


class Desk:
    """A strategy collector, and a time in seconds after the start."""

    def __init__(self, accounting: AccountingSettings | None = None, **options: Any) -> None:  # noqa: ANN401 - any option
        self.collector = StrategyCollector(SystemClock(), StrategyOptions(**options), accounting)
        self.numbers = iter(range(10**9))
        self.events = 0

    def take(self, event: Event, at: float) -> None:
        self.events += 1
        self.collector.on_event(event, ns(at), ("test", 1, self.events))

    def fill(self, side: str, quantity: float, price: float, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        fill = {"side": Side(side), "price": price, "quantity": quantity, "fill_id": str(next(self.numbers))}
        where = {"venue": "fx", "instrument": "EUR/USD", "time_ns": ns(at)}
        self.take(Fill(strategy="trend", order_id="o", **{**fill, **where, **more}), at)

    def trade(self, pnl: float, at: float, risk: float | None = None) -> None:
        """A round trip that earns ``pnl``."""
        self.fill("buy", 1, 1000, at, risk=risk)
        self.fill("sell", 1, 1000 + pnl, at)

    def mark(self, price: float, at: float, instrument: str = "EUR/USD") -> None:
        self.take(Quote(time_ns=ns(at), venue="fx", instrument=instrument, bid=price - 1, ask=price + 1), at)

    def position(self, quantity: float, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        more.setdefault("time_ns", ns(at))
        self.take(Position(strategy="trend", venue="fx", instrument="EUR/USD", quantity=quantity, **more), at)

    def equity(self, equity: float, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        more.setdefault("time_ns", ns(at))
        self.take(Equity(strategy="trend", equity=equity, **more), at)

    def samples(self, at: float) -> dict[str, StrategySample]:
        return {s.strategy: s for s in self.collector.sample(ns(at)) if isinstance(s, StrategySample)}

    def sample(self, at: float) -> StrategySample:
        return self.samples(at)["trend"]


def a_definition(at: float, *aliases: str, instrument: str = "EUR/USD") -> Instrument:
    return Instrument(
        time_ns=ns(at), venue="fx", instrument=instrument, kind=InstrumentKind.FX, aliases=aliases
    )


@pytest.fixture
def desk() -> Desk:
    """One with the default options."""
    return Desk()


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([-7.0, -0.5, 0.0, 0.5, 3.0])),
        min_size=1,
        max_size=12,
        unique_by=lambda trade: trade[0],
    ),
)
def test_the_recent_statistics_are_those_of_the_newest_round_trips_in_whatever_order_they_arrive(
    window: int, trades: list[tuple[int, float]]
) -> None:
    desk = Desk(recent_trades=window)
    for at, pnl in trades:
        desk.trade(pnl, at=at, risk=2.0 if at % 2 else None)
        desk.sample(at=41)
    sample = desk.sample(at=42)
    kept = sorted(trades)[-window:]
    pnls = [pnl for _, pnl in kept]
    won, lost = [pnl for pnl in pnls if pnl > 0], [pnl for pnl in pnls if pnl < 0]
    multiples = [pnl / 2.0 for at, pnl in kept if at % 2]
    assert sample.recent_trades == len(kept)
    assert sample.recent_win_rate == (len(won) / len(kept) if won or lost else None)
    assert sample.recent_profit_factor == (pytest.approx(sum(won) / -sum(lost)) if lost else None)
    assert sample.recent_expectancy == pytest.approx(sum(pnls) / len(pnls))
    assert sample.recent_expectancy_r == (
        pytest.approx(sum(multiples) / len(multiples)) if multiples else None
    )


def test_a_signal_that_the_recorder_generates_is_no_sign_of_life_of_a_strategy(desk: Desk) -> None:
    names: dict[str, Any] = {"strategy": "trend", "venue": "fx", "instrument": "i", "signal_id": "1"}
    signal = Signal(time_ns=ns(1), direction=Direction.BUY, **names)
    desk.collector.on_event(signal, ns(1), ("recorder-signals", 1, 1))
    assert desk.samples(at=1.1) == {}


def test_quotes_alone_make_no_strategy_and_without_trades_it_has_no_statistics(desk: Desk) -> None:
    desk.mark(100, at=1)
    assert desk.samples(at=1.1) == {}
    names: dict[str, Any] = {"strategy": "trend", "venue": "fx", "instrument": "i", "signal_id": "1"}
    desk.take(Signal(time_ns=ns(1), direction=Direction.BUY, **names), at=1)
    sample = desk.sample(at=1.1)
    counts = (sample.signals, sample.fills, sample.trades, sample.r_trades, sample.daily_changes)
    assert counts == (1, 0, 0, 0, 0)
    assert (sample.realised_pnl, sample.unrealised_pnl, sample.exposure, sample.drawdown) == (0, 0, 0, 0)
    for name in ("win_rate", "win_rate_lower", "profit_factor", "expectancy", "expectancy_r", "equity"):
        assert getattr(sample, name) is None, name
    for name in ("average_win_r", "average_loss_r", "current_r", "sharpe", "sortino", "mark_age_seconds"):
        assert getattr(sample, name) is None, name


# Positions and their mark prices.


def test_an_open_position_is_marked_to_the_mid_of_the_newest_quote(desk: Desk) -> None:
    desk.mark(100, at=0.5)
    desk.fill("buy", 3, 101, at=1, fee=2, risk=30)
    desk.mark(111, at=2)
    sample = desk.sample(at=2.5)
    assert (sample.realised_pnl, sample.unrealised_pnl) == (-2, 30)
    assert (sample.exposure, sample.net_exposure, sample.open_positions) == (333, 333, 1)
    assert sample.mark_age_seconds == 0.5
    assert sample.current_r == pytest.approx(28 / 30)


def test_long_and_short_add_up_gross_and_cancel_net_once_every_mark_is_known(desk: Desk) -> None:
    desk.fill("buy", 2, 100, at=1)
    desk.fill("sell", 1, 50, at=1, instrument="USD/JPY")
    desk.mark(100, at=1)
    sample = desk.sample(at=1.1)
    assert sample.unrealised_pnl is sample.exposure is sample.net_exposure is None  # not a smaller sum
    assert sample.drawdown is sample.drawdown_seconds is None
    assert sample.open_positions == 2
    desk.mark(40, at=1, instrument="USD/JPY")
    sample = desk.sample(at=1.1)
    assert (sample.exposure, sample.net_exposure, sample.unrealised_pnl) == (240, 160, 10)
    assert sample.open_positions == 2


def test_a_late_quote_and_an_empty_side_of_the_book_are_no_mark_price(desk: Desk) -> None:
    desk.fill("buy", 1, 100, at=1)
    desk.mark(110, at=3)
    desk.mark(90, at=2)
    assert desk.sample(at=3.1).unrealised_pnl == 10
    desk.take(Quote(time_ns=ns(4), venue="fx", instrument="EUR/USD", bid=99.0), at=4)
    assert desk.sample(at=4.1).unrealised_pnl is None


def test_without_quotes_the_reported_mark_serves(desk: Desk) -> None:
    desk.fill("buy", 2, 100, at=1)
    desk.position(2, at=1.5, mark_price=104)
    sample = desk.sample(at=2.5)
    assert (sample.unrealised_pnl, sample.exposure, sample.mark_age_seconds) == (8, 208, 1.0)
    desk.mark(107, at=2)
    assert desk.sample(at=2.5).unrealised_pnl == 14


def test_current_r_covers_the_trades_whose_risk_is_known(desk: Desk) -> None:
    desk.fill("buy", 2, 100, at=1, risk=10)
    desk.fill("sell", 1, 108, at=1)
    desk.fill("buy", 2, 100, at=1, instrument="USD/JPY")
    desk.mark(112, at=1)
    desk.mark(1, at=1, instrument="USD/JPY")
    assert desk.sample(at=1.1).current_r == 2.0


def test_a_reported_position_that_differs_for_a_while_is_a_break() -> None:
    desk = Desk(break_seconds=1.0)
    desk.fill("buy", 2, 100, at=1)
    desk.position(2, at=1.01)
    assert desk.sample(at=5).position_breaks == 0
    desk.position(3, at=6)
    breaks = [desk.sample(at=6 + n / 10).position_breaks for n in range(12)]
    assert breaks == [0] * 10 + [1, 1]
    desk.fill("buy", 1, 100, at=7.5, time_ns=ns(6))
    assert desk.sample(at=7.6).position_breaks == 0


def test_a_report_older_than_the_newest_fill_is_not_compared() -> None:
    desk = Desk(break_seconds=0.0)
    desk.position(0, at=1)
    desk.fill("buy", 2, 100, at=2)
    assert desk.sample(at=9).position_breaks == 0
    desk.position(0, at=10)
    assert desk.sample(at=10).position_breaks == 1


def test_what_several_holders_report_adds_up_and_the_newest_report_gives_the_mark_price() -> None:
    desk = Desk(break_seconds=0.0)
    desk.fill("buy", 0.3, 100, at=1)
    desk.position(0.1, at=3, mark_price=110)
    desk.position(0.2, at=3.1, time_ns=ns(2), mark_price=70, held_by=PositionSource.MANUAL)
    sample = desk.sample(at=4)
    assert sample.position_breaks == 0
    assert sample.unrealised_pnl == pytest.approx(3)


def test_an_older_report_does_not_replace_a_newer_one() -> None:
    desk = Desk(break_seconds=0.0)
    desk.position(2, at=3, mark_price=110)
    desk.position(7, at=3.1, time_ns=ns(2), mark_price=70)
    desk.fill("buy", 2, 100, at=3.2, time_ns=ns(1))
    sample = desk.sample(at=4)
    assert (sample.position_breaks, sample.unrealised_pnl) == (0, 20)


def test_the_oldest_mark_in_use_gives_the_age(desk: Desk) -> None:
    for at, instrument in [(1, "a"), (3, "b"), (2, "c")]:
        desk.mark(100, at=at, instrument=instrument)
    for instrument in "bca":
        desk.fill("buy", 1, 100, at=4, instrument=instrument)
    assert desk.sample(at=5).mark_age_seconds == 4
    desk.fill("sell", 1, 100, at=5, instrument="a")
    assert desk.sample(at=5).mark_age_seconds == 3


# Trades.


def test_statistics_of_known_trades(desk: Desk) -> None:
    for pnl, risk in [(20, 10), (-10, 10), (30, 10), (0, 10), (-5, None)]:
        desk.trade(pnl, at=1, risk=risk)
    sample = desk.sample(at=2)
    assert (sample.trades, sample.fills, sample.r_trades, sample.realised_pnl) == (5, 10, 4, 35)
    assert (sample.win_rate, sample.expectancy) == (0.4, 7)
    assert sample.profit_factor == pytest.approx(50 / 15)
    assert (sample.expectancy_r, sample.average_win_r, sample.average_loss_r) == (1.0, 2.5, -1.0)
    assert sample.win_rate_lower == pytest.approx(0.117621, abs=1e-6)


@pytest.mark.parametrize(
    ("pnls", "streak"),
    [([1], 1), ([1, 2, 3], 3), ([1, -1, -1], -2), ([-1, -1, 5], 1), ([1, 1, 0], 0), ([1, 0, -1], -1)],
)
def test_streaks(desk: Desk, pnls: list[float], streak: int) -> None:
    for pnl in pnls:
        desk.trade(pnl, at=1)
    assert desk.sample(at=2).streak == streak


def test_without_a_losing_trade_there_is_no_profit_factor(desk: Desk) -> None:
    desk.trade(5, at=1)
    sample = desk.sample(at=2)
    assert (sample.profit_factor, sample.win_rate) == (None, 1.0)
    assert sample.average_loss_r is None


def test_a_repeated_fill_counts_once_in_each_instrument_at_each_venue(desk: Desk) -> None:
    desk.fill("buy", 1, 100, at=1, fill_id="7")
    desk.fill("buy", 1, 100, at=2, fill_id="7")
    desk.fill("buy", 1, 100, at=2, fill_id="7", instrument="USD/JPY")
    desk.fill("sell", 1, 100, at=2, fill_id="7", venue="other")
    sample = desk.sample(at=3)
    assert (sample.fills, sample.duplicate_fills, sample.open_positions) == (3, 1, 3)


# Days and weeks. The start is a Thursday, at midnight UTC.


def test_daily_and_weekly_results_start_with_the_utc_day_and_the_monday(desk: Desk) -> None:
    desk.trade(5, at=0.5 * DAY)
    desk.trade(-2, at=1.5 * DAY)
    sample = desk.sample(at=1.6 * DAY)
    assert (sample.daily_pnl, sample.weekly_pnl, sample.realised_pnl) == (-2, 3, 3)
    sample = desk.sample(at=4 * DAY - 1)
    assert (sample.daily_pnl, sample.weekly_pnl) == (0, 3)
    sample = desk.sample(at=4 * DAY)
    assert (sample.daily_pnl, sample.weekly_pnl, sample.realised_pnl) == (0, 0, 3)


def test_a_fill_counts_for_the_day_in_which_it_happened(desk: Desk) -> None:
    desk.trade(5, at=0.5 * DAY)
    desk.fill("buy", 1, 100, at=DAY + 1, fee=3, time_ns=ns(DAY - 1))
    sample = desk.sample(at=DAY + 2)
    assert (sample.daily_pnl, sample.weekly_pnl) == (0, 2)


def test_the_daily_loss_streak_counts_the_newest_losing_days_in_a_row(desk: Desk) -> None:
    red = []
    for day, pnl in enumerate([-1, 5, -2, None, -3, -4]):
        if pnl is not None:
            desk.trade(pnl, at=day * DAY + 10)
        red.append(desk.sample(at=day * DAY + 20).daily_loss_streak)
    assert red == [1, 0, 1, 1, 2, 3]
    desk.trade(9, at=5 * DAY + 30)
    assert desk.sample(at=5 * DAY + 40).daily_loss_streak == 0


# The equity curve.


def test_the_drawdown_of_the_profits_starts_from_zero(desk: Desk) -> None:
    desk.trade(-10, at=1)
    sample = desk.sample(at=3)
    assert (sample.drawdown, sample.max_drawdown, sample.drawdown_seconds) == (10, 10, 2)
    desk.trade(30, at=4)
    sample = desk.sample(at=5)
    assert (sample.drawdown, sample.max_drawdown, sample.drawdown_seconds) == (0, 10, 0)
    desk.trade(-5, at=6)
    sample = desk.sample(at=6.5)
    assert (sample.drawdown, sample.max_drawdown) == (5, 10)
    assert (sample.drawdown_seconds, sample.max_drawdown_seconds) == (0.5, 3)


def test_open_profits_are_part_of_the_curve(desk: Desk) -> None:
    desk.mark(100, at=1)
    desk.fill("buy", 1, 100, at=1)
    desk.mark(120, at=2)
    assert desk.sample(at=2).drawdown == 0
    desk.mark(105, at=3)
    assert desk.sample(at=3).drawdown == 15


def test_reported_equity_takes_the_place_of_profits(desk: Desk) -> None:
    desk.trade(-10, at=1)
    assert desk.sample(at=1.5).drawdown == 10
    desk.equity(1000, at=2)
    sample = desk.sample(at=2.5)
    assert (sample.equity, sample.drawdown, sample.max_drawdown) == (1000, 0, 0)
    desk.trade(-10, at=3)
    assert desk.sample(at=3.5).drawdown == 0
    desk.equity(980, at=4)
    desk.equity(500, at=4.1, time_ns=ns(3))  # an older one
    sample = desk.sample(at=4.5)
    assert (sample.equity, sample.drawdown) == (980, 20)


def test_a_peak_between_two_samples_is_a_peak(desk: Desk) -> None:
    desk.trade(5, at=1)
    desk.trade(-2, at=1.01)  # flat again: no mark price is needed
    assert desk.sample(at=1.1).drawdown == 2
    for equity, at in [(1000, 2), (1100, 2.01), (1050, 2.02)]:
        desk.equity(equity, at=at)
    assert desk.sample(at=2.1).drawdown == 50


def test_ratios_come_from_whole_days_and_say_how_many() -> None:
    desk = Desk(min_days=3)
    closes = [1000.0, 1010.0, 1005.0, 1025.0, 1015.0]
    found = []
    for day, close in enumerate(closes):
        desk.equity(close + 500, at=day * DAY + 10)
        desk.equity(close, at=day * DAY + 20)
        sample = desk.sample(at=day * DAY + 30)
        found.append((sample.daily_changes, sample.sharpe is None))
    assert found == [(0, True), (0, True), (1, True), (2, True), (3, False)]
    sample = desk.sample(at=5 * DAY)
    returns = [b / a - 1 for a, b in pairwise(closes)]
    daily = statistics.fmean(returns) / statistics.stdev(returns)
    downside = math.sqrt(statistics.fmean(min(c, 0) ** 2 for c in returns))
    assert sample.daily_changes == 4
    assert sample.sharpe == pytest.approx(daily * math.sqrt(365))
    assert sample.sharpe_error == pytest.approx(math.sqrt((1 + daily**2 / 2) / 4 * 365))
    assert sample.sortino == pytest.approx(statistics.fmean(returns) / downside * math.sqrt(365))


def test_a_day_without_a_sample_repeats_the_one_before() -> None:
    desk = Desk(min_days=2)
    desk.equity(1000, at=0)
    desk.sample(at=1)
    desk.equity(1010, at=4 * DAY + 5)
    assert desk.sample(at=4 * DAY + 6).daily_changes == 3
    assert desk.sample(at=5 * DAY).daily_changes == 4
    assert desk.sample(at=5 * DAY).sharpe == sharpe_ratio([0, 0, 0, 0.01])


def test_a_history_of_fills_without_samples_gives_the_same_curve() -> None:
    desk = Desk(min_days=2)
    for day, pnl in enumerate([5, 10, -30, 20]):
        desk.trade(pnl, at=day * DAY + 10)
    sample = desk.sample(at=4 * DAY + 10)
    assert (sample.daily_changes, sample.sharpe) == (4, sharpe_ratio([5.0, 10.0, -30.0, 20.0]))
    assert (sample.max_drawdown, sample.drawdown) == (30, 10)
    assert sample.max_drawdown_seconds == 2 * DAY


def test_forty_days_of_equity_sent_today_are_forty_days() -> None:
    desk = Desk()
    for day in range(40):
        desk.equity(1000 + 10 * (day % 7), at=40 * DAY + day, time_ns=ns(day * DAY + 100))
        if day % 7 == 0:  # cycles in between
            desk.sample(at=40 * DAY + day)
    sample = desk.sample(at=40 * DAY + 60)
    assert sample.daily_changes == 39
    assert (sample.drawdown, sample.max_drawdown) == (20, 60)
    assert sample.sharpe is not None
    # The same as if they had come day by day, in whatever order.
    for order in (range(40), reversed(range(40))):
        other = Desk()
        for day in order:
            other.equity(1000 + 10 * (day % 7), at=day * DAY + 100, time_ns=ns(day * DAY + 100))
        assert other.sample(at=40 * DAY + 60).sharpe == sample.sharpe


def test_forty_days_of_fills_sent_today_are_forty_days() -> None:
    desk = Desk()
    for day in range(40):
        at = 40 * DAY + day
        pnl = 10 if day % 3 else -5
        desk.fill("buy", 1, 1000, at, time_ns=ns(day * DAY))
        desk.mark(900, at=at)
        desk.sample(at=at)  # the position of then is not held at the price of now
        desk.fill("sell", 1, 1000 + pnl, at, time_ns=ns(day * DAY + 100))
    sample = desk.sample(at=40 * DAY + 60)
    assert sample.daily_changes == 40
    assert sample.max_drawdown == 5
    assert sample.sharpe == sharpe_ratio([-5.0 if day % 3 == 0 else 10.0 for day in range(40)])


def test_the_equity_of_several_accounts_adds_up() -> None:
    desk = Desk(min_days=2)
    for day in range(5):
        desk.equity(1000 + day * day, at=day * DAY, account="a")
        if day >= 2:
            desk.equity(500 - 10 * day, at=day * DAY + 1, account="b")
    sample = desk.sample(at=4 * DAY + 2)
    assert sample.equity == 1016 + 460
    # a earned 9 by the peak and 7 after it; b lost 20 after it.
    assert (sample.drawdown, sample.max_drawdown) == (13, 13)


@pytest.mark.parametrize("late", [False, True])
def test_a_transfer_is_no_drawdown_and_no_return(late: bool) -> None:  # noqa: FBT001 - a case
    desk = Desk(min_days=2)
    desk.equity(10_000, at=1)
    desk.equity(10_050, at=DAY)

    def withdraw() -> None:
        desk.take(
            Cash(
                time_ns=ns(2 * DAY - 1),
                strategy="trend",
                cash_id="1",
                kind=CashKind.TRANSFER,
                amount=-5000.0,
            ),
            2 * DAY + 1,
        )

    if not late:
        withdraw()
    desk.equity(5_030, at=2 * DAY)
    if late:
        assert desk.sample(at=2 * DAY).max_drawdown == 5020
        withdraw()
    desk.equity(5_060, at=3 * DAY)
    sample = desk.sample(at=4 * DAY + 2)
    assert (sample.equity, sample.drawdown, sample.max_drawdown) == (5_060, 0, 20)
    assert sample.sharpe == sharpe_ratio([50 / 10_000, -20 / 10_050, 30 / 5_030])


def test_a_steady_gain_has_no_sharpe_ratio() -> None:
    desk = Desk(min_days=2)
    for day in range(42):
        desk.equity(10_000 + 0.1 * day, at=day * DAY)
    sample = desk.sample(at=41 * DAY + 1)
    assert (sample.daily_changes, sample.sharpe, sample.sortino) == (40, None, None)


def test_a_numeric_residue_is_no_loss(desk: Desk) -> None:
    desk.fill("buy", 0.1, 100.1, at=1)
    desk.fill("buy", 0.2, 100.1, at=1)
    desk.fill("sell", 0.3, 100.1, at=1)
    sample = desk.sample(at=2)
    assert (sample.trades, sample.streak, sample.daily_loss_streak) == (1, 0, 0)
    assert sample.win_rate is sample.profit_factor is None
    desk.trade(10, at=3)
    sample = desk.sample(at=4)
    assert (sample.win_rate, sample.streak, sample.profit_factor) == (0.5, 1, None)


def test_days_and_weeks_are_those_of_the_account() -> None:
    # From Sunday 17:00 in New York, 22:00 UTC in January. The start of the test is Thursday, 2026-01-01.
    desk = Desk(AccountingSettings(timezone="America/New_York", day_start="17:00", week_start=6))
    desk.trade(5, at=21.9 * 3600)
    desk.trade(7, at=22.1 * 3600)
    sample = desk.sample(at=23 * 3600)
    assert (sample.daily_pnl, sample.weekly_pnl) == (7, 12)
    sunday = 3 * DAY + 22 * 3600
    assert (desk.sample(at=sunday - 1).weekly_pnl, desk.sample(at=sunday).weekly_pnl) == (12, 0)
    (figures,) = desk.collector.figures(ns(sunday))
    assert (figures.weekly_pnl, figures.monthly_pnl) == (0, 7)  # the first day is that of December 31


# Regimes, bad numbers, keys that come and go.


def test_changes_of_the_regime_are_counted(desk: Desk) -> None:
    for at, regime in enumerate(["calm", "calm", "wild", "calm"], start=1):
        desk.take(Regime(time_ns=ns(at), regime=regime, strategy="trend"), at=at)
    desk.take(Regime(time_ns=ns(2), regime="wild", strategy="trend"), at=9)
    desk.take(Regime(time_ns=ns(10), regime="wild"), at=10)
    assert desk.sample(at=11).regime_changes == 2


@pytest.mark.parametrize(
    ("price", "quantity", "fee", "risk"),
    [
        (1e299, 1e299, 0.0, None),
        (1e101, 1.0, 0.0, None),
        (1.0, 1e101, 0.0, None),
        (1.0, 1.0, -1e299, None),
        (1.0, 1.0, 0.0, 1e299),
    ],
)
def test_a_fill_of_no_market_is_refused_and_changes_nothing(
    desk: Desk, price: float, quantity: float, fee: float, risk: float | None
) -> None:
    desk.trade(5, at=1)
    before = desk.sample(at=1)
    with pytest.raises(UnusableEventError, match="too large"):
        desk.fill("buy", quantity, price, at=1, fee=fee, risk=risk)
    assert desk.sample(at=1) == before


def test_an_equity_of_no_account_is_refused(desk: Desk) -> None:
    with pytest.raises(UnusableEventError, match="too large"):
        desk.equity(1e101, at=1)


def test_a_strategy_is_retired_when_idle_and_flat_and_starts_over() -> None:
    desk = Desk(idle_seconds=60)
    desk.trade(5, at=1)
    assert desk.sample(at=60).trades == 1
    assert desk.samples(at=75) == {}
    desk.fill("buy", 1, 1, at=80)
    assert (desk.sample(at=80).trades, desk.sample(at=80).fills) == (0, 1)
    assert desk.sample(at=10_000).open_positions == 1


def test_an_older_event_after_a_newer_one_does_not_age_a_strategy() -> None:
    desk = Desk(idle_seconds=60)
    desk.trade(5, at=100)
    desk.equity(1000, at=10)
    assert desk.sample(at=150).trades == 1


def test_flat_instruments_and_old_marks_leave_the_memory() -> None:
    desk = Desk(idle_seconds=60)
    for n in range(100):
        desk.fill("buy", 1, 1, at=1, instrument=f"i{n}")
        desk.fill("sell", 1, 1, at=1, instrument=f"i{n}")
        desk.mark(1, at=1, instrument=f"i{n}")
    desk.fill("buy", 1, 1, at=100)
    assert desk.sample(at=100).fills == 201
    assert len(desk.collector._states["trend"].holdings) == 1
    assert len(desk.collector._mark_prices._prices) == 0


# Whatever comes.

STEP = st.fixed_dictionaries(
    {
        "what": st.sampled_from(["fill", "fill", "fill", "quote", "position", "equity"]),
        "instrument": st.sampled_from(["a", "b"]),
        "wait": st.sampled_from([0.01, 1.0, 3600.0, 50_000.0]),
        "side": st.sampled_from(list(Side)),
        "price": st.one_of(st.floats(0.5, 1000), st.floats(-1e299, 1e299)),
        "quantity": st.one_of(st.integers(1, 3).map(float), st.floats(1e-3, 1e299)),
        "fee": st.floats(-2, 2),
        "risk": st.one_of(st.none(), st.floats(0, 100)),
        "number": st.integers(0, 30),
    }
)


def event_of(step: dict[str, Any], time_ns: int) -> Event:
    names = {"time_ns": time_ns, "venue": "fx", "instrument": step["instrument"]}
    if step["what"] == "fill":
        more = {name: step[name] for name in ("side", "price", "quantity", "fee", "risk")}
        return Fill(**names, **more, strategy="s", order_id="o", fill_id=str(step["number"]))
    if step["what"] == "quote":
        return Quote(**names, bid=step["price"] - 0.25, ask=step["price"] + 0.25)
    if step["what"] == "position":
        return Position(**names, strategy="s", quantity=step["quantity"], mark_price=step["price"])
    return Equity(time_ns=time_ns, strategy="s", equity=step["price"])


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=50))
def test_whatever_comes_samples_are_finite_and_agree_with_themselves(steps: list[dict[str, Any]]) -> None:
    collector = StrategyCollector(SystemClock(), StrategyOptions(min_days=2))
    now = T0
    for step in steps:
        now += round(step["wait"] * NS_PER_SECOND)
        try:
            collector.on_event(event_of(step, now), now)
        except UnusableEventError:
            continue
        for sample in collector.sample(now):
            assert isinstance(sample, StrategySample)
            check_sample(sample)


def check_sample(sample: StrategySample) -> None:
    check_values(sample)
    assert sample.r_trades <= sample.trades <= sample.fills
    assert sample.win_rate is None or sample.trades  # None while all are scratches
    if sample.win_rate is not None:
        assert sample.win_rate_lower is not None
        assert 0 <= sample.win_rate_lower <= sample.win_rate <= 1
    assert sample.profit_factor is None or sample.profit_factor >= 0
    assert sample.drawdown is None or 0 <= sample.drawdown <= sample.max_drawdown
    assert sample.drawdown_seconds is None or 0 <= sample.drawdown_seconds <= sample.max_drawdown_seconds
    if sample.exposure is not None:
        assert sample.net_exposure is not None
        assert abs(sample.net_exposure) <= sample.exposure * (1 + 1e-12)
        assert (sample.exposure == 0) or sample.open_positions > 0
    assert sample.open_positions or sample.unrealised_pnl == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Side)),
            st.integers(1, 64),
            st.integers(1, 1000),
            st.integers(-8, 8),
            st.sampled_from(["a", "b", "c"]),
        ),
        max_size=40,
    ),
    st.integers(1, 1000),
)
def test_realised_and_unrealised_profits_are_cash_plus_what_the_position_would_fetch(
    fills: list[tuple[Side, int, int, int, str]], mark: int
) -> None:
    desk = Desk()
    desk.take(Regime(time_ns=ns(1), regime="calm", strategy="trend"), at=1)
    cash = Fraction(0)
    held: dict[str, int] = dict.fromkeys("abc", 0)
    for side, quantity, price, fee, instrument in fills:
        desk.fill(side, quantity / 8, float(price), at=1, fee=fee / 4, instrument=instrument)
        sign = 1 if side is Side.BUY else -1
        held[instrument] += sign * quantity
        cash -= sign * Fraction(quantity, 8) * price + Fraction(fee, 4)
    for instrument in held:
        desk.mark(mark, at=1, instrument=instrument)
    sample = desk.sample(at=2)
    assert sample.unrealised_pnl is not None
    worth = float(cash + Fraction(sum(held.values()), 8) * mark)
    assert sample.realised_pnl + sample.unrealised_pnl == pytest.approx(worth, abs=1e-6)
    assert sample.daily_pnl == pytest.approx(sample.realised_pnl, abs=1e-6)
    assert sample.open_positions == sum(1 for quantity in held.values() if quantity)
    assert sample.exposure == pytest.approx(sum(map(abs, held.values())) / 8 * mark)


def test_a_day_is_a_day() -> None:
    assert DAY_NS == DAY * NS_PER_SECOND
    assert T0 % DAY_NS == 0


@pytest.mark.parametrize(
    ("quoted", "defined"), [("EURUSD", "EUR/USD"), ("EURUSD", "EURUSD"), ("EURUSD", "E")]
)
def test_a_position_is_valued_by_quotes_under_any_name_of_its_instrument(
    desk: Desk, quoted: str, defined: str
) -> None:
    desk.fill("buy", 2, 100, 1)
    desk.mark(110, 2, instrument=quoted)
    assert desk.sample(3).unrealised_pnl is None
    names = {"EUR/USD", "EURUSD"} - {defined}
    desk.take(a_definition(4, *names, instrument=defined), 4)
    assert desk.sample(5).unrealised_pnl == 20
    desk.take(a_definition(3, instrument=defined), 6)  # an older definition that arrives late
    assert desk.sample(7).unrealised_pnl == 20
    desk.take(a_definition(8, instrument=defined), 8)
    assert desk.sample(9).unrealised_pnl is None


@pytest.mark.parametrize(
    ("venue", "instrument", "hint"),
    [
        ("fx", "EUR-USD", "; EUR-USD is quoted: if it is the same, list one in aliases"),
        ("fx", "eurusd", "; eurusd is quoted"),
        ("bank", "EUR/USD", "; EUR/USD is quoted at bank"),
        ("fx", "EUR/USDT", None),
    ],
)
def test_a_position_without_a_mark_price_names_quotes_that_may_be_meant(
    desk: Desk, venue: str, instrument: str, hint: str | None
) -> None:
    desk.fill("buy", 2, 100, 1)
    desk.take(Quote(time_ns=ns(2), venue=venue, instrument=instrument, bid=1.0, ask=2.0), 2)
    (position,) = desk.collector.positions(ns(3))
    assert position.unrealised_pnl is None
    for name in ("mark_price", "value", "unrealised_pnl"):
        assert position.reasons[name].partition(";")[0] == "no quote and no reported mark price"
        assert (hint in position.reasons[name]) if hint else (";" not in position.reasons[name])


def test_a_similar_name_is_logged_once(desk: Desk) -> None:
    desk.fill("buy", 2, 100, 1)
    desk.mark(110, 2, instrument="EUR-USD")
    with structlog.testing.capture_logs() as logged:
        for seconds in (20, 40, 60):
            desk.sample(seconds)
    (event,) = logged
    assert (event["event"], event["venue"], event["instrument"]) == ("mark_price_missed", "fx", "EUR/USD")
    assert "EUR-USD is quoted" in event["hint"]


# Cash flows.


def a_flow(kind: str, amount: float, at: float, cash_id: str = "1", **more: Any) -> Cash:  # noqa: ANN401 - any field
    return Cash(time_ns=ns(at), strategy="trend", cash_id=cash_id, kind=CashKind(kind), amount=amount, **more)


def test_funding_interest_and_the_like_are_results_and_a_transfer_is_none(desk: Desk) -> None:
    desk.trade(10, at=1)
    flows = [("funding", -3.0), ("interest", 1.0), ("dividend", 2.0), ("adjustment", -0.5), ("transfer", 1e6)]
    for number, (kind, amount) in enumerate(flows):
        desk.take(a_flow(kind, amount, 2 + number, str(number)), at=2 + number)
    sample = desk.sample(at=10)
    assert (sample.realised_pnl, sample.cash_pnl, sample.transfers) == (9.5, -0.5, 1e6)
    assert (sample.daily_pnl, sample.weekly_pnl, sample.trades) == (9.5, 9.5, 1)
    assert (sample.drawdown, sample.max_drawdown) == (0.5, 3.0)
    (figures,) = desk.collector.figures(ns(10))
    assert (figures.daily_pnl, figures.monthly_pnl) == (9.5, 9.5)


def test_a_withdrawal_is_no_drawdown_of_the_reported_equity(desk: Desk) -> None:
    desk.equity(1000, at=1)
    desk.take(a_flow("transfer", -600, 2), at=2)
    desk.equity(400, at=3)
    assert (desk.sample(at=4).drawdown, desk.sample(at=4).max_drawdown) == (0, 0)
    desk.equity(390, at=5)
    assert desk.sample(at=6).drawdown == 10


def test_a_cash_flow_counts_once_in_each_account_and_at_its_rate(desk: Desk) -> None:
    for _ in range(2):
        desk.take(a_flow("funding", -100.0, 1, currency="EUR", rate=1.25), at=1)
    assert desk.sample(at=2).realised_pnl == -125
    desk.take(a_flow("funding", -100.0, 1, account="second"), at=3)
    assert desk.sample(at=4).realised_pnl == -225


def test_a_cash_flow_without_a_rate_is_counted_and_in_no_sum(desk: Desk) -> None:
    desk.take(a_flow("funding", -100.0, 1, currency="EUR"), at=1)
    sample = desk.sample(at=2)
    assert (sample.realised_pnl, sample.cash_pnl, sample.unconverted_cash) == (0, 0, 1)
    with pytest.raises(UnusableEventError):
        desk.take(a_flow("funding", 1e200, 1, cash_id="2"), at=3)

"""The portfolio: statistics of the round trips of all strategies together, and by regime."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.common.checkpoints import decode, encode
from collectors.portfolio.collector import PortfolioCollector
from collectors.portfolio.sample import PortfolioSample
from collectors.strategy.collector import StrategyCheckpoint, StrategyCollector, StrategyOptions
from collectors.strategy.regimes import RegimeHistory
from decahertz.clock import SystemClock
from decahertz.collector import NoOptions
from decahertz.event import Event, Fill, Regime, Side
from tests.collectors.parts import T0

NOW_NS = T0 + 10**12


class Desk:
    """Both collectors, as the recorder joins them."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - any option
        self.options = StrategyOptions(**options)
        self.strategies = StrategyCollector(SystemClock(), self.options)
        self.portfolio = PortfolioCollector(SystemClock(), NoOptions())
        self.portfolio.strategies = lambda: self.strategies
        self.sequence = 0

    def take(self, *events: Event, received_ns: int = NOW_NS) -> None:
        for event in events:
            self.sequence += 1
            self.strategies.on_event(event, received_ns, ("bot", 1, self.sequence))

    def samples(self, now_ns: int = NOW_NS) -> dict[str, PortfolioSample]:
        self.strategies.sample(now_ns)
        found = {}
        for sample in self.portfolio.sample(now_ns):
            assert isinstance(sample, PortfolioSample)
            found[sample.regime] = sample
        return found

    def restart(self) -> None:
        before = self.strategies
        state, budgets = decode(encode(before.checkpoint(), before.budgets), StrategyCheckpoint)
        self.strategies = StrategyCollector(SystemClock(), self.options)
        for budget, held in zip(self.strategies.budgets, budgets, strict=True):
            budget.resume(held)
        self.strategies.resume(state)


def regime(number: int, name: str, strategy: str | None = None) -> Regime:
    return Regime(time_ns=T0 + number, regime=name, strategy=strategy)


class Trip(NamedTuple):
    """A round trip of one unit, bought at 100."""

    strategy: str
    opened: int
    closed: int
    pnl: float
    risk: float | None = None

    def fills(self) -> tuple[Fill, Fill]:
        def fill(time: int, side: Side, price: float) -> Fill:
            return Fill(
                time_ns=T0 + time, strategy=self.strategy, venue="v", instrument=f"i{self.opened}",
                order_id="o", fill_id=f"{time} {side}", side=side, quantity=1.0, price=price, risk=self.risk,
            )  # fmt: skip

        return fill(self.opened, Side.BUY, 100.0), fill(self.closed, Side.SELL, 100.0 + self.pnl)


def figures(trips: Sequence[Trip], window: int = 50) -> dict[str, Any]:
    """The same by the definitions."""
    ordered = sorted(trips, key=lambda trip: trip.closed)
    newest = ordered[-window:]
    won, lost = [t.pnl for t in ordered if t.pnl > 0], [t.pnl for t in ordered if t.pnl < 0]
    multiples = [t.pnl / t.risk for t in ordered if t.risk]
    streak = 0
    for trip in reversed(ordered):
        sign = (trip.pnl > 0) - (trip.pnl < 0)
        if not sign or sign * streak < 0:
            break
        streak += sign
    return {
        "trades": len(ordered),
        "pnl": sum(t.pnl for t in ordered),
        "win_rate": len(won) / len(ordered) if won or lost else None,
        "profit_factor": sum(won) / -sum(lost) if lost else None,
        "expectancy": sum(t.pnl for t in ordered) / len(ordered),
        "r_trades": len(multiples),
        "expectancy_r": sum(multiples) / len(multiples) if multiples else None,
        "recent_trades": len(newest),
        "recent_expectancy": sum(t.pnl for t in newest) / len(newest),
        "streak": streak,
    }


def test_nothing_is_sampled_before_a_strategy_is_known() -> None:
    assert Desk().samples() == {}


def test_a_recorder_without_the_strategy_collector_has_no_portfolio() -> None:
    assert PortfolioCollector(SystemClock(), NoOptions()).sample(NOW_NS) == []


def test_strategies_are_counted_together_in_order_of_closing() -> None:
    desk = Desk(recent_trades=2)
    trips = [Trip("a", 1, 9, 3.0), Trip("b", 2, 4, -1.0), Trip("a", 3, 6, -2.0)]
    for trip in trips:
        desk.take(*trip.fills())
    sample = desk.samples()["all"]
    assert (sample.trades, sample.pnl, sample.win_rate, sample.profit_factor) == (3, 0.0, 1 / 3, 1.0)
    # The newest two are those that closed last, not those that were told last.
    assert (sample.recent_trades, sample.recent_expectancy, sample.streak) == (2, 0.5, 1)


def test_the_regime_is_that_of_the_opening_of_the_strategy_or_else_of_the_desk() -> None:
    desk = Desk()
    trips = [Trip("a", 1, 9, 1.0), Trip("a", 3, 8, 2.0), Trip("a", 5, 10, 4.0), Trip("b", 6, 7, -8.0)]
    desk.take(regime(2, "calm"), regime(4, "trend", "a"), regime(6, "wild"))
    for trip in trips:
        desk.take(*trip.fills())
    found = {name: sample.pnl for name, sample in desk.samples().items()}
    assert found == {"all": -1.0, "none": 1.0, "calm": 2.0, "trend": 4.0, "wild": -8.0}


def test_a_late_fill_takes_a_round_trip_out_of_its_regime() -> None:
    desk = Desk()
    desk.take(regime(0, "calm"), regime(5, "wild"))
    opening, closing = Trip("a", 6, 8, 10.0).fills()
    desk.take(opening, closing)
    assert {name: s.trades for name, s in desk.samples().items()} == {"all": 1, "wild": 1}
    # A sale before both: the first purchase closes it, and the last sale opens another position.
    desk.take(Trip("a", 6, 2, 7.0).fills()[1])
    assert {name: (s.trades, s.pnl) for name, s in desk.samples().items()} == {
        "all": (1, 7.0), "wild": (0, 0.0), "calm": (1, 7.0),
    }  # fmt: skip


def test_a_retired_strategy_stays_in_the_portfolio() -> None:
    desk = Desk(idle_seconds=10)
    desk.take(*Trip("a", 1, 2, 5.0).fills())
    later_ns = NOW_NS + 60 * 10**9
    assert desk.strategies.sample(later_ns) == []
    assert desk.samples(later_ns)["all"].pnl == 5.0


def test_regimes_without_room_count_in_the_whole_and_are_told() -> None:
    desk = Desk(max_regimes=2)
    for number, name in enumerate(["one", "two", "three", "one"]):
        desk.take(regime(4 * number, name), *Trip("a", 4 * number + 1, 4 * number + 2, 1.0).fills())
    assert {name: s.trades for name, s in desk.samples().items()} == {"all": 4, "one": 2, "two": 1}
    (problem,) = filter(None, (budget.problem() for budget in desk.strategies.budgets))
    assert "collectors.strategy.max_regimes" in problem


def test_a_regime_called_all_has_no_row_of_its_own() -> None:
    desk = Desk()
    desk.take(regime(0, "all"), *Trip("a", 1, 2, 1.0).fills())
    assert {name: s.trades for name, s in desk.samples().items()} == {"all": 1}


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_fills_and_restarts_give_the_figures_of_the_definitions(seed: int) -> None:
    random = Random(seed)
    reports = [
        regime(10_000 * n, random.choice(("calm", "trend", "wild")), random.choice((None, "a", "b")))
        for n in range(60)
    ]
    trips = []
    for n in range(400):
        opened, closed = sorted(random.sample(range(n * 2 % 700, 900), 2))
        # Even and odd times, so that no two round trips close at the same one.
        trips.append(
            Trip(random.choice("abc"), 1000 * opened + 2 * n, 1000 * closed + 2 * n + 1, random.choice(
                (-3.0, -1.0, 0.0, 2.0, 2.5)), random.choice((None, 4.0)),
            )
        )  # fmt: skip
    desk = Desk()
    desk.take(*reports)
    fills = [fill for trip in trips for fill in trip.fills()]
    random.shuffle(fills)
    for number, fill in enumerate(fills):
        desk.take(fill)
        if number % 100 == 0:
            desk.samples()
            desk.restart()
    expected = defaultdict(list, all=trips)
    for trip in trips:
        for name in (trip.strategy, None):
            known = [r.regime for r in reports if r.strategy == name and r.time_ns <= T0 + trip.opened]
            if known:
                expected[known[-1]].append(trip)
                break
        else:
            expected["none"].append(trip)
    found = desk.samples()
    assert found.keys() == expected.keys()
    for name, sample in found.items():
        for field, value in figures(expected[name]).items():
            assert getattr(sample, field) == pytest.approx(value), (name, field)


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("xyz")), max_size=20))
def test_the_regime_of_a_time_is_the_newest_report_before_it(reports: list[tuple[int, str]]) -> None:
    reports = sorted(dict(reports).items())
    history = RegimeHistory()
    for time_ns, name in reports:
        history.add(time_ns, name)
    times = [time_ns for time_ns, _ in reports]
    for time_ns in range(52):
        at = bisect_right(times, time_ns)
        assert history.at(time_ns) == (reports[at - 1][1] if at else None)


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(("x", "y", None)))))
def test_the_regime_of_a_time_does_not_change_once_asked(steps: list[tuple[int, str | None]]) -> None:
    history, answers = RegimeHistory(), dict[int, str | None]()
    for time_ns, name in steps:
        if name is None:
            answers[time_ns] = history.at(time_ns)
        else:
            history.add(time_ns, name)
        assert {asked: history.at(asked) for asked in answers} == answers


def test_a_late_report_counts_for_later_times_unless_a_newer_one_does() -> None:
    history = RegimeHistory()
    history.add(10, "x")
    assert history.at(30) == "x"
    history.add(20, "y")
    assert (history.at(30), history.at(31)) == ("x", "y")
    history.add(5, "z")
    assert (history.at(9), history.at(31), history.at(32)) == (None, "y", "y")

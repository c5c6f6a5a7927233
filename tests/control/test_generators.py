"""The built-in signal generators, against the same rules in pandas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest
from msgspec import convert

from collectors.host.plugins import load_generators
from control.signals.settings import SignalsSettings
from decahertz.accounting import AccountingSettings
from decahertz.bar import Bar
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Direction
from decahertz.signal_generator import SignalGenerator
from decahertz.trading_days import TradingDays
from tests.pipeline.running import ROOT

MINUTE_NS = 60 * NS_PER_SECOND
MONTH = ROOT.parent / "shared" / "data" / "btc-perp-1m-202201.csv"
GENERATORS = {one.name: one.type for one in load_generators(SignalsSettings().enabled).plugins}
BARS = 4400
"""Three days."""
Signals: TypeAlias = list[tuple[int, str]]
"""Time of the bar in nanoseconds, and direction."""


def generator(name: str, **parameters: object) -> SignalGenerator[Any]:
    type_ = GENERATORS[name]
    days = TradingDays(AccountingSettings())
    return type_(convert(parameters, type_.parameters_type), MINUTE_NS, days)


def bars_of(frame: pd.DataFrame) -> list[Bar]:
    return [
        Bar(time_ns=at, open=first, high=high, low=low, close=close, volume=volume, trades=1, vwap=None)
        for at, (_, first, high, low, close, volume) in zip(
            frame.index.astype("int64").tolist(), frame.itertuples(), strict=True
        )
    ]


def decided(one: SignalGenerator[Any], bars: Sequence[Bar]) -> Signals:
    """The signals of a generator at the end of every bar."""
    found = []
    for end in range(1, len(bars) + 1):
        decision = one.decide(bars[max(0, end - one.bars) : end])
        assert decision.reason
        if decision.direction is not None:
            found.append((bars[end - 1].time_ns, decision.direction.value))
    return found


def signals_where(frame: pd.DataFrame, *conditions: tuple[str, pd.Series]) -> Signals:
    """The signals at the bars where a condition holds; the first condition wins."""
    chosen = pd.Series("", index=frame.index)
    for direction, where in reversed(conditions):
        chosen[where] = direction
    chosen = chosen[chosen != ""]
    return list(zip(chosen.index.astype("int64").tolist(), chosen.tolist(), strict=True))


def cross_by_pandas(frame: pd.DataFrame, fast: int, slow: int) -> Signals:
    one, other = (frame.close.rolling(count).mean() for count in (fast, slow))
    above = one - other
    above[np.isclose(one, other, rtol=1e-9, atol=0)] = 0.0  # pandas adds up and subtracts
    before = above.shift()
    return signals_where(frame, ("buy", (above > 0) & (before <= 0)), ("sell", (above < 0) & (before >= 0)))


def reversion_by_pandas(frame: pd.DataFrame, window: int, entry: float, leave: float) -> Signals:
    rolling = frame.close.rolling(window)
    z = (frame.close - rolling.mean()) / rolling.std()
    before = z.shift()
    back = ((before < -leave) & (z >= -leave)) | ((before > leave) & (z <= leave))
    return signals_where(
        frame,
        ("buy", (before > -entry) & (z <= -entry)),
        ("sell", (before < entry) & (z >= entry)),
        ("flat", back),
    )


def breakout_by_pandas(frame: pd.DataFrame, start: str, minutes: float, hours: float) -> Signals:
    offset = pd.Timedelta(f"{start}:00")
    session = (frame.index - offset).floor("1D") + offset
    into = frame.index - session
    is_opening = into < pd.Timedelta(minutes=minutes)
    opening = frame[is_opening].groupby(session[is_opening])
    high = session.map(opening.high.max())
    low = session.map(opening.low.min())
    later = ~is_opening & (into < pd.Timedelta(hours=hours))
    up, down = frame.close > high, frame.close < low
    beyond = (up | down) & later
    first = beyond & (beyond.groupby(session).cumsum() == 1)
    return signals_where(frame, ("buy", up & first), ("sell", down & first))


CASES = [
    ("moving_average_cross", {"fast": 10, "slow": 30}, cross_by_pandas, (10, 30)),
    ("moving_average_cross", {"fast": 1, "slow": 2}, cross_by_pandas, (1, 2)),
    ("z_score_reversion", {}, reversion_by_pandas, (20, 2.0, 0.0)),
    ("z_score_reversion", {"window": 60, "entry": 1.5, "exit": 0.5}, reversion_by_pandas, (60, 1.5, 0.5)),
    ("opening_range_breakout", {}, breakout_by_pandas, ("00:00", 15, 24)),
    (
        "opening_range_breakout",
        {"session_start": "14:30", "range": "30m", "session_length": "390m"},
        breakout_by_pandas,
        ("14:30", 30, 6.5),
    ),
]


@pytest.fixture(scope="module")
def month() -> pd.DataFrame:
    """One-minute bars of a real market."""
    if not MONTH.exists():
        pytest.skip("no recordings next to the checkout")
    frame = pd.read_csv(MONTH, index_col="timestamp", parse_dates=True, nrows=BARS)
    return frame.set_index(frame.index.as_unit("ns"))


@pytest.mark.recordings
@pytest.mark.parametrize(("name", "parameters", "by_pandas", "arguments"), CASES)
def test_a_generator_decides_as_pandas_does_at_every_bar_of_a_real_market(
    month: pd.DataFrame,
    name: str,
    parameters: dict[str, object],
    by_pandas: Callable[..., Signals],
    arguments: tuple[object, ...],
) -> None:
    wanted = by_pandas(month, *arguments)
    assert len(wanted) >= 3
    assert {direction for _, direction in wanted} >= {"buy", "sell"}
    assert decided(generator(name, **parameters), bars_of(month)) == wanted


def closes(*values: float) -> list[Bar]:
    return [
        Bar(time_ns=n * MINUTE_NS, open=v, high=v, low=v, close=v, volume=1.0, trades=1, vwap=v)
        for n, v in enumerate(values)
    ]


def test_equal_averages_are_no_cross_until_one_is_above() -> None:
    one = generator("moving_average_cross", fast=2, slow=3)
    same = 0.1 + 0.2  # no double for 0.3
    assert decided(one, closes(same, same, same, same, same)) == []
    assert decided(one, closes(same, same, same, same, 0.4)) == [(4 * MINUTE_NS, "buy")]


def test_closes_that_do_not_vary_have_no_z_score() -> None:
    decision = generator("z_score_reversion", window=3).decide(closes(0.3, 0.3, 0.3, 0.3))
    assert (decision.direction, decision.reason) == (None, "the closes do not vary, so there is no z-score")


def test_a_breakout_has_a_strength_and_figures_and_happens_once_a_session() -> None:
    one = generator("opening_range_breakout", range="2m")
    bars = closes(10.0, 12.0, 11.0, 13.0, 9.0)
    decision = one.decide(bars[:4])
    assert (decision.direction, decision.strength) == (Direction.BUY, 0.5)
    assert dict(decision.values) == {"high": 12.0, "low": 10.0}
    assert one.decide(bars).reason == "the breakout of the session was before"
    assert one.decide(bars[3:]).reason == "there is no tick in the opening range"


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("moving_average_cross", {"fast": 30, "slow": 30}, "fast: 30 is not below slow, 30"),
        ("z_score_reversion", {"entry": 1, "exit": 1}, "exit: 1 is not below entry, 1"),
        ("opening_range_breakout", {"range": "90s"}, "range: 90s is not a multiple of the timeframe"),
        ("opening_range_breakout", {"range": "2h", "session_length": "1h"}, "range: not shorter"),
        ("opening_range_breakout", {"session_length": "25h"}, "session_length: longer than 24h"),
        ("opening_range_breakout", {"timezone": "Mars"}, "timezone: 'Mars' is not a time zone"),
    ],
)
def test_parameters_that_contradict_are_refused(
    name: str, parameters: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        generator(name, **parameters)

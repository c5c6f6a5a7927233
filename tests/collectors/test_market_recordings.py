"""Market metrics of recorded quotes and trades, beside computations with pandas from the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectors.feeds.recordings.captures import recorded_events
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.market.sample import MarketSample
from decahertz.clock import NS_PER_SECOND, SystemClock

DATA = Path(__file__).parents[2].parent / "shared" / "data"
EURUSD, USDJPY = DATA / "eurusd-quotes-20200101.csv", DATA / "usdjpy-quotes-20130101.csv"
TRADES = DATA / "btcusdt-trades-20210108.csv"
pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not TRADES.exists(), reason="no recordings next to the checkout"),
]
YEAR = 31_536_000.0
WINDOW = 60


def sampled(path: Path, volatility_seconds: float) -> Iterator[tuple[int, MarketSample]]:
    """Samples once a second from the second after the first event on: the time in seconds, and the sample.

    Each event arrives at its venue time.
    """
    settings = MarketOptions(idle_seconds=1e6, window_seconds=WINDOW, volatility_seconds=volatility_seconds)
    collector = MarketCollector(SystemClock(), settings)

    def sample() -> Iterator[tuple[int, MarketSample]]:
        for one in collector.sample(second * NS_PER_SECOND):
            assert isinstance(one, MarketSample)
            yield second, one

    second = 0
    for received_ns, events in recorded_events(path):
        if not second:
            second = received_ns // NS_PER_SECOND + 1
        while second * NS_PER_SECOND < received_ns:
            yield from sample()
            second += 1
        for event in events:
            collector.on_event(event, received_ns)
    yield from sample()


def quotes_of(path: Path) -> pd.DataFrame:
    """Bid and ask by time, in UTC. HistData's times are in EST all year."""
    if path is EURUSD:
        names = ["time", "bid", "ask", "volume"]
        frame = pd.read_csv(path, names=names, dtype={"time": str})
        times = pd.to_datetime(frame["time"], format="%Y%m%d %H%M%S%f") + pd.Timedelta(hours=5)
        return frame.set_index(times.dt.tz_localize("UTC"))[["bid", "ask"]]
    frame = pd.read_csv(path)
    return frame.set_index(pd.to_datetime(frame["timestamp"], format="ISO8601"))[["bid", "ask"]]


def at_seconds(frame: pd.Series | pd.DataFrame, seconds: list[int]) -> np.ndarray:
    """The newest value at each second."""
    index = pd.to_datetime(np.array(seconds) * NS_PER_SECOND, utc=True)
    newest = frame.groupby(level=0, sort=True).last()  # the last of those at one time
    found: np.ndarray = newest.reindex(index, method="ffill").to_numpy()
    return found


def volatility_of(prices: np.ndarray, size: int) -> np.ndarray:
    """Realised volatility by year of prices at each second; NaN before 30 returns."""
    returns = pd.Series(np.log(prices)).diff()
    mean = (returns**2).rolling(size, min_periods=30).mean()
    found: np.ndarray = np.sqrt(mean * YEAR).to_numpy()
    return found


@pytest.mark.parametrize("path", [EURUSD, USDJPY], ids=["eurusd", "usdjpy"])
def test_spread_and_volatility_of_recorded_quotes_are_those_of_pandas(path: Path) -> None:
    samples = list(sampled(path, volatility_seconds=300))
    quotes = quotes_of(path)
    seconds = [second for second, _ in samples]
    assert len(samples) > 2000
    bid, ask = at_seconds(quotes, seconds).T
    mid = (bid + ask) / 2
    assert [sample.mid for _, sample in samples] == pytest.approx(list(mid), rel=1e-15)
    spread = [sample.spread_bps for _, sample in samples]
    assert spread == pytest.approx(list((ask - bid) / mid * 10_000), rel=1e-12)
    # The first sample is that of the first whole step.
    expected = volatility_of(mid, 300)
    found = np.array([np.nan if s.volatility is None else s.volatility for _, s in samples])
    assert np.isnan(found[:30]).all()
    assert not np.isnan(found[30:]).any()
    assert np.nanmax(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    last = samples[-1][1]
    assert (last.quotes, last.late) == (len(quotes), 0)
    assert last.crossed_quotes == int((quotes["bid"] > quotes["ask"]).sum())
    assert last.locked_quotes == int((quotes["bid"] == quotes["ask"]).sum())


def test_vwap_imbalance_and_volatility_of_recorded_trades_are_those_of_pandas() -> None:
    samples = list(sampled(TRADES, volatility_seconds=30))
    trades = pd.read_csv(TRADES, parse_dates=["timestamp"]).set_index("timestamp")
    seconds = np.array([second for second, _ in samples])
    assert len(samples) > 30
    trades["value"] = trades["price"] * trades["quantity"]
    trades["signed"] = trades["quantity"].where(~trades["buyer_maker"], -trades["quantity"])
    totals = trades[["quantity", "value", "signed"]].cumsum()
    now = at_seconds(totals, list(seconds))
    # The day begins before the recording does.
    assert [s.session_vwap for _, s in samples] == pytest.approx(list(now[:, 1] / now[:, 0]), rel=1e-12)
    before = at_seconds(totals, list(seconds - WINDOW))
    inside = now - np.nan_to_num(before)
    assert [s.vwap for _, s in samples] == pytest.approx(list(inside[:, 1] / inside[:, 0]), rel=1e-9)
    assert [s.volume for _, s in samples] == pytest.approx(list(inside[:, 0]), rel=1e-9)
    assert [s.imbalance for _, s in samples] == pytest.approx(list(inside[:, 2] / inside[:, 0]), abs=1e-9)
    expected = volatility_of(at_seconds(trades["price"], list(seconds)), 30)
    found = np.array([np.nan if s.volatility is None else s.volatility for _, s in samples])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)

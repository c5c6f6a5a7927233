"""The market collector: prices, windows, order of arrival, and the verdict on a feed."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.feeds.recordings.captures import recorded_events
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.market.sample import MarketSample, Verdict
from decahertz.clock import CYCLE_NS, SystemClock, parse_time
from decahertz.event import ConnectionState, Event, Heartbeat, Quote, Tick
from tests.collectors.parts import T0, check_values, ns

MS = 1_000_000
RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data"


class Market:
    """A market collector, and a time in seconds after the start."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - any option
        self.collector = MarketCollector(SystemClock(), MarketOptions(**options))
        self.ran_until = 0.0

    def take(self, event: Event, at: float) -> None:
        self.collector.on_event(event, ns(at))

    def quote(self, bid: float | None, ask: float | None, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        more = {"time_ns": ns(at), "instrument": "EUR/USD", **more}
        self.take(Quote(venue="fx", bid=bid, ask=ask, **more), at)

    def tick(self, price: float, size: float, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        more = {"time_ns": ns(at), "instrument": "EUR/USD", **more}
        self.take(Tick(venue="fx", price=price, size=size, **more), at)

    def heartbeat(self, connection: ConnectionState, at: float, **more: Any) -> None:  # noqa: ANN401 - any field
        more = {"time_ns": ns(at), "component": "feed", **more}
        self.take(Heartbeat(venue="fx", connection=connection, **more), at)

    def samples(self, at: float) -> dict[str, MarketSample]:
        """Samples of a cycle; the recorder also ran in the seconds before it."""
        while self.ran_until and self.ran_until + 1 < at:
            self.ran_until += 1
            self.collector.sample(ns(self.ran_until))
        self.ran_until = at
        return {s.instrument: s for s in self.collector.sample(ns(at)) if isinstance(s, MarketSample)}

    def sample(self, at: float, instrument: str = "EUR/USD") -> MarketSample:
        return self.samples(at)[instrument]

    def verdict(self, at: float, instrument: str = "EUR/USD") -> Verdict:
        return self.sample(at, instrument).verdict


@pytest.fixture
def market() -> Market:
    """One with the default options."""
    return Market()


OPEN, CLOSED, LOST = ConnectionState.OPEN, ConnectionState.CLOSED, ConnectionState.DISCONNECTED


def test_before_anything_was_seen_there_is_no_sample() -> None:
    assert MarketCollector(SystemClock(), MarketOptions()).sample(T0) == []


def test_a_quote_gives_prices_sizes_mid_and_spread_which_an_empty_side_leaves_unknown(market: Market) -> None:
    market.quote(99.0, 101.0, at=1, bid_size=5.0, ask_size=7.0)
    sample = market.sample(at=1.1)
    assert (sample.bid, sample.ask, sample.bid_size, sample.ask_size) == (99.0, 101.0, 5.0, 7.0)
    assert (sample.mid, sample.spread, sample.spread_bps) == (100.0, 2.0, 200.0)
    assert (sample.crossed, sample.locked, sample.quotes, sample.ticks) == (False, False, 1, 0)
    assert sample.last is sample.vwap is None
    market.quote(99.0, None, at=2)
    sample = market.sample(at=2.1)
    assert (sample.bid, sample.ask) == (99.0, None)
    assert sample.mid is sample.spread is sample.spread_bps is None
    assert not sample.crossed
    assert not sample.locked


@pytest.mark.parametrize(("bid", "ask", "told"), [(2.0, 1.0, (True, False)), (2.0, 2.0, (False, True))])
def test_crossed_and_locked_books_are_told(
    market: Market, bid: float, ask: float, told: tuple[bool, bool]
) -> None:
    market.quote(bid, ask, at=1)
    sample = market.sample(at=1.1)
    assert (sample.crossed, sample.locked) == told
    assert sample.spread == ask - bid


def test_a_spread_over_a_mid_that_is_not_positive_has_no_basis_points(market: Market) -> None:
    market.quote(-38.0, -37.0, at=1)
    sample = market.sample(at=1.1)
    assert (sample.mid, sample.spread, sample.spread_bps) == (-37.5, 1.0, None)


def test_ticks_give_last_price_volume_and_vwap_which_one_without_size_leaves_unknown(market: Market) -> None:
    market.tick(98.0, 0.0, at=0.5)
    sample = market.sample(at=0.9)
    assert (sample.last, sample.volume, sample.vwap, sample.ticks) == (98.0, 0.0, None, 1)
    market.tick(100.0, 1.0, at=1)
    market.tick(103.0, 2.0, at=1.05)
    sample = market.sample(at=1.1)
    assert (sample.last, sample.volume, sample.vwap, sample.traded, sample.ticks) == (103, 3, 102, 3, 3)


def test_volume_leaves_with_the_window_and_the_total_stays() -> None:
    market = Market(window_seconds=2.0)
    market.tick(100.0, 4.0, at=0.95)
    volumes = [market.sample(at=1 + n / 10).volume for n in range(25)]
    assert volumes == [4.0] * 20 + [0.0] * 5
    assert market.sample(at=3.6).traded == 4.0


def test_missed_cycles_count_as_passed() -> None:
    market = Market(window_seconds=2.0, rate_seconds=1.0)
    market.tick(100.0, 4.0, at=0.95)
    assert market.sample(at=1).volume == 4.0
    assert market.sample(at=2.9).volume == 4.0
    sample = market.sample(at=3)
    assert (sample.volume, sample.vwap, sample.tick_rate) == (0.0, None, 0.0)


def test_rates_are_messages_per_second_over_their_window() -> None:
    market = Market(rate_seconds=2.0)
    for n in range(6):
        market.quote(1.0, 2.0, at=1 + n / 100)
    market.tick(1.5, 1.0, at=1.06)
    sample = market.sample(at=1.1)
    assert (sample.quote_rate, sample.tick_rate) == (3.0, 0.5)
    assert market.sample(at=3.0).quote_rate == 3.0
    assert market.sample(at=3.1).quote_rate == 0.0


def test_latency_keeps_its_sign(market: Market) -> None:
    market.quote(1.0, 2.0, at=1, time_ns=ns(1) + 3 * MS)
    assert market.sample(at=1.1).latency_seconds == -0.003
    market.tick(1.0, 2.0, at=2, time_ns=ns(2) - 5 * MS)
    assert market.sample(at=2.1).latency_seconds == 0.005


def test_age_counts_from_the_newest_receipt_and_is_never_negative(market: Market) -> None:
    market.quote(1.0, 2.0, at=1.002, time_ns=ns(0.2))
    assert market.sample(at=1).age_seconds == 0.0  # received just after the cycle
    assert market.sample(at=3.5).age_seconds == 2.498


def test_latencies_are_counted_by_venue_and_bucket_while_the_venue_is_there() -> None:
    market = Market(idle_seconds=60)
    (latencies,) = market.collector.histograms
    for at, late_ms in enumerate((-3, 0, 1, 5, 5, 30_000), 1):
        market.tick(1.0, 2.0, at=at, time_ns=ns(at) - late_ms * MS)
        market.quote(1.0, 2.0, at=at, time_ns=ns(at) - late_ms * MS, instrument="GBP/USD")
    assert latencies.series.keys() == {("fx",)}
    counts = dict(zip((*latencies.bounds, math.inf), latencies.of("fx").counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {0.0005: 2, 0.001: 2, 0.005: 4}
    assert latencies.of("fx").sum == pytest.approx(2 * (0 + 0.001 + 0.005 + 0.005))
    market.collector.sample(ns(100))
    assert not latencies.series


def test_a_late_quote_moves_nothing_back(market: Market) -> None:
    market.quote(10.0, 11.0, at=1, time_ns=ns(0.9))
    market.quote(8.0, 9.0, at=1.01, time_ns=ns(0.8))
    sample = market.sample(at=1.1)
    assert (sample.bid, sample.ask, sample.quotes, sample.late) == (10.0, 11.0, 2, 1)
    assert sample.latency_seconds == 0.1
    assert sample.age_seconds == 0.09


def test_at_the_same_time_the_venue_number_or_else_the_arrival_tells_what_is_late(
    market: Market,
) -> None:
    for bid, sequence, newest, late in [(10.0, 8, 10.0, 0), (8.0, 7, 10.0, 1), (12.0, 9, 12.0, 1)]:
        market.quote(bid, bid + 1, at=1, sequence=sequence)
        assert (market.sample(at=1.1).bid, market.sample(at=1.1).late) == (newest, late)
    for price, number in [(10.0, 8), (11.0, None)]:
        market.tick(price, 1.0, at=1, sequence=number)
        assert (market.sample(at=1.2).last, market.sample(at=1.2).late) == (price, 1)


def test_the_quantity_of_a_late_tick_counts(market: Market) -> None:
    market.tick(10.0, 1.0, at=1, time_ns=ns(0.9))
    market.tick(20.0, 3.0, at=1.01, time_ns=ns(0.5))
    sample = market.sample(at=1.1)
    assert (sample.last, sample.volume, sample.vwap, sample.late) == (10.0, 4.0, 17.5, 1)


def test_a_quote_does_not_make_an_older_tick_late(market: Market) -> None:
    market.quote(10.0, 11.0, at=1, time_ns=ns(1))
    market.tick(10.5, 3.0, at=1.01, time_ns=ns(0.5))
    assert (market.sample(at=1.1).last, market.sample(at=1.1).late) == (10.5, 0)


def test_missed_messages_are_counted(market: Market) -> None:
    market.quote(1.0, 2.0, at=1, missed=3)
    market.tick(1.0, 2.0, at=1, missed=2)
    assert market.sample(at=1.1).gaps == 5
    market.tick(1.0, 2.0, at=2, missed=10**40)
    assert market.sample(at=2.1).gaps == 2**62


def test_numbers_of_no_market_are_shown_and_not_summed(market: Market) -> None:
    market.tick(1e299, 1e299, at=1)
    market.quote(-1e299, 1e299, at=1)
    market.tick(5.0, 1.0, at=1)
    sample = market.sample(at=1.1)
    assert (sample.volume, sample.vwap, sample.traded, sample.ticks) == (1.0, 5.0, 1.0, 2)
    assert (sample.bid, sample.mid, sample.spread, sample.spread_bps) == (-1e299, 0.0, 2e299, None)


# The verdict. Limits in these tests are the defaults: quiet 5 s, stale 15, mute 15, gap 10.


def test_a_silent_instrument_of_a_living_venue_is_quiet(market: Market) -> None:
    market.quote(1.0, 2.0, at=1)
    verdicts = []
    for at in range(2, 61):
        market.quote(1.0, 2.0, at=at, instrument="USD/JPY")
        assert market.verdict(at=at, instrument="USD/JPY") is Verdict.LIVE
        verdicts.append(market.verdict(at=at))
    assert verdicts == [Verdict.LIVE] * 4 + [Verdict.QUIET] * 55


def test_heartbeats_alone_keep_a_venue_from_being_stale(market: Market) -> None:
    market.heartbeat(OPEN, at=0.5)
    market.quote(1.0, 2.0, at=1)
    market.heartbeat(OPEN, at=30)
    assert market.verdict(at=44.9) is Verdict.QUIET
    assert market.verdict(at=45) is Verdict.STALE


def test_a_feed_is_live_then_quiet_and_a_venue_without_any_sign_of_life_is_stale(market: Market) -> None:
    market.quote(1.0, 2.0, at=1)
    assert market.verdict(at=5.9) is Verdict.LIVE
    assert market.verdict(at=15.9) is Verdict.QUIET
    assert market.verdict(at=16) is Verdict.STALE
    market.quote(1.0, 2.0, at=17)
    assert market.verdict(at=17) is Verdict.LIVE


def test_signs_of_life_of_another_venue_do_not_help(market: Market) -> None:
    market.quote(1.0, 2.0, at=1)
    market.take(Quote(time_ns=ns(16), venue="other", instrument="EUR/USD"), at=16)
    verdicts = {s.venue: s.verdict for s in market.collector.sample(ns(16)) if isinstance(s, MarketSample)}
    assert verdicts == {"fx": Verdict.STALE, "other": Verdict.LIVE}


def test_a_connection_without_a_single_message_is_mute(market: Market) -> None:
    for at in range(1, 20):
        market.heartbeat(OPEN, at=at, instrument="EUR/USD")
    assert market.verdict(at=15.9) is Verdict.QUIET
    assert market.verdict(at=16) is Verdict.MUTE
    sample = market.sample(at=16)
    assert sample.age_seconds is sample.latency_seconds is sample.bid is sample.last is None
    market.quote(1.0, 2.0, at=17)
    assert market.verdict(at=17) is Verdict.LIVE


def test_an_instrument_that_did_not_come_back_with_the_connection_is_mute(market: Market) -> None:
    market.heartbeat(OPEN, at=0)
    market.quote(1.0, 2.0, at=1)
    market.heartbeat(CLOSED, at=20)
    for at in range(30, 60):
        market.heartbeat(OPEN, at=at)
        market.quote(1.0, 2.0, at=at, instrument="USD/JPY")
    assert market.verdict(at=44.9) is Verdict.QUIET
    assert market.verdict(at=45) is Verdict.MUTE
    assert market.verdict(at=45, instrument="USD/JPY") is Verdict.LIVE


def test_repeated_open_heartbeats_are_no_new_connection(market: Market) -> None:
    market.heartbeat(OPEN, at=0)
    market.quote(1.0, 2.0, at=1)
    for at in range(2, 100):
        market.heartbeat(OPEN, at=at)
    assert market.verdict(at=100) is Verdict.QUIET


def test_missed_messages_show_for_a_while(market: Market) -> None:
    market.quote(1.0, 2.0, at=1, missed=1)
    for at in range(2, 20):
        market.quote(1.0, 2.0, at=at)
    assert market.verdict(at=10.9) is Verdict.GAP
    assert market.verdict(at=11) is Verdict.LIVE


def test_closed_is_what_the_feed_said_until_it_says_open(market: Market) -> None:
    market.quote(1.0, 2.0, at=1)
    market.heartbeat(CLOSED, at=2)
    assert market.verdict(at=2.1) is Verdict.CLOSED
    market.quote(1.0, 2.0, at=3)
    assert market.verdict(at=3.1) is Verdict.CLOSED
    market.heartbeat(OPEN, at=4)
    market.quote(1.0, 2.0, at=4)
    assert market.verdict(at=4.1) is Verdict.LIVE


def test_one_instrument_can_close_alone_and_the_venue_does_not_reopen_it(market: Market) -> None:
    market.quote(1.0, 2.0, at=1)
    market.quote(1.0, 2.0, at=1, instrument="USD/JPY")
    market.heartbeat(CLOSED, at=2, instrument="EUR/USD")
    market.heartbeat(OPEN, at=3)
    assert market.verdict(at=3.1) is Verdict.CLOSED
    assert market.verdict(at=3.1, instrument="USD/JPY") is Verdict.LIVE


def test_opening_an_instrument_outweighs_an_earlier_closing_of_the_venue_only(market: Market) -> None:
    market.heartbeat(CLOSED, at=1)
    market.heartbeat(OPEN, at=2, instrument="EUR/USD")
    market.quote(1.0, 2.0, at=2)
    market.quote(1.0, 2.0, at=2, instrument="USD/JPY")
    assert market.verdict(at=2.1) is Verdict.LIVE
    assert market.verdict(at=2.1, instrument="USD/JPY") is Verdict.CLOSED
    market.heartbeat(OPEN, at=3)
    market.heartbeat(CLOSED, at=4)
    assert market.verdict(at=4.1) is Verdict.CLOSED


def test_a_second_feed_keeps_the_venue_open_while_it_speaks(market: Market) -> None:
    market.quote(1.0, 2.0, at=1)
    market.heartbeat(OPEN, at=1, component="a")
    market.heartbeat(OPEN, at=2, component="b")
    market.heartbeat(CLOSED, at=3, component="a")
    assert market.verdict(at=3.1) is Verdict.LIVE
    market.heartbeat(CLOSED, at=17, component="a")
    assert market.verdict(at=17.1) is Verdict.CLOSED


def test_an_instrument_whose_feed_never_connects_is_quiet_and_then_stale(market: Market) -> None:
    for at in range(0, 4000, 60):
        market.heartbeat(LOST, at=at)
        market.heartbeat(LOST, at=at, instrument="EUR/USD")
    assert market.verdict(at=3999) is Verdict.STALE  # and not retired
    market = Market()
    market.heartbeat(LOST, at=0)
    market.heartbeat(LOST, at=0, instrument="EUR/USD")
    assert market.verdict(at=14.9) is Verdict.QUIET
    assert market.verdict(at=15) is Verdict.STALE
    market.heartbeat(OPEN, at=20)
    market.heartbeat(OPEN, at=20, instrument="EUR/USD")
    assert market.verdict(at=20) is Verdict.QUIET
    for at in range(21, 40):
        market.heartbeat(OPEN, at=at)
    assert market.verdict(at=35) is Verdict.MUTE


def test_an_instrument_whose_feed_lost_its_connection_is_stale_at_once(market: Market) -> None:
    market.heartbeat(OPEN, at=0)
    market.quote(1.0, 2.0, at=1)
    market.heartbeat(LOST, at=2)
    assert market.verdict(at=2) is Verdict.STALE
    market.heartbeat(LOST, at=4)
    market.quote(1.0, 2.0, at=5)  # by another way
    market.heartbeat(LOST, at=6)
    assert market.verdict(at=6) is Verdict.LIVE
    market.heartbeat(OPEN, at=7)
    market.quote(1.0, 2.0, at=7)
    assert market.verdict(at=7) is Verdict.LIVE
    market.heartbeat(CLOSED, at=8)
    market.heartbeat(LOST, at=9)
    assert market.verdict(at=9) is Verdict.CLOSED


def test_a_second_feed_keeps_a_venue_from_being_stale(market: Market) -> None:
    market.heartbeat(OPEN, at=1, component="a")
    market.heartbeat(OPEN, at=1, component="b")
    market.quote(1.0, 2.0, at=1)
    market.heartbeat(LOST, at=2, component="a")
    assert market.verdict(at=2) is Verdict.LIVE
    market.heartbeat(LOST, at=3, component="b")
    assert market.verdict(at=3) is Verdict.STALE


def test_a_heartbeat_without_a_venue_and_one_that_comes_late_are_ignored(market: Market) -> None:
    market.take(Heartbeat(time_ns=ns(1), component="bot", connection=CLOSED), at=1)
    market.quote(1.0, 2.0, at=1)
    assert market.verdict(at=1.1) is Verdict.LIVE
    market.heartbeat(CLOSED, at=3)
    market.heartbeat(OPEN, at=3.05, time_ns=ns(2))
    assert market.verdict(at=3.1) is Verdict.CLOSED


def test_closed_comes_before_mute_and_mute_before_stale(market: Market) -> None:
    market.heartbeat(OPEN, at=0, instrument="EUR/USD")
    market.quote(1.0, 2.0, at=0, instrument="USD/JPY")
    assert market.verdict(at=20, instrument="USD/JPY") is Verdict.STALE
    assert market.verdict(at=20) is Verdict.MUTE
    market.heartbeat(CLOSED, at=20)
    assert market.verdict(at=20) is Verdict.CLOSED


def test_stale_comes_before_gap_and_gap_before_quiet() -> None:
    market = Market(stale_seconds=8.0)
    market.quote(1.0, 2.0, at=1, missed=1)
    assert market.verdict(at=7) is Verdict.GAP
    assert market.verdict(at=9) is Verdict.STALE


def test_a_clock_that_stepped_back_does_not_keep_a_dead_feed_alive(market: Market) -> None:
    market.quote(1.0, 2.0, at=3600)
    assert market.verdict(at=10) is Verdict.LIVE
    assert market.verdict(at=27) is Verdict.STALE
    assert market.sample(at=27).age_seconds == 16.0


# Keys come and go.


def test_an_idle_instrument_is_retired_and_starts_over_when_it_comes_back() -> None:
    market = Market(idle_seconds=10.0)
    market.tick(1.0, 2.0, at=1)
    assert "EUR/USD" in market.samples(at=11)
    assert market.samples(at=11.1) == {}
    market.tick(1.0, 2.0, at=20)
    assert market.sample(at=20).ticks == 1


def test_heartbeats_of_its_own_keep_an_instrument_and_those_of_the_venue_do_not() -> None:
    market = Market(idle_seconds=10.0)
    market.quote(1.0, 2.0, at=1)
    market.quote(1.0, 2.0, at=1, instrument="USD/JPY")
    market.heartbeat(OPEN, at=11)
    market.heartbeat(OPEN, at=11, instrument="EUR/USD")
    assert set(market.samples(at=12)) == {"EUR/USD"}


def test_nothing_of_a_retired_market_stays_in_memory() -> None:
    market = Market(idle_seconds=10.0)
    for n in range(50):
        market.take(Tick(time_ns=ns(1), venue=f"v{n}", instrument="i", price=1.0, size=1.0), at=1)
    assert len(market.collector.sample(ns(1))) == 50
    assert market.collector.sample(ns(12)) == []
    assert not market.collector._venues
    assert not market.collector._instruments


# Whatever comes.

NUMBER = st.one_of(
    st.floats(min_value=0.01, max_value=1e6),
    st.floats(min_value=-1e299, max_value=1e299, allow_nan=False),
)
SIZE = st.one_of(st.floats(min_value=0, max_value=1e6), st.floats(min_value=0, max_value=1e299))
STEP = st.fixed_dictionaries(
    {
        "what": st.sampled_from(["quote", "tick", "open", "closed", "disconnected", "sample"]),
        "instrument": st.sampled_from(["a", "b"]),
        "wait_ms": st.integers(0, 3000),
        "delay_ms": st.integers(-50, 500),
        "bid": st.one_of(st.none(), NUMBER),
        "ask": st.one_of(st.none(), NUMBER),
        "price": NUMBER,
        "size": SIZE,
        "missed": st.integers(0, 2),
    }
)


def event_of(step: dict[str, Any], time_ns: int) -> Event:
    names: dict[str, Any] = {"venue": "fx", "instrument": step["instrument"], "missed": step["missed"]}
    if step["what"] == "quote":
        return Quote(time_ns=time_ns, bid=step["bid"], ask=step["ask"], **names)
    if step["what"] == "tick":
        return Tick(time_ns=time_ns, price=step["price"], size=step["size"], **names)
    return Heartbeat(time_ns=time_ns, component="f", venue="fx", connection=ConnectionState(step["what"]))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_whatever_comes_samples_are_finite_and_agree_with_themselves(steps: list[dict[str, Any]]) -> None:
    market = Market(idle_seconds=20.0, window_seconds=1.0)
    now = 0
    history: dict[str, list[MarketSample]] = {}
    for step in steps:
        now += step["wait_ms"]
        if step["what"] != "sample":
            market.collector.on_event(event_of(step, T0 + (now - step["delay_ms"]) * MS), T0 + now * MS)
            continue
        cycle_ns = (T0 + now * MS) // CYCLE_NS * CYCLE_NS
        for sample in market.collector.sample(cycle_ns):
            assert isinstance(sample, MarketSample)
            history.setdefault(sample.instrument, []).append(sample)
            check_sample(sample)
    for samples in history.values():
        for before, after in pairwise(samples):
            if after.quotes + after.ticks >= before.quotes + before.ticks:
                assert after.gaps >= before.gaps
                assert after.traded >= before.traded


def check_sample(sample: MarketSample) -> None:
    check_values(sample)
    if sample.bid is not None and sample.ask is not None:
        assert sample.crossed == (sample.bid > sample.ask)
        assert sample.locked == (sample.bid == sample.ask)
        assert sample.mid is not None
        low, high = sorted((sample.bid, sample.ask))
        assert low <= sample.mid <= high
    else:
        assert sample.mid is sample.spread is sample.spread_bps is None
    assert sample.volume >= 0
    assert (sample.vwap is None) == (sample.volume == 0)
    assert sample.age_seconds is None or sample.age_seconds >= 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0.01, 1e5), st.floats(0, 1e6)), max_size=3), min_size=1, max_size=80
    ),
    st.integers(1, 12),
)
def test_volume_and_vwap_are_those_of_the_ticks_in_the_window(
    cycles: list[list[tuple[float, float]]], size: int
) -> None:
    market = Market(window_seconds=size / 10)
    market.quote(1.0, 2.0, at=0)
    for n, ticks in enumerate(cycles):
        for price, quantity in ticks:
            market.tick(price, quantity, at=(n + 0.5) / 10)
        window = [p for batch in cycles[max(n + 1 - size, 0) : n + 1] for p in batch]
        sample = market.sample(at=(n + 1) / 10)
        quantity = math.fsum(q for _, q in window)
        assert sample.volume == pytest.approx(quantity, rel=1e-9, abs=0)
        if quantity:
            mean = math.fsum(p * q for p, q in window) / quantity
            assert sample.vwap == pytest.approx(mean, rel=1e-6)


# Real markets.


@pytest.mark.recordings
@pytest.mark.skipif(not (RECORDINGS / "coinbase.ws").exists(), reason="no recordings next to the checkout")
def test_last_prices_and_volumes_of_a_coinbase_recording_equal_those_in_the_file() -> None:
    collector = MarketCollector(SystemClock(), MarketOptions(window_seconds=3600.0))
    received = 0
    for received, events in recorded_events(RECORDINGS / "coinbase.ws"):
        for event in events:
            if type(event) in MarketCollector.events:
                collector.on_event(event, received)
    samples = [s for s in collector.sample(received // CYCLE_NS * CYCLE_NS) if isinstance(s, MarketSample)]
    ticks: dict[str, list[dict[str, Any]]] = {}
    for line in (RECORDINGS / "coinbase.ws").read_text().splitlines():
        if '"last_match"' in line or '"match"' in line:
            message = json.loads(line.partition(": ")[2])
            ticks.setdefault(message["product_id"], []).append(message)
    newest = {
        product: float(max(messages, key=lambda m: (parse_time(m["time"]), m["sequence"]))["price"])
        for product, messages in ticks.items()
    }
    volumes = {p: math.fsum(float(m["size"]) for m in messages) for p, messages in ticks.items()}
    counts = {p: len(messages) for p, messages in ticks.items()}
    assert len(newest) == 10
    assert sum(counts.values()) == 107
    assert {s.instrument: s.last for s in samples} == newest
    assert {s.instrument: s.ticks for s in samples} == counts
    assert {s.instrument: s.volume for s in samples} == pytest.approx(volumes)
    for sample in samples:
        assert sample.bid is not None
        assert sample.ask is not None
        assert sample.bid < sample.ask
        assert sample.gaps == 0
    assert msgspec.json.decode(msgspec.json.encode(samples))

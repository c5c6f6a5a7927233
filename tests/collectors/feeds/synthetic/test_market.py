from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.feeds.guard import EventGuard
from collectors.feeds.synthetic.market import Rates, SyntheticMarket
from collectors.feeds.synthetic.names import definition, listings
from decahertz.definitions import settlement_currency
from decahertz.event import AnyEvent, MarketEvent, Quote, Tick

START_NS = 1_700_000_000_000_000_000
VENUES = ("one", "two")
LATEST_SECONDS = 0.05
"""No instrument's latency is above this: what happened by then has arrived."""


def run(rates: Rates, seconds: float, count: int = 5, seed: int = 1) -> list[AnyEvent]:
    return SyntheticMarket(listings(count, VENUES), rates, seed).until(seconds, START_NS)


def second_of(event: AnyEvent) -> float:
    return (event.time_ns - START_NS) / 1e9


@given(st.lists(st.floats(0.0, 3.0), max_size=8))
def test_the_same_events_come_however_the_time_is_cut(cuts: list[float]) -> None:
    rates = Rates(
        burst_interval_seconds=1,
        burst_seconds=0.3,
        pause_interval_seconds=2,
        pause_seconds=0.5,
        gap_probability=0.1,
    )
    market = SyntheticMarket(listings(5, VENUES), rates, 1)
    stepped = [event for cut in sorted([*cuts, 3.0]) for event in market.until(cut, START_NS)]
    assert stepped == run(rates, 3.0)


def test_the_same_seed_gives_the_same_market_and_another_seed_another() -> None:
    assert run(Rates(), 3.0) == run(Rates(), 3.0)
    assert run(Rates(), 3.0) != run(Rates(), 3.0, seed=2)


def test_an_instrument_does_not_depend_on_how_many_others_there_are() -> None:
    def of_first(count: int) -> list[AnyEvent]:
        events = run(Rates(), 3.0, count)
        return [e for e in events if isinstance(e, MarketEvent) and e.instrument == "BTC-USD"]

    assert of_first(1) == of_first(20) != []


def test_events_of_an_instrument_are_in_order_of_time_and_number() -> None:
    last: dict[str, tuple[int, int]] = {}
    for event in run(Rates(gap_probability=0.2), 30.0):
        assert isinstance(event, MarketEvent)
        assert event.sequence is not None
        before = last.get(event.instrument)
        if before is not None:
            assert event.time_ns >= before[0]
            assert event.sequence == before[1] + 1 + event.missed
        last[event.instrument] = (event.time_ns, event.sequence)
    assert len(last) == 5


def test_gaps_come_only_on_demand_and_about_as_often_as_asked() -> None:
    def share(probability: float) -> float:
        events = run(Rates(gap_probability=probability), 100.0)
        return sum(e.missed > 0 for e in events if isinstance(e, MarketEvent)) / len(events)

    assert share(0.0) == 0.0
    assert share(0.1) == pytest.approx(0.1, abs=0.02)
    assert share(1.0) == 1.0


def test_rates_are_about_those_asked_for() -> None:
    counts = Counter(type(event) for event in run(Rates(quotes_per_second=10.0, ticks_per_second=2.0), 100.0))
    assert counts[Quote] / 500 == pytest.approx(10.0, rel=0.1)
    assert counts[Tick] / 500 == pytest.approx(2.0, rel=0.1)


def test_nothing_happens_without_rates_or_instruments() -> None:
    assert run(Rates(quotes_per_second=0.0, ticks_per_second=0.0), 1_000.0) == []
    assert run(Rates(), 1_000.0, count=0) == []


def test_a_burst_multiplies_the_rates_while_it_lasts() -> None:
    rates = Rates(burst_interval_seconds=10, burst_seconds=2.0, burst_factor=10.0)
    per_second: Counter[int] = Counter(int(second_of(event)) for event in run(rates, 40.0))
    in_burst = sum(per_second[second] for second in (10, 11, 20, 21, 30, 31)) / 6
    outside = sum(per_second[second] for second in range(10)) / 10
    assert in_burst / outside == pytest.approx(10.0, rel=0.2)


def test_nothing_happens_in_a_pause_and_all_goes_on_after_it() -> None:
    rates = Rates(pause_interval_seconds=10, pause_seconds=4.0, burst_interval_seconds=5, burst_seconds=1.0)
    seconds = {int(second_of(event)) for event in run(rates, 30.0)}
    assert seconds == set(range(30)) - {10, 11, 12, 13, 20, 21, 22, 23}


def test_a_pause_without_end_is_silence() -> None:
    rates = Rates(pause_interval_seconds=5, pause_seconds=5.0, burst_interval_seconds=2, burst_seconds=1.0)
    assert all(second_of(event) < 5.0 for event in run(rates, 100.0))


def test_prices_and_sizes_are_like_real_ones() -> None:
    events = run(Rates(gap_probability=0.01), 30.0, count=300)
    assert EventGuard().split(events)[1] == []
    listed = {(entry.venue, entry.instrument): entry for entry in listings(300, VENUES)}
    top: dict[tuple[str, str], Quote] = {}
    for event in events:
        assert isinstance(event, Quote | Tick)
        key = (event.venue, event.instrument)
        if isinstance(event, Tick):
            assert event.size > 0
            assert event.price == round(event.price, listed[key].decimals)
            assert event.price == pytest.approx(listed[key].price, rel=0.05)
        else:
            assert event.bid is not None
            assert event.ask is not None
            assert 0 < event.bid < event.ask
            assert (event.ask - event.bid) / event.bid < 0.001
            assert event.bid_size
            assert event.ask_size
            top[key] = event
    assert set(top) == set(listed)


def test_ticks_are_at_the_best_prices_of_their_side() -> None:
    spread: dict[str, set[float]] = defaultdict(set)
    for event in run(Rates(ticks_per_second=20.0, quotes_per_second=0.0), 0.5):
        assert isinstance(event, Tick)
        spread[event.instrument].add(event.price)
    assert all(len(prices) >= 2 for prices in spread.values())


def test_the_contracts_are_defined_and_the_swap_has_the_price_of_its_underlying() -> None:
    future, swap = (definition(entry, START_NS) for entry in listings(8, VENUES)[6:])
    assert (future.instrument, future.multiplier, future.tick_size, future.lot_size) == (
        "ES-FUT",
        50,
        0.25,
        1,
    )
    assert (swap.instrument, swap.inverse, swap.tick_size, swap.lot_size) == ("BTC-PERP", True, 0.5, 1)
    assert settlement_currency(swap) == "BTC"
    newest: dict[str, Quote] = {}
    for event in run(Rates(quotes_per_second=50.0, ticks_per_second=0.0), 600.0, count=8):
        assert isinstance(event, Quote)
        newest[event.instrument] = event
    prices = {name: ((quote.bid or 0) + (quote.ask or 0)) / 2 for name, quote in newest.items()}
    assert prices["BTC-PERP"] == pytest.approx(prices["BTC-USD"], abs=5)
    assert prices["BTC-PERP"] != pytest.approx(64_000, abs=20)
    sizes = [newest[name].bid_size for name in ("ES-FUT", "BTC-PERP")]
    assert all(size and size == int(size) for size in sizes)


def test_names_are_distinct_and_like_real_ones() -> None:
    listed = listings(1_500, VENUES)
    names = [entry.instrument for entry in listed]
    assert names[:4] == ["BTC-USD", "EUR/USD", "ETH-USD", "GBP/USD"]
    assert len(set(names)) == 1_500
    assert [entry.venue for entry in listed[:3]] == ["one", "two", "one"]


@given(
    at=st.floats(0, 100_000),
    every=st.integers(1, 50),
    length=st.floats(0.001, 60),
)
def test_the_factor_changes_nowhere_before_the_next_edge(at: float, every: int, length: float) -> None:
    rates = Rates(burst_interval_seconds=every, burst_seconds=length, burst_factor=3.0)
    edge = rates.next_edge(at)
    assert edge > at
    if edge < float("inf"):
        halfway = at + (edge - at) / 2
        if at < halfway < edge:
            assert rates.factor(halfway) == rates.factor(at)
        assert rates.next_edge(edge) > edge
        if rates.next_edge(edge) < float("inf"):
            assert rates.factor(edge) != rates.factor(at)

"""Samples carried on from the cycle before equal those computed from the state alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.common.checkpoints import decode, encode
from collectors.market.collector import MarketCheckpoint, MarketCollector, MarketOptions
from decahertz.clock import CYCLE_NS, SystemClock
from decahertz.event import ConnectionState, Event, Gap, Heartbeat, Instrument, InstrumentKind, Quote, Tick
from tests.collectors.parts import T0

_OPTIONS = MarketOptions(window_seconds=3, rate_seconds=1, volatility_seconds=30, idle_seconds=300)
_INSTRUMENTS = ("A", "B", None)
_EVENTS = st.tuples(
    st.sampled_from(["quote", "tick", "missed", "gap", "open", "lost", "closed", "define"]),
    st.sampled_from(_INSTRUMENTS),
    st.integers(1, 9),
    st.sampled_from(["feed", "other"]),
)
_CYCLES = st.lists(
    st.tuples(
        st.one_of(
            st.just(1), st.just(1), st.just(1), st.integers(1, 60), st.integers(100, 4000), st.just(-200)
        ),
        st.lists(_EVENTS, max_size=3),
    ),
    min_size=1,
    max_size=60,
)


def _event(kind: str, instrument: str | None, number: int, at_ns: int) -> Event:
    if kind in {"open", "lost", "closed"}:
        connection = {
            "open": ConnectionState.OPEN,
            "lost": ConnectionState.DISCONNECTED,
            "closed": ConnectionState.CLOSED,
        }[kind]
        return Heartbeat(
            time_ns=at_ns, component="feed", venue="v", instrument=instrument, connection=connection
        )
    name = instrument or "A"
    if kind == "quote":
        return Quote(
            time_ns=at_ns, venue="v", instrument=name, bid=float(number), ask=number + 0.5, bid_size=1.0
        )
    if kind == "gap":
        return Gap(
            time_ns=at_ns,
            venue="v",
            instrument=name,
            numbering="ticks",
            missing=number,
            announced=True,
        )
    if kind == "define":
        return Instrument(time_ns=at_ns, venue="v", instrument=name, kind=InstrumentKind.SPOT)
    missed = number if kind == "missed" else 0
    return Tick(
        time_ns=at_ns, venue="v", instrument=name, price=float(number), size=number / 7, missed=missed
    )


@settings(deadline=None, max_examples=60)
@given(_CYCLES)
def test_a_sample_carried_on_is_what_a_restart_in_each_cycle_computes(
    cycles: list[tuple[int, list[tuple[str, str | None, int, str]]]],
) -> None:
    carried, restarted = (MarketCollector(SystemClock(), _OPTIONS) for _ in range(2))
    cycle = T0 // CYCLE_NS
    for steps, events in cycles:
        cycle += steps
        now_ns = cycle * CYCLE_NS
        for place, (kind, instrument, number, emitter) in enumerate(events):
            at_ns = now_ns - (place + 1) * CYCLE_NS // 7
            event = _event(kind, instrument, number, at_ns)
            for collector in (carried, restarted):
                for budget in collector.budgets:
                    budget.emitter = emitter
                collector.on_event(event, at_ns)
        fresh = MarketCollector(SystemClock(), _OPTIONS)
        state, held = decode(encode(restarted.checkpoint(), restarted.budgets), MarketCheckpoint)
        for budget, keys in zip(fresh.budgets, held, strict=True):
            budget.resume(keys)
        fresh.resume(state)
        restarted = fresh
        assert {*carried.sample(now_ns)} == {*restarted.sample(now_ns)}

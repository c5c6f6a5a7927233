"""Hypothesis strategies for events of every type, with every value that an event may have."""

from __future__ import annotations

from hypothesis import strategies as st

from decahertz.event import (
    AnyEvent,
    ConnectionState,
    Direction,
    Equity,
    Event,
    Fill,
    Heartbeat,
    Instrument,
    InstrumentKind,
    Liquidity,
    Log,
    LogLevel,
    News,
    Order,
    OrderState,
    Position,
    PositionSource,
    Quote,
    Regime,
    Risk,
    Side,
    Signal,
    Tick,
)

times = st.integers(min_value=1, max_value=2**63 - 1)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=":*"),
    min_size=1,
    max_size=20,
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
identifiers = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
numbers = st.floats(min_value=-1e299, max_value=1e299)
sizes = st.floats(min_value=0, max_value=1e299)
quantities = st.floats(min_value=5e-324, max_value=1e299)
ratios = st.floats(min_value=0, max_value=1)
venue_numbers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
counts = st.integers(min_value=0, max_value=2**63 - 1)


def maybe(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | values


_market = {
    "time_ns": times,
    "venue": names,
    "instrument": names,
    "sequence": maybe(venue_numbers),
    "missed": counts,
}
_strategy = {"time_ns": times, "strategy": names, "venue": names, "instrument": names}

events_by_type: dict[type, st.SearchStrategy[AnyEvent]] = {
    Quote: st.builds(
        Quote,
        **_market,
        bid=maybe(numbers),
        ask=maybe(numbers),
        bid_size=maybe(sizes),
        ask_size=maybe(sizes),
    ),
    Tick: st.builds(
        Tick,
        **_market,
        price=numbers,
        size=sizes,
        side=maybe(st.sampled_from(Side)),
        trade_id=maybe(identifiers),
    ),
    Instrument: st.builds(
        Instrument,
        time_ns=times,
        venue=names,
        instrument=names,
        kind=st.sampled_from(InstrumentKind),
        base_currency=maybe(names),
        quote_currency=maybe(names),
        settlement_currency=maybe(names),
        multiplier=quantities,
        inverse=st.booleans(),
        tick_size=maybe(quantities),
        lot_size=maybe(quantities),
        aliases=st.lists(names, max_size=3).map(tuple),
    ),
    Signal: st.builds(
        Signal,
        **_strategy,
        signal_id=identifiers,
        direction=st.sampled_from(Direction),
        strength=maybe(numbers),
        price=maybe(numbers),
        risk=maybe(sizes),
        reason=maybe(texts),
    ),
    Order: st.builds(
        Order,
        **_strategy,
        order_id=identifiers,
        state=st.sampled_from(OrderState),
        side=st.sampled_from(Side),
        quantity=sizes,
        filled_quantity=maybe(sizes),
        price=maybe(numbers),
        arrival_price=maybe(numbers),
        order_type=maybe(identifiers),
        signal_id=maybe(identifiers),
        reason=maybe(texts),
    ),
    Fill: st.builds(
        Fill,
        **_strategy,
        order_id=identifiers,
        fill_id=identifiers,
        side=st.sampled_from(Side),
        # Money is their product, and that has to stay finite as well.
        price=st.floats(min_value=-1e9, max_value=1e9),
        quantity=st.floats(min_value=1e-9, max_value=1e9),
        fee=st.floats(min_value=-1e9, max_value=1e9),
        liquidity=maybe(st.sampled_from(Liquidity)),
        risk=maybe(st.floats(min_value=0, max_value=1e9)),
    ),
    Position: st.builds(
        Position,
        **_strategy,
        quantity=numbers,
        average_price=maybe(numbers),
        mark_price=maybe(numbers),
        held_by=st.sampled_from(PositionSource),
    ),
    Equity: st.builds(Equity, time_ns=times, strategy=names, equity=numbers, cash=maybe(numbers)),
    Regime: st.builds(Regime, time_ns=times, regime=names, strategy=maybe(names), confidence=maybe(ratios)),
    Risk: st.builds(
        Risk,
        time_ns=times,
        name=names,
        value=numbers,
        limit=maybe(numbers),
        strategy=maybe(names),
        breached=st.booleans(),
    ),
    News: st.builds(
        News,
        time_ns=times,
        headline=texts,
        publisher=maybe(identifiers),
        instruments=st.lists(names, max_size=3).map(tuple),
        sentiment=maybe(st.floats(min_value=-1, max_value=1)),
    ),
    Log: st.builds(Log, time_ns=times, component=names, level=st.sampled_from(LogLevel), message=texts),
    Heartbeat: st.builds(
        Heartbeat,
        time_ns=times,
        component=names,
        connection=st.sampled_from(ConnectionState),
        venue=maybe(names),
        instrument=maybe(names),
    ),
}
events: st.SearchStrategy[AnyEvent] = st.one_of(*events_by_type.values())


def type_name(event_type: type[Event]) -> str:
    """The ``type`` of an event on the wire: ``quote`` for ``Quote``."""
    tag = event_type.__struct_config__.tag
    assert isinstance(tag, str)
    return tag

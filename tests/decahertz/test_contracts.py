"""Fills and cash flows get their contract and their rates when they arrive."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.contracts import Contracts
from decahertz.event import (
    AnyEvent,
    Cash,
    CashKind,
    Direction,
    EventBatch,
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderState,
    Quote,
    Side,
    Signal,
)
from decahertz.health import Health
from decahertz.testing import START_NS, ManualClock

CONTRACT = ("multiplier", "inverse", "lot_size", "base_currency", "currency", "rate", "fee_rate")


def contracts(currency: str = "USD", **settings: Any) -> Contracts:  # noqa: ANN401 - any setting
    return Contracts(AccountingSettings(currency=currency, **settings), ManualClock(START_NS))


def instrument(name: str, **fields: Any) -> Instrument:  # noqa: ANN401 - any field
    base, _, quote = name.partition("/")
    defaults: dict[str, Any] = {
        "time_ns": START_NS,
        "venue": "v",
        "kind": InstrumentKind.SPOT,
        "base_currency": base,
        "quote_currency": quote or "USD",
    }
    return Instrument(instrument=name, **{**defaults, **fields})


def quote(name: str, mid: float, time_ns: int = START_NS) -> Quote:
    return Quote(time_ns=time_ns, venue="v", instrument=name, bid=mid - 0.001, ask=mid + 0.001)


def fill(name: str, price: float = 100.0, **fields: Any) -> Fill:  # noqa: ANN401 - any field
    defaults: dict[str, Any] = {
        "time_ns": START_NS,
        "venue": "v",
        "strategy": "s",
        "order_id": "o",
        "fill_id": "f",
        "side": Side.BUY,
        "quantity": 1.0,
    }
    return Fill(instrument=name, price=price, **{**defaults, **fields})


def batch(*events: AnyEvent) -> EventBatch:
    return EventBatch(source="bot", epoch=1, first_sequence=1, events=events)


def last(made: Contracts, *events: AnyEvent) -> Any:  # noqa: ANN401 - of the type sent
    return made.completed(batch(*events)).events[-1]


def contract(event: Fill) -> dict[str, Any]:
    return {name: getattr(event, name) for name in CONTRACT if getattr(event, name) is not None}


def test_a_fill_gets_the_contract_and_the_rates_of_the_time() -> None:
    completed = last(
        contracts(),
        instrument("USD/JPY", kind=InstrumentKind.FX, lot_size=1000.0),
        quote("USD/JPY", 150.0),
        fill("USD/JPY", 151.0, fee=10.0),
    )
    assert contract(completed) == {
        "multiplier": 1.0, "inverse": False, "lot_size": 1000.0, "base_currency": "USD", "currency": "JPY",
        "rate": 1 / 150, "fee_rate": 1 / 150,
    }  # fmt: skip


def test_a_future_and_an_inverse_swap_get_their_multiplier_and_settlement_currency() -> None:
    made = contracts()
    future = instrument("ESZ6", kind=InstrumentKind.FUTURE, base_currency="ES", multiplier=50.0)
    assert contract(last(made, future, fill("ESZ6", 5000.0))) == {
        "multiplier": 50.0, "inverse": False, "base_currency": "ES", "currency": "USD",
        "rate": 1.0, "fee_rate": 1.0,
    }  # fmt: skip
    swap = instrument(
        "BTCUSD", kind=InstrumentKind.PERPETUAL, base_currency="BTC", inverse=True, multiplier=100.0
    )
    swap = replace(swap, quote_currency="USD")
    found = last(made, swap, fill("BTCUSD", 40_000.0))
    assert (found.multiplier, found.inverse, found.currency) == (100.0, True, "BTC")
    assert found.rate == pytest.approx(40_000.0), "its own price tells what a bitcoin is worth"
    found = last(made, quote("BTCUSD", 40_100.0), fill("BTCUSD", 40_000.0))
    assert found.rate == pytest.approx(40_100.0), "quotes tell it better"


def test_what_the_emitter_states_is_kept() -> None:
    stated = fill("EUR/USD", multiplier=7.0, inverse=True, currency="CHF", rate=1.25, fee_rate=3.0)
    found = last(contracts(), instrument("EUR/USD", lot_size=0.01), stated)
    assert found == replace(stated, lot_size=0.01, base_currency="EUR")


def test_a_fee_has_a_currency_of_its_own() -> None:
    made = contracts()
    events = (instrument("BTC/USD"), instrument("BNB/USD"), quote("BNB/USD", 600.0))
    found = last(made, *events, fill("BTC/USD", 90_000.0, fee=0.1, fee_currency="BNB"))
    assert (found.rate, found.fee_rate) == (1.0, pytest.approx(600.0))
    found = last(made, fill("BTC/USD", 90_000.0, fee=0.001, fee_currency="BTC"))
    assert (found.rate, found.fee_rate) == (1.0, 90_000.0)


def test_without_a_definition_nothing_is_added_but_the_rates_of_named_currencies() -> None:
    made = contracts()
    bare = fill("ABC")
    sent = batch(bare)
    assert made.completed(sent) is sent, "its bytes are stored as they are"
    assert (made.fills, made.undefined_fills, made.unrated) == (1, 1, 0)
    named = last(made, fill("ABC", currency="USDT", fee_currency="USD"))
    assert contract(named) == {"currency": "USDT", "rate": 1.0, "fee_rate": 1.0}


def test_a_fill_without_a_rate_is_counted_and_health_says_why() -> None:
    made = contracts()
    found = last(made, instrument("SAP", quote_currency="EUR", base_currency=None), fill("SAP"))
    assert (found.currency, found.rate, found.fee_rate) == ("EUR", None, None)
    assert made.unrated == 1
    status = made.status()
    assert status.health is Health.DEGRADED
    assert "no rate from EUR to USD: no quotes of a pair lead there" in status.detail


def test_a_mid_of_another_hour_is_no_rate() -> None:
    made = contracts(rate_seconds=60.0)
    events = (instrument("EUR/USD"), quote("EUR/USD", 1.1), instrument("SAP", quote_currency="EUR"))
    late = START_NS + 61 * NS_PER_SECOND
    assert last(made, *events, fill("SAP", time_ns=late)).rate is None
    assert last(made, fill("SAP", time_ns=late - NS_PER_SECOND)).rate == pytest.approx(1.1)
    assert last(made, quote("EUR/USD", 9.9, START_NS - 1), fill("SAP")).rate == pytest.approx(1.1)


def test_names_and_codes_of_an_instrument_are_the_same_instrument() -> None:
    made = contracts()
    made.completed(batch(instrument("XBT/USD", lot_size=0.1, aliases=("PI_XBTUSD",)), quote("BTC/USD", 5.0)))
    for name in ("XBT/USD", "BTC/USD", "PI_XBTUSD"):
        assert last(made, fill(name)).lot_size == 0.1
    assert last(made, fill("ABC", fee_currency="XBT")).fee_rate == pytest.approx(5.0)
    made.completed(batch(instrument("XBT/USD", lot_size=0.2)))
    assert last(made, fill("PI_XBTUSD")).lot_size is None, "the newest definition does not name it"


def test_an_older_definition_changes_nothing() -> None:
    made = contracts()
    made.completed(batch(instrument("A/USD", multiplier=2.0), instrument("A/USD", time_ns=START_NS - 1)))
    assert last(made, fill("A/USD")).multiplier == 2.0


def test_a_cash_flow_in_another_currency_gets_its_rate() -> None:
    made = contracts()
    flow = Cash(time_ns=START_NS, strategy="s", cash_id="c", kind=CashKind.FUNDING, amount=-1.0)
    assert last(made, flow) is flow, "without a currency it is in the account's"
    assert last(made, replace(flow, currency="USDT")).rate == 1.0
    assert last(made, replace(flow, currency="EUR", rate=1.5)).rate == 1.5
    assert last(made, replace(flow, currency="EUR")).rate is None


def test_the_users_definition_replaces_that_of_a_feed() -> None:
    made = contracts()
    own = instrument("A/USD", multiplier=10.0)
    made.pin([own])
    theirs = instrument("A/USD", multiplier=1.0, time_ns=START_NS + 5)
    assert last(made, theirs) == replace(own, time_ns=START_NS + 5)
    assert last(made, fill("A/USD")).multiplier == 10.0


def test_nothing_is_learned_from_what_was_seen_before() -> None:
    made = contracts()
    sent = batch(quote("EUR/USD", 1.1), instrument("EUR/USD"), fill("EUR/USD", fee_currency="EUR", price=0.0))
    made.completed(sent)
    assert last(made, fill("ABC", fee_currency="EUR")).fee_rate is None, "it was quoted before it was defined"
    again = made.completed(sent, [(3, 3)])
    assert isinstance(again.events[2], Fill)
    assert (again.events[2].multiplier, again.events[2].fee_rate) == (1.0, None)


def test_a_restart_changes_no_fill() -> None:
    made = contracts()
    made.completed(batch(instrument("EUR/USD", aliases=("EURUSD",)), quote("EUR/USD", 1.1)))
    again = contracts()
    assert again.resume(made.checkpoint())
    again.on_event(instrument("SAP", quote_currency="EUR", multiplier=3.0), START_NS)
    again.on_event(quote("EURUSD", 1.2, START_NS + 1), START_NS)
    found = last(again, fill("SAP"))
    assert (found.multiplier, found.rate) == (3.0, pytest.approx(1.2))
    assert not contracts().resume(b"\xc1")


def test_a_fill_without_a_risk_has_that_of_its_signal() -> None:
    """C17 of the faults."""
    made = contracts()
    about: dict[str, Any] = {"time_ns": START_NS, "venue": "v", "instrument": "i", "strategy": "s"}
    signal = Signal(**about, signal_id="g", direction=Direction.BUY, risk=10.0)
    order = Order(
        **about, order_id="o", state=OrderState.SUBMITTED, side=Side.BUY, quantity=1.0, signal_id="g"
    )
    assert last(made, signal, order, fill("i")).risk == 10.0
    assert last(made, fill("i", risk=3.0)).risk == 3.0
    assert last(made, fill("i", account="other")).risk is None
    again = contracts()
    assert again.resume(made.checkpoint())
    assert last(again, fill("i")).risk == 10.0


def test_the_end_of_an_order_gets_the_contract_and_the_rate_of_the_time() -> None:
    made = contracts()
    definition = instrument(
        "FDAX", kind=InstrumentKind.FUTURE, base_currency="DAX", quote_currency="EUR", multiplier=25.0
    )
    ended: dict[str, Any] = {"time_ns": START_NS, "strategy": "s", "venue": "v", "instrument": "FDAX"}
    ended |= {"order_id": "o", "side": Side.BUY, "quantity": 1.0}
    before = Order(state=OrderState.CANCELLED, **ended)
    assert last(made, definition, before) == replace(before, multiplier=25.0, inverse=False, currency="EUR")
    found = last(made, instrument("EUR/USD"), quote("EUR/USD", 1.25), before)
    assert (found.multiplier, found.currency, found.rate) == (25.0, "EUR", 1.25)
    submitted = Order(state=OrderState.SUBMITTED, **ended)
    assert last(made, submitted) == submitted
    stated = replace(before, multiplier=5.0, currency="USD", rate=1.0)
    assert last(made, stated) == replace(stated, inverse=False)
    assert made.unrated == 0

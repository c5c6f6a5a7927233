"""Values positions and fills by contract, currency and rate, at the time and now."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.strategy.collector import StrategyCollector, StrategyOptions
from collectors.strategy.position import HeldPosition
from collectors.strategy.sample import StrategySample
from decahertz.accounting import AccountingSettings
from decahertz.clock import SystemClock
from decahertz.contracts import Contracts
from decahertz.event import (
    AnyEvent,
    EventBatch,
    Fill,
    Instrument,
    InstrumentKind,
    Position,
    Quote,
    Side,
)
from decahertz.testing import ManualClock
from tests.collectors.parts import T0, check_values, ns


class Desk:
    """A strategy collector behind the part that completes fills, as in the recorder."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - any setting
        accounting = AccountingSettings(**settings)
        self._contracts = Contracts(accounting, ManualClock(T0))
        self.collector = StrategyCollector(SystemClock(), StrategyOptions(), accounting)
        self._sequence = 0

    def take(self, at: float, *events: AnyEvent) -> None:
        batch = EventBatch(source="bot", epoch=1, first_sequence=self._sequence + 1, events=events)
        for event in self._contracts.completed(batch).events:
            self._sequence += 1
            self.collector.on_event(event, ns(at))

    def define(self, name: str, kind: str = "spot", **fields: Any) -> None:  # noqa: ANN401 - any field
        base, _, quote = name.partition("/")
        currencies = {"base_currency": base, "quote_currency": quote or "USD"}
        self.take(
            0,
            Instrument(
                time_ns=T0, venue="v", instrument=name, kind=InstrumentKind(kind), **(currencies | fields)
            ),
        )

    def quote(self, name: str, mid: float, at: float = 1) -> None:
        self.take(at, Quote(time_ns=ns(at), venue="v", instrument=name, bid=mid, ask=mid))

    def fill(self, name: str, side: str, price: float, quantity: float, at: float = 2, **fields: Any) -> None:  # noqa: ANN401 - any field
        self.take(
            at,
            Fill(
                time_ns=ns(at) + self._sequence, strategy="s", venue="v", instrument=name, order_id="o",
                side=Side(side), fill_id=str(self._sequence), price=price, quantity=quantity, **fields,
            ),
        )  # fmt: skip

    def sample(self, at: float = 3) -> StrategySample:
        (sample,) = self.collector.sample(ns(at))
        assert isinstance(sample, StrategySample)
        check_values(sample)
        return sample

    def position(self, at: float = 3) -> HeldPosition:
        (position,) = self.collector.positions(ns(at))
        return position


def test_results_in_yen_and_dollars_add_up_in_dollars() -> None:
    desk = Desk()
    desk.define("USD/JPY", "fx")
    desk.define("EUR/USD", "fx")
    desk.quote("USD/JPY", 151.0)
    desk.fill("USD/JPY", "buy", 150.0, 100_000)
    desk.fill("USD/JPY", "sell", 151.0, 100_000)
    desk.fill("EUR/USD", "buy", 1.10, 100_000)
    desk.fill("EUR/USD", "sell", 1.09, 100_000)
    sample = desk.sample()
    assert sample.realised_pnl == pytest.approx(100_000 / 151 - 1000)
    assert round(sample.realised_pnl) == -338
    assert round(sample.daily_pnl) == -338
    assert (sample.trades, sample.win_rate, sample.unconverted_fills) == (2, 0.5, 0)


def test_a_future_counts_by_its_multiplier() -> None:
    desk = Desk()
    desk.define("ESZ6", "future", base_currency=None, multiplier=50.0)
    desk.quote("ESZ6", 5_004.0)
    desk.fill("ESZ6", "buy", 5_000.0, 2)
    sample = desk.sample()
    assert (sample.unrealised_pnl, sample.exposure, sample.undefined_instruments) == (400, 500_400, 0)
    desk.fill("ESZ6", "sell", 5_010.0, 1)
    sample = desk.sample()
    assert (sample.realised_pnl, sample.unrealised_pnl, sample.net_exposure) == (500, 200, 250_200)
    position = desk.position()
    assert (position.multiplier, position.currency, position.rate) == (50, "USD", 1)
    assert (position.value, position.unrealised_pnl) == (250_200, 200)


def test_an_inverse_contract_earns_coins() -> None:
    desk = Desk()
    desk.define("XBTUSD", "perpetual", base_currency="BTC", inverse=True)
    desk.fill("XBTUSD", "buy", 60_000.0, 60_000)
    desk.quote("XBTUSD", 66_000.0)
    sample = desk.sample()
    assert sample.unrealised_pnl == pytest.approx(6_000), "0.0909 BTC at 66,000"
    assert sample.exposure == pytest.approx(60_000)
    desk.fill("XBTUSD", "sell", 66_000.0, 60_000)
    assert desk.sample().realised_pnl == pytest.approx(60_000 * (1 / 60_000 - 1 / 66_000) * 66_000)
    coins = Desk(currency="BTC")
    coins.define("XBTUSD", "perpetual", base_currency="BTC", inverse=True)
    coins.fill("XBTUSD", "buy", 60_000.0, 60_000)
    coins.fill("XBTUSD", "sell", 66_000.0, 60_000)
    assert round(coins.sample().realised_pnl, 4) == 0.0909


def test_an_open_position_is_converted_at_the_rate_of_now_and_a_fill_at_that_of_its_time() -> None:
    desk = Desk()
    desk.define("SAP", base_currency=None, quote_currency="EUR")
    desk.define("EUR/USD", "fx")
    desk.quote("EUR/USD", 1.25)
    desk.fill("SAP", "buy", 100.0, 10, fee=2.0)
    desk.quote("SAP", 110.0)
    sample = desk.sample()
    assert (sample.realised_pnl, sample.unrealised_pnl, sample.exposure) == (-2.5, 125, 1375)
    desk.quote("EUR/USD", 1.5, at=4)
    sample = desk.sample(at=5)
    assert (sample.realised_pnl, sample.unrealised_pnl, sample.exposure) == (-2.5, 150, 1650)
    assert desk.position(at=5).rate == 1.5


def test_without_a_rate_a_value_is_null_and_says_why() -> None:
    desk = Desk(rate_seconds=60.0)
    desk.define("SAP", base_currency=None, quote_currency="EUR")
    desk.define("EUR/USD", "fx")
    desk.quote("SAP", 110.0)
    desk.fill("SAP", "buy", 100.0, 10)
    sample = desk.sample()
    assert (sample.unrealised_pnl, sample.exposure, sample.net_exposure) == (None, None, None)
    reason = "no rate from EUR to USD: no quotes of a pair lead there"
    position = desk.position()
    assert (position.value, position.unrealised_pnl, position.rate) == (None, None, None)
    assert {name: position.reasons[name] for name in ("value", "unrealised_pnl", "rate")} == dict.fromkeys(
        ("value", "unrealised_pnl", "rate"), reason
    )
    desk.quote("EUR/USD", 1.25, at=4)
    assert desk.sample(at=5).unrealised_pnl == 125
    assert "the mid of EUR/USD at v is 61 s older" in desk.position(at=65).reasons["value"]


def test_an_instrument_without_a_definition_counts_one_to_one_and_is_marked_so() -> None:
    desk = Desk()
    desk.quote("ABC", 11.0)
    desk.fill("ABC", "buy", 10.0, 3)
    sample = desk.sample()
    assert (sample.unrealised_pnl, sample.exposure, sample.undefined_instruments) == (3, 33, 1)
    assert (desk.position().multiplier, desk.position().currency) == (None, None)
    desk.fill("ABC", "sell", 10.0, 3)
    assert desk.sample().undefined_instruments == 0


def test_a_position_that_is_only_reported_is_valued_by_the_definition() -> None:
    desk = Desk()
    desk.define("ESZ6", "future", base_currency=None, multiplier=50.0)
    desk.quote("ESZ6", 5_004.0)
    report = Position(
        time_ns=ns(2), strategy="s", venue="v", instrument="ESZ6", quantity=-2, average_price=5_000.0
    )
    desk.take(2, report)
    position = desk.position()
    assert (position.value, position.unrealised_pnl, position.multiplier) == (-500_400, -400, 50)
    inverse = Desk()
    inverse.define("XBTUSD", "perpetual", base_currency="BTC", inverse=True)
    inverse.quote("XBTUSD", 66_000.0)
    inverse.take(
        2,
        Position(
            time_ns=ns(2), strategy="s", venue="v", instrument="XBTUSD", quantity=60_000, average_price=60_000
        ),
    )
    assert inverse.position().unrealised_pnl == pytest.approx(6_000)


def test_quotes_of_another_code_mark_a_position() -> None:
    desk = Desk()
    desk.fill("BTC/USD", "buy", 10.0, 1)
    desk.quote("XBT/USD", 12.0)
    assert desk.sample().unrealised_pnl == 2

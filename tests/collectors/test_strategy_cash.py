"""Compares the cash that a strategy reports with its fills and cash flows."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.strategy.collector import StrategyCollector, StrategyOptions
from collectors.strategy.sample import StrategySample
from decahertz.accounting import AccountingSettings
from decahertz.clock import SystemClock
from decahertz.contracts import Contracts
from decahertz.event import (
    AnyEvent,
    Cash,
    CashKind,
    Equity,
    EventBatch,
    Fill,
    FillKind,
    Instrument,
    InstrumentKind,
    Quote,
    Side,
)
from decahertz.testing import ManualClock
from tests.collectors.parts import T0, check_values, ns

DEFINED: dict[str, dict[str, Any]] = {
    "BTC/USD": {"kind": "spot", "base_currency": "BTC", "quote_currency": "USD"},
    "ES": {"kind": "future", "quote_currency": "USD", "multiplier": 50.0},
    "USD/JPY": {"kind": "fx", "base_currency": "USD", "quote_currency": "JPY"},
    "SAP": {"kind": "spot", "quote_currency": "EUR"},
}


class Desk:
    """A strategy collector behind the part that completes fills; a second passes between its events."""

    def __init__(self) -> None:
        accounting = AccountingSettings()
        self._contracts = Contracts(accounting, ManualClock(T0))
        self.collector = StrategyCollector(SystemClock(), StrategyOptions(break_seconds=1.0), accounting)
        self._ids = itertools.count(1)
        self.at = 0.0
        for name, fields in DEFINED.items():
            kind = InstrumentKind(fields["kind"])
            others = {key: value for key, value in fields.items() if key != "kind"}
            self.take(Instrument(time_ns=T0, venue="v", instrument=name, kind=kind, **others))
        self.take(Quote(time_ns=T0, venue="v", instrument="USD/JPY", bid=125.0, ask=125.0))

    def take(self, *events: AnyEvent) -> None:
        batch = EventBatch(source="bot", epoch=1, first_sequence=next(self._ids), events=events)
        for event in self._contracts.completed(batch).events:
            self.collector.on_event(event, ns(self.at))

    def fill(self, name: str, side: str, price: float, quantity: float, **fields: Any) -> None:  # noqa: ANN401 - any field
        self.at += 1
        values: dict[str, Any] = {"time_ns": ns(self.at), "fill_id": str(self.at), **fields}
        self.take(
            Fill(strategy="s", venue="v", instrument=name, order_id="o", side=Side(side), price=price,
                 quantity=quantity, **values)
        )  # fmt: skip

    def flow(self, kind: str, amount: float, **fields: Any) -> None:  # noqa: ANN401 - any field
        self.at += 1
        values: dict[str, Any] = {"time_ns": ns(self.at), "cash_id": str(self.at), **fields}
        self.take(Cash(strategy="s", kind=CashKind(kind), amount=amount, **values))

    def report(self, cash: float | None, **fields: Any) -> None:  # noqa: ANN401 - any field
        self.at += 1
        values: dict[str, Any] = {"time_ns": ns(self.at), "equity": 1e6, **fields}
        self.take(Equity(strategy="s", cash=cash, **values))

    def found(self) -> tuple[Any, int]:
        """Difference and breaks, of a sample now and one more than a second later."""
        self.collector.sample(ns(self.at))
        (sample,) = self.collector.sample(ns(self.at + 1.1))
        assert isinstance(sample, StrategySample)
        check_values(sample)
        return sample.cash_difference, sample.cash_breaks


def test_coins_are_paid_for_and_a_future_pays_its_result() -> None:
    desk = Desk()
    desk.report(1_000_000.0)
    desk.fill("BTC/USD", "buy", 60_000.0, 2, fee=12.0)
    desk.fill("ES", "buy", 5_000.0, 1, fee=2.0)
    desk.report(1_000_000.0 - 120_012 - 2)
    assert desk.found() == (0, 0)
    desk.fill("BTC/USD", "sell", 61_000.0, 1)
    desk.fill("ES", "sell", 5_010.0, 1)
    desk.flow("funding", -3.5)
    desk.flow("transfer", 10_000.0)
    desk.report(1_000_000.0 - 120_012 - 2 + 61_000 + 500 - 3.5 + 10_000)
    assert desk.found() == (pytest.approx(0), 0)


def test_yen_count_at_the_rates_of_their_time_and_a_thousandth_of_them_is_rounding() -> None:
    desk = Desk()
    desk.report(1_000.0)
    desk.fill("USD/JPY", "buy", 125.0, 100_000)
    desk.fill("USD/JPY", "sell", 126.0, 100_000)
    desk.report(1_000.0 + 100_000 / 125 + 0.5)
    assert desk.found() == (pytest.approx(0.5), 0)
    desk.report(1_000.0 + 100_000 / 125 + 1.5)
    assert desk.found() == (pytest.approx(1.5), 1)


def test_a_difference_lasts_whatever_is_reported_until_something_explains_it() -> None:
    desk = Desk()
    desk.report(1_000.0)
    desk.report(990.0)
    assert desk.found() == (-10, 1)
    desk.report(990.0)
    assert desk.found() == (-10, 1), "no report is a new beginning"
    desk.report(None)
    assert desk.found() == (-10, 1)
    desk.flow("adjustment", -10.0)
    desk.report(990.0)
    assert desk.found() == (0, 0)


def test_it_is_compared_when_the_report_is_not_older_than_the_newest_flow() -> None:
    desk = Desk()
    desk.report(1_000.0)
    desk.report(1_000.0)
    desk.fill("BTC/USD", "buy", 100.0, 1)
    assert desk.found() == (None, 0), "the report may not have it"
    desk.report(900.0)
    assert desk.found() == (0, 0)


def test_a_late_fill_from_before_the_first_report_is_in_it_and_one_from_after_is_not() -> None:
    desk = Desk()
    desk.at = 10
    desk.fill("BTC/USD", "buy", 100.0, 1, time_ns=ns(3))
    desk.report(1_000.0, time_ns=ns(5))
    desk.fill("BTC/USD", "buy", 100.0, 1, time_ns=ns(4))
    desk.report(1_000.0)
    assert desk.found() == (0, 0)
    desk.fill("BTC/USD", "sell", 150.0, 2, time_ns=ns(6))
    desk.report(1_300.0)
    assert desk.found() == (0, 0)


def test_a_bust_takes_the_payment_back_and_a_correction_changes_it() -> None:
    desk = Desk()
    desk.report(1_000.0)
    desk.fill("BTC/USD", "buy", 100.0, 2, fill_id="a")
    desk.fill("BTC/USD", "buy", 50.0, 1, fill_id="b")
    desk.fill("BTC/USD", "buy", 100.0, 2, fill_id="a", kind=FillKind.BUST)
    desk.fill("BTC/USD", "buy", 40.0, 1, fill_id="b", kind=FillKind.CORRECTION)
    desk.report(960.0)
    assert desk.found() == (0, 0)


def test_without_a_rate_or_after_a_purchase_in_another_currency_there_is_no_figure() -> None:
    desk = Desk()
    desk.report(1_000.0)
    desk.flow("interest", 5.0, currency="CHF")
    desk.report(1_000.0)
    assert desk.found() == (None, 0)
    other = Desk()
    other.take(Quote(time_ns=T0, venue="v", instrument="EUR/USD", bid=1.1, ask=1.1))
    other.report(1_000.0)
    other.fill("SAP", "buy", 100.0, 1)
    other.report(890.0)
    assert other.found() == (None, 0)


def test_accounts_are_compared_one_by_one() -> None:
    desk = Desk()
    for account, cash in (("a", 100.0), ("b", 200.0), ("a", 101.0), ("b", 199.0)):
        desk.report(cash, account=account)
    assert desk.found() == (0, 2)


_TRADE = st.tuples(
    st.sampled_from(["BTC/USD", "ES", "NEW"]), st.booleans(), st.integers(1, 9), st.integers(1, 500)
)


@given(st.lists(_TRADE, max_size=30))
def test_it_agrees_with_a_bot_that_keeps_its_own_books(trades: list[tuple[str, bool, int, int]]) -> None:
    desk = Desk()
    desk.report(10_000.0)
    cash = Fraction(10_000)
    held: dict[str, list[tuple[int, int]]] = {}
    for name, is_buy, quantity, price in trades:
        desk.fill(name, "buy" if is_buy else "sell", price, quantity, fee=0.25)
        signed = quantity if is_buy else -quantity
        cash -= Fraction(1, 4)
        if name == "ES":
            cash += 50 * _result(held.setdefault(name, []), signed, price)
        else:
            cash -= signed * price
    desk.report(float(cash))
    assert desk.found() == (pytest.approx(0, abs=1e-6), 0)


def _result(position: list[tuple[int, int]], signed: int, price: int) -> Fraction:
    """Books a trade into a position, a list of one (quantity, cost); returns what it realises."""
    quantity, cost = position.pop() if position else (0, 0)
    closing = 0
    if quantity and (quantity > 0) != (signed > 0):
        closing = min(abs(signed), abs(quantity)) * (1 if quantity > 0 else -1)
    share = Fraction(cost) * closing / quantity if closing else Fraction(0)
    opening = signed + closing
    position.append((quantity + signed, cost - share + opening * price))  # type: ignore[arg-type]
    return closing * price - share

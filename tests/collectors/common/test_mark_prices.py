"""Mark prices under any name of an instrument, and the rates between currencies now."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from collectors.common.mark_prices import MarkPrices, MarkPricesState
from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Instrument, InstrumentKind, Quote
from decahertz.key_budget import KeyBudget
from decahertz.rates import NoRate, Rate
from tests.collectors.parts import T0


def prices(limit: int = 100, **settings: Any) -> MarkPrices:  # noqa: ANN401 - any setting
    return MarkPrices(KeyBudget("x", limit, limit), AccountingSettings(**settings))


def quote(name: str, mid: float, received_ns: int = T0) -> tuple[Quote, int]:
    return Quote(time_ns=received_ns, venue="v", instrument=name, bid=mid, ask=mid), received_ns


def pair(name: str, *aliases: str, time_ns: int = T0) -> tuple[Instrument, int]:
    base, _, other = name.partition("/")
    definition = Instrument(
        time_ns=time_ns, venue="v", instrument=name, kind=InstrumentKind.SPOT, base_currency=base,
        quote_currency=other, aliases=aliases,
    )  # fmt: skip
    return definition, time_ns


@pytest.mark.parametrize(
    ("quoted", "held"),
    [("XBT/USD", "BTC/USD"), ("BTC/USD", "XBT/USD"), ("XXBTZUSD", "BTCUSD"), ("XDG/USD", "DOGE/USD")],
)
def test_quotes_mark_a_position_under_the_usual_code_of_its_currency(quoted: str, held: str) -> None:
    marks = prices()
    marks.take(*quote(quoted, 5.0))
    assert marks.price("v", held) == 5.0
    assert marks.price("w", held) is None
    assert marks.price("v", "ETH/USD") is None


def test_codes_of_the_settings_count_too() -> None:
    marks = prices(aliases=("SATS=BTC",))
    marks.take(*quote("SATS/USD", 5.0))
    assert marks.price("v", "BTC/USD") == 5.0


def test_an_alias_may_be_written_with_another_code_and_the_newest_definition_counts() -> None:
    marks = prices()
    marks.take(*quote("XBTUSD", 5.0))
    marks.define(*pair("BTC/USD", "BTCUSD"))
    assert marks.price("v", "BTC/USD") == 5.0
    marks.define(*pair("BTC/USD", time_ns=T0 + 1))
    assert marks.price("v", "BTC/USD") is None
    marks.define(*pair("BTC/USD", "BTCUSD"))
    assert marks.price("v", "BTC/USD") is None, "an older one changes nothing"


def test_a_rate_is_as_old_as_the_receipt_of_its_mid() -> None:
    marks = prices(rate_seconds=10.0)
    marks.define(*pair("EUR/USD"))
    marks.take(*quote("EUR/USD", 1.25))
    assert marks.rates.rate("EUR", T0 + 10 * NS_PER_SECOND) == Rate(1.25, T0, ("v EUR/USD",))
    assert isinstance(marks.rates.rate("EUR", T0 + 11 * NS_PER_SECOND), NoRate)


def test_a_checkpoint_holds_prices_and_definitions() -> None:
    marks = prices()
    marks.define(*pair("EUR/USD", "EURUSD"))
    marks.take(*quote("EURUSD", 1.25))
    data = msgspec.msgpack.encode(marks.state())
    again = prices()
    again.resume(msgspec.msgpack.decode(data, type=MarkPricesState))
    assert again.state() == marks.state()
    assert again.price("v", "EUR/USD") == 1.25
    assert again.rates.rate("EUR", T0) == marks.rates.rate("EUR", T0)
    assert again.definition("v", "EURUSD") == pair("EUR/USD", "EURUSD")[0]


def test_an_instrument_takes_one_key_of_the_budget_and_gives_it_back_when_idle() -> None:
    marks = prices(limit=2)
    marks.define(*pair("A/USD"))
    marks.take(*quote("A/USD", 1.0))
    marks.take(*quote("B/USD", 1.0))
    marks.take(*quote("C/USD", 1.0))
    marks.define(*pair("C/USD"))
    assert (marks.price("v", "C/USD"), marks.definition("v", "C/USD")) == (None, None)
    marks.retire(T0 + 1)
    assert marks.price("v", "A/USD") is None
    marks.take(*quote("C/USD", 1.0))
    assert marks.price("v", "C/USD") == 1.0, "the place of B, since A is still defined"
    marks.take(*quote("B/USD", 1.0))
    assert marks.price("v", "B/USD") is None

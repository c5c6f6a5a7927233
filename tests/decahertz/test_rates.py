"""Rates between currencies: which path of pairs is taken, and why there is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Instrument, InstrumentKind
from decahertz.rates import Mid, NoRate, Rate, Rates
from decahertz.testing import START_NS


class Market:
    """Pairs with their mids."""

    def __init__(self, currency: str = "USD", **settings: Any) -> None:  # noqa: ANN401 - any setting
        self.mids: dict[tuple[str, str], Mid] = {}
        self.rates = Rates(AccountingSettings(currency=currency, **settings), lambda *key: self.mids.get(key))

    def quote(
        self,
        name: str,
        price: float,
        *,
        venue: str = "v",
        kind: InstrumentKind = InstrumentKind.SPOT,
        time_ns: int = START_NS,
        **definition: Any,  # noqa: ANN401 - any field
    ) -> None:
        base, _, quote = name.partition("/")
        self.rates.define(
            Instrument(
                time_ns=START_NS,
                venue=venue,
                instrument=name,
                kind=kind,
                base_currency=base,
                quote_currency=quote,
                **definition,
            )
        )
        self.mids[venue, name] = Mid(price, time_ns)

    def rate(self, currency: str, at_ns: int = START_NS) -> Rate:
        rate = self.rates.rate(currency, at_ns)
        assert isinstance(rate, Rate), rate
        return rate

    def reason(self, currency: str, at_ns: int = START_NS) -> str:
        rate = self.rates.rate(currency, at_ns)
        assert isinstance(rate, NoRate), rate
        return rate.reason


def test_a_pair_counts_in_both_directions_and_the_account_currency_is_worth_one() -> None:
    market = Market()
    market.quote("EUR/USD", 1.1)
    market.quote("USD/JPY", 150.0)
    assert market.rate("USD") == Rate(1.0)
    assert market.rate("EUR") == Rate(1.1, START_NS, ("v EUR/USD",))
    assert market.rate("JPY") == Rate(1 / 150, START_NS, ("v USD/JPY",))


def test_a_path_leads_over_a_few_pairs_and_names_them() -> None:
    market = Market("EUR")
    market.quote("EUR/USD", 1.25)
    market.quote("USD/JPY", 160.0, time_ns=START_NS - 5)
    rate = market.rate("JPY")
    assert rate.value == pytest.approx(1 / 160 / 1.25)
    assert (rate.time_ns, rate.path) == (START_NS - 5, ("v USD/JPY", "v EUR/USD"))


def test_the_shortest_path_wins_and_of_a_pairs_instruments_spot_does() -> None:
    market = Market()
    market.quote("ETH/BTC", 0.05)
    market.quote("BTC/USD", 100_000.0, kind=InstrumentKind.PERPETUAL, venue="a")
    assert market.rate("ETH").path == ("v ETH/BTC", "a BTC/USD")
    market.quote("BTC/USD", 100_010.0)
    assert market.rate("ETH").path == ("v ETH/BTC", "v BTC/USD")
    market.quote("ETH/USD", 5_001.0)
    assert market.rate("ETH") == Rate(5_001.0, START_NS, ("v ETH/USD",))


def test_a_peg_counts_only_where_no_quote_of_its_pair_is_recorded() -> None:
    market = Market()
    market.quote("BTC/USDT", 100_000.0)
    assert market.rate("BTC") == Rate(100_000.0, START_NS, ("v BTC/USDT", "peg USDT=USD"))
    market.quote("USDT/USD", 0.9)
    assert market.rate("USDT") == Rate(0.9, START_NS, ("v USDT/USD",))
    later = START_NS + 3601 * NS_PER_SECOND
    assert market.reason("USDT", later) == (
        "no rate from USDT to USD: the mid of USDT/USD at v is 3601 s older"
    ), "a broken peg is not taken for whole because its quotes have stopped"
    assert Market(pegs=()).reason("USDT") == "no rate from USDT to USD: no quotes of a pair lead there"


def test_a_mid_far_from_the_time_does_not_count_whether_older_or_newer() -> None:
    market = Market(rate_seconds=10.0)
    market.quote("EUR/USD", 1.1)
    for seconds in (-10, 0, 10):
        assert market.rate("EUR", START_NS + seconds * NS_PER_SECOND).value == 1.1
    assert "is 11 s older" in market.reason("EUR", START_NS + 11 * NS_PER_SECOND)
    assert "is 11 s newer" in market.reason("EUR", START_NS - 11 * NS_PER_SECOND)
    market.quote("EUR/USD", 1.2, venue="w", time_ns=START_NS + 20 * NS_PER_SECOND)
    assert market.rate("EUR", START_NS + 15 * NS_PER_SECOND).path == ("w EUR/USD",)


@pytest.mark.parametrize("kind", [InstrumentKind.FUTURE, InstrumentKind.OPTION])
def test_what_is_delivered_later_is_no_pair(kind: InstrumentKind) -> None:
    market = Market()
    market.quote("EUR/USD", 1.1, kind=kind)
    assert "no quotes" in market.reason("EUR")


def test_a_definition_that_changes_changes_the_pair() -> None:
    market = Market()
    market.quote("EUR/USD", 1.1)
    market.rates.define(
        Instrument(
            time_ns=START_NS,
            venue="v",
            instrument="EUR/USD",
            kind=InstrumentKind.FX,
            base_currency="GBP",
            quote_currency="USD",
        )
    )
    assert market.rate("GBP").value == 1.1
    assert "no quotes" in market.reason("EUR")


def test_other_codes_of_a_currency_are_the_same_currency() -> None:
    market = Market()
    market.quote("XBT/USD", 100_000.0)
    assert market.rate("BTC").value == market.rate("XBT").value == market.rate("XXBT").value == 100_000.0
    assert market.rate("ZUSD") == Rate(1.0)
    own = Market(aliases=("SATS=BTC",))
    own.quote("BTC/USD", 2.0)
    assert own.rate("SATS").value == 2.0


_CODES = ["USD", "EUR", "JPY", "BTC", "ETH", "USDT"]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(_CODES), st.sampled_from(_CODES)).filter(lambda pair: pair[0] != pair[1]),
        st.booleans(),
        max_size=10,
    ),
    st.sampled_from(_CODES),
)
def test_rates_agree_with_the_prices_that_made_the_market(
    pairs: dict[tuple[str, str], bool], currency: str
) -> None:
    """Every currency has a price in gold; any path tells their ratio, in every order of the definitions."""
    gold = {"USD": 1.0, "EUR": 1.1, "JPY": 0.007, "BTC": 90_000.0, "ETH": 3_000.0, "USDT": 0.99}
    forward, backward = Market(pegs=()), Market(pegs=())
    for market, order in ((forward, list(pairs)), (backward, list(pairs)[::-1])):
        for base, quote in order:
            if pairs[base, quote]:
                market.quote(f"{base}/{quote}", gold[base] / gold[quote])
    rate = forward.rates.rate(currency, START_NS)
    assert rate == backward.rates.rate(currency, START_NS)
    if isinstance(rate, Rate):
        assert rate.value == pytest.approx(gold[currency])
    elif not any({currency, "USD"} == {*pair} for pair, quoted in pairs.items() if quoted):
        assert "no quotes" in rate.reason
    else:
        raise AssertionError(rate)

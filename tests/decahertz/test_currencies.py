"""Codes of currencies, alone and in the names of instruments."""

from __future__ import annotations

import pytest

from decahertz.currencies import CurrencyCodes


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("XBT/USD", "BTC/USD"),
        ("XBTUSD", "BTCUSD"),
        ("XBT-USDT", "BTC-USDT"),
        ("ETH/XBT", "ETH/BTC"),
        ("XXBTZUSD", "BTCUSD"),
        ("XETHXXBT", "ETHBTC"),
        ("XDG/USD", "DOGE/USD"),
        ("XDGUSD", "DOGEUSD"),
        ("BTC/USD", "BTC/USD"),
        ("ESZ6", "ESZ6"),
        ("XBTUSDTM", "XBTUSDTM"),
        ("XBTC", "XBTC"),
        ("XETHER/USD", "XETHER/USD"),
        ("EXBT/USD", "EXBT/USD"),
        ("1000PEPE/USDT:USDT", "1000PEPE/USDT:USDT"),
    ],
)
def test_a_name_is_written_with_the_usual_codes(name: str, usual: str) -> None:
    codes = CurrencyCodes()
    assert codes.name(name) == usual
    assert codes.name(name) == usual, "from memory too"


def test_own_codes_come_besides_the_well_known_ones() -> None:
    codes = CurrencyCodes(("BCC=BCH",))
    assert (codes.code("BCC"), codes.code("XBT"), codes.code("USD")) == ("BCH", "BTC", "USD")
    assert codes.name("BCC/USD") == "BCH/USD"

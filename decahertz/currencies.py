"""Codes of currencies: a currency has one code here, however a venue spells it."""

from __future__ import annotations

import re
from collections.abc import Iterable

WELL_KNOWN = {
    "XBT": "BTC",
    "XXBT": "BTC",
    "XDG": "DOGE",
    "XXDG": "DOGE",
    "XETH": "ETH",
    "XETC": "ETC",
    "XLTC": "LTC",
    "XXRP": "XRP",
    "XXLM": "XLM",
    "XXMR": "XMR",
    "XZEC": "ZEC",
    "ZUSD": "USD",
    "ZEUR": "EUR",
    "ZGBP": "GBP",
    "ZJPY": "JPY",
    "ZCAD": "CAD",
    "ZAUD": "AUD",
    "BCHABC": "BCH",
}
"""Other codes of some currencies, as Kraken, BitMEX and others use them."""

_REMEMBERED = 100_000
_QUOTES = r"(?:USD[TC]?|ZUSD|EUR|ZEUR|GBP|ZGBP|JPY|ZJPY|CAD|ZCAD|AUD|ZAUD|CHF|BTC|XBT|XXBT|ETH|XETH)"


class CurrencyCodes:
    """Finds the usual code of a currency, and the name of an instrument that is written with usual codes."""

    def __init__(self, aliases: Iterable[str] = ()) -> None:
        """``aliases`` are more of them, each as ``XBT=BTC``."""
        self._codes = WELL_KNOWN | dict(alias.split("=", 1) for alias in aliases)
        others = "|".join(sorted(map(re.escape, self._codes), key=len, reverse=True))
        # A code that stands alone in a name, or before the code of a common quote currency.
        self._code = re.compile(rf"(?<![A-Za-z0-9])(?:{others})(?=[^A-Za-z0-9]|$|{_QUOTES}(?![A-Za-z0-9]))")
        self._quote = re.compile(r"(?<=[A-Za-z0-9])(?:Z(?:USD|EUR|GBP|JPY|CAD|AUD)|XBT|XXBT)$")
        self._names: dict[str, str] = {}

    def code(self, currency: str) -> str:
        """The usual code of a currency: ``BTC`` of ``XBT``."""
        return self._codes.get(currency, currency)

    def name(self, instrument: str) -> str:
        """The name of an instrument with usual codes: ``BTC/USD`` of ``XBT/USD``."""
        name = self._names.get(instrument)
        if name is None:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            name = self._names[instrument] = self._name(instrument)
        return name

    def _name(self, instrument: str) -> str:
        name = self._code.sub(lambda found: self._codes[found[0]], instrument)
        return self._quote.sub(lambda found: self._codes[found[0]], name) if name != instrument else name

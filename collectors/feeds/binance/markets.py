"""The markets of Binance: each is a venue of its own, with its own instruments of the same names.

The streams do not define instruments, so definitions are read off the symbols:

* spot ``BTCUSDT``: base and quote currency;
* USD-M ``BTCUSDT``: a perpetual swap, settled in the quote currency; ``BTCUSDT_260327`` expires on that day;
* COIN-M ``BTCUSD_PERP``, ``BTCUSD_260327``: inverse contracts of 100 USD (BTC) or 10 USD (all others), as in
  https://www.binance.com/en/support/faq/detail/360039304272; quantities are contracts.

Tick and lot sizes are not in the symbols. The user's file of instruments can add them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from msgspec import Struct

from decahertz.clock import from_datetime
from decahertz.event import Instrument, InstrumentKind

# fmt: off
_QUOTES = (
    "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USD1", "USDS", "DAI", "EURI", "AEUR", "USD", "EUR",
    "GBP", "AUD", "JPY", "TRY", "BRL", "ARS", "COP", "MXN", "PLN", "RON", "CZK", "UAH", "ZAR", "NGN", "RUB",
    "IDRT", "BIDR", "BKRW", "BVND", "BTC", "ETH", "BNB", "XRP", "TRX", "DOT", "DOGE", "SOL",
)
# fmt: on
_FUTURE = re.compile(r"([A-Z0-9]+?)(?:_(\d{6})|_(PERP))?")
_EXPIRY_HOUR = 8
_BTC_CONTRACT_USD, _CONTRACT_USD = 100.0, 10.0


class BinanceMarket(Struct, frozen=True):
    """One market."""

    venue: str
    url: str
    """Its public combined streams."""
    has_futures: bool = False
    is_inverse: bool = False

    def definition(self, symbol: str, time_ns: int) -> Instrument | None:
        """Returns the definition of a symbol; ``None`` if it does not tell its currencies."""
        found = _FUTURE.fullmatch(symbol) if self.has_futures else None
        pair = symbol if found is None else found[1]
        currencies = _currencies(pair)
        if currencies is None:
            return None
        base, quote = currencies
        expiry_ns = None if found is None or found[2] is None else _expiry_ns(found[2])
        kind = InstrumentKind.SPOT
        if self.has_futures:
            kind = InstrumentKind.PERPETUAL if expiry_ns is None else InstrumentKind.FUTURE
        multiplier = 1.0
        if self.is_inverse:
            multiplier = _BTC_CONTRACT_USD if base == "BTC" else _CONTRACT_USD
        return Instrument(
            time_ns=time_ns,
            venue=self.venue,
            instrument=symbol,
            kind=kind,
            base_currency=base,
            quote_currency=quote,
            multiplier=multiplier,
            inverse=self.is_inverse,
            expiry_ns=expiry_ns,
        )


SPOT = BinanceMarket("binance", "wss://stream.binance.com:9443/stream")
US = BinanceMarket("binance-us", "wss://stream.binance.us:9443/stream")
USDM = BinanceMarket("binance-usdm", "wss://fstream.binance.com/stream", has_futures=True)
COINM = BinanceMarket("binance-coinm", "wss://dstream.binance.com/stream", has_futures=True, is_inverse=True)


def market_of(host: str) -> BinanceMarket:
    """Returns the market whose streams a host has: ``fstream.binance.com`` has those of USD-M."""
    if host.endswith("binance.us"):
        return US
    for start, market in (("fstream", USDM), ("dstream", COINM)):
        if host.startswith(start):
            return market
    return SPOT


def _currencies(pair: str) -> tuple[str, str] | None:
    for quote in _QUOTES:
        if pair.endswith(quote) and len(pair) > len(quote):
            return pair.removesuffix(quote), quote
    return None


def _expiry_ns(day: str) -> int | None:
    try:
        date = datetime.strptime(day, "%y%m%d").replace(hour=_EXPIRY_HOUR, tzinfo=UTC)
    except ValueError:
        return None
    return from_datetime(date)

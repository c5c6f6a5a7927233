"""The provider ``binance``: Binance spot markets over the public REST API.

Compared in 2026 with ``rest-api.md`` ("24hr ticker price change statistics", "HTTP Return Codes", "IP
Limits") and ``errors.md`` of https://github.com/binance/binance-spot-api-docs. A call for one symbol has the
weight 2, of 6,000 a minute for each address: 50 calls a second.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
from msgspec import Meta, Struct

from decahertz.event import InstrumentKind
from decahertz.provider import (
    InvalidAnswerError,
    MarketData,
    ProviderOptions,
    UnknownSymbolError,
    decimal_text,
    price_text,
)
from decahertz.rest_provider import HttpUrl, RestOptions, RestProvider

if TYPE_CHECKING:
    import aiohttp

_PATH: Final = "/api/v3/ticker/24hr"
_NS_PER_MILLISECOND: Final = 1_000_000
_UNKNOWN: Final = frozenset({-1100, -1121})
"""Codes of a symbol that does not exist, and of one that cannot: too long, or of other characters."""


class BinanceOptions(RestOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[providers.binance]``."""

    url: Annotated[HttpUrl, Meta(description="Address of the REST API.")] = "https://api.binance.com"
    requests_per_second: Annotated[
        float, Meta(ge=0, le=1e6, description="Calls a second; 0: any number.")
    ] = 40.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls at once after a pause.")] = 40


class Ticker(Struct, frozen=True, rename="camel"):
    """The answer of ``/api/v3/ticker/24hr`` for one symbol."""

    symbol: str
    last_price: Decimal
    bid_price: Decimal
    bid_qty: Decimal
    ask_price: Decimal
    ask_qty: Decimal
    volume: Decimal
    close_time: int
    """End of the 24 hours: now, in milliseconds."""


class Refusal(Struct, frozen=True):
    """The body of a response with a status above 399."""

    code: int


class BinanceProvider(RestProvider[BinanceOptions]):
    """Pairs as base and quote, ``BTC/USDT``. Names of a few assets are not ASCII."""

    name: ClassVar[str] = "binance"
    options_type: ClassVar[type[ProviderOptions]] = BinanceOptions
    symbol_pattern: ClassVar[str] = r"[A-Z0-9\u0080-\uffff]{1,20}/[A-Z0-9\u0080-\uffff]{1,20}"

    async def fetch(self, symbol: str) -> MarketData:
        """The ticker of a pair."""
        own_name = symbol.replace("/", "")
        ticker = await self.get(_PATH, Ticker, {"symbol": own_name})
        if ticker.symbol != own_name:
            raise InvalidAnswerError(f"{self.host}: the answer is about {ticker.symbol!r}")
        return MarketData(
            symbol=symbol,
            kind=InstrumentKind.SPOT,
            exchange="binance",
            currency=symbol.partition("/")[2],
            price=price_text(ticker.last_price),
            bid=price_text(ticker.bid_price),
            ask=price_text(ticker.ask_price),
            bid_size=decimal_text(ticker.bid_qty),
            ask_size=decimal_text(ticker.ask_qty),
            volume_24h=decimal_text(ticker.volume),
            source=self.source(_PATH),
            time_ns=ticker.close_time * _NS_PER_MILLISECOND,
        )

    def problem(self, response: aiohttp.ClientResponse, body: bytes) -> Exception:
        """As for every REST API; an unknown symbol has the status 400."""
        try:
            code = msgspec.json.decode(body, type=Refusal).code
        except (msgspec.MsgspecError, UnicodeError):
            code = 0
        if code in _UNKNOWN:
            return UnknownSymbolError(f"{self.host} does not know the symbol")
        return super().problem(response, body)

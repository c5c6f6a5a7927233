"""The provider ``coinbase``: Coinbase Exchange over its public REST API.

Compared in 2026 with
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-ticker and
https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits: 10 requests a second by address, 15 in bursts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from decahertz.clock import TimeFormatError, parse_time
from decahertz.event import InstrumentKind
from decahertz.provider import (
    InvalidAnswerError,
    MarketData,
    ProviderOptions,
    decimal_text,
    price_text,
)
from decahertz.rest_provider import HttpUrl, RestOptions, RestProvider


class CoinbaseOptions(RestOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[providers.coinbase]``."""

    url: Annotated[HttpUrl, Meta(description="Address of the REST API.")] = (
        "https://api.exchange.coinbase.com"
    )
    requests_per_second: Annotated[
        float, Meta(ge=0, le=1e6, description="Calls a second; 0: any number.")
    ] = 10.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls at once after a pause.")] = 15


class Ticker(Struct, frozen=True):
    """The answer of ``/products/{id}/ticker``."""

    price: Decimal
    bid: Decimal
    ask: Decimal
    volume: Decimal
    time: str
    """Time of the last trade, not of bid and ask; up to nine digits of the second."""


class CoinbaseProvider(RestProvider[CoinbaseOptions]):
    """Products by their id, ``BTC-USD``."""

    name: ClassVar[str] = "coinbase"
    options_type: ClassVar[type[ProviderOptions]] = CoinbaseOptions
    symbol_pattern: ClassVar[str] = r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}"

    async def fetch(self, symbol: str) -> MarketData:
        """The ticker of a product."""
        path = f"/products/{symbol}/ticker"
        ticker = await self.get(path, Ticker)
        try:
            time_ns = parse_time(ticker.time)
        except TimeFormatError as error:
            raise InvalidAnswerError(str(error)) from error
        return MarketData(
            symbol=symbol,
            kind=InstrumentKind.SPOT,
            exchange="coinbase",
            currency=symbol.partition("-")[2],
            price=price_text(ticker.price),
            bid=price_text(ticker.bid),
            ask=price_text(ticker.ask),
            volume_24h=decimal_text(ticker.volume),
            source=self.source(path),
            time_ns=time_ns,
        )

"""The feed ``binance``: Binance spot over its public combined streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.binance.messages import BinanceDecoder, StreamMessage
from collectors.feeds.websocket import Url, WebSocketFeed, WebSocketOptions
from decahertz.event import Name

_REQUEST_ID = 1


class BinanceOptions(WebSocketOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[feeds.binance]`` of the settings."""

    url: Url = "wss://stream.binance.com:9443/stream"
    symbols: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="Symbols to subscribe to."),
    ] = ("BTCUSDT", "ETHUSDT")
    streams: Annotated[
        tuple[Literal["bookTicker", "aggTrade"], ...],
        Meta(min_length=1, description="bookTicker (quotes), aggTrade (ticks)."),
    ] = ("bookTicker", "aggTrade")


class BinanceFeed(WebSocketFeed[BinanceOptions, StreamMessage]):
    """Quotes and ticks of Binance spot."""

    name: ClassVar[str] = "binance"
    options_type: ClassVar[type[Struct]] = BinanceOptions
    decoder_type = BinanceDecoder
    has_ping: ClassVar[bool] = True  # one every 20 s

    def instruments(self) -> Sequence[str]:
        """Returns the symbols."""
        return [symbol.upper() for symbol in self.options.symbols]

    def subscribe(self) -> Sequence[str]:
        """Returns one request for all symbols and streams."""
        options = self.options
        streams = [f"{symbol.lower()}@{stream}" for symbol in options.symbols for stream in options.streams]
        request = {"method": "SUBSCRIBE", "params": streams, "id": _REQUEST_ID}
        return [msgspec.json.encode(request).decode()]

    def check(self, message: StreamMessage) -> None:
        """Confirms when Binance answers the request; it does not answer for each symbol."""
        if message.error is not None:
            raise self.refused(f"{message.error.msg} (code {message.error.code})")
        if message.id == _REQUEST_ID:
            self.confirm()

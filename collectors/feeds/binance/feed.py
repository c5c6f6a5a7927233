"""The feed ``binance``: one of the markets of Binance over its public combined streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.binance.markets import COINM, SPOT, US, USDM
from collectors.feeds.binance.messages import DECODERS, BinanceDecoder, StreamMessage
from collectors.feeds.websocket import WebSocketFeed, WebSocketOptions
from decahertz.event import Name

_REQUEST_ID = 1


class BinanceOptions(WebSocketOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[feeds.binance]`` of the settings."""

    market: Annotated[
        Literal["spot", "us", "usdm", "coinm"],
        Meta(
            description="spot, us (Binance.US), usdm (USD-M futures) or coinm (COIN-M futures); each is a"
            " venue of its own."
        ),
    ] = "spot"
    url: Annotated[
        str,
        Meta(
            pattern=r"^(?:wss?://[^\s]+)?$",
            description="Address of the venue's WebSocket; empty: that of the market.",
        ),
    ] = ""
    symbols: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="Symbols to subscribe to."),
    ] = ("BTCUSDT", "ETHUSDT")
    streams: Annotated[
        tuple[Literal["bookTicker", "aggTrade"], ...],
        Meta(min_length=1, description="bookTicker (quotes), aggTrade (ticks)."),
    ] = ("bookTicker", "aggTrade")


_MARKETS = {"spot": SPOT, "us": US, "usdm": USDM, "coinm": COINM}


class BinanceFeed(WebSocketFeed[BinanceOptions, StreamMessage]):
    """Quotes and ticks of one market of Binance."""

    name: ClassVar[str] = "binance"
    options_type: ClassVar[type[Struct]] = BinanceOptions
    has_ping: ClassVar[bool] = True  # one every 20 s

    @property
    def url(self) -> str:
        """The address in the options, or that of the market."""
        return self.options.url or _MARKETS[self.options.market].url

    def make_decoder(self) -> BinanceDecoder:
        """Returns a new decoder of the market."""
        return DECODERS[_MARKETS[self.options.market].venue]()

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

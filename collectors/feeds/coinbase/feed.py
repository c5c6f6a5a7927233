"""The feed ``coinbase``: Coinbase Exchange over its public WebSocket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.coinbase.decoder import CoinbaseDecoder
from collectors.feeds.coinbase.messages import AnyMessage, Error, Subscriptions
from collectors.feeds.websocket import Url, WebSocketFeed, WebSocketOptions
from decahertz.event import Name

_ALIASES = {"level2_50": "level2_batch"}
"""Channel names in confirmations that differ from the names subscribed to."""

ChannelName = Literal["status", "ticker", "matches", "level2", "level2_batch", "heartbeat"]


class CoinbaseOptions(WebSocketOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[feeds.coinbase]`` of the settings."""

    url: Url = "wss://ws-feed.exchange.coinbase.com"
    products: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="Products to subscribe to."),
    ] = ("BTC-USD", "ETH-USD")
    channels: Annotated[
        tuple[ChannelName, ...],
        Meta(
            min_length=1,
            description="status, ticker, matches, level2 (requires a login), level2_batch, heartbeat.",
        ),
    ] = ("status", "ticker", "matches", "level2_batch", "heartbeat")


class CoinbaseFeed(WebSocketFeed[CoinbaseOptions, AnyMessage | None]):
    """Quotes, ticks and instrument definitions of Coinbase Exchange."""

    name: ClassVar[str] = "coinbase"
    options_type: ClassVar[type[Struct]] = CoinbaseOptions
    decoder_type = CoinbaseDecoder

    def instruments(self) -> Sequence[str]:
        """Returns the products."""
        return self.options.products

    def subscribe(self) -> Sequence[str]:
        """Returns one request for all products and channels."""
        request = {
            "type": "subscribe",
            "product_ids": self.options.products,
            "channels": self.options.channels,
        }
        return [msgspec.json.encode(request).decode()]

    def resubscribe(self, instrument: str) -> Sequence[str]:
        """Ends and renews the subscription of one product."""
        request = {"product_ids": [instrument], "channels": self.options.channels}
        return [
            msgspec.json.encode({"type": type_, **request}).decode() for type_ in ("unsubscribe", "subscribe")
        ]

    def check(self, message: AnyMessage | None) -> None:
        """Confirms once the venue lists every product under every channel; ``status`` has no products."""
        if isinstance(message, Error):
            raise self.refused(f"{message.message} {message.reason}")
        if not isinstance(message, Subscriptions):
            return
        confirmed: dict[str, set[str]] = {}
        for channel in message.channels:
            products = confirmed.setdefault(_ALIASES.get(channel.name, channel.name), set())
            products.update(channel.product_ids or ())
        wanted = set(self.options.products)
        channels = set(self.options.channels) - {"status"}
        if all(wanted <= confirmed.get(channel, set()) for channel in channels):
            self.confirm()

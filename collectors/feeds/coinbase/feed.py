"""The feed ``coinbase``: Coinbase Exchange over its public WebSocket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.coinbase.messages import AnyMessage, CoinbaseDecoder, Error, Subscriptions
from collectors.feeds.websocket import Url, WebSocketFeed, WebSocketOptions
from decahertz.event import Name

_ALIASES = {"level2_50": "level2_batch"}
"""Channel names in confirmations that differ from the names subscribed to."""

ChannelName = Literal["ticker", "matches", "level2", "level2_batch", "heartbeat"]


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
            description="ticker, matches, level2 (requires a login), level2_batch, heartbeat.",
        ),
    ] = ("ticker", "matches", "level2_batch", "heartbeat")


class CoinbaseFeed(WebSocketFeed[CoinbaseOptions, AnyMessage | None]):
    """Quotes and ticks of Coinbase Exchange."""

    name: ClassVar[str] = "coinbase"
    options_type: ClassVar[type[Struct]] = CoinbaseOptions
    decoder_type = CoinbaseDecoder

    def subscribe(self) -> Sequence[str]:
        """Return one request for all products and channels."""
        request = {
            "type": "subscribe",
            "product_ids": self.options.products,
            "channels": self.options.channels,
        }
        return [msgspec.json.encode(request).decode()]

    def check(self, message: AnyMessage | None) -> None:
        """Confirm once the venue lists every product under every channel."""
        if isinstance(message, Error):
            raise self.refused(f"{message.message} {message.reason}")
        if not isinstance(message, Subscriptions):
            return
        confirmed: dict[str, set[str]] = {}
        for channel in message.channels:
            confirmed.setdefault(_ALIASES.get(channel.name, channel.name), set()).update(channel.product_ids)
        wanted = set(self.options.products)
        if all(wanted <= confirmed.get(channel, set()) for channel in self.options.channels):
            self.confirm()

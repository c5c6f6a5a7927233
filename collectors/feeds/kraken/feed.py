"""The feed ``kraken``: Kraken spot over its public WebSocket, version 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.kraken.messages import AnyMessage, KrakenDecoder, Status
from collectors.feeds.websocket import Url, WebSocketFeed, WebSocketOptions
from decahertz.event import Name


class KrakenOptions(WebSocketOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[feeds.kraken]`` of the settings."""

    url: Url = "wss://ws.kraken.com"
    pairs: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="Pairs to subscribe to, by their WebSocket names."),
    ] = ("XBT/USD", "ETH/USD")
    channels: Annotated[
        tuple[Literal["book", "trade"], ...],
        Meta(min_length=1, description="book (quotes), trade (ticks)."),
    ] = ("book", "trade")
    book_depth: Annotated[
        Literal[10, 25, 100, 500, 1000],
        Meta(description="Levels of the book on each side: 10, 25, 100, 500 or 1000."),
    ] = 10


class KrakenFeed(WebSocketFeed[KrakenOptions, AnyMessage]):
    """Quotes and ticks of Kraken."""

    name: ClassVar[str] = "kraken"
    options_type: ClassVar[type[Struct]] = KrakenOptions
    decoder_type = KrakenDecoder
    _unconfirmed: set[tuple[str, str]]

    def instruments(self) -> Sequence[str]:
        """Returns the pairs."""
        return self.options.pairs

    def subscribe(self) -> Sequence[str]:
        """Returns one request per channel."""
        options = self.options
        self._unconfirmed = {(channel, pair) for channel in options.channels for pair in options.pairs}
        return [self._request("subscribe", channel, options.pairs) for channel in options.channels]

    def resubscribe(self, instrument: str) -> Sequence[str]:
        """Ends and renews the subscription of one pair."""
        return [
            self._request(event, channel, [instrument])
            for event in ("unsubscribe", "subscribe")
            for channel in self.options.channels
        ]

    def _request(self, event: str, channel: str, pairs: Sequence[str]) -> str:
        depth = {"depth": self.options.book_depth} if channel == "book" else {}
        request = {"event": event, "pair": pairs, "subscription": {"name": channel, **depth}}
        return msgspec.json.encode(request).decode()

    def check(self, message: AnyMessage) -> None:
        """Confirms once every pair is subscribed on every channel: Kraken answers for each of them."""
        if not isinstance(message, Status) or message.event != "subscriptionStatus":
            return
        if message.status == "error":
            raise self.refused(f"{message.error} ({message.pair})")
        if message.status == "subscribed":
            self._unconfirmed.discard((message.subscription.name, message.pair))
            if not self._unconfirmed:
                self.confirm()

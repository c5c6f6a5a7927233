"""Messages of the Coinbase Exchange WebSocket feed.

Source: https://docs.cdp.coinbase.com/exchange/websocket-feed (channels ``status``, ``ticker``, ``matches``,
``level2``, ``level2_batch``, ``heartbeat``).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.messages import MalformedMessageError
from decahertz.event import Identifier, Name, Number, Side, Size

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
_Level: TypeAlias = tuple[Number, Size]


class Message(Struct, frozen=True, tag_field="type", tag=str.lower):
    """Base of the messages."""


class Channel(Struct, frozen=True):
    """A channel of a subscription."""

    name: str
    product_ids: tuple[str, ...] | None = None
    """``None`` for a channel without products."""


class Subscriptions(Message, frozen=True):
    """All current subscriptions of the connection: the answer to a subscription."""

    channels: tuple[Channel, ...]


class Error(Message, frozen=True):
    """A refused request."""

    message: str
    reason: str = ""


class VenueHeartbeat(Message, frozen=True, tag="heartbeat"):
    """Sent once a second for each product of the channel ``heartbeat``; names its last trade."""

    product_id: Name
    last_trade_id: _Id | None = None
    time: str | None = None


class Ticker(Message, frozen=True):
    """Best bid and ask after a trade. Old messages have no time, those before 2022 no sizes."""

    product_id: Name
    sequence: _Id
    best_bid: Number
    best_ask: Number
    best_bid_size: Size | None = None
    best_ask_size: Size | None = None
    time: str | None = None


class Match(Message, frozen=True):
    """A trade; ``side`` is the maker's."""

    product_id: Name
    sequence: _Id
    trade_id: _Id
    price: Number
    size: Size
    side: Side
    time: str


class LastMatch(Match, frozen=True, tag="last_match"):
    """The last trade before the subscription."""


class Snapshot(Message, frozen=True):
    """All levels of a product's order book."""

    product_id: Name
    bids: tuple[_Level, ...]
    asks: tuple[_Level, ...]


class L2Update(Message, frozen=True):
    """New sizes of some levels; a size of zero deletes the level."""

    product_id: Name
    changes: tuple[tuple[Literal["buy", "sell"], Number, Size], ...]
    time: str | None = None


class Product(Struct, frozen=True):
    """The definition of a product; the increments are the steps of price and size."""

    id: str
    base_currency: str
    quote_currency: str
    quote_increment: Number
    base_increment: Number
    display_name: str = ""


class Status(Message, frozen=True):
    """All products of the exchange."""

    products: tuple[Product, ...]


AnyMessage: TypeAlias = (
    Subscriptions | Error | VenueHeartbeat | Ticker | Match | LastMatch | Snapshot | L2Update | Status
)


class _Header(Struct, frozen=True):
    type: Identifier


# Prices arrive as strings; lax mode converts them to numbers.
_DECODER = msgspec.json.Decoder(AnyMessage, strict=False)
_HEADER = msgspec.json.Decoder(_Header)
_KNOWN = frozenset(struct.__struct_config__.tag for struct in get_args(AnyMessage))


def parse(raw: bytes | str) -> AnyMessage | None:
    """Parses one message; returns ``None`` for other types. Raises :class:`MalformedMessageError`."""
    try:
        message: AnyMessage = _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeError) as error:
        try:
            if _HEADER.decode(raw).type not in _KNOWN:
                return None
        except (msgspec.MsgspecError, UnicodeError):
            pass
        raise MalformedMessageError(str(error)) from error
    return message

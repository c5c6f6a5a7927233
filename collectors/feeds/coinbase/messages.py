"""Messages of the Coinbase Exchange WebSocket feed, and their decoder.

Source: https://docs.cdp.coinbase.com/exchange/websocket-feed (channels ``ticker``, ``matches``,
``level2``, ``level2_batch``, ``heartbeat``).

* ``ticker`` becomes a :class:`Quote` with the venue's ``sequence``. The trade in it also arrives as a
  ``match`` and is not counted twice. The first ticker of a subscription is as old as the last trade.
* ``match`` becomes a :class:`Tick` with ``sequence`` and ``trade_id``. Coinbase sends the maker's side, the
  tick has the aggressor's. Trade ids of a product are contiguous, so a skipped one is a lost trade.
* ``last_match`` repeats the last trade before the subscription. If that trade is new it becomes a
  :class:`Tick` with ``trade_id`` but *without* ``sequence``: it provides the last price, reveals the trades
  missed during a reconnect, and stays distinguishable from the matches of the stream.
* ``snapshot`` and ``l2update`` maintain the order book; a change of its top becomes a :class:`Quote` without
  ``sequence``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.messages import MalformedMessageError, Numbering, VenueDecoder
from collectors.feeds.order_book import OrderBook, TopOfBook
from decahertz.clock import TimeFormatError, parse_time
from decahertz.event import AnyEvent, Identifier, Name, Number, Quote, Side, Size, Tick

VENUE = "coinbase"

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
_Level: TypeAlias = tuple[Number, Size]


class Message(Struct, frozen=True, tag_field="type", tag=str.lower):
    """Base of the messages."""


class Channel(Struct, frozen=True):
    """A channel of a subscription."""

    name: str
    product_ids: tuple[str, ...] = ()


class Subscriptions(Message, frozen=True):
    """All current subscriptions of the connection: the answer to a subscription."""

    channels: tuple[Channel, ...]


class Error(Message, frozen=True):
    """A refused request."""

    message: str
    reason: str = ""


class VenueHeartbeat(Message, frozen=True, tag="heartbeat"):
    """Sent once a second for each product of the channel ``heartbeat``."""

    product_id: Name


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


AnyMessage: TypeAlias = (
    Subscriptions | Error | VenueHeartbeat | Ticker | Match | LastMatch | Snapshot | L2Update
)


class _Header(Struct, frozen=True):
    type: Identifier


# Prices arrive as strings; lax mode converts them to numbers.
_DECODER = msgspec.json.Decoder(AnyMessage, strict=False)
_HEADER = msgspec.json.Decoder(_Header)
_KNOWN = frozenset(
    {"subscriptions", "error", "heartbeat", "ticker", "match", "last_match", "snapshot", "l2update"},
)


class CoinbaseDecoder(VenueDecoder[AnyMessage | None]):
    """Order books, last sequence numbers and last trades of all products.

    :meth:`parse` returns ``None`` for message types that are not decoded.
    """

    venue: ClassVar[str] = VENUE

    def __init__(self) -> None:
        super().__init__()
        self._sequences = Numbering(self.counts)
        self._trades = Numbering(self.counts, contiguous=True)
        self._books: dict[str, OrderBook] = {}
        self._tops: dict[str, TopOfBook] = {}
        self._with_ticker: set[str] = set()
        """Products with a ticker on the current connection."""

    def reconnected(self) -> None:
        """Discard the order books; sequence numbers and trade ids continue."""
        self._books.clear()
        self._tops.clear()
        self._with_ticker.clear()

    def parse(self, raw: bytes | str) -> AnyMessage | None:
        """Parse one message. Raises :class:`MalformedMessageError`."""
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

    def events(self, message: AnyMessage | None, received_ns: int) -> list[AnyEvent]:
        """Return the events of a message. Raises :class:`MalformedMessageError` for an invalid time."""
        self.counts["messages"] += 1
        match message:
            case LastMatch():
                return self._last_match(message)
            case Match():
                return self._match(message)
            case Ticker():
                return self._ticker(message, received_ns)
            case Snapshot():
                return self._snapshot(message, received_ns)
            case L2Update():
                return self._update(message, received_ns)
            case None:
                self.counts["ignored"] += 1
        return []

    def _match(self, message: Match) -> list[AnyEvent]:
        time_ns = _time(message.time)
        product = message.product_id
        if self._sequences.take(("match", product), message.sequence) is None:
            return []
        missed = self._trades.take(product, message.trade_id)
        if missed is None:
            return []
        return [self._tick(message, time_ns, missed, message.sequence)]

    def _last_match(self, message: LastMatch) -> list[AnyEvent]:
        time_ns = _time(message.time)
        if message.trade_id == self._trades.last(message.product_id):
            return []  # no trade since the last connection
        missed = self._trades.take(message.product_id, message.trade_id)
        if missed is None:
            return []
        return [self._tick(message, time_ns, missed, None)]

    def _tick(self, message: Match, time_ns: int, missed: int, sequence: int | None) -> Tick:
        return Tick(
            time_ns=time_ns,
            venue=VENUE,
            instrument=message.product_id,
            sequence=sequence,
            missed=missed,
            price=message.price,
            size=message.size,
            side=Side.SELL if message.side is Side.BUY else Side.BUY,
            trade_id=str(message.trade_id),
        )

    def _ticker(self, message: Ticker, received_ns: int) -> list[AnyEvent]:
        time_ns = received_ns if message.time is None else _time(message.time)
        product = message.product_id
        stream = ("ticker", product)
        is_first = product not in self._with_ticker
        self._with_ticker.add(product)
        if is_first and message.sequence == self._sequences.last(stream):
            return []  # no trade since the last connection
        if self._sequences.take(stream, message.sequence) is None:
            return []
        top = self._tops.get(product) or TopOfBook()
        same_prices = (top.bid, top.ask) == (message.best_bid, message.best_ask)
        quote = Quote(
            time_ns=time_ns,
            venue=VENUE,
            instrument=product,
            sequence=message.sequence,
            bid=message.best_bid,
            ask=message.best_ask,
            bid_size=_size(message.best_bid_size, top.bid_size, at_same_price=top.bid == message.best_bid),
            ask_size=_size(message.best_ask_size, top.ask_size, at_same_price=top.ask == message.best_ask),
        )
        book = self._books.get(product)
        if book is None or same_prices or time_ns >= book.time_ns:
            return [quote]
        # The ticker is older than the book: repeat the top of the book so that it stays the newest quote.
        return [quote, _quote(product, book)]

    def _snapshot(self, message: Snapshot, received_ns: int) -> list[AnyEvent]:
        book = OrderBook()
        book.bids.replace(message.bids)
        book.asks.replace(message.asks)
        book.time_ns = received_ns
        self._books[message.product_id] = book
        return self._changed(message.product_id, book)

    def _update(self, message: L2Update, received_ns: int) -> list[AnyEvent]:
        book = self._books.get(message.product_id)
        if book is None:
            self.counts["without_snapshot"] += 1
            return []
        time_ns = received_ns if message.time is None else _time(message.time)
        for side, price, size in message.changes:
            (book.bids if side == "buy" else book.asks).set(price, size)
        book.time_ns = time_ns
        return self._changed(message.product_id, book)

    def _changed(self, product: str, book: OrderBook) -> list[AnyEvent]:
        top = book.top
        if self._tops.get(product) == top:
            return []
        self._tops[product] = top
        return [_quote(product, book)]


def _quote(product: str, book: OrderBook) -> Quote:
    top = book.top
    return Quote(
        time_ns=book.time_ns,
        venue=VENUE,
        instrument=product,
        bid=top.bid,
        ask=top.ask,
        bid_size=top.bid_size,
        ask_size=top.ask_size,
    )


def _size(ticker: float | None, book: float | None, *, at_same_price: bool) -> float | None:
    """Return the ticker's size, or without one the book's size at the same price."""
    if ticker is not None:
        return ticker
    return book if at_same_price else None


def _time(text: str) -> int:
    try:
        time_ns = parse_time(text)
    except TimeFormatError as error:
        raise MalformedMessageError(str(error)) from error
    if time_ns <= 0:
        raise MalformedMessageError(f"time {text!r} is before 1970")
    return time_ns

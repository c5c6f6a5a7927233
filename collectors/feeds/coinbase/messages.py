"""Messages of the Coinbase Exchange WebSocket feed, and the events they mean.

Source: https://docs.cdp.coinbase.com/exchange/websocket-feed (channels ``ticker``, ``matches``,
``level2``, ``level2_batch``, ``heartbeat``).

* ``ticker`` is a :class:`Quote` that carries the venue's ``sequence``. The trade in it comes as a
  ``match`` too and is not taken twice. The first ticker of a subscription is as old as the last trade.
* ``match`` is a :class:`Tick` with ``sequence`` and ``trade_id``; ``side`` is turned round, because
  Coinbase names the maker's. Trade ids of a product have no holes, so a skipped one is a loss.
* ``last_match`` repeats the trade before the subscription: a :class:`Tick` with a ``trade_id`` but
  *without* ``sequence``, only if that trade was not seen before. So it gives the last price, tells what a
  reconnect missed, and is told from the matches of the stream.
* ``snapshot`` and ``l2update`` keep a book; a change at its top is a :class:`Quote` without ``sequence``.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.book import Book, Top
from collectors.feeds.messages import MalformedMessageError, Numbering
from decahertz.clock import TimeFormatError, parse_time
from decahertz.event import AnyEvent, Identifier, Name, Number, Quote, Side, Size, Tick

VENUE = "coinbase"

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
_Level: TypeAlias = tuple[Number, Size]


class Message(Struct, frozen=True, tag_field="type", tag=str.lower):
    """Base of the messages that are understood."""


class Channel(Struct, frozen=True):
    """A channel of a subscription."""

    name: str
    product_ids: tuple[str, ...] = ()


class Subscriptions(Message, frozen=True):
    """What the connection is subscribed to, all told."""

    channels: tuple[Channel, ...]


class Error(Message, frozen=True):
    """A refusal."""

    message: str
    reason: str = ""


class Alive(Message, frozen=True, tag="heartbeat"):
    """The channel ``heartbeat``: one a second and product."""

    product_id: Name


class Ticker(Message, frozen=True):
    """Best bid and ask after a trade. Old ones lack the time, those before 2022 the sizes."""

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
    """The whole book of a product."""

    product_id: Name
    bids: tuple[_Level, ...]
    asks: tuple[_Level, ...]


class L2Update(Message, frozen=True):
    """New sizes of some levels; zero deletes one."""

    product_id: Name
    changes: tuple[tuple[Literal["buy", "sell"], Number, Size], ...]
    time: str | None = None


AnyMessage: TypeAlias = Subscriptions | Error | Alive | Ticker | Match | LastMatch | Snapshot | L2Update


class _Header(Struct, frozen=True):
    type: Identifier


# Prices are strings in these messages: the lax mode reads them as numbers.
_DECODER = msgspec.json.Decoder(AnyMessage, strict=False)
_HEADER = msgspec.json.Decoder(_Header)
_KNOWN = frozenset(
    {"subscriptions", "error", "heartbeat", "ticker", "match", "last_match", "snapshot", "l2update"},
)


def parse(raw: bytes | str) -> AnyMessage | None:
    """The message; ``None`` for a type that is not ours to understand.

    Raises :class:`MalformedMessageError`.
    """
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


class CoinbaseDecoder:
    """The state of all products of a feed: books, last sequences, last trades."""

    venue = VENUE

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.counts: Counter[str] = Counter()
        self._sequences = Numbering(self.counts)
        self._trades = Numbering(self.counts, contiguous=True)
        self._books: dict[str, Book] = {}
        self._tops: dict[str, Top] = {}
        self._greeted: set[str] = set()
        """Products whose first ticker of the connection was seen."""

    def reconnected(self) -> None:
        """Drop the books; sequences and trades go on."""
        self._books.clear()
        self._tops.clear()
        self._greeted.clear()

    def decode(self, raw: bytes | str, received_ns: int) -> list[AnyEvent]:
        """The events of one message. Raises :class:`MalformedMessageError`."""
        message = parse(raw)
        if message is None:
            self.counts["messages"] += 1
            self.counts["ignored"] += 1
            return []
        return self.events(message, received_ns)

    def events(self, message: AnyMessage, received_ns: int) -> list[AnyEvent]:
        """The events of a parsed message. Raises :class:`MalformedMessageError` for a bad time."""
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
            case _:
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
            return []  # the usual thing after a reconnect in a quiet market
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
        is_first = product not in self._greeted
        self._greeted.add(product)
        if is_first and message.sequence == self._sequences.last(stream):
            return []  # no trade since the last connection
        if self._sequences.take(stream, message.sequence) is None:
            return []
        top = self._tops.get(product) or Top(None, None, None, None)
        agrees = (top.bid, top.ask) == (message.best_bid, message.best_ask)
        quote = Quote(
            time_ns=time_ns,
            venue=VENUE,
            instrument=product,
            sequence=message.sequence,
            bid=message.best_bid,
            ask=message.best_ask,
            bid_size=_first(message.best_bid_size, top.bid_size, at_same_price=top.bid == message.best_bid),
            ask_size=_first(message.best_ask_size, top.ask_size, at_same_price=top.ask == message.best_ask),
        )
        book = self._books.get(product)
        if book is None or agrees or time_ns >= book.time_ns:
            return [quote]
        # A ticker older than the book must not have the last word on the present.
        return [quote, _quote(product, book)]

    def _snapshot(self, message: Snapshot, received_ns: int) -> list[AnyEvent]:
        book = Book()
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

    def _changed(self, product: str, book: Book) -> list[AnyEvent]:
        top = book.top
        if self._tops.get(product) == top:
            return []
        self._tops[product] = top
        return [_quote(product, book)]


def _quote(product: str, book: Book) -> Quote:
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


def _first(given: float | None, known: float | None, *, at_same_price: bool) -> float | None:
    """The size that the ticker gives, else the book's if it is of the same price."""
    if given is not None:
        return given
    return known if at_same_price else None


def _time(text: str) -> int:
    try:
        time_ns = parse_time(text)
    except TimeFormatError as error:
        raise MalformedMessageError(str(error)) from error
    if time_ns <= 0:
        raise MalformedMessageError(f"time {text!r} lies before the epoch")
    return time_ns

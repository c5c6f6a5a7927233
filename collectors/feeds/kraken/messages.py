"""Messages of the Kraken WebSocket API, version 1, and their decoder.

Source: https://docs.kraken.com/api/docs/websocket-v1/book and …/trade.

* ``book`` sends a snapshot of a pair and then changes. The book is cut to the subscribed depth, because
  Kraken sends no deletion for levels beyond it. A change of the top becomes a :class:`Quote` with the newest
  time in the message. The times in a snapshot are those of its orders, so the quote of a snapshot has the
  time of receipt.
* ``trade`` sends trades without an id or a sequence number; each becomes a :class:`Tick`. Trades repeated
  after a reconnect are recognised by their time; missed ones cannot be counted.
* The first event of a pair is preceded by its :class:`Instrument`: its name tells the currencies. This
  version of the API does not tell tick and lot sizes.
* Other channels are ignored.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.messages import MalformedMessageError, VenueDecoder
from collectors.feeds.order_book import BookSide, OrderBook
from decahertz.clock import NS_PER_SECOND
from decahertz.currencies import CurrencyCodes
from decahertz.event import AnyEvent, Instrument, InstrumentKind, Name, Number, Side, Size, Tick

VENUE = "kraken"
_SHORTEST = 4
_FIAT = frozenset({"USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF"})
_CODES = CurrencyCodes()

_Seconds = Annotated[str, Meta(pattern=r"^[0-9]{1,10}\.[0-9]{1,9}$(?!\n)")]


class Level(Struct, frozen=True, array_like=True, gc=False):
    """Price, size and time of a level; the fourth entry (republished) is not used."""

    price: Number
    size: Size
    time: _Seconds


class Trade(Struct, frozen=True, array_like=True, gc=False):
    """A trade; ``side`` is the aggressor's. Order type and flags follow and are not used."""

    price: Number
    size: Size
    time: _Seconds
    side: Literal["b", "s"]


class BookPart(Struct, frozen=True):
    """Levels of a book: ``as`` and ``bs`` of a snapshot, ``a`` and ``b`` of a change."""

    all_asks: tuple[Level, ...] | None = msgspec.field(default=None, name="as")
    all_bids: tuple[Level, ...] | None = msgspec.field(default=None, name="bs")
    asks: tuple[Level, ...] = msgspec.field(default=(), name="a")
    bids: tuple[Level, ...] = msgspec.field(default=(), name="b")


class Subscription(Struct, frozen=True):
    """A channel, as it was subscribed to."""

    name: str = ""


class Status(Struct, frozen=True):
    """A message about the connection: a heartbeat, the system status, or the answer to a subscription."""

    event: str
    status: str = ""
    pair: str = ""
    subscription: Subscription = Subscription()
    error: str = msgspec.field(default="", name="errorMessage")


class ChannelMessage(Struct, frozen=True):
    """A message of a channel such as ``book-10``, not yet decoded."""

    channel: str
    pair: Name
    parts: list[msgspec.Raw]


AnyMessage: TypeAlias = Status | ChannelMessage

_STATUS = msgspec.json.Decoder(Status)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_BOOK_PART = msgspec.json.Decoder(BookPart, strict=False)
_TRADES = msgspec.json.Decoder(tuple[Trade, ...], strict=False)
_CHANNEL = msgspec.json.Decoder(str)
_PAIR = msgspec.json.Decoder(Name)


class KrakenDecoder(VenueDecoder[AnyMessage]):
    """Order books and last trade times of all pairs."""

    venue: ClassVar[str] = VENUE

    def __init__(self) -> None:
        super().__init__()
        self._trade_ns: dict[str, int] = {}
        self._defined: set[str] = set()
        self._with_trades: set[str] = set()
        """Pairs with a trade on the current connection."""

    def reconnected(self) -> None:
        """Discards the order books."""
        super().reconnected()
        self._with_trades.clear()

    def parse(self, raw: bytes | str) -> AnyMessage:
        """Parses one message. Raises :class:`MalformedMessageError`."""
        text = raw.encode() if isinstance(raw, str) else raw
        try:
            if text.lstrip()[:1] == b"{":
                return _STATUS.decode(text)
            parts = _PARTS.decode(text)
            if len(parts) < _SHORTEST:
                raise MalformedMessageError(f"a channel message has {len(parts)} parts")
            return ChannelMessage(_CHANNEL.decode(parts[-2]), _PAIR.decode(parts[-1]), parts[1:-2])
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise MalformedMessageError(str(error)) from error

    def events(self, message: AnyMessage, received_ns: int) -> list[AnyEvent]:
        """Returns the events of a message. Raises :class:`MalformedMessageError`."""
        events: list[AnyEvent] = []
        if isinstance(message, ChannelMessage):
            name, _, depth = message.channel.partition("-")
            try:
                if name == "book":
                    events = self._book(message, depth, received_ns)
                elif name == "trade":
                    events = self._ticks(message)
                else:
                    self.counts["ignored"] += 1
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise MalformedMessageError(str(error)) from error
        self.counts["messages"] += 1
        return self._defined_first(message, received_ns, events)

    def _defined_first(self, message: AnyMessage, received_ns: int, events: list[AnyEvent]) -> list[AnyEvent]:
        if not events or not isinstance(message, ChannelMessage) or message.pair in self._defined:
            return events
        self._defined.add(message.pair)
        base, slash, quote = message.pair.partition("/")
        if not (base and slash and quote):
            return events
        definition = Instrument(
            time_ns=received_ns,
            venue=VENUE,
            instrument=message.pair,
            kind=InstrumentKind.FX if {base, quote} <= _FIAT else InstrumentKind.SPOT,
            base_currency=_CODES.code(base),
            quote_currency=_CODES.code(quote),
        )
        return [definition, *events]

    def _ticks(self, message: ChannelMessage) -> list[AnyEvent]:
        pair = message.pair
        trades = [trade for part in message.parts for trade in _TRADES.decode(part)]
        # Only the first trades of a connection can repeat earlier ones; later trades may share a time.
        after_ns = -1 if pair in self._with_trades else self._trade_ns.get(pair, -1)
        self._with_trades.add(pair)
        ticks: list[AnyEvent] = [
            Tick(
                time_ns=time_ns,
                venue=VENUE,
                instrument=pair,
                price=trade.price,
                size=trade.size,
                side=Side.BUY if trade.side == "b" else Side.SELL,
            )
            for trade in trades
            if (time_ns := _time_ns(trade.time)) > after_ns
        ]
        if len(ticks) < len(trades):
            self.counts["duplicates"] += len(trades) - len(ticks)
        newest_ns = max((tick.time_ns for tick in ticks), default=-1)
        self._trade_ns[pair] = max(newest_ns, self._trade_ns.get(pair, -1))
        return ticks

    def _book(self, message: ChannelMessage, depth: str, received_ns: int) -> list[AnyEvent]:
        if not depth.isdecimal() or not int(depth):
            raise MalformedMessageError(f"a book of depth {depth!r}")
        pair = message.pair
        parts = [_BOOK_PART.decode(part) for part in message.parts]
        book = self._books.get(pair)
        for part in parts:
            if part.all_asks is not None or part.all_bids is not None:
                book = self._books[pair] = OrderBook(int(depth))
                book.asks.replace((level.price, level.size) for level in part.all_asks or ())
                book.bids.replace((level.price, level.size) for level in part.all_bids or ())
                book.time_ns = received_ns
        if book is None:
            self.counts["without_snapshot"] += 1
            self._damaged[pair] = None
            return []
        changes = [level for part in parts for level in (*part.asks, *part.bids)]
        for part in parts:
            _change(book.asks, part.asks)
            _change(book.bids, part.bids)
        if changes:
            book.time_ns = max(_time_ns(level.time) for level in changes)
        return self._changed_top(pair, book)


def _change(side: BookSide, levels: tuple[Level, ...]) -> None:
    for level in levels:
        side.set(level.price, level.size)


def _time_ns(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * NS_PER_SECOND + int(fraction.ljust(9, "0"))

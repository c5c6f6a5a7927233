"""Messages of the Kraken WebSocket feed (version 1), and the events they mean.

Source: https://docs.kraken.com/api/docs/websocket-v1/book. The book of a pair is a snapshot and then
changes; it is cut to the depth subscribed, because Kraken does not delete what falls out behind it. A
change at the top is a :class:`Quote` under the newest time in the message. The snapshot's times are those
of its orders, not of the message, so it counts as of its receipt. Other channels are ignored.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.book import Book, BookSide, Top
from collectors.feeds.messages import MalformedMessageError
from decahertz.clock import NS_PER_SECOND
from decahertz.event import AnyEvent, Name, Number, Quote, Size

VENUE = "kraken"
_SHORTEST = 4

_Seconds = Annotated[str, Meta(pattern=r"^[0-9]{1,10}\.[0-9]{1,9}$(?!\n)")]


class Level(Struct, frozen=True, array_like=True, gc=False):
    """Price, size, and when it changed; a fourth entry (republished) is of no interest."""

    price: Number
    size: Size
    time: _Seconds


class BookPart(Struct, frozen=True):
    """Levels of a book: ``as`` and ``bs`` of a snapshot, ``a`` and ``b`` of a change."""

    all_asks: tuple[Level, ...] | None = msgspec.field(default=None, name="as")
    all_bids: tuple[Level, ...] | None = msgspec.field(default=None, name="bs")
    asks: tuple[Level, ...] = msgspec.field(default=(), name="a")
    bids: tuple[Level, ...] = msgspec.field(default=(), name="b")


class _Status(Struct, frozen=True):
    event: str


_STATUS = msgspec.json.Decoder(_Status)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_PART = msgspec.json.Decoder(BookPart, strict=False)
_CHANNEL = msgspec.json.Decoder(str)
_PAIR = msgspec.json.Decoder(Name)


class KrakenDecoder:
    """The books of all pairs of a feed."""

    venue = VENUE

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.counts: Counter[str] = Counter()
        self._books: dict[str, Book] = {}
        self._tops: dict[str, Top] = {}

    def reconnected(self) -> None:
        """Drop the books."""
        self._books.clear()
        self._tops.clear()

    def decode(self, raw: bytes | str, received_ns: int) -> list[AnyEvent]:
        """The events of one message. Raises :class:`MalformedMessageError`."""
        text = raw.encode() if isinstance(raw, str) else raw
        try:
            if text.lstrip()[:1] == b"{":
                _STATUS.decode(text)  # a heartbeat, the exchange's state: no event of a market
                events = []
            else:
                events = self._channel(_PARTS.decode(text), received_ns)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise MalformedMessageError(str(error)) from error
        self.counts["messages"] += 1
        return events

    def _channel(self, parts: list[msgspec.Raw], received_ns: int) -> list[AnyEvent]:
        if len(parts) < _SHORTEST:
            raise MalformedMessageError(f"a channel's message of {len(parts)} parts")
        name, _, depth = _CHANNEL.decode(parts[-2]).partition("-")
        pair = _PAIR.decode(parts[-1])
        if name != "book":
            self.counts["ignored"] += 1
            return []
        if not depth.isdecimal() or not int(depth):
            raise MalformedMessageError(f"a book of depth {depth!r}")
        told = [_PART.decode(part) for part in parts[1:-2]]
        return self._book(pair, int(depth), told, received_ns)

    def _book(self, pair: str, depth: int, told: list[BookPart], received_ns: int) -> list[AnyEvent]:
        book = self._books.get(pair)
        for part in told:
            if part.all_asks is not None or part.all_bids is not None:
                book = self._books[pair] = Book(depth)
                book.asks.replace((level.price, level.size) for level in part.all_asks or ())
                book.bids.replace((level.price, level.size) for level in part.all_bids or ())
                book.time_ns = received_ns
        if book is None:
            self.counts["without_snapshot"] += 1
            return []
        changes = [level for part in told for level in (*part.asks, *part.bids)]
        for part in told:
            _change(book.asks, part.asks)
            _change(book.bids, part.bids)
        if changes:
            book.time_ns = max(_time_ns(level.time) for level in changes)
        top = book.top
        if self._tops.get(pair) == top:
            return []
        self._tops[pair] = top
        quote = Quote(
            time_ns=book.time_ns,
            venue=VENUE,
            instrument=pair,
            bid=top.bid,
            ask=top.ask,
            bid_size=top.bid_size,
            ask_size=top.ask_size,
        )
        return [quote]


def _change(side: BookSide, levels: tuple[Level, ...]) -> None:
    for level in levels:
        side.set(level.price, level.size)


def _time_ns(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * NS_PER_SECOND + int(fraction.ljust(9, "0"))

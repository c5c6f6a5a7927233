"""Messages of a Binance spot combined stream, and the events they mean.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams.

* ``bookTicker`` is a :class:`Quote` with the update id as ``sequence``. Binance gives it no time: it
  counts as of its receipt.
* ``aggTrade`` is a :class:`Tick`; aggregate ids of a symbol have no holes, so a skipped one is a loss.
* ``depthUpdate`` and ``kline`` are ignored: the first needs a snapshot that the stream does not carry.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.messages import MalformedMessageError, Numbering
from decahertz.event import AnyEvent, Name, Number, Quote, Side, Size, Tick

VENUE = "binance"
_NS_PER_MS = 1_000_000

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
_Milliseconds: TypeAlias = Annotated[int, Meta(gt=0, le=(2**63 - 1) // _NS_PER_MS)]


class BookTicker(Struct, frozen=True):
    """Best bid and ask."""

    update_id: _Id = msgspec.field(name="u")
    symbol: Name = msgspec.field(name="s")
    bid: Number = msgspec.field(name="b")
    bid_size: Size = msgspec.field(name="B")
    ask: Number = msgspec.field(name="a")
    ask_size: Size = msgspec.field(name="A")


class AggregateTrade(Struct, frozen=True):
    """The trades of one taker order at one price."""

    symbol: Name = msgspec.field(name="s")
    trade_id: _Id = msgspec.field(name="a")
    price: Number = msgspec.field(name="p")
    size: Size = msgspec.field(name="q")
    time_ms: _Milliseconds = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class _Envelope(Struct, frozen=True):
    stream: str
    data: msgspec.Raw


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_BOOK_TICKER = msgspec.json.Decoder(BookTicker, strict=False)
_TRADE = msgspec.json.Decoder(AggregateTrade, strict=False)


class BinanceDecoder:
    """The last numbers of all symbols of a feed."""

    venue = VENUE

    def __init__(self) -> None:
        """Start knowing nothing."""
        self.counts: Counter[str] = Counter()
        self._updates = Numbering(self.counts)
        self._trades = Numbering(self.counts, contiguous=True)

    def reconnected(self) -> None:
        """Nothing is void: there is no book."""

    def decode(self, raw: bytes | str, received_ns: int) -> list[AnyEvent]:
        """The events of one message. Raises :class:`MalformedMessageError`."""
        try:
            envelope = _ENVELOPE.decode(raw)
            kind = envelope.stream.partition("@")[2]
            if kind == "bookTicker":
                events = self._quote(_BOOK_TICKER.decode(envelope.data), received_ns)
            elif kind == "aggTrade":
                events = self._tick(_TRADE.decode(envelope.data))
            else:
                self.counts["ignored"] += 1
                events = []
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise MalformedMessageError(str(error)) from error
        self.counts["messages"] += 1
        return events

    def _quote(self, message: BookTicker, received_ns: int) -> list[AnyEvent]:
        if self._updates.take(message.symbol, message.update_id) is None:
            return []
        quote = Quote(
            time_ns=received_ns,
            venue=VENUE,
            instrument=message.symbol,
            sequence=message.update_id,
            bid=message.bid,
            ask=message.ask,
            bid_size=message.bid_size,
            ask_size=message.ask_size,
        )
        return [quote]

    def _tick(self, message: AggregateTrade) -> list[AnyEvent]:
        missed = self._trades.take(message.symbol, message.trade_id)
        if missed is None:
            return []
        tick = Tick(
            time_ns=message.time_ms * _NS_PER_MS,
            venue=VENUE,
            instrument=message.symbol,
            sequence=message.trade_id,
            missed=missed,
            price=message.price,
            size=message.size,
            side=Side.SELL if message.buyer_is_maker else Side.BUY,
            trade_id=str(message.trade_id),
        )
        return [tick]

"""Messages of a Binance combined stream, and their decoder.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, and
…/docs/derivatives/usds-margined-futures/websocket-market-streams.

* ``bookTicker`` becomes a :class:`Quote` with the update id as ``sequence``. On the spot markets Binance
  sends no time with it, so the quote has the time of receipt; on the futures markets it has the time of the
  transaction.
* ``aggTrade`` becomes a :class:`Tick`. Aggregate trade ids of a symbol are contiguous, so a skipped one is a
  lost trade.
* The first message of a symbol is preceded by its :class:`Instrument`, as far as its symbol tells it
  (:mod:`collectors.feeds.binance.markets`).
* Other streams are ignored; ``depthUpdate`` would need a snapshot over REST.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

import msgspec
from msgspec import Meta, Struct

from collectors.feeds.binance.markets import COINM, SPOT, US, USDM, BinanceMarket, market_of
from collectors.feeds.messages import MalformedMessageError, Numbering, VenueDecoder
from decahertz.event import AnyEvent, Name, Number, Quote, Side, Size, Tick

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
    time_ms: _Milliseconds | None = msgspec.field(name="T", default=None)


class AggregateTrade(Struct, frozen=True):
    """The trades of one taker order at one price, as one."""

    symbol: Name = msgspec.field(name="s")
    trade_id: _Id = msgspec.field(name="a")
    price: Number = msgspec.field(name="p")
    size: Size = msgspec.field(name="q")
    time_ms: _Milliseconds = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class Failure(Struct, frozen=True):
    """Why a request was refused."""

    code: int = 0
    msg: str = ""


class StreamMessage(Struct, frozen=True):
    """A message of a stream such as ``btcusdt@aggTrade``, not yet decoded, or the reply to a request."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()
    id: int | None = None
    error: Failure | None = None


_MESSAGE = msgspec.json.Decoder(StreamMessage)
_BOOK_TICKER = msgspec.json.Decoder(BookTicker, strict=False)
_TRADE = msgspec.json.Decoder(AggregateTrade, strict=False)


class BinanceDecoder(VenueDecoder[StreamMessage]):
    """Last update ids and trade ids of all symbols of one market."""

    market: ClassVar[BinanceMarket] = SPOT
    venue = SPOT.venue

    def __init__(self) -> None:
        super().__init__()
        self._defined: set[str] = set()
        self._updates = Numbering(self.counts)
        self._trades = Numbering(self.counts, contiguous=True)

    def parse(self, raw: bytes | str) -> StreamMessage:
        """Parses one message. Raises :class:`MalformedMessageError`."""
        try:
            message = _MESSAGE.decode(raw)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise MalformedMessageError(str(error)) from error
        if not message.stream and message.id is None and message.error is None:
            raise MalformedMessageError("neither a message of a stream nor a reply")
        return message

    def events(self, message: StreamMessage, received_ns: int) -> list[AnyEvent]:
        """Returns the events of a message. Raises :class:`MalformedMessageError`."""
        stream = message.stream.partition("@")[2]
        events: list[AnyEvent] = []
        try:
            if stream == "bookTicker":
                ticker = _BOOK_TICKER.decode(message.data)
                events = self._quote(ticker, received_ns)
                events = self._defined_first(ticker.symbol, received_ns, events)
            elif stream == "aggTrade":
                trade = _TRADE.decode(message.data)
                events = self._defined_first(trade.symbol, received_ns, self._tick(trade))
            elif stream:
                self.counts["ignored"] += 1
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise MalformedMessageError(str(error)) from error
        self.counts["messages"] += 1
        return events

    def _defined_first(self, symbol: str, received_ns: int, events: list[AnyEvent]) -> list[AnyEvent]:
        if symbol in self._defined or not events:
            return events
        self._defined.add(symbol)
        definition = self.market.definition(symbol, received_ns)
        return events if definition is None else [definition, *events]

    def _quote(self, message: BookTicker, received_ns: int) -> list[AnyEvent]:
        if self._updates.take(message.symbol, message.update_id) is None:
            return []
        quote = Quote(
            time_ns=received_ns if message.time_ms is None else message.time_ms * _NS_PER_MS,
            venue=self.venue,
            instrument=message.symbol,
            sequence=message.update_id,
            bid=message.bid,
            ask=message.ask,
            bid_size=message.bid_size,
            ask_size=message.ask_size,
        )
        return [quote]

    def _tick(self, message: AggregateTrade) -> list[AnyEvent]:
        time_ns = message.time_ms * _NS_PER_MS
        missed = self._trades.take(message.symbol, message.trade_id, time_ns)
        if missed is None:
            return []
        tick = Tick(
            time_ns=time_ns,
            venue=self.venue,
            instrument=message.symbol,
            sequence=message.trade_id,
            missed=missed,
            price=message.price,
            size=message.size,
            side=Side.SELL if message.buyer_is_maker else Side.BUY,
            trade_id=str(message.trade_id),
        )
        return [*self._gaps(self._trades, message.symbol, Tick.table, time_ns), tick]


class BinanceUsDecoder(BinanceDecoder):
    """Decodes streams of Binance.US."""

    market = US
    venue = US.venue


class BinanceUsdmDecoder(BinanceDecoder):
    """Decodes streams of the USD-M futures."""

    market = USDM
    venue = USDM.venue


class BinanceCoinmDecoder(BinanceDecoder):
    """Decodes streams of the COIN-M futures."""

    market = COINM
    venue = COINM.venue


DECODERS: dict[str, type[BinanceDecoder]] = {
    decoder.venue: decoder
    for decoder in (BinanceDecoder, BinanceUsDecoder, BinanceUsdmDecoder, BinanceCoinmDecoder)
}
"""By venue."""


def decoder_of(host: str) -> BinanceDecoder:
    """Returns the decoder of the market whose streams a host has."""
    return DECODERS[market_of(host).venue]()

"""The decoder of Coinbase Exchange.

* ``ticker`` becomes a :class:`Quote` with the venue's ``sequence``. The trade in it also arrives as a
  ``match`` and is not counted twice. The first ticker of a subscription is as old as the last trade.
* ``match`` becomes a :class:`Tick` with ``sequence`` and ``trade_id``. Coinbase sends the maker's side, the
  tick has the aggressor's. Trade ids of a product are contiguous, so a skipped one is a lost trade.
* ``last_match`` repeats the last trade before the subscription. If that trade is new it becomes a
  :class:`Tick` with ``trade_id`` but *without* ``sequence``: it provides the last price, reveals the trades
  missed during a reconnect, and stays distinguishable from the matches of the stream.
* ``snapshot`` and ``l2update`` maintain the order book; a change of its top becomes a :class:`Quote` without
  ``sequence``.
* ``heartbeat`` names the last trade of its product. A trade that it names and that has not arrived by the
  next heartbeat is missed: a :class:`Gap`, and the product needs a new subscription.
* ``status`` lists all products every few seconds; a subscribed product becomes an :class:`Instrument` when it
  is first listed, and again when its definition changes.
"""

from __future__ import annotations

from typing import ClassVar

from collectors.feeds.coinbase.messages import (
    AnyMessage,
    L2Update,
    LastMatch,
    Match,
    Product,
    Snapshot,
    Status,
    Subscriptions,
    Ticker,
    VenueHeartbeat,
    parse,
)
from collectors.feeds.messages import MalformedMessageError, Numbering, VenueDecoder
from collectors.feeds.order_book import OrderBook, TopOfBook
from decahertz.clock import TimeFormatError, parse_time
from decahertz.event import AnyEvent, Instrument, InstrumentKind, Quote, Side, Tick

VENUE = "coinbase"


class CoinbaseDecoder(VenueDecoder[AnyMessage | None]):
    """Order books, last sequence numbers and last trades of all products.

    :meth:`parse` returns ``None`` for message types that are not decoded.
    """

    venue: ClassVar[str] = VENUE

    def __init__(self) -> None:
        super().__init__()
        self._sequences = Numbering(self.counts)
        self._trades = Numbering(self.counts, contiguous=True)
        self._with_ticker: set[str] = set()
        """Products with a ticker on the current connection."""
        self._subscribed: set[str] = set()
        self._definitions: dict[str, Product] = {}

    def reconnected(self) -> None:
        """Discards the order books; sequence numbers and trade ids continue."""
        super().reconnected()
        self._with_ticker.clear()

    def parse(self, raw: bytes | str) -> AnyMessage | None:
        """Parses one message. Raises :class:`MalformedMessageError`."""
        return parse(raw)

    def events(self, message: AnyMessage | None, received_ns: int) -> list[AnyEvent]:
        """Returns the events of a message. Raises :class:`MalformedMessageError` for an invalid time."""
        self.counts["messages"] += 1
        events: list[AnyEvent] = []
        match message:
            case LastMatch():
                events = self._last_match(message)
            case Match():
                events = self._match(message)
            case Ticker():
                events = self._ticker(message, received_ns)
            case Snapshot():
                events = self._snapshot(message, received_ns)
            case L2Update():
                events = self._update(message, received_ns)
            case VenueHeartbeat():
                events = self._heartbeat(message, received_ns)
            case Status():
                events = self._status(message, received_ns)
            case Subscriptions():
                self._subscribed = {
                    product for channel in message.channels for product in channel.product_ids or ()
                }
            case None:
                self.counts["ignored"] += 1
        return events

    def _match(self, message: Match) -> list[AnyEvent]:
        time_ns = _time(message.time)
        product = message.product_id
        missed = self._trades.take(product, message.trade_id, time_ns)
        if missed is None:
            return []
        gaps = self._gaps(self._trades, product, Tick.table, time_ns)
        return [*gaps, self._tick(message, time_ns, missed, message.sequence)]

    def _last_match(self, message: LastMatch) -> list[AnyEvent]:
        time_ns = _time(message.time)
        product, trade_id = message.product_id, message.trade_id
        if trade_id == self._trades.last(product) and not self._trades.is_missing(product, trade_id):
            return []  # no trade since the last connection
        missed = self._trades.take(product, trade_id, time_ns)
        if missed is None:
            return []
        gaps = self._gaps(self._trades, product, Tick.table, time_ns)
        return [*gaps, self._tick(message, time_ns, missed, None)]

    def _heartbeat(self, message: VenueHeartbeat, received_ns: int) -> list[AnyEvent]:
        if message.last_trade_id is None:
            return []
        product = message.product_id
        time_ns = received_ns if message.time is None else _time(message.time)
        if not self._trades.announce(product, message.last_trade_id, time_ns):
            return []
        self._damaged[product] = None
        return self._gaps(self._trades, product, Tick.table, time_ns)

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
        return [quote, book.quote(VENUE, product)]

    def _status(self, message: Status, received_ns: int) -> list[AnyEvent]:
        changed = [
            product
            for product in message.products
            if product.id in self._subscribed and self._definitions.get(product.id) != product
        ]
        self._definitions.update((product.id, product) for product in changed)
        return [_instrument(product, received_ns) for product in changed]

    def _snapshot(self, message: Snapshot, received_ns: int) -> list[AnyEvent]:
        book = OrderBook()
        book.bids.replace(message.bids)
        book.asks.replace(message.asks)
        book.time_ns = received_ns
        self._books[message.product_id] = book
        return self._changed_top(message.product_id, book)

    def _update(self, message: L2Update, received_ns: int) -> list[AnyEvent]:
        book = self._books.get(message.product_id)
        if book is None:
            self.counts["without_snapshot"] += 1
            self._damaged[message.product_id] = None
            return []
        time_ns = received_ns if message.time is None else _time(message.time)
        for side, price, size in message.changes:
            (book.bids if side == "buy" else book.asks).set(price, size)
        book.time_ns = time_ns
        return self._changed_top(message.product_id, book)


def _instrument(product: Product, received_ns: int) -> Instrument:
    has_alias = product.display_name not in ("", product.id)
    return Instrument(
        time_ns=received_ns,
        venue=VENUE,
        instrument=product.id,
        kind=InstrumentKind.SPOT,
        base_currency=product.base_currency,
        quote_currency=product.quote_currency,
        tick_size=product.quote_increment,
        lot_size=product.base_increment,
        aliases=(product.display_name,) if has_alias else (),
    )


def _size(ticker: float | None, book: float | None, *, at_same_price: bool) -> float | None:
    """Returns the ticker's size, or without one the book's size at the same price."""
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

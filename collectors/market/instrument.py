"""The market state of one instrument."""

from __future__ import annotations

import math

from msgspec import Struct

from collectors.common.values import is_usable
from collectors.common.windows import CountWindow, TradeWindow
from collectors.market.link import Link
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Quote, Tick
from decahertz.histogram import Observations

_MOST_GAPS = 2**62
"""A feed can report any number; a sample has eight bytes for it."""


class VenueState(Struct):
    """The state that all instruments of a venue share."""

    link: Link
    latencies: Observations
    received_ns: int = 0
    """Time of receipt of the last message or heartbeat of the venue."""


class InstrumentState(Struct):
    """One instrument at one venue.

    A quote or tick is late if its venue time, or its sequence number at the same time, is below the newest of
    its type. Late messages are counted and change no price; the quantity of a late tick counts as traded.
    """

    venue: str
    instrument: str
    venue_state: VenueState
    quote_window: CountWindow
    tick_window: CountWindow
    trade_window: TradeWindow
    link: Link | None = None
    received_ns: int = 0
    """Time of receipt of the newest message; 0: none yet."""
    latency_ns: int | None = None
    gaps: int = 0
    gap_ns: int = 0
    """Time of receipt of the last message after a gap; 0: none."""
    late: int = 0
    bid: float | None = None
    ask: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    mid: float | None = None
    spread: float | None = None
    spread_bps: float | None = None
    quotes: int = 0
    quotes_pushed: int = 0
    _quote_time_ns: int = 0
    _quote_sequence: int | None = None
    last: float | None = None
    ticks: int = 0
    ticks_pushed: int = 0
    traded: float = 0.0
    _tick_time_ns: int = 0
    _tick_sequence: int | None = None
    new_quantity: float = 0.0
    """Traded since the last push of the windows."""
    new_value: float = 0.0

    def take_quote(self, quote: Quote, received_ns: int) -> None:
        """Updates the state by a quote."""
        self.quotes += 1
        time_ns = quote.time_ns
        if time_ns <= self._quote_time_ns and _is_late(
            time_ns, quote.sequence, self._quote_time_ns, self._quote_sequence
        ):
            self._receive(quote, received_ns, is_late=True)
            return
        self._receive(quote, received_ns, is_late=False)
        self._quote_time_ns = time_ns
        self._quote_sequence = quote.sequence
        self.bid_size = quote.bid_size
        self.ask_size = quote.ask_size
        bid, ask = quote.bid, quote.ask
        if bid == self.bid and ask == self.ask:
            return
        self.bid = bid
        self.ask = ask
        if bid is None or ask is None:
            self.mid = self.spread = self.spread_bps = None
            return
        self.mid = mid = (bid + ask) / 2
        self.spread = spread = ask - bid
        bps = spread / mid * 10_000 if mid > 0 else math.inf
        self.spread_bps = bps if -math.inf < bps < math.inf else None

    def take_tick(self, tick: Tick, received_ns: int) -> None:
        """Updates the state by a tick."""
        self.ticks += 1
        price, size = tick.price, tick.size
        if is_usable(price) and is_usable(size):
            self.traded += size
            self.new_quantity += size
            self.new_value += price * size
        time_ns = tick.time_ns
        if time_ns <= self._tick_time_ns and _is_late(
            time_ns, tick.sequence, self._tick_time_ns, self._tick_sequence
        ):
            self._receive(tick, received_ns, is_late=True)
            return
        self._receive(tick, received_ns, is_late=False)
        self._tick_time_ns = time_ns
        self._tick_sequence = tick.sequence
        self.last = price

    def push(self, index: int) -> None:
        """Advances the windows to cycle number ``index``."""
        quotes, ticks = self.quotes, self.ticks
        self.quote_window.push(index, quotes - self.quotes_pushed)
        self.quotes_pushed = quotes
        self.tick_window.push(index, ticks - self.ticks_pushed)
        self.ticks_pushed = ticks
        self.trade_window.push(index, self.new_quantity, self.new_value)
        self.new_quantity = self.new_value = 0.0

    def _receive(self, message: Quote | Tick, received_ns: int, *, is_late: bool) -> None:
        self.received_ns = self.venue_state.received_ns = received_ns
        if message.missed:
            self.gaps = min(self.gaps + message.missed, _MOST_GAPS)
            self.gap_ns = received_ns
        if is_late:
            self.late += 1
            return
        self.latency_ns = latency_ns = received_ns - message.time_ns
        if latency_ns >= 0:
            self.venue_state.latencies.observe(latency_ns / NS_PER_SECOND)


def _is_late(time_ns: int, sequence: int | None, newest_ns: int, newest_sequence: int | None) -> bool:
    if time_ns != newest_ns:
        return time_ns < newest_ns
    return sequence is not None and newest_sequence is not None and sequence < newest_sequence
